package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/berth-run/berth"
)

// deniedText is what a server was refused, in a line, and what would allow it.
func deniedText(name string, d berth.Denial, now time.Time) string {
	text := "refused: " + d.What
	if d.Why != "" {
		text += ", " + d.Why
	}
	if d.Times > 1 {
		text += fmt.Sprintf(" (%d times, the last %s ago)", d.Times, spanText(now.Sub(d.At)))
	} else {
		text += fmt.Sprintf(" (%s ago)", spanText(now.Sub(d.At)))
	}
	if d.Grant != "" {
		text += "; to allow it: berth permissions " + name + " --grant " + shellLine([]string{d.Grant})
	}
	return text
}

// stillDenied leaves out what has been allowed since.
func stillDenied(all []berth.Denial, allow []string) (left []berth.Denial) {
	var has []berth.Permission
	for _, entry := range allow {
		if p, err := berth.ParsePermission(entry); err == nil {
			has = append(has, p)
		}
	}
	for _, d := range all {
		p, err := berth.ParsePermission(d.Grant)
		if err != nil || !slices.ContainsFunc(has, func(one berth.Permission) bool { return one.Covers(p) }) {
			left = append(left, d)
		}
	}
	return left
}

// shownDenials is how many denials of a server are shown, of those that are kept.
const shownDenials = 5

// lastDenials are those to show, and how many there are besides.
func lastDenials(all []berth.Denial) (shown []berth.Denial, more int) {
	more = max(0, len(all)-shownDenials)
	return all[more:], more
}

// deniedLines are what a server was refused, in lines; other says where more stands.
func deniedLines(name string, all []berth.Denial, now time.Time, other string) (lines []string) {
	shown, more := lastDenials(all)
	for _, d := range shown {
		lines = append(lines, deniedText(name, d, now))
	}
	if more > 0 {
		lines = append(lines, fmt.Sprintf("refused: %d other things, %s", more, other))
	}
	return lines
}

// tellDenied says what a server was refused since a call of it began: that is most
// likely why it failed.
func (s *site) tellDenied(ctx context.Context, name string, since time.Time) {
	st, err := s.Status(ctx, name)
	if err != nil {
		return // it is a hint
	}
	var fresh []berth.Denial
	for _, d := range st.Denied {
		if !d.At.Before(since) {
			fresh = append(fresh, d)
		}
	}
	for _, line := range deniedLines(berth.ServerOf(name), fresh, time.Now(), "berth permissions "+berth.ServerOf(name)) {
		s.ui.note("%s", line)
	}
}
