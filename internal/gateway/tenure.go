package gateway

import (
	"context"
	"errors"
	"sync"
	"time"
)

// errMoved: another gateway serves the server now.
var errMoved = errors.New("another gateway serves this server now")

// tenure is whether a server is this gateway's to serve, and how much of it is
// being served. All that a client asks is a visit; a server moves to another
// gateway when there is none.
type tenure struct {
	mu      sync.Mutex // guards the fields below
	state   tenureState
	visits  int
	changed chan struct{} // closed when somebody who waits may look again; nil if nobody does
}

type tenureState int

const (
	ours    tenureState = iota
	closing             // ours; what is new waits
	leaving             // everything waits: it is on its way
	moved               // another gateway's
)

// enter begins a visit, which exit ends. What is new waits while the server is
// about to move; what belongs to visits that there are already does not, or those
// would never end. It returns errMoved when the server has moved.
func (t *tenure) enter(ctx context.Context, isNew bool) error {
	for {
		t.mu.Lock()
		switch {
		case t.state == ours, t.state == closing && !isNew:
			t.visits++
			t.mu.Unlock()
			return nil
		case t.state == moved:
			t.mu.Unlock()
			return errMoved
		}
		changed := t.change()
		t.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// stay makes one visit more of one that there is; exit ends each.
func (t *tenure) stay() {
	t.mu.Lock()
	t.visits++
	t.mu.Unlock()
}

func (t *tenure) exit() {
	t.mu.Lock()
	if t.visits--; t.visits == 0 && t.state == closing {
		t.wake()
	}
	t.mu.Unlock()
}

// change returns what is closed by the next wake. The caller holds the mutex.
func (t *tenure) change() <-chan struct{} {
	if t.changed == nil {
		t.changed = make(chan struct{})
	}
	return t.changed
}

// wake has those who wait look again. The caller holds the mutex.
func (t *tenure) wake() {
	if t.changed != nil {
		close(t.changed)
		t.changed = nil
	}
}

func (t *tenure) set(state tenureState) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.state = state
	t.wake()
}

func (t *tenure) hasMoved() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.state == moved
}

// unused says whether nothing is being served.
func (t *tenure) unused() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.visits == 0
}

// vacate lets nothing new in for so long, until there is no visit: then, or if it
// must be, everything waits until the server has moved. Otherwise all goes on as
// before, and it returns false.
func (t *tenure) vacate(ctx context.Context, long time.Duration, must bool) bool {
	late := time.NewTimer(long)
	defer late.Stop()
	for over := false; ; {
		t.mu.Lock()
		switch {
		case t.visits == 0, over && must:
			t.state = leaving
			t.mu.Unlock()
			return true
		case over:
			t.state = ours
			t.wake()
			t.mu.Unlock()
			return false
		}
		t.state = closing
		changed := t.change()
		t.mu.Unlock()
		select {
		case <-changed:
		case <-late.C:
			over = true
		case <-ctx.Done():
			over, must = true, false
		}
	}
}

// visit is one visit for who may have to end it early.
type visit struct {
	t    *tenure
	over bool
}

// end ends the visit, unless it has ended.
func (v *visit) end() {
	if !v.over {
		v.over = true
		v.t.exit()
	}
}
