package proc

import (
	"context"
	"errors"
)

// Alive says whether the process lives; a zombie does not, and neither does
// one of an earlier boot. For one that is counted in another PID namespace the
// error is ErrForeign: nobody here can tell.
func (id ID) Alive() (bool, error) {
	same, err := here(id)
	if !same || err != nil {
		return false, err
	}
	now, err := Identify(id.PID)
	switch {
	case errors.Is(err, ErrGone):
		return false, nil
	case err != nil:
		return false, err
	}
	return now == id, nil
}

// Wait blocks until the process has ended or ctx ends, whose error it returns.
func (p *Pinned) Wait(ctx context.Context) error {
	select {
	case <-p.Done():
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
