package gateway

import (
	"context"
	"sync"
)

// turnstile lets calls of a child in: together, or one alone. Who waits is let
// in in the order of arrival.
type turnstile struct {
	mu    sync.Mutex // guards the fields below
	in    int
	alone bool
	queue []*waiter
}

type waiter struct {
	alone bool
	in    chan struct{} // closed when it is let in
}

// queueMost bounds how many calls wait for one that runs alone.
const queueMost = 256

// enter waits until the call may run; leave must be called once it has.
func (t *turnstile) enter(ctx context.Context, alone bool) (leave func(), err error) {
	t.mu.Lock()
	if len(t.queue) == 0 && t.admits(alone) {
		t.take(alone)
		t.mu.Unlock()
		return t.leaver(), nil
	}
	if len(t.queue) >= queueMost {
		t.mu.Unlock()
		return nil, busy("%d calls wait for one that runs alone", queueMost)
	}
	w := &waiter{alone: alone, in: make(chan struct{})}
	t.queue = append(t.queue, w)
	t.mu.Unlock()
	select {
	case <-w.in:
		return t.leaver(), nil
	case <-ctx.Done():
		t.mu.Lock()
		defer t.mu.Unlock()
		select {
		case <-w.in: // let in at the same moment
			t.out()
		default:
			for i, other := range t.queue {
				if other == w {
					t.queue = append(t.queue[:i:i], t.queue[i+1:]...)
					break
				}
			}
			t.admit()
		}
		return nil, context.Cause(ctx)
	}
}

func (t *turnstile) admits(alone bool) bool { return !t.alone && (!alone || t.in == 0) }

func (t *turnstile) take(alone bool) {
	t.in++
	t.alone = alone
}

func (t *turnstile) leaver() func() {
	var once sync.Once
	return func() {
		once.Do(func() {
			t.mu.Lock()
			defer t.mu.Unlock()
			t.out()
		})
	}
}

// out is the leaving of one. The caller holds the mutex.
func (t *turnstile) out() {
	t.in--
	t.alone = false
	t.admit()
}

// admit lets in who may come. The caller holds the mutex.
func (t *turnstile) admit() {
	for len(t.queue) > 0 && t.admits(t.queue[0].alone) {
		w := t.queue[0]
		t.queue = t.queue[1:]
		t.take(w.alone)
		close(w.in)
	}
}
