package supervisor

import (
	"errors"
	"io"
	"sync"
)

// leashes are what leashed shims end with. They end with this process too: the
// kernel closes them.
type leashes struct {
	mu  sync.Mutex // guards all
	all []io.Closer
}

func (l *leashes) add(c io.Closer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, c)
}

// Close lets go of every leash.
func (l *leashes) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var errs []error
	for _, c := range l.all {
		errs = append(errs, c.Close())
	}
	l.all = nil
	return errors.Join(errs...)
}
