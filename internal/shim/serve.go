package shim

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"time"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/direct"
	"github.com/berth-run/berth/internal/fail"
)

// accept serves the socket until it is closed. A descriptor shortage must not
// end it: the server would become unreachable.
func (s *shim) accept(l listener) {
	for {
		conn, err := l.Accept()
		if errors.Is(err, os.ErrClosed) {
			return
		}
		if err != nil {
			time.Sleep(50 * time.Millisecond)
			continue
		}
		go s.serve(conn)
	}
}

// serve handles one connection: a request, its answer, and for watch and attach
// what follows.
func (s *shim) serve(conn connection) {
	if CheckPeer(conn) != nil {
		conn.Close()
		return
	}
	conn.SetReadDeadline(time.Now().Add(answerTimeout))
	frames := &frameReader{r: conn, buffers: &s.buffers}
	defer frames.free()
	kind, payload, err := frames.next()
	var req request
	if err == nil && kind != frameRequest {
		err = fmt.Errorf("%w: a frame %q instead of a request", ErrProtocol, kind)
	}
	if err == nil {
		err = decode(payload, &req)
	}
	if err == nil && req.Version > confinedVersion {
		err = fmt.Errorf("%w: this shim speaks version %d of its protocol, not %d", ErrReplace, confinedVersion, req.Version)
	}
	if err != nil {
		answer(conn, reply{Error: toWire(err)})
		conn.Close()
		return
	}
	conn.SetReadDeadline(time.Time{})
	if req.Op == opAttach {
		s.serveAttach(conn, frames, req)
		return
	}
	posted := s.post(func() {
		switch req.Op {
		case opStatus:
			st := s.status(true)
			s.answers.Go(func() {
				answer(conn, reply{Status: &st})
				conn.Close()
			})
		case opWatch:
			s.watch(conn)
		default:
			s.change(req, func(r reply) {
				s.answers.Go(func() {
					answer(conn, r)
					if req.Op == opStop || req.Op == opRest {
						// Whoever stopped the server may wait for the end of
						// the shim too, which closes this.
						time.AfterFunc(lingering, func() { conn.Close() })
						return
					}
					conn.Close()
				})
			})
		}
	})
	if !posted {
		conn.Close()
	}
}

// lingering is how long a client that stopped the server waits for the shim to
// end as well. One that has records to write does not end.
const lingering = time.Second

func answer(conn connection, r reply) {
	r.Version = wireVersion
	conn.SetWriteDeadline(time.Now().Add(answerTimeout))
	send(conn, frameReply, &r) // a client that left is not waited for
}

// change carries out a request that changes the server; done is called once,
// with the answer. It runs in the owner.
func (s *shim) change(req request, done func(reply)) {
	finish := func(outcome int) func(error) {
		return func(err error) {
			st := s.status(false)
			done(reply{Error: toWire(err), Status: &st, Outcome: outcome})
		}
	}
	switch req.Op {
	case opStart:
		if s.m.alive() && s.m.stage == stageUp {
			finish(int(berth.AlreadyRunning))(nil)
			return
		}
		if s.unfit(req.Spec) {
			s.turn(req, done)
			return
		}
		s.adoptSpec(req)
		s.upWaits = append(s.upWaits, finish(int(berth.Started)))
		s.apply(evStart{at: s.now()})
	case opStop:
		if s.m.stage == stageDown {
			finish(int(berth.AlreadyStopped))(nil)
			return
		}
		s.resting = ""
		s.downWait = append(s.downWait, finish(int(berth.StopDone)))
		s.apply(evStop{at: s.now()})
	case opRest:
		if s.m.stage == stageDown || req.Generation != 0 && req.Generation != s.generation || s.m.ending() {
			finish(int(berth.AlreadyStopped))(nil)
			return
		}
		s.resting = cmp.Or(req.Reason, "nobody uses it")
		s.downWait = append(s.downWait, finish(int(berth.StopDone)))
		s.apply(evStop{at: s.now()})
	case opRestart:
		if s.unfit(req.Spec) {
			s.turn(req, done)
			return
		}
		if s.refuses(causeRestart, req.Spec, finish(0)) {
			return
		}
		s.adoptSpec(req)
		s.upWaits = append(s.upWaits, finish(int(berth.Started)))
		s.apply(evStop{at: s.now(), then: causeRestart})
	case opRenew:
		if req.Generation != s.generation {
			finish(int(berth.AlreadyRunning))(nil)
			return
		}
		if s.refuses(causeRenew, nil, finish(0)) {
			return
		}
		s.upWaits = append(s.upWaits, finish(int(berth.Started)))
		s.apply(evStop{at: s.now(), then: causeRenew})
	case opUpgrade:
		s.upgrade(req.Executable, finish(0))
	default:
		finish(0)(fmt.Errorf("this shim knows no operation %q: restart the server to replace it", req.Op))
	}
}

// refuses says that the policy would not let a process be started in the place
// of the one that lives, which then goes on; done is told why, once that is on
// record.
func (s *shim) refuses(why cause, spec *berth.ProcessSpec, done func(error)) bool {
	if s.m.stage != stageUp {
		return false // nothing is lost by asking when the time comes
	}
	if spec == nil {
		spec = &s.spec // the next process is started as this one was
	}
	_, denied := checkPolicy(s.home, s.name, spec)
	if denied == nil {
		return false
	}
	s.recordDeny(why, denied)
	records := s.records
	s.records = nil
	s.scribe.write(records, true, func(error) { s.post(func() { done(denied) }) })
	return true
}

// adoptSpec takes the spec of a start or restart; the next process has it.
func (s *shim) adoptSpec(req request) {
	if req.Spec != nil {
		s.setSpec(*req.Spec, req.Environ)
	}
}

// watcher receives each change of the status.
type watcher struct {
	conn connection
	out  *spool
}

// watchMost bounds what waits for a watcher that does not read, in bytes.
const watchMost = 1 << 20

func (s *shim) watch(conn connection) {
	w := &watcher{conn: conn, out: newSpool(watchMost, s.scratch, &s.buffers)}
	st := s.status(true)
	head, err := frame(frameReply, &reply{Version: wireVersion, Status: &st, Failure: toWire(s.whyDown())})
	if err != nil {
		conn.Close()
		return
	}
	w.out.put(head)
	s.watchers[w] = struct{}{}
	s.answers.Go(func() { drain(conn, w.out) })
	go func() {
		// A watcher says nothing more; its end is the end of the watch.
		io.Copy(io.Discard, conn)
		w.out.close(nil)
		s.post(func() { delete(s.watchers, w) })
	}()
}

// publish tells the watchers and the attacher what the status now is.
func (s *shim) publish() {
	if len(s.watchers) == 0 && s.attached == nil {
		return
	}
	st := s.status(false)
	b, err := frame(frameStatus, &statusFrame{st, toWire(s.whyDown())})
	if err != nil {
		return
	}
	for w := range s.watchers {
		if w.out.put(b) != nil {
			delete(s.watchers, w)
		}
	}
	if s.attached != nil {
		s.attached.out.put(b)
	}
}

// drain writes what is spooled to conn until the spool or the connection ends,
// and closes the connection.
func drain(conn connection, out *spool) {
	defer conn.Close()
	defer out.free()
	buf := out.buffers.get()
	defer out.buffers.put(buf)
	w := direct.New(conn)
	for {
		n, err := out.next(buf[:])
		if err != nil {
			return
		}
		if _, err := w.Write(buf[:n]); err != nil {
			return
		}
	}
}

// attachment is the one client of the server's stdin and stdout, as the shim
// sees it.
type attachment struct {
	epoch uint64
	pid   int
	conn  connection
	out   *spool
	// alive is when it last sent a frame, in nanoseconds since the epoch; the
	// shim looks at it only when someone wants to steal.
	alive atomic.Int64
	// writing is since when the shim has waited for the server to read, in
	// nanoseconds since the epoch, or 0. The client cannot show life meanwhile.
	writing atomic.Int64
}

// spoolMost bounds what waits on disk for an attacher that does not read.
const spoolMost = 1 << 30

// put queues one piece of a line; on a nil attachment it does nothing.
func (a *attachment) put(generation uint64, flags byte, data []byte) {
	if a == nil {
		return
	}
	var head [frameHeader + lineHeader]byte
	if err := a.out.put(appendLineHead(head[:0], generation, flags, nil, len(data)), data); err != nil {
		a.conn.Close() // it never reads, or the disk is full
	}
}

func (s *shim) serveAttach(conn connection, frames *frameReader, req request) {
	given := make(chan *attachment, 1)
	if !s.post(func() { s.attach(conn, req, given) }) {
		conn.Close()
		return
	}
	var a *attachment
	select {
	case a = <-given:
	case <-s.leaving:
	}
	if a == nil {
		return
	}
	defer func() {
		a.out.close(nil)
		conn.Close()
		s.post(func() { s.detach(a) })
	}()
	s.readAttached(a, frames)
}

// attach gives the server to conn, now or when a restart in progress is done.
func (s *shim) attach(conn connection, req request, given chan<- *attachment) {
	refuse := func(err error) {
		given <- nil
		s.answers.Go(func() {
			answer(conn, reply{Error: toWire(err)})
			conn.Close()
		})
	}
	if a := s.attached; a != nil {
		quiet := time.Since(time.Unix(0, a.alive.Load()))
		if !req.Steal || a.writing.Load() != 0 || quiet < staleAfter {
			err := fmt.Errorf("%w: process %d is attached to server %q", berth.ErrHeld, a.pid, s.name)
			refuse(berth.WithHint(err, "wait for it or end it; with --steal a client that shows no life for 10 s is cut off"))
			return
		}
		a.conn.Close()
		s.attached = nil
	}
	switch s.m.stage {
	case stageUp:
	case stageDown:
		refuse(fmt.Errorf("server %q: %w", s.name, berth.ErrNotRunning))
		return
	default:
		s.queued = append(s.queued, func() { s.attach(conn, req, given) })
		return
	}
	s.epoch++
	a := &attachment{epoch: s.epoch, pid: peerPID(conn), conn: conn, out: newSpool(spoolMost, s.scratch, &s.buffers)}
	a.alive.Store(time.Now().UnixNano())
	st := s.status(false)
	head, err := frame(frameReply, &reply{Version: wireVersion, Status: &st, Epoch: a.epoch, Note: s.note})
	if err != nil {
		refuse(err)
		return
	}
	fail.Point("shim.attach.before-reply")
	a.out.put(head)
	s.attached = a
	s.child.relay.to.Store(a)
	s.answers.Go(func() { drain(conn, a.out) })
	given <- a
}

func (s *shim) detach(a *attachment) {
	if s.attached != a {
		return
	}
	s.attached = nil
	if s.child != nil {
		s.child.relay.to.CompareAndSwap(a, nil)
	}
	// An attacher that dies in the middle of a handshake leaves a server of
	// which nobody knows the state: its note says so, and the next attacher
	// asks for a fresh incarnation.
}

// readAttached takes the attacher's frames until it leaves. A line reaches the
// server whole or not at all.
func (s *shim) readAttached(a *attachment, frames *frameReader) {
	frames.r = direct.New(a.conn)
	in := assembly{buffers: &s.buffers, scratch: s.scratch}
	defer in.reset()
	// The same channel and function for every line: it is not asked about the
	// next one before the answer.
	to := make(chan *relay, 1)
	ask := func() { to <- s.destination(a, in.generation, in.note) }
	for {
		kind, payload, err := frames.next()
		if err != nil {
			return
		}
		a.alive.Store(time.Now().UnixNano())
		switch kind {
		case frameLine:
			p, err := parsePiece(payload)
			if err != nil {
				return
			}
			if err := in.add(p); err != nil {
				return
			}
			if p.flags&flagLast == 0 {
				continue
			}
			if !s.post(ask) {
				return
			}
			select {
			case r := <-to:
				if r != nil {
					a.writing.Store(time.Now().UnixNano())
					r.send(&in) // an end of the server is seen elsewhere
					a.writing.Store(0)
				}
			case <-s.leaving:
				return
			}
			in.reset()
		case frameNote:
			var n noteFrame
			if decode(payload, &n) != nil {
				return
			}
			s.post(func() { s.setNote(a, n) })
		}
	}
}

// destination stores the note that came with a line and returns where the line
// goes: nil if it was meant for an earlier incarnation.
func (s *shim) destination(a *attachment, generation uint64, note []byte) *relay {
	if s.attached != a || s.child == nil || generation != s.generation {
		s.counts.stale.Add(1)
		return nil
	}
	if note != nil {
		s.note = note
	}
	return s.child.relay
}

func (s *shim) setNote(a *attachment, n noteFrame) {
	if s.attached != a || s.child == nil || n.Generation != s.generation {
		return
	}
	s.note = n.Note
	if n.Ready != nil {
		s.mcp = n.Ready
		s.apply(evReady{})
	}
}
