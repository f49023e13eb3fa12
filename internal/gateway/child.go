package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/jsonrpc"
	"github.com/berth-run/berth/internal/mcp"
	"github.com/berth-run/berth/internal/shim"
)

// errChildGone: the server's process ended, or its supervisor did, while
// something was asked of it.
var errChildGone = errors.New("the server's process ended")

// errNotSent is an errChildGone of before the request was sent.
var errNotSent = fmt.Errorf("%w before anything was asked of it", errChildGone)

// child is one process of a server that speaks one era, from its handshake to
// its end. The goroutine that reads the process routes what comes to the calls
// that it belongs to; any number of goroutines write.
type child struct {
	srv        *server
	slot       *slot
	instance   string // the name of the process
	generation uint64
	face
	session    *mcp.Session
	attachment attachment
	own        *session // the only one that uses this child; nil: any
	tasks      bool     // it makes tasks of the legacy era
	turn       turnstile
	prefix     string // of the ids that we give to requests: "g<epoch>-"
	pid        int    // of the process, and how often it had been restarted
	restarts   int
	responding atomic.Int32
	clock      *clock
	resting    bool          // it is being stopped since nobody uses it; guarded by server.mu
	used       atomic.Int64  // when it last was, by its clock
	makesTasks atomic.Bool   // it has made a task
	news       chan struct{} // takes one: a list of its has changed

	shaken atomic.Bool // the fields above are set; changed under mu

	mu      sync.Mutex // guards the fields below
	early   []event    // what came before the child was shaken
	last    uint64
	calls   map[string]*call // by the id that the child knows
	asked   map[string]*ask  // the child's requests to clients, by its id
	parked  int              // calls that wait for a client's input
	level   string           // the log level that the child was told; legacy
	least   string           // the most verbose level that a modern request has asked for; legacy
	settled bool             // it has answered something since its handshake
	// tools are those that it lists, nil until they are asked for.
	tools       map[string]toolFacts
	toolChanges int
}

// call is one request at the child.
type call struct {
	id     string
	by     *caller
	method string
	asks   string // see asksOf
	// mayBeTask: its answer may be that it became a task.
	mayBeTask bool
	token     []byte // the client's progress token, or nil
	early     bool   // the child had answered nothing when it was sent
	// lack is the error of the modern era for what its client did not declare, once the
	// child has asked for that; guarded by child.mu.
	lack    *jsonrpc.Error
	parked  bool // it waits for a client's input; guarded by child.mu
	asked   bool // it has waited for that; guarded by child.mu
	events  *inbox
	begun   time.Duration  // by the child's clock
	quiet   time.Duration  // since when nothing was heard of it; guarded by child.mu
	reports reports        // of progress; guarded by child.mu
	asking  sync.WaitGroup // questions that are being passed to the client
}

// ask is one request of the child's to a client.
type ask struct {
	id     []byte // as the child wrote it
	call   *call
	cancel context.CancelFunc // nil: the client cannot be told
	open   *openAsk           // as it is written down
}

// attachment is what carries a child: a *shim.Attachment.
type attachment interface {
	mcp.Conn
	Generation() uint64
	Status() berth.Status
	WriteLong(ctx context.Context, size int64, write func(io.Writer) error) error
	Close() error
}

// connect attaches to the server's process and makes the handshake, or goes on
// with the one that an earlier gateway made.
func connect(ctx context.Context, srv *server, instance string, sl *slot) (*child, error) {
	a, err := shim.Attach(ctx, srv.g.home, instance, nil)
	if err != nil {
		return nil, err
	}
	own := fmt.Sprintf("b%d-", a.Epoch()) // ids of the session of package mcp
	a.SpillTo(func() shim.Spill { return srv.g.longLine(instance, own) })
	return shake(ctx, srv, instance, sl, a)
}

func shake(ctx context.Context, srv *server, instance string, sl *slot, a attachment) (*child, error) {
	st := a.Status()
	c := &child{
		srv: srv, slot: sl, instance: instance, generation: a.Generation(), attachment: a, prefix: fmt.Sprintf("g%d-", a.Epoch()),
		pid: st.PID, restarts: st.Restarts, clock: newClock(srv.set().CallTimeout),
		calls: map[string]*call{}, asked: map[string]*ask{}, news: make(chan struct{}, 1),
	}
	b := srv.believes(sl)
	o := &mcp.Options{Era: srv.eraOf(sl), SkipProbe: b.Legacy() || srv.skipsProbe(), Roots: srv.set().Roots, Other: c.hear}
	if c.own = sl.session; c.own != nil {
		o.Owner, o.Capabilities, o.Client = c.own.key, c.own.client.Capabilities, c.own.client.Info
	}
	c.attachment = conn{a, c.clock, srv.g.spool}
	session, err := mcp.Connect(ctx, c.attachment, o)
	if err = srv.learn(ctx, b, session, err); err != nil {
		a.Close()
		return nil, err
	}
	c.session = session
	c.info = c.session.Info()
	c.era = c.info.Era
	c.tasks = c.era == mcp.Legacy && c.declares("tasks")
	c.hearEarly()
	srv.g.running.Go(c.await)
	return c, nil
}

// earlyMost bounds what a child may say before its handshake is complete.
const earlyMost = 256

// hear takes a message of the child's: at once, or when its handshake is complete.
func (c *child) hear(m jsonrpc.Message, line []byte) {
	c.mu.Lock()
	if c.shaken.Load() {
		c.mu.Unlock()
		c.route(m, line)
		return
	}
	ping := m.Kind == jsonrpc.Request && m.Method == "ping"
	if !ping && len(c.early) < earlyMost {
		c.early = append(c.early, event{m: m, line: line})
	}
	c.mu.Unlock()
	if ping {
		// It may wait for the answer before it says who it is.
		c.respond(m.ID, []byte("{}"), nil)
	}
}

// hearEarly is the completion of the handshake.
func (c *child) hearEarly() {
	for {
		c.mu.Lock()
		early := c.early
		c.early = nil
		c.shaken.Store(len(early) == 0)
		c.mu.Unlock()
		if len(early) == 0 {
			return
		}
		for _, e := range early {
			c.route(e.m, e.line)
		}
	}
}

// await ends the child when its session does.
func (c *child) await() {
	<-c.session.Ended()
	c.srv.lost(c)
	c.attachment.Close() // again, where it was hung
	c.mu.Lock()
	calls := c.calls
	c.calls = nil
	asked := c.asked
	c.asked = nil
	c.mu.Unlock()
	for _, a := range asked {
		c.settle(a)
	}
	for _, k := range calls {
		k.events.put(event{err: fmt.Errorf("%w: %w", errChildGone, c.session.Err())})
	}
}

// close lets go of the process, which goes on.
func (c *child) close() {
	c.session.Close()
	<-c.session.Ended()
}

// gone says whether the child can be asked nothing more.
func (c *child) gone() bool {
	select {
	case <-c.session.Ended():
		return true
	default:
		return false
	}
}

// begin sends a request of a client's. Only its id and its progress token
// differ from what params and m say.
func (c *child) begin(ctx context.Context, by *caller, m jsonrpc.Message, params []byte) (*call, error) {
	k := &call{by: by, method: m.Method, asks: asksOf(m), events: newInbox(c.srv.g.spool)}
	k.token = jsonrpc.Get(params, "_meta", "progressToken")
	k.mayBeTask = c.mayBecomeTask(by, params)
	c.mu.Lock()
	if c.calls == nil {
		c.mu.Unlock()
		return nil, errNotSent
	}
	c.last++
	k.early = !c.settled
	// As JSON it has nothing to escape.
	id := append(make([]byte, 0, len(c.prefix)+22), '"')
	id = append(strconv.AppendUint(append(id, c.prefix...), c.last, 10), '"')
	k.id = string(id[1 : len(id)-1])
	c.calls[k.id] = k
	c.timed(k)
	c.mu.Unlock()
	if k.token != nil {
		var err error
		if params, err = jsonrpc.Set(params, id, "_meta", "progressToken"); err != nil {
			c.forget(k)
			k.events.close()
			return nil, err
		}
	}
	line, err := m.Rewrite(jsonrpc.Rewrite{ID: id, Params: params})
	if err == nil {
		err = c.send(ctx, line)
	}
	if err != nil {
		c.forget(k)
		k.events.close()
		return nil, err
	}
	return k, nil
}

// send writes one message, as one line: what is between its tokens may be a line
// break, and what follows that would be a message of its own to the child. A server
// that does not read for long is hung; see look.
func (c *child) send(ctx context.Context, line []byte) error {
	var err error
	if line = oneLine(line); c.shaken.Load() {
		err = c.session.Send(ctx, line)
	} else {
		err = c.attachment.Write(ctx, line, nil)
	}
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("%w: %w", errChildGone, err)
	}
	return err
}

// forget gives a call up; what still comes for it is dropped.
func (c *child) forget(k *call) {
	c.mu.Lock()
	delete(c.calls, k.id)
	if k.parked {
		k.parked = false
		c.parked--
		c.srv.tenure.exit()
	}
	var moot []*ask
	for id, a := range c.asked {
		if a.call == k {
			delete(c.asked, id)
			moot = append(moot, a)
		}
	}
	c.mu.Unlock()
	for _, a := range moot {
		c.settle(a)
	}
}

// put down writes down that a client is asked something: a gateway that comes
// after this one has to answer if this one cannot.
func (c *child) putDown(a *ask) {
	a.open = &openAsk{Instance: c.instance, Generation: c.generation, Ask: a.id}
	if a.call != nil {
		a.open.Call = a.call.id
	}
	c.srv.g.ledger.note(record{Asks: a.open})
}

// settle is the end of a question to a client, who is told if it has not
// answered.
func (c *child) settle(a *ask) {
	if a.cancel != nil {
		a.cancel()
	}
	if a.open != nil {
		c.srv.g.ledger.note(record{Done: a.open})
	}
}

// park notes that a call waits for its client, or does so no longer.
func (c *child) park(k *call, waits bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if k.parked == waits {
		return
	}
	k.parked = waits
	if waits {
		k.asked = true
		c.parked++
		c.srv.tenure.stay() // its client comes back to this gateway
	} else {
		c.parked--
		c.srv.tenure.exit()
		k.quiet = c.clock.now() // the client's time is not the server's
	}
}

// abandonTimeout bounds how long the child is told that nobody waits any more.
const abandonTimeout = 5 * time.Second

// abandon tells the child that a call is cancelled, and forgets it. What the
// child asked during the call is answered: it may wait for that.
func (c *child) abandon(k *call, reason []byte) {
	var open [][]byte
	c.mu.Lock()
	for _, a := range c.asked {
		if a.call == k {
			open = append(open, a.id)
		}
	}
	c.mu.Unlock()
	c.forget(k)
	k.events.close()
	if reason == nil {
		reason = []byte(`"the client gave up"`)
	}
	line, err := jsonrpc.NewNotification("notifications/cancelled", fmt.Appendf(nil, `{"requestId":%s,"reason":%s}`, jsonrpc.StringID(k.id), reason))
	if err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), abandonTimeout)
	defer cancel()
	_ = c.send(ctx, line) // a courtesy, like the others: what it answers is dropped anyway
	for _, id := range open {
		_ = c.reply(ctx, id, nil, &jsonrpc.Error{Code: jsonrpc.CodeInternalError, Message: "the call that this belongs to was given up"})
	}
}

// answer gives the child what a client said to a request of its.
func (c *child) answer(ctx context.Context, a *ask, result []byte, refused *jsonrpc.Error) error {
	c.mu.Lock()
	_, waits := c.asked[string(a.id)]
	delete(c.asked, string(a.id))
	if a.call != nil {
		a.call.quiet = c.clock.now() // the client's time is not the server's
	}
	c.mu.Unlock()
	if !waits {
		return nil // it took the request back, or is gone
	}
	defer c.settle(a)
	return c.reply(ctx, a.id, result, refused)
}

// reply answers a request of the child's.
func (c *child) reply(ctx context.Context, id, result []byte, refused *jsonrpc.Error) error {
	var (
		line []byte
		err  error
	)
	if refused != nil {
		line, err = jsonrpc.NewError(id, refused)
	} else {
		line, err = jsonrpc.NewResult(id, result)
	}
	if err != nil {
		return err
	}
	return c.send(ctx, line)
}
