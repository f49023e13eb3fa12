package gateway

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/berth-run/berth/internal/bridge"
	"github.com/berth-run/berth/internal/jsonrpc"
)

// outlet takes what is sent to a client. It never waits for the client.
type outlet interface{ put(line []byte) }

// session is one legacy client's conversation with one server, from initialize
// to DELETE, expiry or the end of its connection.
type session struct {
	id      string // "" if a gateway before this one gave it
	key     string // what it is known by here; see keyOf
	srv     *server
	version string        // of the protocol, negotiated
	client  bridge.Client // what it declared in initialize
	who     *caller
	tag     string     // of its own instance of the server; "" shares one
	lines   bool       // its client has one connection, which is its life
	parting sync.Mutex // held while a part of it is made; see jointpart.go
	asks    string     // begins the ids of our requests to the client

	mu         sync.Mutex       // guards the fields below
	of         *session         // what it is a part of; nil unless it is, and that is there
	bereaved   map[string]error // servers whose parts ended with their process
	level      string
	subs       map[string]bool    // URIs
	general    outlet             // for what belongs to no request; nil: nobody listens
	listened   uint64             // how often that was taken
	backlog    [][]byte           // what came while nobody listened
	backlogged int                // bytes of that
	streams    map[uint64]*stream // HTTP only
	streamNo   uint64
	gets       int                                // requests for a stream that are being served
	inFlight   map[string]context.CancelCauseFunc // by the client's raw id
	waits      map[string]chan reply              // our requests to the client, by our id
	askNo      uint64
	used       time.Time
	noted      time.Time // used, as it is written down
	busy       int       // requests being served
	kept       bool      // it outlives this gateway
	recalled   bool      // it is that of a gateway before, and has met no process yet
	// generation and handshake are of the process that it last had to do with; 0
	// and "" before it is initialized.
	generation uint64
	handshake  string
	ended      bool
	why        error // set before done is closed
	farewell   func(why error)
	done       chan struct{} // closed with ended
}

// reply is a client's answer to a request.
type reply struct {
	result  []byte
	refused *jsonrpc.Error
}

// newID draws a name that nobody can guess.
func newID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // it never fails
	return hex.EncodeToString(b[:])
}

func newSession(srv *server, by Caller, version string, client bridge.Client) *session {
	id := newID()
	s := bareSession(srv, by, version, client)
	s.id, s.key = id, keyOf(id)
	return s
}

// bareSession is a session without an id.
func bareSession(srv *server, by Caller, version string, client bridge.Client) *session {
	s := &session{
		srv: srv, version: version, client: client,
		// A client may answer what a gateway before this one asked: that must not
		// be taken for the answer to a question of ours.
		asks: "s" + newID()[:8] + "-",
		subs: map[string]bool{}, streams: map[uint64]*stream{},
		inFlight: map[string]context.CancelCauseFunc{}, waits: map[string]chan reply{},
		used: time.Now(), done: make(chan struct{}),
	}
	s.who = &caller{Caller: by, session: s}
	return s
}

// askedLevel is the log level that the client asked for, "" if it did not.
func (s *session) askedLevel() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.level
}

// use notes that the session is being used, until the function that it returns
// is called.
func (s *session) use() (release func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.busy++
	s.used = time.Now()
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.busy--
		s.used = time.Now()
	}
}

const (
	// sessionIdle is how long a session is kept that nobody uses, and vacantFor
	// one whose client had a connection to the last gateway, and none to this one.
	sessionIdle = 30 * time.Minute
	vacantFor   = time.Minute
)

// expired says that nobody has used the session for long.
func (s *session) expired(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	most := sessionIdle
	if s.lines {
		most = vacantFor
	}
	return s.busy == 0 && now.Sub(s.used) > most && s.of == nil // a part ends with the whole
}

// backlogMost bounds what is kept for a client that listens on no stream, and
// backlogBytes how long it may be.
const (
	backlogMost  = 256
	backlogBytes = 1 << 20
)

// tell sends what belongs to no request: to the stream that the client opened
// for that, or once it does.
func (s *session) tell(line []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.general != nil {
		s.general.put(line)
		return
	}
	if len(s.backlog) < backlogMost && s.backlogged+len(line) <= backlogBytes {
		s.backlog = append(s.backlog, line)
		s.backlogged += len(line)
	}
}

// listen makes out the place for what belongs to no request, until another is or
// leave is called.
func (s *session) listen(out outlet) (leave func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.general = out
	s.listened++
	turn := s.listened
	for _, line := range s.backlog {
		out.put(line)
	}
	s.backlog, s.backlogged = nil, 0
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		// A client that comes back has the same stream again, at times before it is
		// seen that it had left.
		if s.listened == turn {
			s.general = nil
		}
	}
}

// newStream opens an SSE stream.
func (s *session) newStream() *stream { return s.openStream(false) }

// newGeneralStream opens one for what belongs to no request.
func (s *session) newGeneralStream() *stream { return s.openStream(true) }

func (s *session) openStream(general bool) *stream {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.streamNo++
	// "SSE polling" came with 2025-11-25: the stream begins with an event that
	// has nothing but an id, so that a client may come back from the start.
	st := newStream(s.srv.g.life, s.streamNo, s.version >= "2025-11-25")
	st.general, st.store = general, s.srv.g.spool
	s.prune(time.Now())
	s.streams[s.streamNo] = st
	return st
}

// watches counts the requests for streams that are being served, and says whether
// there may be so many.
func (s *session) watches(more int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gets+more > streamsMost {
		return false
	}
	s.gets += more
	return true
}

// tidy drops what the session keeps longer than it has to.
func (s *session) tidy(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.prune(now)
}

// prune forgets streams that nobody may come back for any more, and of the others
// the oldest that have ended where all together are too many or keep too much. The
// caller holds the mutex.
func (s *session) prune(now time.Time) {
	kept, ended := 0, 0
	for _, n := range slices.Backward(slices.Sorted(maps.Keys(s.streams))) {
		st := s.streams[n]
		since, bytes, done, idle := st.idle()
		extra := false
		if done || idle && st.general {
			ended++
			extra = ended > streamsMost
		}
		if kept += bytes; idle && (now.Sub(since) > replayFor || done && kept > streamKept || extra) {
			delete(s.streams, n)
			st.forget()
			kept -= bytes
		}
	}
}

// stream returns the stream that an event belongs to.
func (s *session) stream(e eventName) *stream {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.streams[e.number]
	if st != nil && st.life != e.life {
		return nil
	}
	return st
}

// ask sends a request to the client by out and waits for the answer. If ctx ends
// first, the client is told so.
func (s *session) ask(ctx context.Context, out outlet, method string, params []byte) (reply, error) {
	s.mu.Lock()
	if s.ended {
		s.mu.Unlock()
		return reply{}, errSessionEnded
	}
	s.askNo++
	id := s.asks + strconv.FormatUint(s.askNo, 10)
	answer := make(chan reply, 1)
	s.waits[id] = answer
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.waits, id)
		s.mu.Unlock()
	}()
	line, err := jsonrpc.NewRequest(jsonrpc.StringID(id), method, params)
	if err != nil {
		return reply{}, err
	}
	out.put(line)
	select {
	case r := <-answer:
		return r, nil
	case <-s.done:
		return reply{}, errSessionEnded
	case <-ctx.Done():
		if line, err := jsonrpc.NewNotification("notifications/cancelled", fmt.Appendf(nil, `{"requestId":%s,"reason":"the server no longer needs it"}`, jsonrpc.StringID(id))); err == nil {
			out.put(line)
		}
		return reply{}, context.Cause(ctx)
	}
}

// replied takes the client's answer to a request of ours.
func (s *session) replied(m jsonrpc.Message) {
	if s.srv.joint != nil {
		s.srv.joint.replied(s, m)
		return
	}
	id, _ := m.StringID()
	s.mu.Lock()
	answer := s.waits[id]
	delete(s.waits, id)
	s.mu.Unlock()
	if answer == nil {
		return // it was withdrawn
	}
	if m.Kind == jsonrpc.ErrorResponse {
		answer <- reply{refused: jsonrpc.DecodeError(m.Error)}
		return
	}
	answer <- reply{result: m.Result}
}

// errCancelled: the client cancelled its request.
var errCancelled = errors.New("the client cancelled the request")

// cancellation is an errCancelled with the client's reason, raw JSON.
type cancellation struct{ reason []byte }

func (c *cancellation) Error() string        { return errCancelled.Error() }
func (c *cancellation) Is(target error) bool { return target == errCancelled }

// cancelling is why a request ends that notifications/cancelled with these params
// cancels.
func cancelling(params []byte) error {
	reason := jsonrpc.Get(params, "reason")
	if _, ok := jsonrpc.Text(reason); !ok {
		return errCancelled
	}
	return &cancellation{reason}
}

// reasonOf is what a server is told of why nobody waits for its answer; nil if
// there is nothing to say but that.
func reasonOf(err error) []byte {
	var c *cancellation
	switch {
	case errors.As(err, &c):
		return c.reason
	case errors.Is(err, errClosed):
		return []byte(`"the gateway is ending"`)
	}
	return nil
}

// idKey makes two ids the same key if they are the same id: a string may be
// written in several ways.
func idKey(id []byte) string {
	if text, ok := jsonrpc.Text(id); ok {
		return "s" + text
	}
	return "n" + string(id)
}

// errSameID refuses a request with the id of another that is being served: their
// answers could not be told apart.
var errSameID = &jsonrpc.Error{Code: jsonrpc.CodeInvalidRequest, Message: "the id is that of another request, which is not answered yet"}

// errNullID: "the request ID MUST NOT be null".
var errNullID = &jsonrpc.Error{Code: jsonrpc.CodeInvalidRequest, Message: "the id of a request must be a string or a number"}

// begin opens the context of one request of the client's. It lives until the
// request is answered, the client cancels it or the session ends: "disconnection
// SHOULD NOT be interpreted as the client cancelling its request".
func (s *session) begin(ctx context.Context, id []byte) (context.Context, func(), error) {
	if string(id) == "null" {
		return nil, nil, errNullID
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	key := idKey(id)
	if s.inFlight[key] != nil {
		return nil, nil, errSameID
	}
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	if s.ended {
		cancel(s.why)
	}
	s.inFlight[key] = cancel
	return ctx, func() {
		s.mu.Lock()
		delete(s.inFlight, key)
		s.mu.Unlock()
		cancel(nil)
	}, nil
}

// serving says whether a request of that id is being served.
func (s *session) serving(id []byte) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.inFlight[idKey(id)] != nil
}

// cancelled obeys notifications/cancelled with these params.
func (s *session) cancelled(params []byte) {
	id := jsonrpc.Get(params, "requestId")
	s.mu.Lock()
	cancel := s.inFlight[idKey(id)]
	s.mu.Unlock()
	if cancel != nil {
		cancel(cancelling(params))
	}
}

// errSessionEnded: the client ended its session, or it expired.
var errSessionEnded = errors.New("the session has ended")

// end ends the session; why is what its client is told, errSessionEnded where it
// knows.
func (s *session) end(why error) {
	s.mu.Lock()
	if s.ended {
		s.mu.Unlock()
		return
	}
	s.ended, s.why = true, why
	streams := s.streams
	s.streams = map[uint64]*stream{}
	subs := s.subs
	s.subs = map[string]bool{}
	kept, farewell := s.kept, s.farewell
	for _, cancel := range s.inFlight {
		cancel(why)
	}
	s.mu.Unlock()
	if kept && !errors.Is(why, errClosed) {
		s.srv.g.ledger.note(record{Session: s.key, Over: true})
	}
	close(s.done)
	if s.srv.joint != nil {
		for _, part := range s.srv.joint.parts(s) {
			part.end(why)
		}
	}
	for _, st := range streams {
		st.finish()
		st.forget()
	}
	if farewell != nil {
		farewell(why)
	}
	for uri := range subs {
		s.srv.unsubscribe(s.who, uri)
	}
	s.srv.forgetSession(s)
}

// onEnd has f called when the session ends, with why.
func (s *session) onEnd(f func(why error)) {
	s.mu.Lock()
	why := s.why
	if why == nil {
		s.farewell = f
	}
	s.mu.Unlock()
	if why != nil {
		f(why)
	}
}

// over returns why the session has ended, nil while it has not.
func (s *session) over() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.why
}

// keep has the session outlive this gateway.
func (s *session) keep() {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := &kept{
		Server: s.srv.name, Principal: s.who.Principal, Client: s.who.Client, Profile: s.who.Profile, Version: s.version, Lines: s.lines, Tag: s.tag,
		Capabilities: s.client.Capabilities, Info: s.client.Info,
		Generation: s.generation, Handshake: s.handshake, Used: s.used,
	}
	s.kept = !s.ended && s.srv.g.ledger.keep(s.key, k)
	s.noted = s.used
}

// note writes down a change of a session that is kept.
func (s *session) note(r record) {
	s.mu.Lock()
	kept := s.kept && !s.ended
	s.mu.Unlock()
	if kept {
		r.Session = s.key
		s.srv.g.ledger.note(r)
	}
}

// notedEvery is how long the time of a session's last use may be behind in what
// is written down.
const notedEvery = 5 * time.Minute

// lastUse writes down when the session was used: another gateway goes on with it.
func (s *session) lastUse() {
	s.mu.Lock()
	used := s.used
	s.noted = used
	s.mu.Unlock()
	s.note(record{Used: used})
}

// noteUse writes down that the session was used, if that is news. A part is used as
// the whole is.
func (s *session) noteUse(now time.Time) {
	s.mu.Lock()
	of := s.of
	s.mu.Unlock()
	used := s.lastUsed(now)
	if of != nil {
		used = of.lastUsed(now)
	}
	s.mu.Lock()
	news := s.kept && used.Sub(s.noted) > notedEvery
	if news {
		s.noted = used
	}
	s.mu.Unlock()
	if news {
		s.note(record{Used: used})
	}
}

func (s *session) lastUsed(now time.Time) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.busy > 0 {
		return now
	}
	return s.used
}
