package gateway

import (
	"context"
	"sync"
	"time"

	"github.com/berth-run/berth/internal/home"
	"github.com/berth-run/berth/internal/shim"
)

const (
	// startsMost is how many servers of one gateway start at once: each start may
	// be the work of a package manager.
	startsMost = 4
	// startTurn is how long one that does not answer counts: a server that hangs
	// must not keep others from starting.
	startTurn = 10 * time.Second
)

// starts lets in so many starts at once.
type starts struct {
	turns chan struct{}
	turn  time.Duration
}

func newStarts() *starts { return &starts{turns: make(chan struct{}, startsMost), turn: startTurn} }

// enter waits until a server may start; leave must be called when it has answered.
// One whose process is there need not wait.
func (s *starts) enter(ctx context.Context, h *home.Home, instance string) (leave func()) {
	if shim.Listens(h, instance) {
		return func() {}
	}
	select {
	case s.turns <- struct{}{}:
	case <-ctx.Done():
		return func() {} // the gateway is ending
	}
	var once sync.Once
	give := func() { once.Do(func() { <-s.turns }) }
	late := time.AfterFunc(s.turn, give)
	return func() {
		late.Stop()
		give()
	}
}
