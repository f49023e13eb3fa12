package shim

import (
	"math/rand/v2"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/berth-run/berth"
)

// apply runs the machine on one event and holds every effect against the
// promises.
func (w *world) apply(ev event) {
	before := w.m
	w.foresee(before, ev)
	var effects []effect
	w.m, effects = step(w.m, ev)
	w.rested = false
	for _, e := range effects {
		w.seen.verbs[e.do]++
		w.check(before, ev, e)
		w.perform(e)
	}
	w.meet(effects)
	w.checkStage(before, ev, effects)
	w.seen.events++
	w.seen.stages[w.m.stage]++
	w.seen.phases[w.m.phase()]++
}

// foresee notes what an event means before the machine sees it.
func (w *world) foresee(before machine, ev event) {
	busy := before.stage == stagePolicy || before.stage == stageSpawn
	ladder := before.stage == stageEOF || before.stage == stageTerm || before.stage == stageKill
	w.expect = nil
	switch ev := ev.(type) {
	case evStart:
		w.down = false
		w.hurry = w.hurry || before.stage == stageClear
		if busy {
			w.stopping = false
		}
		if before.stage == stageDown || before.stage == stageBackoff {
			w.expect = &expectation{stage: stagePolicy}
		}
	case evHeal:
		if before.stage == stageDown {
			w.streak = 0
			w.expect = w.verdict()
		}
	case evStop:
		switch ev.then {
		case 0:
			w.down = true
			w.stopping = w.stopping || before.stage != stageDown
			if before.stage == stageBackoff {
				w.expect = &expectation{stage: stageDown, phase: berth.PhaseStopped}
			}
		case causeRestart:
			w.down = false
			if busy {
				w.stopping = false
			}
			if before.stage == stageDown || before.stage == stageBackoff {
				w.expect = &expectation{stage: stagePolicy}
			} else if !busy {
				w.stopping = true
			}
		case causeRenew:
			w.stopping = w.stopping || before.stage == stageUp
		}
		if before.stage == stageUp {
			w.judge()
		}
	case evPolicy:
		w.allowed = ev.denied == ""
		w.denied = ev.denied != ""
		if w.denied {
			w.expect = &expectation{stage: stageDown, phase: berth.PhaseFailed}
		}
		if w.down {
			w.allowed, w.denied, w.expect = false, false, &expectation{stage: stageDown, phase: berth.PhaseStopped}
		}
	case evSpawned:
		w.spawned = true
	case evSpawnFailed:
		switch {
		case w.down:
			w.expect = &expectation{stage: stageDown, phase: berth.PhaseStopped}
		case ev.permanent || before.why != causeAuto:
			w.expect = &expectation{stage: stageDown, phase: berth.PhaseFailed}
		default:
			w.expect = w.verdict()
		}
	case evExited:
		if before.stage == stageUp {
			w.exited = true
			w.judge()
		}
	case evCleared:
		switch {
		case ev.left != "":
			w.expect = &expectation{stage: stageDown, phase: berth.PhaseFailed}
		case ladder && w.down:
			w.expect = &expectation{stage: stageDown, phase: berth.PhaseStopped}
		case ladder || w.hurry:
			w.expect = &expectation{stage: stagePolicy}
		default:
			w.expect = w.verdict()
		}
		w.hurry = false
	case evTimer:
		if before.stage == stageBackoff {
			w.expect = &expectation{stage: stagePolicy}
		}
	}
	if w.escaped && before.stage == stageDown && w.expect != nil {
		w.expect = &expectation{stage: stageDown, phase: berth.PhaseFailed}
	}
}

// judge begins a new streak if the process was healthy.
func (w *world) judge() {
	if w.now-w.born >= w.m.policy.Healthy.Std() {
		w.streak = 0
	}
}

// check holds one effect against the promises.
func (w *world) check(before machine, ev event, e effect) {
	demand := func(ok bool, format string, args ...any) {
		if !ok {
			w.fail("%T at %s: %s: "+format, append([]any{ev, before.stage, e.do}, args...)...)
		}
	}
	demand(!w.rested, "after the rest")
	switch e.do {
	case doAskPolicy:
		demand(!w.down, "though it was stopped")
		demand(!w.exited && !w.stopping, "before the end of the last run is on record")
		demand(!w.due[slotPolicy].set && !w.due[slotSpawn].set, "while an answer is owed")
		if before.stage == stageDown {
			stop, _ := ev.(evStop)
			_, start := ev.(evStart)
			_, heal := ev.(evHeal)
			demand(start || heal || stop.then == causeRestart, "failed, exited and stopped are for good")
		}
		w.allowed = false
		if e.why == causeStart || e.why == causeRestart {
			w.autos, w.streak = nil, 0
		}
	case doSpawn:
		demand(w.allowed, "without a policy that allowed it")
		demand(!w.down, "though it was stopped")
		demand(!w.leader && !w.kids && !w.escaped, "beside a process that lives")
		demand(!w.due[slotClear].set && !w.due[slotSpawn].set && !w.awaited, "beside an unfinished clear or spawn")
		w.allowed, w.intended = false, false
		if e.why == causeAuto {
			w.autos = append(w.autos, w.now)
			w.streak++
			demand(w.m.policy.Enabled, "automatic, though the policy is off")
			demand(w.windowed() <= w.m.policy.MaxRestarts, "number %d in a window", w.windowed())
		}
		demand(e.attempt == len(w.m.restarts), "attempt %d", e.attempt)
	case doRecordUp:
		demand(w.spawned && w.leader, "without a new process")
		demand(e.why == before.why, "as %s", e.why)
		demand(e.why != causeAuto || e.attempt >= 1 && e.attempt <= w.m.policy.MaxRestarts, "attempt %d", e.attempt)
		w.spawned = false
	case doRecordExit:
		demand(w.exited, "of an exit that was asked for or is on record")
		demand(!w.leader && !w.kids, "before the last output is in")
		w.exited = false
	case doRecordStop:
		demand(w.stopping && !w.exited, "without a stop, or before its exit")
		demand(!w.leader && !w.kids && !w.spawned, "while it lives")
		w.stopping = false
	case doRecordDeny:
		demand(w.denied, "of what was allowed")
		w.denied = false
	case doIntendStop:
		demand(w.down, "though nobody wants it down")
		w.intended = true
	case doCloseStdin, doTerminate, doAwaitEmpty:
		demand(w.stopping, "without a stop")
		demand(!w.down || w.intended, "before the stop is written down")
		demand(!w.due[slotClear].set, "after the kill")
		if e.do == doTerminate {
			demand(w.m.http || !w.leader || w.now-w.closed >= w.m.grace, "%v after the end of stdin", w.now-w.closed)
		}
	case doClear:
		demand(w.exited || w.stopping && w.now-w.ended >= w.m.grace, "without a reason")
		demand(!w.due[slotClear].set, "twice")
	case doTimer:
		switch w.m.stage {
		case stageEOF, stageTerm:
			demand(e.after == w.m.grace, "of %v in the ladder", e.after)
		case stageBackoff:
			demand(w.expect != nil && w.expect.min <= e.after && e.after <= w.expect.max, "of %v, want %+v", e.after, w.expect)
		default:
			demand(false, "at %s", w.m.stage)
		}
	case doRest:
		w.rested = true
		demand(!w.exited && !w.stopping && !w.denied && !w.spawned, "before all is on record")
	}
}

// meet holds the machine against what was foreseen.
func (w *world) meet(effects []effect) {
	if w.expect == nil {
		return
	}
	if w.m.stage != w.expect.stage || w.expect.phase != "" && w.m.phase() != w.expect.phase {
		w.fail("%s (%s): %s, want %+v", w.m.stage, w.m.phase(), verbs(effects), *w.expect)
	}
}

// checkStage holds the machine against the promises of its stage: from each
// there is a way on, or nothing is owed.
func (w *world) checkStage(before machine, ev event, effects []effect) {
	demand := func(ok bool, what string) {
		if !ok {
			w.fail("%T at %s, then %s: %s", ev, before.stage, w.m.stage, what)
		}
	}
	timer := w.due[slotTimer].set
	demand(w.rested == (w.m.stage == stageDown && len(effects) > 0), "a rest that is not written down, or one that is none")
	demand((w.m.stage == stagePolicy) == w.due[slotPolicy].set, "an answer of the policy")
	demand((w.m.stage == stageSpawn) == w.due[slotSpawn].set, "an answer of the spawn")
	demand((w.m.stage == stageClear || w.m.stage == stageKill) == w.due[slotClear].set, "an answer of the clear")
	demand((w.m.stage == stageBackoff || w.m.stage == stageEOF || w.m.stage == stageTerm) == timer, "a timer")
	demand((w.m.stage == stageUp) == (w.leader && !w.stopping), "a process that nobody ends")
	demand(w.m.alive() || !w.leader, "a process that the machine does not know")
	demand(!w.spawned, "a start that is not on record")
	demand(w.m.stage != stageDown || w.m.phase() == berth.PhaseStopped || w.m.phase() == berth.PhaseFailed || w.m.phase() == berth.PhaseExited, "the phase")
	demand(w.m.phase() != berth.PhaseFailed || w.m.reason != "", "failed without a reason")
	_, ready := ev.(evReady)
	demand(w.m.phase() != berth.PhaseReady || before.ready || ready, "ready without a handshake")
	demand(!w.m.ready || w.m.stage != stageUp || w.m.bornAt == before.bornAt, "the handshake of an earlier incarnation")
	if stop, ok := ev.(evStop); ok && stop.then == causeRenew {
		demand(len(w.m.restarts) == len(before.restarts), "a renewal that touched the count")
	}
}

// drawn is a story by rapid, which finds the shortest one that breaks a
// promise.
type drawn struct{ t *rapid.T }

func (d drawn) n(limit int) int { return rapid.IntRange(0, limit-1).Draw(d.t, "n") }
func (d drawn) f() float64      { return float64(d.n(5)) / 5 }
func (d drawn) over() bool      { return false }

func TestStepKeepsItsPromises(t *testing.T) {
	seen := &tally{phases: map[berth.Phase]int{}}
	rapid.Check(t, func(t *rapid.T) {
		newWorld(t, drawn{t}, seen).play(120)
	})
}

// random is a story by chance: many more events a second than rapid's.
type random struct{ r *rand.Rand }

func (c random) n(limit int) int { return c.r.IntN(limit) }
func (c random) f() float64      { return c.r.Float64() }
func (c random) over() bool      { return false }

// TestStepForYears plays five hundred servers for many years, and demands that
// their stories came by everything.
func TestStepForYears(t *testing.T) {
	seen := &tally{phases: map[berth.Phase]int{}}
	for seed := range uint64(500) {
		newWorld(t, random{rand.New(rand.NewPCG(seed, 0))}, seen).play(300)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
	t.Logf("%d events in %d simulated hours", seen.events, seen.time/time.Hour)
	if seen.time < 10_000*time.Hour {
		t.Errorf("only %v were simulated", seen.time)
	}
	for v := doAskPolicy; v <= doRest; v++ {
		if seen.verbs[v] < 100 {
			t.Errorf("%s came %d times", v, seen.verbs[v])
		}
	}
	for s, n := range seen.stages {
		if n < 100 {
			t.Errorf("the stage %s came %d times", stage(s), n)
		}
	}
	for _, p := range []berth.Phase{berth.PhaseStarting, berth.PhaseRunning, berth.PhaseReady, berth.PhaseBackoff,
		berth.PhaseFailed, berth.PhaseExited, berth.PhaseStopping, berth.PhaseStopped} {
		if seen.phases[p] < 100 {
			t.Errorf("the phase %s came %d times", p, seen.phases[p])
		}
	}
}

// bytesPicker is a story by the fuzzer.
type bytesPicker struct{ b []byte }

func (p *bytesPicker) n(limit int) int {
	if len(p.b) == 0 {
		return 0
	}
	v := int(p.b[0]) % limit
	p.b = p.b[1:]
	return v
}
func (p *bytesPicker) f() float64 { return float64(p.n(256)) / 256 }
func (p *bytesPicker) over() bool { return len(p.b) == 0 }

func FuzzStep(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte("a start, a crash, a stop"))
	for seed := range uint64(8) {
		r := rand.New(rand.NewPCG(seed, 1))
		story := make([]byte, 400)
		for i := range story {
			story[i] = byte(r.Uint32())
		}
		f.Add(story)
	}
	f.Fuzz(func(t *testing.T, story []byte) {
		newWorld(t, &bytesPicker{story}, &tally{phases: map[berth.Phase]int{}}).play(1000)
	})
}

// FuzzStepAnyOrder gives a machine events in any order whatever, as no owner
// would: it may then not be right, but it neither panics nor loses itself.
func FuzzStepAnyOrder(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13})
	f.Fuzz(func(t *testing.T, story []byte) {
		m := machine{policy: testPolicy(), grace: time.Second}
		p := &bytesPicker{story}
		asked := false
		for at := moment(0); !p.over(); at += moment(p.n(256)) * time.Second {
			events := []event{evStart{at}, evHeal{at, p.f()}, evStop{at: at}, evStop{at, causeRestart}, evStop{at, causeRenew},
				evPolicy{at: at}, evPolicy{at, "no"}, evSpawned{at}, evSpawnFailed{at, p.f(), false, "x"},
				evSpawnFailed{at, p.f(), true, "y"}, evExited{at}, evCleared{at: at, chance: p.f()}, evCleared{at, p.f(), "pid 7"},
				evTimer{at}, evReady{}}
			var effects []effect
			m, effects = step(m, events[p.n(len(events))])
			for _, e := range effects {
				switch e.do {
				case doAskPolicy:
					asked = true
				case doSpawn:
					if !asked {
						t.Fatal("a spawn for which no policy was asked")
					}
					asked = false
				case doTimer:
					if e.after < 0 {
						t.Fatalf("a timer of %v", e.after)
					}
				}
			}
			if len(m.restarts) > m.policy.MaxRestarts {
				t.Fatalf("%d restarts in a window", len(m.restarts))
			}
			if (m.stage == stageDown) != (m.phase() == berth.PhaseStopped || m.phase() == berth.PhaseFailed || m.phase() == berth.PhaseExited) {
				t.Fatalf("%s is %s", m.stage, m.phase())
			}
		}
	})
}
