package gateway

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/berth-run/berth/internal/jsonrpc"
	"github.com/berth-run/berth/internal/spool"
)

// stream is one SSE stream of a session: what was sent on it is kept for a
// client that lost its connection and comes back with Last-Event-ID.
type stream struct {
	life    string // of the gateway; see Gateway.life
	number  uint64
	answers [][]byte // ids of the requests that it answers
	primed  bool     // it begins with an event that has an id and nothing else
	general bool     // it is for what belongs to no request
	created time.Time

	store *spool.Store // nil: all is in memory

	mu      sync.Mutex  // guards the fields below
	events  []sentEvent // from number first on
	first   int
	bytes   int          // of all events
	unread  int          // of those in memory that no reader has taken yet
	shelf   *spool.Shelf // nil: none is in a file
	filed   int          // events there
	done    bool
	gone    bool // nobody will come for it any more
	behind  bool // what readers have not taken is no longer waited for
	readers int
	next    int           // the first event that no reader has taken yet
	touched time.Time     // by what was put, and by readers that left
	changed chan struct{} // closed when one of the above changes
}

// sentEvent is the data of an event, in memory or in a file.
type sentEvent struct {
	data string
	file *spool.Place // nil: data is it
}

func (e sentEvent) size() int {
	if e.file != nil {
		return e.file.Size()
	}
	return len(e.data)
}

const (
	// streamKept bounds what the streams of a session keep for a client that comes
	// back, in bytes, and replayFor for how long. For a client that is there and
	// reads slowly slowMost bytes wait in each, of which slowMemory are in memory.
	streamKept = 4 << 20
	replayFor  = 5 * time.Minute
	// streamsMost bounds the streams of a session that have ended, and those that
	// are for what belongs to no request.
	streamsMost = 64
	// commentEvery is how often a silent stream shows that it lives: proxies
	// and clients give up on one that does not.
	commentEvery = 15 * time.Second
)

func newStream(life string, number uint64, primed bool) *stream {
	now := time.Now()
	return &stream{life: life, number: number, primed: primed, created: now, touched: now, changed: make(chan struct{})}
}

// put adds an event; it never waits.
func (st *stream) put(line []byte) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.done {
		return
	}
	st.add(line)
	st.prune()
	st.empty()
	st.wake()
}

// prune forgets the oldest events where there are more than are kept, or waited for.
// The caller holds the mutex.
func (st *stream) prune() {
	for st.bytes > streamKept && len(st.events) > 1 {
		waited := st.readers > 0 && st.first >= st.next && !st.behind
		if waited && st.bytes <= slowMost {
			break // who is there is waited for
		}
		st.behind = st.behind || waited
		st.dropFirst()
	}
}

// add keeps an event: in memory, unless much waits there already. The caller holds
// the mutex.
func (st *stream) add(line []byte) {
	n := len(line)
	st.bytes += n
	if st.store != nil && st.unread > 0 && st.unread+n > slowMemory {
		if st.shelf == nil {
			st.shelf = st.store.NewShelf()
		}
		if p, err := st.shelf.Put(line); err == nil {
			st.filed++
			st.events = append(st.events, sentEvent{file: p})
			return
		}
		st.behind = st.behind || st.unread+n > streamKept
	}
	st.events = append(st.events, sentEvent{data: string(line)})
	st.unread += n
}

// dropFirst forgets the oldest event. The caller holds the mutex.
func (st *stream) dropFirst() {
	e := st.events[0]
	st.bytes -= e.size()
	st.take(st.first)
	if e.file != nil {
		e.file.Drop()
		if st.filed--; st.filed == 0 {
			st.shelf.Rest()
		}
	}
	st.events[0] = sentEvent{}
	st.events = st.events[1:]
	st.first++
}

// take notes that event n, which is the next at most, waits no longer. The caller
// holds the mutex.
func (st *stream) take(n int) {
	if n < st.next {
		return
	}
	if e := st.events[n-st.first]; e.file == nil {
		st.unread -= len(e.data)
	}
	st.next = n + 1
}

// forget says that nobody will come for the stream any more.
func (st *stream) forget() {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.gone = true
	st.empty()
}

// empty lets go of what is in files, if nobody comes for it. The caller holds the
// mutex.
func (st *stream) empty() {
	for st.gone && st.readers == 0 && st.filed > 0 {
		st.dropFirst()
	}
}

// finish says that no event will follow.
func (st *stream) finish() {
	st.mu.Lock()
	defer st.mu.Unlock()
	if !st.done {
		st.done = true
		st.wake()
	}
}

func (st *stream) wake() {
	st.touched = time.Now()
	close(st.changed)
	st.changed = make(chan struct{})
}

// idle says since when nobody reads the stream, what it keeps, and whether there
// will be more; ok is false if somebody reads it.
func (st *stream) idle() (since time.Time, bytes int, done, ok bool) {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.touched, st.bytes, st.done, st.readers == 0
}

// read counts a reader, until the function that it returns is called.
func (st *stream) read() (leave func()) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.readers++
	st.behind = false
	return func() {
		st.mu.Lock()
		defer st.mu.Unlock()
		st.readers--
		st.touched = time.Now()
		st.empty()
	}
}

// after returns the first event that is kept of those that follow number n, and its
// number, which is n if there is none; then changed is what to wait for.
func (st *stream) after(n int) (data string, number int, done bool, changed <-chan struct{}, err error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.prune() // what was waited for has been written
	number = max(n+1, st.first)
	if number >= st.first+len(st.events) {
		return "", n, st.done, st.changed, nil
	}
	for i := max(st.next, st.first); i <= number; i++ {
		st.take(i)
	}
	e := st.events[number-st.first]
	if e.file == nil {
		return e.data, number, false, nil, nil
	}
	line, err := e.file.Read()
	return string(line), number, false, nil, err
}

// errBehind: the client reads more slowly than its server writes, and what it has
// not read is no longer kept.
var errBehind = errors.New("the client reads too slowly")

// serve writes the events that follow number n to the client until the stream
// ends or the client goes. A client that comes back gets what is still kept; one
// that was there loses nothing in the middle: it is cut off.
func (st *stream) serve(ctx context.Context, w *eventWriter, n int) error {
	defer st.read()()
	if n < 0 && st.primed {
		if err := w.event(st.eventID(-1), ""); err != nil {
			return err
		}
	}
	comment := time.NewTicker(commentEvery)
	defer comment.Stop()
	for first := true; ; {
		data, number, done, changed, err := st.after(n)
		if err == nil && number > n+1 && !first {
			err = errBehind
		}
		if err != nil {
			w.abort()
			return err
		}
		if number > n {
			if err := w.event(st.eventID(number), data); err != nil {
				return err
			}
			n, first = number, false
			continue
		}
		first = false
		if err := w.flush(); err != nil || done {
			return err
		}
		select {
		case <-changed:
		case <-comment.C:
			if err := w.comment(); err != nil {
				return err
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// eventID names an event, and what the stream is for: a client that comes back
// to another gateway than the one that it lost can be told at least that.
func (st *stream) eventID(n int) string {
	id := fmt.Sprintf("%s.%d.%d", st.life, st.number, n)
	if st.general {
		return id + "." + generalEvents
	}
	if ids := bytes.Join(st.answers, []byte{','}); len(ids) > 0 && len(ids) < answersMost {
		id += "." + base64.RawURLEncoding.EncodeToString(ids)
	}
	return id
}

const (
	generalEvents = "~"
	// answersMost bounds the ids of requests in the id of an event, in bytes.
	answersMost = 512
)

// eventName is the id of an event, taken apart.
type eventName struct {
	life    string
	number  uint64
	n       int
	general bool
	answers [][]byte
}

// parseEventID reads an id that eventID made.
func parseEventID(id string) (e eventName, ok bool) {
	parts := strings.Split(id, ".")
	if len(parts) != 3 && len(parts) != 4 {
		return e, false
	}
	number, err1 := strconv.ParseUint(parts[1], 10, 64)
	n, err2 := strconv.Atoi(parts[2])
	if err1 != nil || err2 != nil || n < -1 {
		return e, false
	}
	e = eventName{life: parts[0], number: number, n: n}
	switch {
	case len(parts) == 3:
	case parts[3] == generalEvents:
		e.general = true
	default:
		ids, err := base64.RawURLEncoding.DecodeString(parts[3])
		if err != nil {
			return e, false
		}
		for id := range jsonrpc.Elements(slices.Concat([]byte{'['}, ids, []byte{']'})) {
			e.answers = append(e.answers, id)
		}
	}
	return e, true
}

// eventWriter writes server-sent events.
type eventWriter struct {
	w     http.ResponseWriter
	rc    *http.ResponseController
	store *spool.Store  // of what marks in events stand for; nil: there are none
	wait  time.Duration // how long the client may take for the next bytes
}

// events is newEventWriter of this gateway's.
func (g *Gateway) events(w http.ResponseWriter) *eventWriter {
	e := newEventWriter(w, g.spool)
	e.wait = g.o.WriteWait
	return e
}

// newEventWriter sends the head of an SSE response.
func newEventWriter(w http.ResponseWriter, store *spool.Store) *eventWriter {
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-cache, no-transform")
	h.Set("X-Accel-Buffering", "no") // nginx would hold events back
	w.WriteHeader(http.StatusOK)
	return &eventWriter{w: w, rc: http.NewResponseController(w), store: store, wait: writeTimeout}
}

// abort has the response end in the middle, so that the client does not take it
// for whole.
func (e *eventWriter) abort() {
	e.rc.SetWriteDeadline(time.Unix(1, 0)) // not every writer has one
}

// writeTimeout is how long a client may take for the next bytes, unless the options
// say otherwise.
const writeTimeout = 30 * time.Second

// event writes one event; an empty id is left out. JSON text has no line breaks
// but between its tokens, where a line of data may end as well.
func (e *eventWriter) event(id, data string) error {
	if e.store.Any() && e.store.Marked([]byte(data)) {
		return e.longEvent(id, data)
	}
	e.rc.SetWriteDeadline(time.Now().Add(e.wait)) // not every writer has one
	var b strings.Builder
	b.Grow(len(data) + len(id) + 32)
	if id != "" {
		b.WriteString("id: ")
		b.WriteString(id)
		b.WriteByte('\n')
	}
	if data != "" {
		b.WriteString("event: message\n")
	}
	if strings.IndexByte(data, '\r') >= 0 {
		data = strings.ReplaceAll(data, "\r", " ") // it ends a line of events as well
	}
	for {
		line, rest, more := strings.Cut(data, "\n")
		b.WriteString("data: ")
		b.WriteString(line)
		b.WriteByte('\n')
		if !more {
			break
		}
		data = rest
	}
	b.WriteByte('\n')
	_, err := e.w.Write([]byte(b.String()))
	return err
}

// named writes an event of another kind than a message.
func (e *eventWriter) named(kind, data string) error {
	e.rc.SetWriteDeadline(time.Now().Add(e.wait))
	_, err := fmt.Fprintf(e.w, "event: %s\ndata: %s\n\n", kind, data)
	return err
}

func (e *eventWriter) comment() error {
	e.rc.SetWriteDeadline(time.Now().Add(e.wait))
	if _, err := e.w.Write([]byte(":\n\n")); err != nil {
		return err
	}
	return e.flush()
}

func (e *eventWriter) flush() error { return e.rc.Flush() }
