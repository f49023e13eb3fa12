package mcp

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/berth-run/berth"
)

// said is what reading from the server yields.
type said struct {
	line []byte
	err  error
}

// wire is an attachment to a server that is played by the test.
type wire struct {
	epoch   uint64
	in      chan said
	stalled atomic.Bool

	mu   sync.Mutex // guards the fields below
	note []byte
	log  strings.Builder
}

var _ Conn = (*wire)(nil)

func newWire() *wire { return &wire{epoch: 1, in: make(chan said, 100)} }

func (w *wire) Read(ctx context.Context) ([]byte, error) {
	select {
	case s := <-w.in:
		return s.line, s.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (w *wire) Write(ctx context.Context, line, note []byte) error {
	if w.stalled.Load() {
		<-ctx.Done()
		return context.Cause(ctx)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if note != nil {
		w.note = note
		w.say("+ note " + string(note))
	}
	w.say("> " + string(line))
	return nil
}

func (w *wire) SetNote(_ context.Context, note []byte, ready *berth.MCPInfo) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if string(note) != string(w.note) {
		w.note = note
		w.say("+ note " + string(note))
	}
	if ready != nil {
		text, err := json.Marshal(ready)
		if err != nil {
			return err
		}
		w.say("+ ready " + string(text))
	}
	return nil
}

func (w *wire) Note() []byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.note
}

func (w *wire) Epoch() uint64 { return w.epoch }

// say adds to the log, in short where every conversation would repeat it. The
// caller holds the mutex.
func (w *wire) say(text string) {
	text = strings.ReplaceAll(text, requestMeta(), "META")
	text = strings.ReplaceAll(text, clientInfo(), "CLIENT")
	w.log.WriteString(text + "\n")
}

func (w *wire) record(text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.say(text)
}

// take returns the log since the last call. What ends at the same moment does
// so in no order, so ends come last and sorted.
func (w *wire) take() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	defer w.log.Reset()
	lines := slices.Collect(strings.Lines(w.log.String()))
	slices.SortStableFunc(lines, func(a, b string) int {
		endA, endB := strings.HasPrefix(a, "="), strings.HasPrefix(b, "=")
		switch {
		case endA && endB:
			return strings.Compare(a, b)
		case endA:
			return 1
		case endB:
			return -1
		}
		return 0
	})
	return strings.Join(lines, "")
}
