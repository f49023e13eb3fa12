package shim

import (
	"strings"
	"time"

	"github.com/berth-run/berth"
)

// A world is everything around a machine: a process that lives and dies, the
// answers that effects ask for, a clock that jumps, and users. It plays any
// story that a picker tells, and holds the machine to its promises by a model
// of its own: what it knows is what effects and events told it.
type world struct {
	t    fatal
	pick picker
	m    machine
	now  moment
	slow bool // answers of the policy and the spawn come late
	due  [slots]slot

	// The process tree.
	leader, kids  bool
	born          moment
	awaited       bool // doAwaitEmpty waits for an answer
	closed, ended moment
	escaped       bool

	// What must hold.
	down     bool // the last word of a user was stop
	hurry    bool // a start came while the last run was being cleared
	intended bool // the stop is written down
	allowed  bool // the policy said yes to a spawn that has not come yet
	spawned  bool // a process was started and its start is not on record
	denied   bool // the policy said no, which is not on record
	exited   bool // an unasked exit is not on record
	stopping bool // a stop is not on record
	rested   bool // doRest came with this event
	expect   *expectation
	autos    []moment // automatic restarts since the last start by hand
	streak   int      // those since the last healthy run
	seen     *tally
}

// fatal is the part of a test that ends it.
type fatal interface {
	Fatalf(format string, args ...any)
}

// picker tells the story.
type picker interface {
	n(limit int) int // in [0, limit)
	f() float64      // in [0, 1)
	over() bool      // the story has ended
}

// tally is what stories came by, so that a test can tell that they came by
// everything.
type tally struct {
	verbs  [doRest + 1]int
	stages [stageKill + 1]int
	phases map[berth.Phase]int
	time   time.Duration
	events int
}

// slot is something that will happen, at most once at a time each.
type slot struct {
	set bool
	at  moment
}

const (
	slotPolicy = iota // the policy answers
	slotSpawn         // the spawn answers
	slotExit          // the leader exits, and the machine is told
	slotKids          // the leader's descendants exit
	slotEmpty         // the answer to doAwaitEmpty
	slotClear         // the answer to doClear
	slotTimer
	slots
)

// expectation is what must follow a run that ended by itself.
type expectation struct {
	stage    stage
	phase    berth.Phase
	min, max time.Duration // of the timer
}

func newWorld(t fatal, pick picker, seen *tally) *world {
	w := &world{t: t, pick: pick, seen: seen, slow: pick.n(2) == 1}
	w.m.grace = []time.Duration{5 * time.Second, time.Millisecond, time.Minute}[pick.n(3)]
	w.m.http = pick.n(4) == 3
	w.setPolicy()
	return w
}

func (w *world) setPolicy() {
	p := berth.RestartPolicy{Enabled: w.pick.n(8) != 7, MaxRestarts: []int{3, 1, 10, 0, 1000}[w.pick.n(5)]}
	if w.pick.n(4) == 3 {
		p.Window = berth.Duration(w.someTime() + 1)
		p.MinDelay = berth.Duration(w.someTime() + 1)
		p.MaxDelay = berth.Duration(w.someTime() + 1)
		p.Healthy = berth.Duration(w.someTime() + 1)
	}
	w.m.policy = p.WithDefaults()
}

// someTime is a length of time that matters to somebody.
func (w *world) someTime() time.Duration {
	times := []time.Duration{0, 1, time.Millisecond, 300 * time.Millisecond, w.m.grace, time.Second,
		w.m.policy.Healthy.Std() - 1, w.m.policy.Healthy.Std(), 2 * time.Minute,
		w.m.policy.Window.Std(), time.Hour, 100 * time.Hour}
	return times[w.pick.n(len(times))]
}

// soon schedules what is in slot i.
func (w *world) soon(i int, after time.Duration) { w.due[i] = slot{true, w.now + after} }

// late is how long an answer takes: none, where the owner has it at once.
func (w *world) late() time.Duration {
	if !w.slow {
		return 0
	}
	return w.someTime() % (10 * time.Second)
}

// next returns the slot that comes first; ties are broken by the story.
func (w *world) next() int {
	first := -1
	for i, s := range w.due {
		if s.set && (first < 0 || s.at < w.due[first].at || s.at == w.due[first].at && w.pick.n(2) == 1) {
			first = i
		}
	}
	return first
}

// play goes on until the story ends, then has a user stop the server and sees
// it come to rest.
func (w *world) play(steps int) {
	for i := 0; i < steps && !w.pick.over(); i++ {
		first := w.next()
		// The owner answers a quick policy and spawn before anything else.
		if !w.slow && (w.due[slotPolicy].set || w.due[slotSpawn].set) {
			w.occur(first)
			continue
		}
		if first >= 0 && w.pick.n(3) > 0 {
			w.occur(first)
			continue
		}
		wait := w.someTime()
		if first >= 0 {
			wait = min(wait, w.due[first].at-w.now)
		}
		w.now += wait
		w.user()
	}
	w.apply(evStop{at: w.now})
	for i := 0; ; i++ {
		first := w.next()
		if first < 0 {
			break
		}
		if i > 20 {
			w.t.Fatalf("the stop takes for ever: %s", w.m.stage)
		}
		w.occur(first)
		w.apply(evStop{at: w.now, then: causeRenew})
	}
	if w.m.stage != stageDown {
		w.t.Fatalf("after the stop: %s, and nothing is to come", w.m.stage)
	}
	w.seen.time += w.now
}

// user does one thing that users, clients and keepers do.
func (w *world) user() {
	switch w.pick.n(10) {
	case 0, 1, 2:
		if w.m.stage != stageUp && w.m.stage != stagePolicy && w.m.stage != stageSpawn && w.pick.n(4) == 3 {
			w.setPolicy() // a start brings its own spec
		}
		w.apply(evStart{at: w.now})
	case 3, 4:
		w.apply(evStop{at: w.now})
	case 5:
		w.apply(evStop{at: w.now, then: causeRestart})
	case 6, 7:
		w.apply(evStop{at: w.now, then: causeRenew})
	case 8:
		if !w.down || w.m.stage != stageDown { // nobody heals what was stopped
			w.apply(evHeal{at: w.now, chance: w.pick.f()})
		}
	case 9:
		w.apply(evReady{})
	}
}

// occur lets time come to a slot and what is in it happen.
func (w *world) occur(i int) {
	w.now = max(w.now, w.due[i].at)
	w.due[i] = slot{}
	switch i {
	case slotPolicy:
		ev := evPolicy{at: w.now}
		if w.pick.n(8) == 7 {
			ev.denied = "denied by policy"
		}
		w.apply(ev)
	case slotSpawn:
		switch w.pick.n(8) {
		case 6:
			w.apply(evSpawnFailed{at: w.now, chance: w.pick.f(), reason: "EAGAIN"})
		case 7:
			w.apply(evSpawnFailed{at: w.now, chance: w.pick.f(), reason: "ENOENT", permanent: true})
		default:
			w.leader, w.kids, w.born = true, w.pick.n(3) == 2, w.now
			if w.pick.n(4) < 3 {
				w.soon(slotExit, w.someTime())
			} // else it lives for ever
			w.apply(evSpawned{at: w.now})
		}
	case slotExit:
		w.leader = false
		if w.kids && w.pick.n(2) == 1 {
			w.soon(slotKids, w.someTime())
		}
		w.emptied()
		w.apply(evExited{at: w.now})
	case slotKids:
		w.kids = false
		w.emptied()
	case slotEmpty:
		w.gone("")
	case slotClear:
		left := ""
		if w.pick.n(12) == 11 {
			left, w.escaped = "pid 7", true
		}
		w.gone(left)
	case slotTimer:
		w.apply(evTimer{at: w.now})
	}
}

// emptied answers doAwaitEmpty if the tree is empty, unless that cannot be
// known here, so that the ladder goes on.
func (w *world) emptied() {
	if w.awaited && !w.leader && !w.kids && w.pick.n(4) < 3 {
		w.soon(slotEmpty, w.late())
	}
}

// gone ends the incarnation: the owner hears no more of it.
func (w *world) gone(left string) {
	w.leader, w.kids, w.awaited = false, false, false
	w.due[slotExit], w.due[slotKids], w.due[slotEmpty], w.due[slotClear] = slot{}, slot{}, slot{}, slot{}
	w.apply(evCleared{at: w.now, chance: w.pick.f(), left: left})
}

// perform carries out one effect, as the owner would.
func (w *world) perform(e effect) {
	switch e.do {
	case doAskPolicy:
		w.soon(slotPolicy, w.late())
	case doSpawn:
		w.soon(slotSpawn, w.late())
	case doCloseStdin:
		w.closed = w.now
		w.react()
	case doTerminate:
		w.ended = w.now
		if w.pick.n(2) == 1 && w.kids {
			w.soon(slotKids, w.someTime())
		}
		w.react()
	case doAwaitEmpty:
		w.awaited = true
		w.emptied()
	case doClear:
		w.awaited, w.due[slotEmpty], w.due[slotKids] = false, slot{}, slot{}
		if w.leader {
			w.soon(slotExit, w.late()) // killed; whether the exit is seen before the answer is chance
		}
		w.soon(slotClear, w.late())
	case doTimer:
		w.soon(slotTimer, e.after)
	case doCancelTimer:
		w.due[slotTimer] = slot{}
	}
}

// react is what a server does that is asked to end: it does, at once or after
// a while, or it does not.
func (w *world) react() {
	if w.leader && w.pick.n(3) > 0 {
		after := w.someTime()
		if s := w.due[slotExit]; !s.set || s.at > w.now+after {
			w.soon(slotExit, after)
		}
	}
}

// windowed counts the automatic restarts that the window holds.
func (w *world) windowed() int {
	n := 0
	for _, at := range w.autos {
		if w.now-at < w.m.policy.Window.Std() {
			n++
		}
	}
	return n
}

// verdict is what must become of a server that went down by itself.
func (w *world) verdict() *expectation {
	p := w.m.policy
	switch {
	case !p.Enabled || p.MaxRestarts == 0:
		return &expectation{stage: stageDown, phase: berth.PhaseExited}
	case w.windowed() >= p.MaxRestarts:
		return &expectation{stage: stageDown, phase: berth.PhaseFailed}
	case w.streak == 0:
		return &expectation{stage: stagePolicy}
	}
	d := p.MinDelay.Std()
	for range w.streak - 1 {
		if d = 2 * d; d > p.MaxDelay.Std() {
			break
		}
	}
	d = min(d, p.MaxDelay.Std())
	return &expectation{stage: stageBackoff, min: d / 2, max: d}
}

// fail ends the test with what the world knows.
func (w *world) fail(format string, args ...any) {
	w.t.Fatalf(strings.TrimSpace(format)+"\nat %v, machine %+v", append(args, w.now, w.m)...)
}
