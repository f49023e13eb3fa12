// Package metrics writes figures in the text format of Prometheus, 0.0.4, and reads
// them back.
package metrics

import (
	"sync/atomic"
	"time"
)

// bounds are the upper bounds of a histogram's buckets: a local call takes less than a
// millisecond, one of a remote server or a model seconds.
var bounds = [...]time.Duration{
	500 * time.Microsecond, time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond, 10 * time.Millisecond, 25 * time.Millisecond,
	50 * time.Millisecond, 100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond,
	time.Second, 2500 * time.Millisecond, 5 * time.Second, 10 * time.Second, 30 * time.Second, 60 * time.Second,
}

// Histogram is how long things took. Its zero value is of nothing, and its methods may
// be called by several goroutines.
type Histogram struct {
	buckets [len(bounds) + 1]atomic.Uint64 // not cumulative; the last is of what is beyond all bounds
	sum     atomic.Int64                   // nanoseconds
}

// Observe adds one that took so long: two additions.
func (h *Histogram) Observe(d time.Duration) {
	i := 0
	for i < len(bounds) && d > bounds[i] {
		i++
	}
	h.buckets[i].Add(1)
	h.sum.Add(int64(d))
}

// Count is how many there were.
func (h *Histogram) Count() (n uint64) {
	for i := range h.buckets {
		n += h.buckets[i].Load()
	}
	return n
}
