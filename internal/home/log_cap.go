package home

import "time"

// logCap is a token bucket. It may go into debt by one write, so that any burst
// admits any line; once it has shut it stays so until a second's worth is there
// again: at most one LOG_DROPPED line a second.
type logCap struct {
	rate, burst, reopen int64 // bytes; rate is negative for no cap
	now                 func() time.Time

	tokens int64
	filled time.Time
	shut   bool
}

func newLogCap(o LogOptions) logCap {
	return logCap{
		rate: o.BytesPerSecond, burst: o.Burst, reopen: min(o.Burst, o.BytesPerSecond), now: o.Now,
		tokens: o.Burst, filled: o.Now(),
	}
}

// admit says whether n bytes may be written, and takes their tokens.
func (c *logCap) admit(n int) bool {
	if c.rate < 0 {
		return true
	}
	c.fill()
	if c.shut && c.tokens < c.reopen || c.tokens <= 0 {
		c.shut = true
		return false
	}
	c.shut = false
	c.tokens -= int64(n)
	return true
}

// fill adds the tokens of the time that has passed. The time of what is less
// than one token is left for the next call.
func (c *logCap) fill() {
	passed := c.now().Sub(c.filled)
	if full := time.Duration(float64(c.burst-c.tokens) / float64(c.rate) * float64(time.Second)); passed > full {
		c.tokens, c.filled = c.burst, c.filled.Add(passed)
		return
	}
	tokens := int64(passed.Seconds() * float64(c.rate))
	if tokens <= 0 {
		return
	}
	c.tokens += tokens
	c.filled = c.filled.Add(time.Duration(float64(tokens) / float64(c.rate) * float64(time.Second)))
}
