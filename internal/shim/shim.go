// Package shim is the process that owns one running server: its pipes, its exit
// status, its restarts, its log and its whole process tree. There is one shim
// for each server that is up; it survives whoever started it, and it knows
// lines, not MCP.
//
//	caller ──greeting──▶ shim ──pipes──▶ server
//	clients ──socket──▶   │ shim.lock: only its holder may start the server
//
// [Launch] turns an executable that links this package into a shim; the
// functions beside it speak to one that runs. The process itself is [step], a
// pure function, and an owner goroutine that carries out its effects.
package shim

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/direct"
	"github.com/berth-run/berth/internal/fail"
	"github.com/berth-run/berth/internal/home"
	"github.com/berth-run/berth/internal/proc"
	"github.com/berth-run/berth/internal/sandbox"
	"github.com/berth-run/berth/internal/secret"
)

// shim is the owner's state. Only the goroutine that runs loop touches it;
// everybody else posts a function to inbox.
type shim struct {
	home    *home.Home
	name    string
	network Network    // nil: for servers that are not confined
	leashed bool       // the server ends with its launcher
	lock    *home.Lock // shim.lock, held until the process ends
	// treeLock is inherited by the server.
	treeLock *home.Lock
	prober   *proc.Prober
	self     proc.ID
	log      *home.Log
	scribe   *scribe
	counts   counts
	buffers  buffers
	inbox    chan func()
	onMain   chan func() // for the main thread
	origin   time.Time   // moment 0
	socket   *socket
	stderr   tail
	masked   *secret.Masker
	leaving  chan struct{}  // closed when loop has returned
	answers  sync.WaitGroup // to clients, still to be written

	spec       berth.ProcessSpec
	specDigest string // of the spec; that of the process until the next is started
	environ    []string
	m          machine
	timer      *time.Timer

	state      home.State // as last written, or to be written
	stateStale bool       // the last write failed
	saveDue    bool       // it will be tried again
	child      *child     // nil when no process lives
	ended      []*proc.Tree
	kept       map[string]berth.Guarantee // by the present process, or the last one
	denied     *denials                   // nil until a process was confined
	report     *sandbox.Report            // of what can be confined, once it was asked for
	generation uint64
	next       string // incarnation of the next process, already on disk
	mcp        *berth.MCPInfo
	note       []byte
	due        time.Time // of the timer, for status
	shutdown   bool      // ended by a signal to the shim: desired state stays
	resting    string    // why the last stop was one until somebody needs the server; "" if it was not
	startError error     // why the last spawn failed
	stopError  error     // why the last stop is not complete
	defiant    bool      // the last process lives on: it cannot be ended
	host       string
	warning    string // for status: what was found at boot
	// policyWarning is what had no effect in the policy when it was last asked.
	policyWarning string

	records  []berth.Record // to be handed to the scribe after this event
	upWaits  []func(error)  // answered when the next process is up and on record
	downWait []func(error)  // answered when the server is down and on record

	canary *canary // dead once there was garbage to collect

	attached *attachment
	queued   []func() // attaches that wait for a process
	deferred []func() // requests that wait until nothing is under way
	epoch    uint64
	watchers map[*watcher]struct{}
}

// child is one incarnation of the server.
type child struct {
	tree        *proc.Tree
	jail        *jail   // nil for one that is not confined
	engine      *engine // nil for one that is in no container
	relay       *relay
	stdin       *os.File
	stdout      *os.File
	stderrPipe  *os.File
	generation  uint64
	incarnation string
	started     time.Time
	pumps       sync.WaitGroup
	awaitCancel context.CancelFunc
	errLog      *lineLog
	clears      int // which answer to doClear or doAwaitEmpty counts
	flush       func()
}

func (s *shim) now() moment { return time.Since(s.origin) }

// post hands f to the owner. It returns false if the owner has ended.
func (s *shim) post(f func()) bool {
	select {
	case s.inbox <- f:
		return true
	case <-s.leaving:
		return false
	}
}

// loop is the owner. It returns when the server is down, all is on record and
// nobody waits for an answer.
func (s *shim) loop() {
	defer close(s.leaving)
	quiet := time.NewTimer(quietAfter)
	defer quiet.Stop()
	for !s.done() {
		select {
		case f := <-s.inbox:
			f()
			quiet.Reset(quietAfter)
		case <-s.timer.C:
			s.due = time.Time{}
			s.apply(evTimer{at: s.now()})
			quiet.Reset(quietAfter)
		case <-quiet.C:
			s.tidy()
		}
	}
}

// quietAfter is how long after its last event a shim tidies up.
const quietAfter = 250 * time.Millisecond

// tidy gives the system what the last events needed: the code, and the heap once
// the collector has run. Before that it would only add: a first collection costs a third of a
// megabyte, for the runtime's lists take two pages for each size of object and
// keep them, and from then on the runtime collects every two minutes. Most
// shims never allocate the megabyte that makes it run.
func (s *shim) tidy() {
	releaseText()
	s.buffers.empty()
	if !s.canary.dead() {
		return
	}
	freeOSMemory()
	s.canary = newCanary()
}

// canary dies when the collector runs. The runtime's own figures would tell too,
// but to ask for them costs as much memory as a collection.
type canary struct{ collected atomic.Bool }

func newCanary() *canary {
	c := new(canary)
	runtime.AddCleanup(new([64]byte), func(c *canary) { c.collected.Store(true) }, c)
	return c
}

func (c *canary) dead() bool { return c.collected.Load() }

// done says whether the shim's work is over. Records that the disk would not
// take keep it: they exist nowhere else.
func (s *shim) done() bool {
	return s.m.stage == stageDown && s.scribe.idle() && !s.stateStale &&
		len(s.upWaits) == 0 && len(s.downWait) == 0 && len(s.inbox) == 0
}

// apply runs the machine on ev and on the events that the effects answer at
// once, then writes down what happened and tells everyone.
func (s *shim) apply(ev event) {
	for queue := []event{ev}; len(queue) > 0; queue = queue[1:] {
		var effects []effect
		s.m, effects = step(s.m, queue[0])
		for _, e := range effects {
			if answer := s.perform(e); answer != nil {
				queue = append(queue, answer)
			}
		}
	}
	s.settle()
}

// settle hands over the records of this event, answers who waited for it, and
// tells the watchers.
func (s *shim) settle() {
	records := s.records
	s.records = nil
	var answers []func(error)
	var upError, downError error
	if s.m.stage == stageUp || s.m.stage == stageDown {
		answers = append(answers, s.upWaits...)
		if s.m.stage == stageDown {
			if upError = s.startError; upError == nil && len(s.upWaits) > 0 {
				upError = fmt.Errorf("server %q was stopped before it was up: %w", s.name, berth.ErrNotRunning)
			}
			downError = s.stopError
		}
		for i, up := range answers {
			answers[i] = func(failed error) { up(cmp.Or(failed, upError)) }
		}
		for _, down := range s.downWait {
			// A stop is done when the tree is, whatever became of its record.
			answers = append(answers, func(error) { down(downError) })
		}
		s.upWaits, s.downWait = nil, nil
	}
	// What the kernel keeps of an ended tree is given back after a restart, not
	// before.
	for _, t := range s.ended {
		t.Close() // what it cannot remove, the next sweep does
	}
	s.ended = nil
	s.scribe.write(records, len(answers) > 0, func(failed error) {
		s.post(func() { s.acknowledge(answers, failed) })
	})
	if s.m.stage == stageUp {
		queued := s.queued
		s.queued = nil
		for _, attach := range queued {
			attach()
		}
	}
	if s.m.stage == stageDown {
		for _, attach := range s.queued {
			attach() // refuses: the server is down
		}
		s.queued = nil
	}
	if len(s.deferred) > 0 {
		go s.post(s.resumeDeferred) // not in the middle of an event
	}
	s.publish()
}

// acknowledge answers waiting callers once their records are on the disk. A
// start whose record cannot be written is taken back: it would be invisible.
func (s *shim) acknowledge(answers []func(error), failed error) {
	if failed != nil && s.m.stage == stageUp {
		failed = fmt.Errorf("the audit trail cannot be written, so server %q was not started: %w", s.name, failed)
		s.downWait = append(s.downWait, func(error) {
			for _, answer := range answers {
				answer(failed)
			}
		})
		s.apply(evStop{at: s.now()})
		return
	}
	for _, answer := range answers {
		answer(nil)
	}
}

// perform carries out one effect. An effect that has its answer at once
// returns it; the others post it.
func (s *shim) perform(e effect) event {
	switch e.do {
	case doAskPolicy:
		return s.askPolicy(e.why)
	case doSpawn:
		return s.spawn(e.why)
	case doRecordUp:
		s.recordUp(e)
	case doRecordExit:
		s.recordExit()
	case doRecordDeny:
		s.recordDeny(e.why, s.startError)
	case doRecordStop:
		s.recordStop()
	case doIntendStop:
		s.intendStop()
	case doCloseStdin:
		fail.Point("shim.stop.before-eof")
		s.child.relay.closeStdin()
	case doTerminate:
		fail.Point("shim.stop.before-term")
		s.child.tree.Terminate() // what cannot be reached is found by doClear
		fail.Point("shim.stop.after-term")
	case doAwaitEmpty:
		s.awaitEmpty()
	case doClear:
		return s.clear()
	case doTimer:
		s.timer.Reset(e.after)
		s.due = time.Now().Add(e.after)
	case doCancelTimer:
		s.timer.Stop()
		s.due = time.Time{}
	case doRest:
		s.rest()
	}
	return nil
}

// askPolicy reads the policy afresh: it may have changed since the last start.
func (s *shim) askPolicy(why cause) event {
	denied := ""
	warning, err := checkPolicy(s.home, s.name, &s.spec)
	s.policyWarning = warning
	if err != nil {
		denied = err.Error()
		s.startError = err
	}
	return evPolicy{at: s.now(), denied: denied}
}

// spawn starts the next incarnation. What a successor needs to find it, should
// this process be killed at any point of this, is on the disk before.
func (s *shim) spawn(why cause) event {
	s.startError = nil
	failed := func(err error, permanent bool) event {
		s.startError = err
		s.next = "" // what it was called may be half there
		return evSpawnFailed{at: s.now(), chance: rand.Float64(), permanent: permanent, reason: err.Error()}
	}
	if s.defiant {
		return failed(s.stopError, true) // there would be two
	}
	if why != causeAuto || s.next == "" {
		// The next incarnation of an automatic restart was written down
		// when its predecessor was; this one was not.
		if err := s.intendStart(); err != nil {
			return failed(err, true)
		}
	}
	fail.Point("shim.spawn.before")
	c, err := s.startChild(s.next)
	if err != nil {
		return failed(err, permanent(err))
	}
	fail.Point("shim.spawn.after")
	s.generation++
	c.generation = s.generation
	c.relay.generation = s.generation
	s.child, s.mcp, s.note = c, nil, nil
	s.keep(c)
	s.incarnate(c.incarnation)
	return evSpawned{at: s.now()}
}

// begin lets the new incarnation's output flow: not before its start is in the
// log, so that its first line comes after.
func (s *shim) begin(c *child) {
	s.stderr.clear()
	c.relay.to.Store(s.attached)
	c.pumps.Go(func() { c.relay.pump(direct.New(c.stdout)) })
	c.pumps.Go(func() {
		buf := s.buffers.get()
		io.CopyBuffer(c.errLog, readerOnly{c.stderrPipe}, buf[:])
		s.buffers.put(buf)
	})
	go func() {
		<-c.tree.Exited()
		s.post(func() { s.exited(c) })
	}()
}

func (s *shim) exited(c *child) {
	if s.child != c {
		return
	}
	fail.Point("shim.exit.seen")
	s.apply(evExited{at: s.now()})
}

// clear ends what is left of the tree. In the common case nothing is, and the
// answer is immediate.
func (s *shim) clear() event {
	c := s.child
	if c.awaitCancel != nil {
		c.awaitCancel()
	}
	c.clears++
	turn := c.clears
	select {
	case <-c.tree.Exited():
		if empty, err := c.tree.Empty(); err == nil && empty && c.engine == nil {
			return s.cleared(c, nil, nil)
		}
	default:
	}
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), clearTimeout)
		defer cancel()
		// The engine first: podman's monitor of a container is in the tree, and without it
		// podman waits for seconds. A client that still lives may start one after that.
		c.engine.try(ctx)
		left, err := c.tree.Kill(ctx)
		err = cmp.Or(err, c.engine.remove(ctx))
		s.post(func() {
			if s.child == c && c.clears == turn {
				s.apply(s.cleared(c, left, err))
			}
		})
	}()
	return nil
}

// clearTimeout is how long a killed tree may take to vanish. Only processes in
// uninterruptible sleep, or out of reach, need longer than an instant.
const clearTimeout = 10 * time.Second

// drainTimeout is how long the pipes of an ended tree may stay open.
const drainTimeout = 200 * time.Millisecond

// awaitEmpty answers with evCleared when the tree has ended by itself.
func (s *shim) awaitEmpty() {
	c := s.child
	c.clears++
	turn := c.clears
	ctx, cancel := context.WithCancel(context.Background())
	c.awaitCancel = cancel
	go func() {
		if waitEmpty(ctx, c.tree) != nil {
			return // given up, or not to be known: the ladder goes on
		}
		gone := c.engine.remove(ctx)
		s.post(func() {
			if s.child == c && c.clears == turn {
				s.apply(s.cleared(c, nil, gone))
			}
		})
	}()
}

// waitEmpty waits until no process of the tree lives, by the exit of each, and
// until it is known how the leader ended: a process leaves its cgroup before its
// parent can reap it.
func waitEmpty(ctx context.Context, t *proc.Tree) error {
	for {
		members, err := t.Members()
		if err != nil {
			return err
		}
		if len(members) == 0 {
			select {
			case <-t.Exited():
			case <-ctx.Done():
				return context.Cause(ctx)
			}
			// Of a PID namespace our init is left, which is about to end.
			if _, err := t.Kill(ctx); err != nil {
				return err
			}
			return context.Cause(ctx)
		}
		for _, m := range members {
			p, err := proc.Pin(m)
			if errors.Is(err, proc.ErrGone) {
				continue
			}
			if err != nil {
				return err
			}
			err = p.Wait(ctx)
			p.Close()
			if err != nil {
				return err
			}
		}
	}
}

// cleared puts the incarnation away.
func (s *shim) cleared(c *child, left []proc.ID, err error) event {
	ev := evCleared{at: s.now(), chance: rand.Float64()}
	s.stopError = nil
	if len(left) > 0 || err != nil {
		ev.left = describeLeft(left, err)
		s.stopError = fmt.Errorf("%w the stop of %q: %w", berth.ErrEscaped, s.name, &remoteError{ev.left, err})
	}
	fail.Point("shim.tree.cleared")
	if c.awaitCancel != nil {
		c.awaitCancel()
	}
	c.relay.closeStdin()
	s.state.LastExit = exitOf(c)
	s.defiant = s.state.LastExit == nil
	// Every writer of the pipes is gone, so the pumps reach their end at once;
	// the deadline is for a writer that escaped.
	end := time.Now().Add(drainTimeout)
	c.stdout.SetReadDeadline(end)
	c.stderrPipe.SetReadDeadline(end)
	c.pumps.Wait()
	c.stdout.Close()
	c.stderrPipe.Close()
	c.flush()
	c.jail.close()
	s.ended = append(s.ended, c.tree)
	s.child = nil
	return ev
}

// exitOf returns how the leader ended, nil if it still lives.
func exitOf(c *child) *berth.Exit {
	select {
	case <-c.tree.Exited():
		e := c.tree.Exit()
		return &e
	default:
		return nil
	}
}

func describeLeft(left []proc.ID, err error) string {
	text := ""
	for i, id := range left {
		if i == 5 {
			text += fmt.Sprintf(" and %d more", len(left)-i)
			break
		}
		if i > 0 {
			text += ", "
		}
		text += fmt.Sprintf("pid %d", id.PID)
	}
	if err != nil && !errors.Is(err, context.DeadlineExceeded) {
		if text != "" {
			text += ": "
		}
		text += err.Error()
	}
	if text == "" {
		text = "unknown"
	}
	return text
}
