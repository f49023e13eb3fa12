package main

import (
	"strconv"
	"strings"
	"time"
)

// spanOrTime reads a span such as 90m, 24h or 30d, which it adds to now so many
// times, or a time such as 2026-01-31T12:00:00Z or 2026-01-31.
func spanOrTime(text string, now time.Time, times int) (at time.Time, ok bool) {
	if days, found := strings.CutSuffix(text, "d"); found {
		if n, err := strconv.ParseUint(days, 10, 16); err == nil {
			return now.Add(time.Duration(times) * time.Duration(n) * 24 * time.Hour), true
		}
	}
	if span, err := time.ParseDuration(text); err == nil && span >= 0 {
		return now.Add(time.Duration(times) * span), true
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if at, err := time.ParseInLocation(layout, text, time.Local); err == nil {
			return at, true
		}
	}
	return time.Time{}, false
}
