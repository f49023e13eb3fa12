package gateway

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/berth-run/berth/internal/jsonrpc"
	"github.com/berth-run/berth/internal/spool"
)

// event is something that the child sent and that belongs to one call.
type event struct {
	m    jsonrpc.Message // its Kind is Invalid if err is set
	line []byte
	err  error // why there will be no more: the child is gone
	// refused is why the client cannot be asked this, if it cannot.
	refused *jsonrpc.Error
}

// inbox queues the events of one call. Who reads the child puts and never waits;
// the call's goroutine takes.
type inbox struct {
	store *spool.Store // nil: all is in memory

	mu     sync.Mutex // guards the fields below, up to the blank line
	queue  []event    // one without a line and an error is the next in filed
	first  [1]event   // room for it: most calls have an answer and nothing else
	filed  *spool.Queue
	bytes  int64 // of all events
	inMem  int   // of those in memory
	closed bool

	ready chan struct{}
}

// slowMost bounds what waits for a client that does not read, in bytes, beside a
// last message of any size, and slowMemory what of that is in memory; the rest is
// in a file.
const (
	slowMost   = 64 << 20
	slowMemory = 256 << 10
)

// errSlowClient: a client took in too little of what belongs to its call.
var errSlowClient = errors.New("the client does not read: too much waits for it")

func newInbox(store *spool.Store) *inbox {
	b := &inbox{store: store, ready: make(chan struct{}, 1)}
	b.queue = b.first[:0]
	return b
}

// put adds an event. What follows one that cannot be kept is dropped, and the call
// fails.
func (b *inbox) put(e event) {
	b.mu.Lock()
	if !b.closed {
		if why := b.keep(e); why != nil {
			b.forget()
			b.queue = []event{{err: why}}
		}
	}
	b.mu.Unlock()
	select {
	case b.ready <- struct{}{}:
	default:
	}
}

// keep queues an event, or says why it cannot. The caller holds the mutex.
func (b *inbox) keep(e event) error {
	n := len(e.line)
	switch {
	case b.bytes > slowMost:
		return errSlowClient
	case e.err == nil && len(b.queue) > 0 && b.inMem+n > slowMemory:
		if b.filed == nil {
			b.filed = b.store.NewQueue(0, slowMost)
		}
		if err := b.filed.Put(e.line); err != nil {
			return fmt.Errorf("%w: %w", errSlowClient, err)
		}
		e = event{}
	default:
		b.inMem += n
	}
	b.queue = append(b.queue, e)
	b.bytes += int64(n)
	return nil
}

// close forgets what waits, and what is put from then on.
func (b *inbox) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.forget()
}

// forget is close. The caller holds the mutex.
func (b *inbox) forget() {
	b.closed, b.queue = true, nil
	if b.filed != nil {
		b.filed.Close()
	}
}

// take returns the oldest event, waiting for one.
func (b *inbox) take(ctx context.Context) (event, error) {
	e, _, err := b.takeUntil(ctx, nil)
	return e, err
}

// takeUntil is take until a timer fires; ok is false then.
func (b *inbox) takeUntil(ctx context.Context, timer <-chan time.Time) (e event, ok bool, err error) {
	for {
		if e, ok := b.poll(); ok {
			return e, true, nil
		}
		select {
		case <-b.ready:
		case <-timer:
			return event{}, false, nil
		case <-ctx.Done():
			return event{}, false, context.Cause(ctx)
		}
	}
}

func (b *inbox) poll() (event, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.queue) == 0 {
		return event{}, false
	}
	e := b.queue[0]
	b.queue[0] = event{}
	b.queue = b.queue[1:]
	n := len(e.line)
	if e.line == nil && e.err == nil {
		e = b.unfiled()
		n = len(e.line)
	} else {
		b.inMem -= n
	}
	b.bytes -= int64(n)
	return e, true
}

// unfiled takes the next event from the file. The caller holds the mutex.
func (b *inbox) unfiled() event {
	line, ok, err := b.filed.Take()
	if err == nil && !ok {
		err = errors.New("it is gone") // cannot happen
	}
	var m jsonrpc.Message
	if err == nil {
		m, err = jsonrpc.Parse(line)
	}
	if err != nil {
		b.forget()
		return event{err: fmt.Errorf("what waits for the client could not be read again: %w", err)}
	}
	return event{m: m, line: line}
}
