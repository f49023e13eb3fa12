//go:build unix

package proc

import (
	"context"
	"errors"
	"syscall"

	"github.com/berth-run/berth/internal/fail"
)

// hunt ends processes that nothing holds together but a way to find them.
type hunt struct {
	// scan lists those that live.
	scan func() ([]stat, error)
	// belongs is asked about one of them again, when it cannot be mistaken for
	// another any more.
	belongs func(stat) bool
	// strike and buried are called right before the members are killed, and
	// after they ended; both may be nil.
	strike, buried func()
}

// run kills what is found until two scans in a row find nothing. It returns
// what lives when ctx ends, or when the system refuses to kill it.
func (h *hunt) run(ctx context.Context) ([]stat, error) {
	for clean := 0; clean < 2; {
		found, err := h.freeze(ctx)
		if err != nil {
			return nil, err
		}
		if len(found) == 0 {
			clean++
			continue
		}
		clean = 0
		fail.Point("proc.hunt.stopped")
		if h.strike != nil {
			h.strike()
		}
		refused := h.signalAll(found, syscall.SIGKILL)
		fail.Point("proc.hunt.killed")
		if refused == nil {
			refused = awaitAll(ctx, found)
		}
		if h.buried != nil {
			h.buried()
		}
		if refused == nil && ctx.Err() == nil {
			continue
		}
		left, err := h.scan()
		if len(left) == 0 && err == nil && ctx.Err() == nil {
			continue
		}
		if ctx.Err() != nil {
			refused = nil // the survivors are the answer
		}
		return left, errors.Join(err, refused)
	}
	return nil, nil
}

// freeze stops every member and returns them all. A stopped process forks no
// more but still counts against the limit on processes, so that what is killed
// afterwards is not replaced by those that are left.
func (h *hunt) freeze(ctx context.Context) ([]stat, error) {
	stopped := map[int]uint64{}
	for {
		found, err := h.scan()
		if err != nil {
			return nil, err
		}
		var fresh []stat
		for _, m := range found {
			if start, old := stopped[m.pid]; !old || start != m.start {
				stopped[m.pid] = m.start
				fresh = append(fresh, m)
			}
		}
		if len(fresh) == 0 || ctx.Err() != nil {
			return found, nil
		}
		// A refusal shows again at the kill.
		_ = h.signalAll(fresh, syscall.SIGSTOP)
	}
}

func (h *hunt) signalAll(list []stat, sig syscall.Signal) error {
	var refused error
	for _, m := range list {
		err := signalIf(m.pid, sig, func() (bool, error) { return h.belongs(m), nil })
		if err != nil {
			refused = err
		}
	}
	return refused
}

// sameStart says whether the process that has the pid now is the one that the
// scan saw.
func sameStart(m stat) bool {
	now, err := readStat(m.pid)
	return err == nil && now.start == m.start
}

// identities turns states into what may be stored.
func identities(list []stat) ([]ID, error) {
	if len(list) == 0 {
		return nil, nil
	}
	w, err := thisWorld()
	if err != nil {
		return nil, err
	}
	ids := make([]ID, 0, len(list))
	for _, s := range list {
		ids = append(ids, w.id(s))
	}
	return ids, nil
}
