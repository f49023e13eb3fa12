//go:build unix

package proc

import (
	"context"
	"fmt"

	"github.com/berth-run/berth/internal/fail"
)

// Leftovers lists the live processes that belong to a server: those in its
// cgroups, those that have its tree lock open, and those whose environment
// tells one of its incarnations. The caller itself never counts; the tree of a
// live supervisor does.
//
// A process between clone and exec still shows the environment of its
// supervisor. It has the tree lock open, though, and is in its cgroup from
// birth.
func Leftovers(q Query) ([]ID, error) {
	found, err := q.scan()
	if err != nil {
		return nil, fmt.Errorf("find leftovers of %s: %w", q.Key, err)
	}
	return identities(found)
}

// Sweep ends the leftovers of a server, waits until they are gone, and removes
// its cgroups. It ends with two scans that find nothing. It returns the
// processes that are alive when ctx ends, which is no error.
func Sweep(ctx context.Context, q Query) ([]ID, error) {
	e, err := q.evidence()
	if err != nil {
		return nil, fmt.Errorf("find leftovers of %s: %w", q.Key, err)
	}
	fail.Point("proc.sweep.before")
	if err := e.endGroups(ctx); err != nil {
		return nil, fmt.Errorf("end leftovers of %s: %w", q.Key, err)
	}
	fail.Point("proc.sweep.groups-ended")
	h := hunt{scan: q.scan, belongs: e.tells}
	left, err := h.run(ctx)
	if err != nil || len(left) > 0 {
		ids, idErr := identities(left)
		if err == nil {
			err = idErr
		}
		if err != nil {
			err = fmt.Errorf("end leftovers of %s: %w", q.Key, err)
		}
		return ids, err
	}
	fail.Point("proc.sweep.before-remove")
	if err := e.remove(); err != nil {
		return nil, fmt.Errorf("remove what %s left: %w", q.Key, err)
	}
	return nil, nil
}

// scan gathers the evidence anew: cgroups come and go.
func (q Query) scan() ([]stat, error) {
	e, err := q.evidence()
	if err != nil {
		return nil, err
	}
	return e.scan()
}
