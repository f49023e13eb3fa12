package shim

import (
	"fmt"
	"time"

	"github.com/berth-run/berth"
)

// The life of one server is a pure function: step takes the machine and one
// event and returns the effects that the owner goroutine is to carry out, in
// order. Nothing here reads a clock, draws a random number or does I/O: each
// event brings the time and the chance that it needs.

// moment is a monotonic time: how long the shim (or its predecessor) has run.
type moment = time.Duration

// cause says why a process is being started.
type cause int

const (
	causeStart   cause = iota + 1 // someone asked for it
	causeAuto                     // the restart policy
	causeRestart                  // someone asked to replace a running one
	causeRenew                    // a client needs an incarnation without a handshake
)

// stage is the machine's position. The phases that users see are derived from
// it; see machine.phase.
type stage int

const (
	stageDown    stage = iota // no process, and nothing planned
	stagePolicy               // the policy was asked whether to spawn
	stageSpawn                // a spawn is under way
	stageUp                   // the process lives
	stageClear                // it exited; what is left of its tree is being ended
	stageBackoff              // waiting for the next automatic restart
	stageEOF                  // stop ladder: stdin closed
	stageTerm                 // stop ladder: SIGTERM sent
	stageKill                 // stop ladder: SIGKILL sent
)

// machine is the state of one server's life.
type machine struct {
	policy berth.RestartPolicy // defaults filled in
	grace  time.Duration
	http   bool // stdin means nothing to the server

	stage    stage
	why      cause
	then     cause // after a stop: the cause to start again for, or 0 to stay down
	bornAt   moment
	restarts []moment // automatic restarts within the window, oldest first
	streak   int      // automatic restarts since the last healthy run
	ready    bool     // a handshake of this incarnation is complete
	unasked  bool     // it exited by itself; its EXIT is not on record yet
	halt     bool     // a stop came while the policy or the spawn was being answered
	left     string   // the processes that escaped; nothing is started beside them
	downAs   berth.Phase
	reason   string
}

// Events.
type (
	event interface{ isEvent() }

	// evStart: someone wants the server up; restarts are counted anew.
	evStart struct{ at moment }
	// evHeal: the server is down though it should be up, because its shim was
	// killed. It counts as an automatic restart.
	evHeal struct {
		at     moment
		chance float64
	}
	// evStop: someone wants the server down, or replaced if then is set.
	evStop struct {
		at   moment
		then cause
	}
	evPolicy struct {
		at     moment
		denied string // why not; empty if it may start
	}
	evSpawned     struct{ at moment }
	evSpawnFailed struct {
		at        moment
		chance    float64 // uniform in [0, 1)
		permanent bool    // trying again cannot help
		reason    string
	}
	evExited  struct{ at moment }
	evCleared struct {
		at     moment
		chance float64
		left   string // the processes that escaped, in words; empty if none did
	}
	evTimer struct{ at moment }
	evReady struct{}
)

func (evStart) isEvent()       {}
func (evHeal) isEvent()        {}
func (evStop) isEvent()        {}
func (evPolicy) isEvent()      {}
func (evSpawned) isEvent()     {}
func (evSpawnFailed) isEvent() {}
func (evExited) isEvent()      {}
func (evCleared) isEvent()     {}
func (evTimer) isEvent()       {}
func (evReady) isEvent()       {}

// effect is one thing for the owner goroutine to do.
type effect struct {
	do      verb
	after   time.Duration // doTimer: how long from now
	why     cause         // doSpawn, doRecordUp
	attempt int           // doRecordUp for causeAuto: which restart in the window
}

type verb int

const (
	doAskPolicy   verb = iota + 1 // answer with evPolicy
	doSpawn                       // answer with evSpawned or evSpawnFailed
	doRecordUp                    // START or AUTO_RESTART
	doRecordExit                  // EXIT
	doRecordDeny                  // POLICY_DENIED_AUTO_RESTART, audit policy-denied
	doRecordStop                  // STOP
	doIntendStop                  // write down that the server is to be down, before any signal
	doCloseStdin                  // step 1 of the ladder
	doTerminate                   // step 2
	doAwaitEmpty                  // answer with evCleared once no process is left, however long it takes
	doClear                       // SIGKILL what is left, answer with evCleared
	doTimer                       // replace the timer: answer with evTimer
	doCancelTimer                 // forget the timer
	doRest                        // down for good: write it down; the shim may end
)

// step advances the machine. Events that mean nothing at the present stage
// (a timer that was cancelled too late, a second stop) change nothing.
func step(m machine, ev event) (machine, []effect) {
	switch ev := ev.(type) {
	case evStart:
		return m.onStart(ev)
	case evHeal:
		return m.onHeal(ev)
	case evStop:
		return m.onStop(ev)
	case evPolicy:
		return m.onPolicy(ev)
	case evSpawned:
		return m.onSpawned(ev)
	case evSpawnFailed:
		return m.onSpawnFailed(ev)
	case evExited:
		return m.onExited(ev)
	case evCleared:
		return m.onCleared(ev)
	case evTimer:
		return m.onTimer(ev)
	case evReady:
		if m.stage == stageUp {
			m.ready = true
		}
	}
	return m, nil
}

func (m machine) onStart(evStart) (machine, []effect) {
	switch m.stage {
	case stageDown:
		return m.ask(causeStart)
	case stageBackoff:
		next, effects := m.ask(causeStart)
		return next, append([]effect{{do: doCancelTimer}}, effects...)
	case stagePolicy, stageSpawn:
		m.halt = false
	case stageClear, stageEOF, stageTerm, stageKill:
		// Stop wins over restart, but a start that comes later wins over
		// the stop that is still under way.
		if m.then != causeRestart {
			m.then = causeStart
		}
	}
	return m, nil
}

func (m machine) onHeal(ev evHeal) (machine, []effect) {
	if m.stage != stageDown || m.left != "" {
		return m, nil
	}
	// The server did nothing wrong, so it does not wait.
	m.streak = 0
	return m.again(ev.at, ev.chance)
}

func (m machine) onStop(ev evStop) (machine, []effect) {
	if ev.then == causeRenew && m.stage != stageUp {
		// A client's wish for a fresh incarnation undoes nobody's stop, and
		// saves no server that crashes from its limit: what comes up next, if
		// anything does, is fresh.
		return m, nil
	}
	switch m.stage {
	case stageUp:
		m.then = ev.then
		m.judge(ev.at)
		effects := []effect{}
		if ev.then == 0 {
			effects = append(effects, effect{do: doIntendStop})
		}
		effects = append(effects, effect{do: doCloseStdin}, effect{do: doAwaitEmpty})
		if m.http {
			m.stage = stageTerm
			return m, append(effects, effect{do: doTerminate}, effect{do: doTimer, after: m.grace})
		}
		m.stage = stageEOF
		return m, append(effects, effect{do: doTimer, after: m.grace})
	case stageEOF, stageTerm, stageKill:
		m.then = ev.then
		if ev.then == 0 {
			return m, []effect{{do: doIntendStop}}
		}
	case stageClear:
		// It exited by itself just now; onCleared decides by then.
		m.then = ev.then
		m.stage = stageKill
		if ev.then == 0 {
			return m, []effect{{do: doIntendStop}}
		}
	case stageBackoff:
		if ev.then != 0 {
			next, effects := m.ask(ev.then)
			return next, append([]effect{{do: doCancelTimer}}, effects...)
		}
		next, effects := m.halted()
		return next, append([]effect{{do: doCancelTimer}, {do: doIntendStop}}, effects...)
	case stagePolicy, stageSpawn:
		// The answer decides how it is stopped.
		m.halt = ev.then == 0
		if m.halt {
			return m, []effect{{do: doIntendStop}}
		}
	case stageDown:
		if ev.then != 0 {
			return m.ask(ev.then)
		}
	}
	return m, nil
}

// halted completes the stop of a server that has no process.
func (m machine) halted() (machine, []effect) {
	next, effects := m.rest(berth.PhaseStopped, "")
	return next, append([]effect{{do: doRecordStop}}, effects...)
}

// ask asks the policy before a spawn. Only a new shim, which looks for them
// first, starts a server of which processes escaped.
func (m machine) ask(why cause) (machine, []effect) {
	if m.left != "" {
		return m.rest(berth.PhaseFailed, m.reason)
	}
	if why == causeStart || why == causeRestart {
		m.forget()
	}
	m.stage, m.why, m.then, m.halt = stagePolicy, why, 0, false
	return m, []effect{{do: doAskPolicy, why: why}}
}

func (m machine) onPolicy(ev evPolicy) (machine, []effect) {
	if m.stage != stagePolicy {
		return m, nil
	}
	if m.halt {
		return m.halted()
	}
	if ev.denied != "" {
		next, effects := m.rest(berth.PhaseFailed, ev.denied)
		return next, append([]effect{{do: doRecordDeny, why: m.why}}, effects...)
	}
	if m.why == causeAuto {
		m.restarts = append(m.within(ev.at), ev.at)
		m.streak++
	}
	m.stage = stageSpawn
	return m, []effect{{do: doSpawn, why: m.why, attempt: len(m.restarts)}}
}

func (m machine) onSpawned(ev evSpawned) (machine, []effect) {
	if m.stage != stageSpawn {
		return m, nil
	}
	m.stage, m.bornAt, m.ready, m.reason = stageUp, ev.at, false, ""
	effects := []effect{{do: doRecordUp, why: m.why, attempt: len(m.restarts)}}
	if m.halt {
		m.halt = false
		next, more := m.onStop(evStop{at: ev.at})
		return next, append(effects, more...)
	}
	return m, effects
}

func (m machine) onSpawnFailed(ev evSpawnFailed) (machine, []effect) {
	if m.stage != stageSpawn {
		return m, nil
	}
	if m.halt {
		return m.halted()
	}
	if ev.permanent || m.why != causeAuto {
		return m.rest(berth.PhaseFailed, ev.reason)
	}
	m.reason = ev.reason
	return m.again(ev.at, ev.chance)
}

func (m machine) onExited(ev evExited) (machine, []effect) {
	switch m.stage {
	case stageUp:
		m.ready = false
		m.judge(ev.at)
		// EXIT is recorded once the last output of the tree is in the log.
		m.stage, m.unasked = stageClear, true
		return m, []effect{{do: doClear}}
	case stageEOF:
		// The leader is gone, so nothing of the tree waits for stdin any more;
		// what is left gets its SIGTERM now rather than after the grace.
		m.stage = stageTerm
		return m, []effect{{do: doTerminate}, {do: doTimer, after: m.grace}}
	}
	return m, nil
}

// judge begins a new streak if the process that ends now was healthy.
func (m *machine) judge(at moment) {
	if at-m.bornAt >= m.policy.Healthy.Std() {
		m.streak = 0
	}
}

func (m machine) onCleared(ev evCleared) (machine, []effect) {
	var effects []effect
	if m.unasked {
		m.unasked = false
		effects = append(effects, effect{do: doRecordExit})
	}
	switch m.stage {
	case stageClear:
		if ev.left != "" {
			m.left = ev.left
			next, more := m.rest(berth.PhaseFailed, "processes of its last run could not be ended: "+ev.left)
			return next, append(effects, more...)
		}
		if m.then != 0 {
			next, more := m.ask(m.then)
			return next, append(effects, more...)
		}
		next, more := m.again(ev.at, ev.chance)
		return next, append(effects, more...)
	case stageEOF, stageTerm, stageKill:
		effects = append(effects, effect{do: doCancelTimer}, effect{do: doRecordStop})
		if ev.left != "" {
			m.left = ev.left
			next, more := m.rest(berth.PhaseFailed, "processes escaped the stop: "+ev.left)
			return next, append(effects, more...)
		}
		if m.then != 0 {
			next, more := m.ask(m.then)
			return next, append(effects, more...)
		}
		next, more := m.rest(berth.PhaseStopped, "")
		return next, append(effects, more...)
	}
	return m, nil
}

func (m machine) onTimer(ev evTimer) (machine, []effect) {
	switch m.stage {
	case stageEOF:
		m.stage = stageTerm
		return m, []effect{{do: doTerminate}, {do: doTimer, after: m.grace}}
	case stageTerm:
		m.stage = stageKill
		return m, []effect{{do: doClear}}
	case stageBackoff:
		return m.ask(causeAuto)
	}
	return m, nil
}

// again decides whether a server that went down by itself comes up again, and
// when.
func (m machine) again(at moment, chance float64) (machine, []effect) {
	m.restarts = m.within(at)
	switch {
	case !m.policy.Enabled:
		return m.rest(berth.PhaseExited, m.reason)
	case m.policy.MaxRestarts == 0:
		return m.rest(berth.PhaseExited, "automatic restarts are limited to 0")
	case len(m.restarts) >= m.policy.MaxRestarts:
		return m.rest(berth.PhaseFailed, m.gaveUp())
	case m.streak == 0:
		return m.ask(causeAuto)
	}
	m.stage = stageBackoff
	return m, []effect{{do: doTimer, after: m.delay(chance)}}
}

func (m machine) gaveUp() string {
	s := fmt.Sprintf("gave up after %d automatic restarts in %v", m.policy.MaxRestarts, m.policy.Window)
	if m.reason != "" {
		s += "; last: " + m.reason
	}
	return s
}

// delay is the pause before automatic restart number streak+1: MinDelay for
// the second, doubling to MaxDelay, half of it left to chance.
func (m machine) delay(chance float64) time.Duration {
	d := m.policy.MinDelay.Std()
	most := m.policy.MaxDelay.Std()
	for i := 1; i < m.streak && d < most; i++ {
		d += min(d, most-d) // twice as long, without an overflow
	}
	d = min(d, most)
	return d/2 + time.Duration(chance*float64(d/2))
}

// within returns the automatic restarts that the window still holds.
func (m machine) within(at moment) []moment {
	var kept []moment
	for _, r := range m.restarts {
		if at-r < m.policy.Window.Std() {
			kept = append(kept, r)
		}
	}
	return kept
}

// forget begins a new count: somebody took the matter in hand.
func (m *machine) forget() { m.restarts, m.streak, m.reason = nil, 0, "" }

// rest leaves the server down.
func (m machine) rest(as berth.Phase, reason string) (machine, []effect) {
	if as == berth.PhaseStopped {
		m.forget()
	}
	m.stage, m.then, m.ready, m.halt = stageDown, 0, false, false
	m.downAs, m.reason = as, reason
	return m, []effect{{do: doRest}}
}

// alive says whether a process of the current incarnation may live.
func (m machine) alive() bool {
	switch m.stage {
	case stageUp, stageClear, stageEOF, stageTerm, stageKill:
		return true
	}
	return false
}

// ending says whether a stop is under way already, by somebody's word.
func (m machine) ending() bool {
	switch m.stage {
	case stageEOF, stageTerm, stageKill:
		return true
	}
	return m.halt
}

// phase is what users see of the stage.
func (m machine) phase() berth.Phase {
	switch m.stage {
	case stagePolicy, stageSpawn:
		return berth.PhaseStarting
	case stageUp:
		if m.ready {
			return berth.PhaseReady
		}
		return berth.PhaseRunning
	case stageClear:
		if m.then == 0 && (!m.policy.Enabled || m.policy.MaxRestarts == 0) {
			return berth.PhaseStopping
		}
		return berth.PhaseBackoff
	case stageBackoff:
		return berth.PhaseBackoff
	case stageEOF, stageTerm, stageKill:
		return berth.PhaseStopping
	}
	if m.downAs == "" {
		return berth.PhaseStopped
	}
	return m.downAs
}
