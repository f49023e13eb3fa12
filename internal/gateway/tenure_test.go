package gateway

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// entering is a visit that somebody wants to make.
func entering(ctx context.Context, tenure *tenure, isNew bool) <-chan error {
	got := make(chan error, 1)
	go func() { got <- tenure.enter(ctx, isNew) }()
	synctest.Wait()
	return got
}

func in(t *testing.T, got <-chan error) bool {
	t.Helper()
	select {
	case err := <-got:
		if err != nil {
			t.Errorf("error %v", err)
		}
		return true
	default:
		return false
	}
}

// What is new waits until what there is has ended, what belongs to that does not,
// and then everything waits until the server has moved.
func TestTenureEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var v tenure
		if !in(t, entering(t.Context(), &v, true)) {
			t.Fatal("nobody may enter")
		}
		vacated := make(chan bool, 1)
		go func() { vacated <- v.vacate(t.Context(), time.Minute, false) }()
		synctest.Wait()
		late := entering(t.Context(), &v, true)
		if in(t, late) {
			t.Error("what is new does not wait")
		}
		if !in(t, entering(t.Context(), &v, false)) {
			t.Error("what belongs to a visit waits")
		}
		v.exit()
		v.stay()
		v.exit()
		synctest.Wait()
		select {
		case <-vacated:
			t.Fatal("it has moved while there was a visit")
		default:
		}
		v.exit()
		if !<-vacated || !v.unused() {
			t.Fatal("it is in use still")
		}
		left := entering(t.Context(), &v, false)
		if in(t, left) || in(t, late) {
			t.Error("somebody was let in on the way")
		}
		v.set(moved)
		for _, got := range []<-chan error{left, late, entering(t.Context(), &v, true)} {
			if err := <-got; !errors.Is(err, errMoved) {
				t.Errorf("error %v", err)
			}
		}
	})
}

// A visit that does not end in time is let be, and what waited goes on; or the
// server moves all the same.
func TestTenureIsNotHeldForLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var v tenure
		v.stay()
		begun := time.Now()
		vacated := make(chan bool, 1)
		go func() { vacated <- v.vacate(t.Context(), time.Second, false) }()
		synctest.Wait()
		late := entering(t.Context(), &v, true)
		if <-vacated || time.Since(begun) != time.Second {
			t.Errorf("it has moved after %v", time.Since(begun))
		}
		if err := <-late; err != nil {
			t.Errorf("error %v", err)
		}
		if !v.vacate(t.Context(), time.Second, true) || v.unused() {
			t.Error("it has not moved")
		}
	})
}

// Who waits can give up, and so can who vacates.
func TestTenureGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var v tenure
		v.stay()
		ctx, cancel := context.WithCancelCause(t.Context())
		vacated := make(chan bool, 1)
		go func() { vacated <- v.vacate(ctx, time.Hour, true) }()
		synctest.Wait()
		impatient, leave := context.WithCancelCause(t.Context())
		got := entering(impatient, &v, true)
		leave(errCancelled)
		if err := <-got; !errors.Is(err, errCancelled) {
			t.Errorf("error %v", err)
		}
		waits := entering(t.Context(), &v, true)
		cancel(errClosed)
		if <-vacated {
			t.Error("it has moved though it was not to")
		}
		if err := <-waits; err != nil {
			t.Errorf("error %v", err)
		}
	})
}

// A call that is parked is a visit until it has ended.
func TestParkedIsAVisit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := bareGateway(t)
		s := bareServer(t, g)
		m := newMemory(t, s, `{"tools":{}}`)
		parkOne(t, s, m, "q")
		if s.tenure.unused() {
			t.Error("a server with a parked call may move")
		}
		time.Sleep(parkFor)
		synctest.Wait()
		if !s.tenure.unused() {
			t.Error("a server may not move for a call that was given up")
		}
	})
}
