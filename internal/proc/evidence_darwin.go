package proc

import (
	"context"
	"fmt"
	"os"
)

// evidence is what shows that a process belongs to a server: its environment.
// Who has the tree lock open cannot be found out without libproc.
type evidence struct {
	marker []byte
}

func (q *Query) evidence() (*evidence, error) {
	if !isKey(q.Key) {
		return nil, fmt.Errorf("key %q is not 16 hex digits", q.Key)
	}
	return &evidence{marker: incarnationMarker(q.Key + ".")}, nil
}

// evidenceOf is what a single incarnation can be found by.
func evidenceOf(incarnation, _ string) *evidence {
	return &evidence{marker: incarnationMarker(incarnation)}
}

// scan lists the live processes for which something tells, but for this one.
func (e *evidence) scan() ([]stat, error) {
	stats, err := processes()
	if err != nil {
		return nil, err
	}
	self := os.Getpid()
	var found []stat
	for _, s := range stats {
		if s.pid != self && !s.zombie() && e.tells(s) {
			found = append(found, s)
		}
	}
	return found, nil
}

func (e *evidence) shows(pid int) bool { return carries(pid, e.marker) == yes }

func (e *evidence) tells(s stat) bool { return e.shows(s.pid) }

// endGroups and remove are for cgroups, which macOS does not have.
func (e *evidence) endGroups(context.Context) error { return nil }

func (e *evidence) remove() error { return nil }
