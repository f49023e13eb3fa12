package shim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"syscall"
	"time"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/direct"
	"github.com/berth-run/berth/internal/home"
)

// ErrGone: no shim listens for the server. It is down, or its shim was killed.
var ErrGone = errors.New("no shim is listening")

// ErrReplace: the shim cannot do what it was asked, and another one could: it is too
// old, or cannot become one that confines. The server is as it was.
var ErrReplace = errors.New("the server's supervisor has to be replaced")

// answerTimeout is how long a shim may take to take a connection's first frame
// in hand. A shim that is stopped (SIGSTOP) or starved exceeds it.
const answerTimeout = 5 * time.Second

// dial connects to the server's shim.
func dial(ctx context.Context, h *home.Home, name string) (connection, error) {
	path, err := h.ReadSocketPath(name)
	if err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	conn, err := dialSocket(path)
	if err != nil {
		// EINVAL: the path is too long for a socket. A shim in such a home
		// listens elsewhere, and writes down where.
		if isGone(err) || errors.Is(err, syscall.EINVAL) {
			return nil, fmt.Errorf("%w for server %q", ErrGone, name)
		}
		return nil, fmt.Errorf("reach the shim of %q: %w", name, err)
	}
	if err := CheckPeer(conn); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// isGone tells the errors that mean that nobody listens at a socket.
func isGone(err error) bool {
	return errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.ECONNREFUSED) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.ENOTSOCK)
}

// versionFor is the version of a message with a spec, or without one.
func versionFor(spec *berth.ProcessSpec) int {
	if spec != nil && spec.Confine.Confined() {
		return confinedVersion
	}
	return wireVersion
}

// ask sends one request and returns the reply; the error in it is returned as
// the error. The connection is left open for what follows.
func ask(ctx context.Context, conn connection, req request) (reply, *frameReader, error) {
	req.Version = versionFor(req.Spec)
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := send(conn, frameRequest, &req); err != nil {
		return reply{}, nil, gone(ctx, err)
	}
	frames := &frameReader{r: conn}
	kind, payload, err := frames.next()
	if err != nil {
		return reply{}, nil, gone(ctx, err)
	}
	var r reply
	if kind != frameReply {
		return reply{}, nil, fmt.Errorf("%w: a frame %q instead of a reply", ErrProtocol, kind)
	}
	if err := decode(payload, &r); err != nil {
		return reply{}, nil, err
	}
	if r.Error.tooOld() {
		r.Error.Kind = kindReplace
	}
	return r, frames, r.Error.err()
}

// askSpec is do with a spec. A shim that turns into one that confines the server for it
// does not answer: what it has become is asked again.
func askSpec(ctx context.Context, h *home.Home, name string, req request) (reply, error) {
	r, err := do(ctx, h, name, req)
	if errors.Is(err, ErrGone) && req.Spec.Confine.Confined() {
		return do(ctx, h, name, req)
	}
	return r, err
}

// gone turns the end of a connection into ErrGone, and the end of ctx into its
// cause.
func gone(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, ErrProtocol) || errors.Is(err, syscall.EPIPE) || isGone(err) {
		return fmt.Errorf("%w: it went away", ErrGone)
	}
	return err
}

// do is one request on a connection of its own.
func do(ctx context.Context, h *home.Home, name string, req request) (reply, error) {
	conn, err := dial(ctx, h, name)
	if err != nil {
		return reply{}, err
	}
	defer conn.Close()
	r, _, err := ask(ctx, conn, req)
	return r, err
}

// Status asks the shim. It returns ErrGone if there is none, and
// context.DeadlineExceeded if there is one that does not answer.
func Status(ctx context.Context, h *home.Home, name string) (berth.Status, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	r, err := do(ctx, h, name, request{Op: opStatus})
	if err != nil {
		return berth.Status{}, err
	}
	return *r.Status, nil
}

// Answers returns nil once a shim has answered, and ErrGone if there is none.
func Answers(ctx context.Context, h *home.Home, name string) error {
	_, err := do(ctx, h, name, request{Op: opStatus})
	return err
}

// Listens says whether a shim is there, without asking it anything: what can be
// found out in microseconds.
func Listens(h *home.Home, name string) bool {
	conn, err := dial(context.Background(), h, name)
	if err != nil {
		return !errors.Is(err, ErrGone)
	}
	conn.Close()
	return true
}

// Runs says whether the server's shim says that it runs.
func Runs(ctx context.Context, h *home.Home, name string) bool {
	st, err := Status(ctx, h, name)
	return err == nil && st.Status == berth.Running
}

// Start asks a live shim to have its server up, with this spec if it is down.
func Start(ctx context.Context, h *home.Home, name string, spec berth.ProcessSpec, environ []string) (berth.Status, berth.StartOutcome, error) {
	r, err := askSpec(ctx, h, name, request{Op: opStart, Spec: &spec, Environ: environ})
	return r.status(), berth.StartOutcome(r.Outcome), err
}

// Stop asks a live shim to end its server's whole tree, and then waits a little
// for the shim's own end.
func Stop(ctx context.Context, h *home.Home, name string) (berth.StopOutcome, error) {
	return end(ctx, h, name, request{Op: opStop})
}

// Rest is Stop of a server that nobody uses: whether it should be up stays as it
// is. It is left alone if it is of another generation; 0 is any.
func Rest(ctx context.Context, h *home.Home, name string, generation uint64, reason string) (berth.StopOutcome, error) {
	return end(ctx, h, name, request{Op: opRest, Generation: generation, Reason: reason})
}

func end(ctx context.Context, h *home.Home, name string, req request) (berth.StopOutcome, error) {
	conn, err := dial(ctx, h, name)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	r, frames, err := ask(ctx, conn, req)
	if err == nil {
		conn.SetReadDeadline(time.Now().Add(lingering))
		frames.next() // its end, or the deadline
	}
	return berth.StopOutcome(r.Outcome), err
}

// Restart asks a live shim to replace its server's process, with this spec.
func Restart(ctx context.Context, h *home.Home, name string, spec berth.ProcessSpec, environ []string) (berth.Status, error) {
	r, err := askSpec(ctx, h, name, request{Op: opRestart, Spec: &spec, Environ: environ})
	return r.status(), err
}

// Renew asks a live shim to replace its server's process if it still is of the
// given generation: a client needs one that nobody shook hands with. It does
// not count as a restart.
func Renew(ctx context.Context, h *home.Home, name string, generation uint64) (berth.Status, error) {
	r, err := do(ctx, h, name, request{Op: opRenew, Generation: generation})
	return r.status(), err
}

// Upgrade asks a live shim to become the given binary, its server untouched.
// It returns once the new binary answers.
func Upgrade(ctx context.Context, h *home.Home, name, executable string) (berth.Status, error) {
	r, err := do(ctx, h, name, request{Op: opUpgrade, Executable: executable})
	if errors.Is(err, ErrGone) {
		// The image that was asked is no more; its socket was handed over, and
		// the next one answers there.
		return Status(ctx, h, name)
	}
	return r.status(), err
}

func (r reply) status() berth.Status {
	if r.Status == nil {
		return berth.Status{}
	}
	return *r.Status
}

// Watcher delivers the statuses of one server.
type Watcher struct {
	conn   connection
	frames *frameReader
	first  *berth.Status
	// failure came with the last status.
	failure error
}

// Watch connects to the shim; the first status is the present one.
func Watch(ctx context.Context, h *home.Home, name string) (*Watcher, error) {
	conn, err := dial(ctx, h, name)
	if err != nil {
		return nil, err
	}
	r, frames, err := ask(ctx, conn, request{Op: opWatch})
	if err != nil {
		conn.Close()
		return nil, err
	}
	st := r.status()
	return &Watcher{conn: conn, frames: frames, first: &st, failure: r.Failure.err()}, nil
}

// Next waits for the next status. It returns ErrGone when the shim has ended.
func (w *Watcher) Next(ctx context.Context) (berth.Status, error) {
	if w.first != nil {
		st := *w.first
		w.first = nil
		return st, nil
	}
	stop := context.AfterFunc(ctx, func() { w.conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	for {
		kind, payload, err := w.frames.next()
		if err != nil {
			return berth.Status{}, gone(ctx, err)
		}
		if kind != frameStatus {
			continue // a later version's frame
		}
		var s statusFrame
		if err := decode(payload, &s); err != nil {
			return berth.Status{}, err
		}
		w.failure = s.Failure.err()
		return s.Status, nil
	}
}

// Failure is why the server could not be started, if the status that Next last
// returned is due to that; otherwise nil.
func (w *Watcher) Failure() error { return w.failure }

// Close ends the watch.
func (w *Watcher) Close() error { return w.conn.Close() }

// AttachOptions adjusts Attach; nil means its zero value.
type AttachOptions struct {
	// Steal takes the server from a client that sent no heartbeat for 10 s.
	Steal bool
}

// GenerationError is what Attachment.Read returns once when the server's
// process is another than before, or none.
type GenerationError struct {
	Status berth.Status
}

// Error says what became of the server.
func (e *GenerationError) Error() string {
	ended := ""
	if e.Status.LastExit != nil {
		ended = " (" + e.Status.LastExit.String() + ")"
	}
	if e.Status.Status == berth.Running {
		return fmt.Sprintf("the process of server %q ended%s, and another runs", e.Status.Name, ended)
	}
	return fmt.Sprintf("the process of server %q ended%s; phase %s", e.Status.Name, ended, e.Status.Phase)
}

// Attachment is the one client of a server's stdin and stdout. Read may be
// called by one goroutine, Write and SetNote by any number.
type Attachment struct {
	conn   connection
	stream *direct.Stream // of conn
	frames *frameReader
	epoch  uint64
	beat   context.CancelFunc
	beats  sync.WaitGroup

	first berth.Status

	pieces  []byte          // of the line that is being read
	reading context.Context // of the last Read; its end is a deadline of conn
	stop    func() bool     // undoes that
	spill   func() Spill    // nil: all lines are read into memory

	mu         sync.Mutex // guards the fields below and writes to conn
	generation uint64
	note       []byte
	frame      []byte // the head of the last one that was written
}

// heartbeat is how often an attacher says that it lives, and staleAfter how
// long a shim believes it.
const (
	heartbeat  = 3 * time.Second
	staleAfter = 10 * time.Second
)

// Attach takes the server's stdin and stdout, waiting for a restart that is in
// progress. It returns ErrHeld, with the holder's pid in the message, if
// another client has them.
func Attach(ctx context.Context, h *home.Home, name string, o *AttachOptions) (*Attachment, error) {
	if o == nil {
		o = &AttachOptions{}
	}
	conn, err := dial(ctx, h, name)
	if err != nil {
		return nil, err
	}
	r, frames, err := ask(ctx, conn, request{Op: opAttach, Steal: o.Steal})
	if err != nil {
		conn.Close()
		return nil, err
	}
	beatCtx, cancel := context.WithCancel(context.Background())
	a := &Attachment{
		conn: conn, stream: direct.New(conn), frames: frames, epoch: r.Epoch, beat: cancel,
		first: r.status(), generation: r.status().Generation, note: r.Note,
	}
	frames.r = a.stream
	a.beats.Go(func() { a.heartbeats(beatCtx) })
	return a, nil
}

func (a *Attachment) heartbeats(ctx context.Context) {
	t := time.NewTicker(heartbeat)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			if a.write(appendFrame(nil, frameHeartbeat, nil)) != nil {
				return
			}
		}
	}
}

func (a *Attachment) write(frame []byte) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	_, err := a.stream.Write(frame)
	return err
}

// Status is what was known of the server when it was attached to.
func (a *Attachment) Status() berth.Status { return a.first }

// Epoch numbers this attachment among those of the shim; request ids carry it,
// so that an answer to an earlier attachment's request is told apart.
func (a *Attachment) Epoch() uint64 { return a.epoch }

// Generation is the incarnation that lines now go to and come from.
func (a *Attachment) Generation() uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.generation
}

// Note is what the attachment before this one left for this generation.
func (a *Attachment) Note() []byte {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.note
}

// Read returns the next line of the server's stdout without its newline. When
// the process changes it returns a *GenerationError once, with what is known;
// lines of the new process follow. ErrGone means that the shim has ended or
// cut this client off.
func (a *Attachment) Read(ctx context.Context) ([]byte, error) {
	a.obey(ctx)
	var long Spill
	abort := func() {
		if long != nil {
			long.Abort()
			long = nil
		}
		a.pieces = a.pieces[:0]
	}
	for {
		kind, payload, err := a.frames.next()
		if err != nil {
			abort()
			return nil, gone(ctx, err)
		}
		switch kind {
		case frameLine:
			p, err := parsePiece(payload)
			if err != nil {
				abort()
				return nil, err
			}
			if p.flags&flagAbort != 0 {
				abort()
				continue
			}
			if long == nil && a.spill != nil && len(a.pieces)+len(p.data) > LongLine {
				long = a.spill()
				_, _ = long.Write(a.pieces)
				a.pieces = nil
			}
			last := p.flags&flagLast != 0
			switch {
			case long != nil:
				_, _ = long.Write(p.data)
				if last {
					return long.Finish(), nil
				}
			case last:
				return a.join(p.data), nil
			default:
				a.pieces = append(a.pieces, p.data...)
			}
		case frameStatus:
			var s statusFrame
			if err := decode(payload, &s); err != nil {
				abort()
				return nil, err
			}
			if a.turn(s.Status) {
				abort()
				return nil, &GenerationError{Status: s.Status}
			}
		}
	}
}

// piecesKept is how long the lines are whose pieces are put where those of the line
// before were: a slice that grows with each line would be much garbage.
const piecesKept = 256 << 10

// join returns the line that ends with data.
func (a *Attachment) join(data []byte) []byte {
	line := make([]byte, 0, len(a.pieces)+len(data))
	line = append(append(line, a.pieces...), data...)
	if a.pieces = a.pieces[:0]; cap(a.pieces) > piecesKept {
		a.pieces = nil
	}
	return line
}

// obey has reads end with ctx. Most reads have the context of the one before.
func (a *Attachment) obey(ctx context.Context) {
	if ctx == a.reading {
		return
	}
	if a.stop != nil && !a.stop() {
		a.conn.SetReadDeadline(time.Time{})
	}
	a.reading = ctx
	a.stop = context.AfterFunc(ctx, func() { a.conn.SetReadDeadline(time.Unix(1, 0)) })
}

// turn takes notice of a status and says whether the process changed.
func (a *Attachment) turn(st berth.Status) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	down := st.Status != berth.Running
	if !down && st.Generation == a.generation {
		return false
	}
	if !down {
		a.generation, a.note = st.Generation, nil
	}
	return true
}

// Write sends one line, without its newline, to the server's stdin. A note
// that is not nil becomes this generation's note before the line reaches the
// server.
func (a *Attachment) Write(_ context.Context, line, note []byte) error {
	if len(line) > MaxLine {
		return fmt.Errorf("a message of %d bytes is longer than %d", len(line), MaxLine)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if note != nil {
		a.note = note
	}
	flags := byte(0)
	if note != nil {
		flags = flagNote
	}
	for first := true; first || len(line) > 0; first = false {
		piece := line[:min(len(line), pieceSize)]
		line = line[len(piece):]
		if len(line) == 0 {
			flags |= flagLast
		}
		a.frame = appendLineHead(a.frame[:0], a.generation, flags, note, len(piece))
		if _, err := a.stream.WriteTwo(a.frame, piece); err != nil {
			return gone(context.Background(), err)
		}
		if flags&flagNote != 0 {
			a.frame = nil // it was a large one
		}
		flags, note = 0, nil
	}
	return nil
}

// WriteLong sends one line of size bytes that write writes, without its newline, to
// the server's stdin. Where write fails the attachment ends, for a line reaches the
// server whole or not at all.
func (a *Attachment) WriteLong(_ context.Context, size int64, write func(io.Writer) error) error {
	if size > MaxLine {
		return fmt.Errorf("a message of %d bytes is longer than %d", size, MaxLine)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	p := &pieceWriter{a}
	err := write(p)
	if err == nil {
		err = p.piece(flagLast, nil)
	}
	if err != nil {
		a.conn.Close()
		return gone(context.Background(), err)
	}
	return nil
}

// pieceWriter writes the pieces of a line but the last. Its user holds the mutex.
type pieceWriter struct{ a *Attachment }

func (p *pieceWriter) Write(b []byte) (int, error) {
	for rest := b; len(rest) > 0; {
		piece := rest[:min(len(rest), pieceSize)]
		rest = rest[len(piece):]
		if err := p.piece(0, piece); err != nil {
			return len(b) - len(rest) - len(piece), err
		}
	}
	return len(b), nil
}

func (p *pieceWriter) piece(flags byte, data []byte) error {
	p.a.frame = appendLineHead(p.a.frame[:0], p.a.generation, flags, nil, len(data))
	_, err := p.a.stream.WriteTwo(p.a.frame, data)
	return err
}

// SetNote stores the note of this generation alone. ready, if it is not nil,
// is shown by status and makes the phase "ready".
func (a *Attachment) SetNote(_ context.Context, note []byte, ready *berth.MCPInfo) error {
	a.mu.Lock()
	a.note = note
	generation := a.generation
	a.mu.Unlock()
	b, err := frame(frameNote, &noteFrame{Generation: generation, Note: note, Ready: ready})
	if err != nil {
		return err
	}
	return a.write(b)
}

// Close gives the server's stdin and stdout back; the server goes on.
func (a *Attachment) Close() error {
	a.beat()
	err := a.conn.Close()
	a.beats.Wait()
	return err
}
