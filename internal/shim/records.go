package shim

import (
	"fmt"
	"maps"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/fail"
	"github.com/berth-run/berth/internal/home"
)

// intendStart writes down what the next process will be known by, before it
// exists. It fails where nothing can be written: such a start could not be
// stopped again.
func (s *shim) intendStart() error {
	next, err := s.newIncarnation()
	if err != nil {
		return err
	}
	s.next = next
	st := s.state
	st.Status = string(berth.Stopped)
	st.Phase = string(berth.PhaseStarting)
	st.Desired = string(berth.Running)
	st.AtRest = false
	st.PID = 0
	st.Reason, st.Failure = "", ""
	st.NextIncarnation = next
	s.describe(&st)
	fail.Point("shim.start.before-intent")
	if err := s.home.WriteState(s.name, st); err != nil {
		return fmt.Errorf("write down the start of %q: %w", s.name, err)
	}
	fail.Point("shim.start.after-intent")
	s.state, s.resting = st, ""
	return nil
}

// describe puts what is known of the spec and of this shim into st.
func (s *shim) describe(st *home.State) {
	st.Command = s.spec.Command
	st.Args = s.masked.Args(s.spec.Args)
	st.Engine = nil
	if s.spec.Container {
		st.Engine = home.EngineOf(&s.spec)
	}
	st.Transport = s.spec.Transport
	st.SpecDigest = s.specDigest
	st.AutoRestartEnabled = s.m.policy.Enabled
	st.MaxRestarts = s.m.policy.MaxRestarts
	st.ShimPID = s.self.PID
	st.ShimStartTime = s.self.Start
	st.BootID = s.self.Boot
	st.PIDNamespace = s.self.Namespace
	st.Host = s.host
	st.Generation = s.generation
	st.Denied = s.denied.list()
	st.RestartAttempts = len(s.m.restarts)
	st.RestartTimes = nil
	for _, r := range s.m.restarts {
		st.RestartTimes = append(st.RestartTimes, s.origin.Add(r))
	}
}

// incarnate records the process that was just started, and what the one after
// it will be known by.
func (s *shim) incarnate(incarnation string) {
	c := s.child
	id := c.tree.ID()
	st := s.state
	st.Status = string(berth.Running)
	st.Phase = string(berth.PhaseRunning)
	st.Desired = string(berth.Running)
	st.AtRest = false
	st.PID = id.PID
	st.StartTime = id.Start
	st.StartedAt = c.started
	st.Incarnation = incarnation
	st.Mechanism = string(c.tree.Mechanism())
	st.Cgroup, st.MemoryCgroup = c.tree.CgroupPath(), ""
	for _, path := range c.tree.CgroupPaths() {
		if path != st.Cgroup {
			st.MemoryCgroup = path
		}
	}
	st.Guarantees = s.guarantees()
	st.Reason, st.Failure = "", ""
	st.StderrTail = nil
	if next, err := s.newIncarnation(); err == nil {
		s.next = next
	}
	st.NextIncarnation = s.next
	s.describe(&st)
	s.state = st
}

// save writes the state down; if that fails it is tried again with the next
// change and from time to time, and the shim does not end before it succeeded.
func (s *shim) save() {
	s.describe(&s.state)
	fail.Point("shim.state.before-save")
	err := s.home.WriteState(s.name, s.state)
	s.stateStale = err != nil
	fail.Point("shim.state.after-save")
	if s.stateStale && !s.saveDue {
		s.saveDue = true
		time.AfterFunc(retryEvery, func() { s.post(s.saveAgain) })
	}
}

func (s *shim) saveAgain() {
	s.saveDue = false
	if s.stateStale {
		s.save()
	}
}

func (s *shim) recordUp(e effect) {
	c := s.child
	pid := c.tree.PID()
	at := time.Now()
	if e.why == causeAuto {
		s.lifecycle(at, home.LogAutoRestart(pid, e.attempt, s.m.policy.MaxRestarts))
	} else {
		s.lifecycle(at, home.LogStart(pid))
	}
	s.begin(c)
	fail.Point("shim.up.before-records")
	s.save()
	switch e.why {
	case causeAuto:
		s.record(at, berth.ActionAutoRestart, pid, func(r *berth.Record) {
			r.Detail = fmt.Sprintf("attempt %d of %d", e.attempt, s.m.policy.MaxRestarts)
		})
	case causeStart:
		s.record(at, berth.ActionStart, pid, nil)
	case causeRestart:
		s.record(at, berth.ActionStart, pid, nil)
		s.record(at, berth.ActionRestart, pid, nil)
	case causeRenew:
		s.record(at, berth.ActionRenew, pid, nil)
	}
}

// recordExit: the server ended though nobody asked it to.
func (s *shim) recordExit() {
	s.lifecycle(time.Now(), home.LogExit)
	s.recordEnd(berth.ActionExit)
}

// recordStop: the server was ended because someone asked for it. Of one that
// could not be ended nothing says that it was.
func (s *shim) recordStop() {
	if s.defiant {
		return
	}
	s.lifecycle(time.Now(), home.LogStop)
	s.recordEnd(berth.ActionStop)
	if r := &s.records[len(s.records)-1]; r.Detail == "" {
		r.Detail = s.resting
	}
}

// recordEnd is the audit record of the incarnation that just ended.
func (s *shim) recordEnd(action string) {
	pid := s.state.PID
	s.record(time.Now(), action, pid, func(r *berth.Record) {
		if pid == 0 {
			return // it was waiting for a restart
		}
		if exit := s.state.LastExit; exit != nil {
			r.Code, r.Signal = exit.Code, exit.Signal
			if exit.OutOfMemory {
				r.Detail = "out of memory"
			}
		}
		if !s.state.StartedAt.IsZero() {
			r.DurationMillis = time.Since(s.state.StartedAt).Milliseconds()
		}
	})
	s.state.Status = string(berth.Stopped)
	s.state.PID = 0
	s.state.StartTime = 0
	s.state.StderrTail = s.stderr.lines()
}

func (s *shim) recordDeny(why cause, denied error) {
	at := time.Now()
	if why == causeAuto {
		s.lifecycle(at, home.LogPolicyDenied)
	}
	s.record(at, berth.ActionPolicyDenied, 0, func(r *berth.Record) { r.Detail = denied.Error() })
}

// intendStop writes down that the server is to be down, so that a successor of
// a shim that is killed meanwhile ends it rather than starting it again. Where
// nothing can be written, the stop goes on all the same.
func (s *shim) intendStop() {
	s.state.Phase = string(berth.PhaseStopping)
	switch {
	case s.resting != "":
		s.state.AtRest = true
	case !s.shutdown:
		s.state.Desired, s.state.AtRest = string(berth.Stopped), false
	}
	fail.Point("shim.stop.before-intent")
	s.save()
	fail.Point("shim.stop.after-intent")
}

// rest writes down that the server is down for good, and why.
func (s *shim) rest() {
	s.state.Phase = string(s.m.phase())
	s.state.Reason, s.state.Failure = s.m.reason, failureKind(s.whyDown())
	if !s.defiant {
		s.state.Status = string(berth.Stopped)
		s.state.PID = 0
	}
	if s.m.downAs == berth.PhaseStopped {
		s.state.StderrTail = nil
	}
	fail.Point("shim.rest.before-save")
	s.save()
	fail.Point("shim.rest.after-save")
}

// lifecycle writes one line of Berth's own into the server's log. A log that
// cannot be written does not stop the server.
func (s *shim) lifecycle(at time.Time, text string) { s.log.Lifecycle(at, text) }

// record queues one audit record; settle hands it on.
func (s *shim) record(at time.Time, action string, pid int, more func(*berth.Record)) {
	r := berth.Record{
		TimestampEpochSecs: at.Unix(),
		Time:               at,
		Server:             s.name,
		Action:             action,
		PID:                pid,
		Command:            s.state.Command,
		Args:               s.state.Args,
	}
	if more != nil {
		more(&r)
	}
	s.records = append(s.records, r)
}

// status is the truth as the owner knows it; withMemory also measures.
func (s *shim) status(withMemory bool) berth.Status {
	st := berth.Status{
		Name:        s.name,
		Status:      berth.Stopped,
		Phase:       s.m.phase(),
		ShimPID:     os.Getpid(),
		Restarts:    len(s.m.within(s.now())),
		MaxRestarts: s.m.policy.MaxRestarts,
		LastExit:    s.state.LastExit,
		Generation:  s.generation,
		Error:       s.m.reason,
		AtRest:      s.state.AtRest && s.m.stage == stageDown,
		Warning:     strings.Trim(s.warning+"; "+s.policyWarning, "; "),
		NextRestart: s.dueRestart(),
		Dropped:     s.dropped(),
		Guarantees:  s.guarantees(),
		Denied:      s.denied.list(),
	}
	if !s.m.policy.Enabled {
		st.MaxRestarts = 0
	}
	if c := s.child; c != nil && s.m.alive() {
		if exit := exitOf(c); exit != nil {
			st.LastExit = exit // of this process, also while its tree is being ended
		} else {
			st.Status = berth.Running
			st.PID = c.tree.PID()
			st.StartedAt = c.started
		}
		st.MCP = s.mcp
		if a := s.attached; a != nil {
			if since := a.writing.Load(); since != 0 {
				st.StalledMillis = max(0, time.Since(time.Unix(0, since)).Milliseconds())
			}
		}
		if withMemory {
			st.MemoryBytes, _ = c.tree.Memory() // left out where it cannot be read
		}
	}
	if s.defiant && s.m.stage == stageDown {
		st.Status, st.PID, st.StartedAt = berth.Running, s.state.PID, s.state.StartedAt
	}
	if st.Phase == berth.PhaseFailed || st.Phase == berth.PhaseBackoff || st.Phase == berth.PhaseExited {
		st.Stderr = s.stderr.lines()
	}
	return st
}

func (s *shim) dueRestart() time.Time {
	if s.m.stage == stageBackoff {
		return s.due
	}
	return time.Time{}
}

func (s *shim) dropped() *berth.Dropped {
	d := berth.Dropped{
		NotJSON:    s.counts.notJSON.Load(),
		Unattached: s.counts.unattached.Load(),
		TooLong:    s.counts.tooLong.Load(),
	}
	if d == (berth.Dropped{}) {
		return nil
	}
	return &d
}

// keep notes what is guaranteed for a process that was just started, and records
// it where that is not what the last one had.
func (s *shim) keep(c *child) {
	treeKill, memory := c.tree.Guarantee()
	now := map[string]berth.Guarantee{berth.GuaranteeTreeKill: treeKill}
	if memory.State != "" {
		now[berth.GuaranteeMemory] = memory
	}
	if c.jail != nil {
		now = c.jail.guaranteed(treeKill, memory)
	}
	if s.spec.Container {
		maps.Copy(now, home.ContainerGuarantees(&s.spec))
		treeKill.How += ", and the word of the container engine that no container with the server's label is left"
		now[berth.GuaranteeTreeKill] = treeKill
	}
	maps.Copy(now, c.tree.Quotas())
	before := s.state.Guarantees
	s.kept = now
	// Of a server that was never confined there is nothing to tell.
	if _, was := before[berth.GuaranteeFSRead]; was || c.jail != nil {
		if changes := guaranteesChanged(before, now); changes != "" {
			s.record(time.Now(), berth.ActionGuarantees, c.tree.PID(), func(r *berth.Record) { r.Detail = changes })
		}
	}
}

// guarantees are those of the present process, or of the last one.
func (s *shim) guarantees() map[string]berth.Guarantee { return s.kept }

// tail keeps the last lines of the stderr of the server's present process, or of
// its last, for who asks why it died.
type tail struct {
	mu   sync.Mutex // guards ring: stderr has a goroutine of its own
	ring []string
}

const (
	tailLines = 10
	tailWidth = 400
)

func (t *tail) add(line []byte) {
	text := strings.ToValidUTF8(strings.TrimRight(string(line[:min(len(line), tailWidth)]), "\r\n"), "\uFFFD")
	if text == "" {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ring = append(t.ring, text)
	if len(t.ring) > tailLines {
		t.ring = append(t.ring[:0:0], t.ring[len(t.ring)-tailLines:]...)
	}
}

// clear forgets the lines of the process before.
func (t *tail) clear() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ring = nil
}

func (t *tail) lines() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]string(nil), t.ring...)
}
