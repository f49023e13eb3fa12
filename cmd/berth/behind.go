package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/berth-run/berth"
)

// idleFor is how long a gateway that was started in the background waits for a
// client before it ends.
const idleFor = time.Minute

// serveBehind is the gateway that `berth proxy` starts: it serves the home's
// socket and watches over its servers until nobody uses it, or a `berth up` goes
// on in its place.
func (a *app) serveBehind(ctx context.Context, d door) error {
	s, err := a.open(false)
	if err != nil {
		return err
	}
	lock, err := s.beKeeper()
	if errors.As(err, new(*keptError)) {
		return nil // another was faster
	}
	if err != nil {
		return err
	}
	open, err := s.openGateway(d, lock)
	if err != nil {
		return err
	}
	defer open.close()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		if open.gateway.AwaitIdle(ctx, idleFor) == nil {
			cancel(errIdle)
		}
	}()
	err = s.keepAndServe(ctx, open, nil, nil)
	if open.isReplaced() {
		open.gateway.Drain(ctx)
		return nil
	}
	if ctx.Err() != nil {
		return nil
	}
	return err
}

var errIdle = errors.New("nobody uses it")

// followKeeper makes this the keeper of the home and its gateway, in the place of
// the one that there is if that is one in the background, or to be replaced.
func (s *site) followKeeper(ctx context.Context, d door) (*opened, error) {
	for begun := time.Now(); ; {
		lock, err := s.beKeeper()
		if err == nil {
			return s.openGateway(d, lock)
		}
		if !errors.As(err, new(*keptError)) {
			return nil, err
		}
		o, replaceErr := s.replaceGateway(ctx, d)
		switch {
		case replaceErr == nil:
			return o, nil
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case errors.Is(replaceErr, errStays) && d.replace:
			return nil, fmt.Errorf("%w: %w", err, replaceErr)
		case errors.Is(replaceErr, errStays):
			return nil, berth.WithHint(err, "`berth up --replace` goes on in its place")
		case !errors.Is(replaceErr, errNoGateway) || time.Since(begun) > gatewayPatience:
			return nil, errors.Join(err, replaceErr)
		}
		// It is about to listen, or to end.
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return nil, err
		}
	}
}
