package egress

import (
	"os"
	"strings"
	"sync"
	"time"
)

// defaultLookup is how long after a lookup a connection is expected.
const defaultLookup = 2 * time.Second

// mostWanted bounds the names that are waited for. Of more it is told at once.
const mostWanted = 256

// wanted are names that were looked up and are not allowed at any port. The connection
// that follows is told of, with its port; where none does, the name alone is.
type wanted struct {
	tell  func(name string)
	after time.Duration

	mu      sync.Mutex // guards the fields below
	over    bool
	names   map[string]*time.Timer
	reached map[string]bool // those of names that were told of
}

func newWanted(after time.Duration, tell func(name string)) *wanted {
	return &wanted{tell: tell, after: after, names: map[string]*time.Timer{}, reached: map[string]bool{}}
}

func (w *wanted) add(name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.over || w.names[name] != nil:
	case len(w.names) >= mostWanted:
		w.tell(name)
	default:
		w.names[name] = time.AfterFunc(w.after, func() { w.due(name) })
	}
}

// due is when nobody is expected to connect any more.
func (w *wanted) due(name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	told := w.over || w.reached[name]
	delete(w.names, name)
	delete(w.reached, name)
	if !told {
		w.tell(name)
	}
}

// reach is that a connection was tried, and told of. A resolver may still ask for the
// other kind of addresses.
func (w *wanted) reach(name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.names[name] != nil {
		w.reached[name] = true
	}
}

func (w *wanted) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.over = true
	for _, t := range w.names {
		t.Stop()
	}
}

// searchList are the domains that resolvers put behind names, of resolv.conf(5).
func searchList() []string {
	text, _ := os.ReadFile("/etc/resolv.conf") // without it there are none
	var list []string
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) < 2 || fields[0] != "search" && fields[0] != "domain" {
			continue
		}
		list = nil // the last line is the one that counts
		for _, domain := range fields[1:] {
			if name, ok := hostname(domain); ok {
				list = append(list, name)
			}
		}
	}
	return list
}
