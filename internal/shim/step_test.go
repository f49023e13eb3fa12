package shim

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/berth-run/berth"
)

func (s stage) String() string {
	return [...]string{"down", "policy", "spawn", "up", "clear", "backoff", "eof", "term", "kill"}[s]
}

func (c cause) String() string {
	return [...]string{"none", "start", "auto", "restart", "renew"}[c]
}

func (v verb) String() string {
	return [...]string{"nothing", "ask", "spawn", "record-up", "record-exit", "record-deny", "record-stop",
		"intend-stop", "close-stdin", "terminate", "await-empty", "clear", "timer", "cancel-timer", "rest"}[v]
}

func verbs(effects []effect) string {
	var words []string
	for _, e := range effects {
		words = append(words, e.do.String())
	}
	return strings.Join(words, " ")
}

// testPolicy is the default policy with room for three restarts.
func testPolicy() berth.RestartPolicy {
	return (&berth.RestartPolicy{Enabled: true, MaxRestarts: 3}).WithDefaults()
}

// machineAt is a machine at a stage, as a server that was restarted once by the
// policy arrives there.
func machineAt(at stage) machine {
	m := machine{
		policy: testPolicy(), grace: 5 * time.Second,
		stage: at, why: causeAuto, bornAt: 5 * time.Minute,
		restarts: []moment{5 * time.Minute}, streak: 1,
		unasked: at == stageClear,
	}
	if at == stageDown {
		m.downAs, m.reason = berth.PhaseFailed, "it was broken"
	}
	return m
}

// TestStepMatrix is every event at every stage. What the table does not name
// must change nothing.
func TestStepMatrix(t *testing.T) {
	const now = 5*time.Minute + 30*time.Second
	events := []struct {
		name string
		ev   event
	}{
		{"start", evStart{at: now}},
		{"heal", evHeal{at: now}},
		{"stop", evStop{at: now}},
		{"restart", evStop{at: now, then: causeRestart}},
		{"renew", evStop{at: now, then: causeRenew}},
		{"allowed", evPolicy{at: now}},
		{"denied", evPolicy{at: now, denied: "no"}},
		{"spawned", evSpawned{at: now}},
		{"spawn failed", evSpawnFailed{at: now, reason: "EAGAIN"}},
		{"spawn failed for good", evSpawnFailed{at: now, reason: "ENOENT", permanent: true}},
		{"exited", evExited{at: now}},
		{"cleared", evCleared{at: now}},
		{"escaped", evCleared{at: now, left: "pid 7"}},
		{"timer", evTimer{at: now}},
		{"ready", evReady{}},
	}
	want := map[string]string{
		"down/start":   "policy: ask",
		"down/heal":    "policy: ask",
		"down/restart": "policy: ask",

		"policy/stop":    "policy, halt: intend-stop",
		"policy/allowed": "spawn: spawn",
		"policy/denied":  "down failed (no): record-deny rest",

		"spawn/stop":                  "spawn, halt: intend-stop",
		"spawn/spawned":               "up: record-up",
		"spawn/spawn failed":          "backoff: timer",
		"spawn/spawn failed for good": "down failed (ENOENT): rest",

		"up/stop":    "eof: intend-stop close-stdin await-empty timer",
		"up/restart": "eof, then restart: close-stdin await-empty timer",
		"up/renew":   "eof, then renew: close-stdin await-empty timer",
		"up/exited":  "clear: clear",
		"up/ready":   "up, ready: ",

		"clear/start":   "clear, then start: ",
		"clear/stop":    "kill: intend-stop",
		"clear/restart": "kill, then restart: ",
		"clear/cleared": "backoff: record-exit timer",
		"clear/escaped": "down failed (processes of its last run could not be ended: pid 7): record-exit rest",

		"backoff/start":   "policy: cancel-timer ask",
		"backoff/stop":    "down stopped (): cancel-timer intend-stop record-stop rest",
		"backoff/restart": "policy: cancel-timer ask",
		"backoff/timer":   "policy: ask",

		"eof/start":   "eof, then start: ",
		"eof/stop":    "eof: intend-stop",
		"eof/restart": "eof, then restart: ",
		"eof/exited":  "term: terminate timer",
		"eof/timer":   "term: terminate timer",
		"eof/cleared": "down stopped (): cancel-timer record-stop rest",
		"eof/escaped": "down failed (processes escaped the stop: pid 7): cancel-timer record-stop rest",

		"term/start":   "term, then start: ",
		"term/stop":    "term: intend-stop",
		"term/restart": "term, then restart: ",
		"term/timer":   "kill: clear",
		"term/cleared": "down stopped (): cancel-timer record-stop rest",
		"term/escaped": "down failed (processes escaped the stop: pid 7): cancel-timer record-stop rest",

		"kill/start":   "kill, then start: ",
		"kill/stop":    "kill: intend-stop",
		"kill/restart": "kill, then restart: ",
		"kill/cleared": "down stopped (): cancel-timer record-stop rest",
		"kill/escaped": "down failed (processes escaped the stop: pid 7): cancel-timer record-stop rest",
	}
	for at := stageDown; at <= stageKill; at++ {
		for _, e := range events {
			cell := at.String() + "/" + e.name
			m := machineAt(at)
			next, effects := step(m, e.ev)
			expect, listed := want[cell]
			delete(want, cell)
			if !listed {
				if !reflect.DeepEqual(next, m) || len(effects) > 0 {
					t.Errorf("%s: %s: %s, want nothing to change", cell, describeMachine(next), verbs(effects))
				}
				continue
			}
			if got := describeMachine(next) + ": " + verbs(effects); got != expect {
				t.Errorf("%s:\n got %s\nwant %s", cell, got, expect)
			}
			if !reflect.DeepEqual(m, machineAt(at)) {
				t.Errorf("%s: step changed the machine that it was given", cell)
			}
		}
	}
	for cell := range want {
		t.Errorf("the table names %q, which is no cell", cell)
	}
}

func describeMachine(m machine) string {
	s := m.stage.String()
	if m.stage == stageDown {
		s += fmt.Sprintf(" %s (%s)", m.phase(), m.reason)
	}
	if m.then != 0 {
		s += ", then " + m.then.String()
	}
	if m.halt {
		s += ", halt"
	}
	if m.ready {
		s += ", ready"
	}
	return s
}

// play feeds events to a machine and returns where it came and all effects.
func play(m machine, events ...event) (machine, []effect) {
	var all []effect
	for _, ev := range events {
		var effects []effect
		m, effects = step(m, ev)
		all = append(all, effects...)
	}
	return m, all
}

func timers(effects []effect) []time.Duration {
	var d []time.Duration
	for _, e := range effects {
		if e.do == doTimer {
			d = append(d, e.after)
		}
	}
	return d
}

// crash is an exit that nobody asked for, and the end of the tree.
func crash(at moment, chance float64) []event {
	return []event{evExited{at: at}, evCleared{at: at, chance: chance}}
}

// up is an answer of the policy and one of the spawn.
func up(at moment) []event { return []event{evPolicy{at: at}, evSpawned{at: at}} }

func TestFirstRestartIsImmediateAndLaterOnesWait(t *testing.T) {
	for _, tt := range []struct {
		chance float64
		want   []time.Duration
	}{
		{0, []time.Duration{125 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond, time.Second,
			2 * time.Second, 4 * time.Second, 8 * time.Second, 15 * time.Second, 15 * time.Second}},
		{1, []time.Duration{250 * time.Millisecond, 500 * time.Millisecond, time.Second, 2 * time.Second,
			4 * time.Second, 8 * time.Second, 16 * time.Second, 30 * time.Second, 30 * time.Second}},
	} {
		m := machine{policy: testPolicy()}
		m.policy.MaxRestarts = 1000
		m, _ = play(m, append([]event{evStart{}}, up(0)...)...)
		m, effects := play(m, crash(1, tt.chance)...)
		if m.stage != stagePolicy || len(timers(effects)) > 0 {
			t.Fatalf("the first restart waits: %s", verbs(effects))
		}
		var got []time.Duration
		for range tt.want {
			m, _ = play(m, up(1)...)
			m, effects = play(m, crash(1, tt.chance)...)
			got = append(got, timers(effects)...)
			m, _ = step(m, evTimer{at: 1})
		}
		if !reflect.DeepEqual(got, tt.want) {
			t.Errorf("chance %v: delays %v, want %v", tt.chance, got, tt.want)
		}
	}
}

func TestDelayIsBoundedWhateverThePolicy(t *testing.T) {
	const huge = 1<<63 - 1
	for _, tt := range []struct{ lo, hi, want time.Duration }{
		{250 * time.Millisecond, 30 * time.Second, 30 * time.Second},
		{time.Minute, time.Second, time.Second}, // the lesser bound wins
		{1, huge, huge},
		{huge - 1, huge, huge},
		{3, 1000, 1000},
	} {
		m := machine{policy: testPolicy(), streak: 200}
		m.policy.MinDelay, m.policy.MaxDelay = berth.Duration(tt.lo), berth.Duration(tt.hi)
		for _, chance := range []float64{0, 0.5, 0.999} {
			if got := m.delay(chance); got < tt.want/2 || got > tt.want {
				t.Errorf("delay between %v and %v, chance %v: %v, want %v to %v", tt.lo, tt.hi, chance, got, tt.want/2, tt.want)
			}
		}
	}
}

// After a healthy run the next restart is immediate; the window still counts.
func TestHealthyRunResetsTheDelayNotTheWindow(t *testing.T) {
	for _, tt := range []struct {
		lived time.Duration
		want  stage
	}{
		{59*time.Second + 999*time.Millisecond, stageBackoff},
		{60 * time.Second, stagePolicy},
		{time.Hour, stagePolicy},
	} {
		m := machineAt(stageUp)
		m, _ = play(m, crash(m.bornAt+tt.lived, 0.5)...)
		if m.stage != tt.want {
			t.Errorf("after %v: %s, want %s", tt.lived, m.stage, tt.want)
		}
	}
	m := machineAt(stageUp)
	m.restarts = []moment{5 * time.Minute, 6 * time.Minute, 7 * time.Minute}
	m.bornAt = 7 * time.Minute
	m, _ = play(m, crash(9*time.Minute, 0.5)...) // healthy, but the third within the window
	if m.phase() != berth.PhaseFailed || !strings.Contains(m.reason, "gave up after 3 automatic restarts in 10m0s") {
		t.Errorf("%s: %q, want failed", m.phase(), m.reason)
	}
}

func TestWindowHoldsRestartsForItsLength(t *testing.T) {
	crashed := func(at moment) machine {
		m := machineAt(stageUp)
		m.restarts = []moment{0, 1, 2}
		m.bornAt = 2
		m, _ = play(m, crash(at, 0.5)...)
		return m
	}
	if m := crashed(10*time.Minute - 1); m.phase() != berth.PhaseFailed {
		t.Errorf("inside the window: %s", m.phase())
	}
	if m := crashed(10 * time.Minute); m.stage != stagePolicy {
		t.Errorf("when the first has left the window: %s", m.stage)
	}
}

func TestAttemptsAreNumbered(t *testing.T) {
	m := machine{policy: testPolicy()}
	m, _ = play(m, append([]event{evStart{}}, up(0)...)...)
	var got []string
	for m.stage != stageDown {
		var effects []effect
		m, effects = play(m, append(append(crash(1, 0), evTimer{at: 1}), up(1)...)...)
		for _, e := range effects {
			if e.do == doRecordUp {
				got = append(got, fmt.Sprintf("%s %d", e.why, e.attempt))
			}
		}
	}
	if want := []string{"auto 1", "auto 2", "auto 3"}; !reflect.DeepEqual(got, want) {
		t.Errorf("restarts %q, want %q", got, want)
	}
}

func TestNoRestartWithoutAPolicyForIt(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*berth.RestartPolicy)
		reason string
	}{
		{"disabled", func(p *berth.RestartPolicy) { p.Enabled = false }, ""},
		{"limit 0", func(p *berth.RestartPolicy) { p.MaxRestarts = 0 }, "automatic restarts are limited to 0"},
	} {
		m := machine{policy: testPolicy()}
		tt.change(&m.policy)
		m, _ = play(m, append([]event{evStart{}}, up(0)...)...)
		if m, _ := step(m, evExited{at: time.Hour}); m.phase() != berth.PhaseStopping {
			t.Errorf("%s: %s while its tree is being ended", tt.name, m.phase())
		}
		m, effects := play(m, crash(time.Hour, 0)...)
		if m.phase() != berth.PhaseExited || m.reason != tt.reason || verbs(effects) != "clear record-exit rest" {
			t.Errorf("%s: %s %q: %s", tt.name, m.phase(), m.reason, verbs(effects))
		}
		if m, effects := step(m, evHeal{at: time.Hour}); m.phase() != berth.PhaseExited || verbs(effects) != "rest" {
			t.Errorf("%s: heal: %s: %s", tt.name, m.phase(), verbs(effects))
		}
	}
}

// A start or restart by hand begins a new count, wherever it arrives; a renewal
// does not.
func TestOnlyAManualStartBeginsANewCount(t *testing.T) {
	start, restart, renew := evStart{at: 1}, evStop{at: 1, then: causeRestart}, evStop{at: 1, then: causeRenew}
	for _, tt := range []struct {
		name   string
		from   stage
		events []event
		reset  bool
	}{
		{"start when down", stageDown, []event{start}, true},
		{"restart when down", stageDown, []event{restart}, true},
		{"start in backoff", stageBackoff, []event{start}, true},
		{"restart in backoff", stageBackoff, []event{restart}, true},
		{"timer in backoff", stageBackoff, []event{evTimer{at: 1}}, false},
		{"restart of a running one", stageUp, []event{restart, evCleared{at: 1}}, true},
		{"start while it is cleared", stageClear, []event{start, evCleared{at: 1}}, true},
		{"restart while it is cleared", stageClear, []event{restart, evCleared{at: 1}}, true},
		{"stop and start while it is cleared", stageClear, []event{evStop{at: 1}, start, evCleared{at: 1}}, true},
		{"renewal", stageUp, []event{renew, evCleared{at: 1}}, false},
		{"renewal, then start", stageUp, []event{renew, start, evCleared{at: 1}}, true},
		{"renewal, then restart", stageUp, []event{renew, restart, evCleared{at: 1}}, true},
		{"renewal, then stop, then start", stageUp, []event{renew, evStop{at: 1}, start, evCleared{at: 1}}, true},
	} {
		m, _ := play(machineAt(tt.from), tt.events...)
		if m.stage != stagePolicy {
			t.Errorf("%s: %s, want policy", tt.name, m.stage)
		}
		if reset := len(m.restarts) == 0 && m.streak == 0; reset != tt.reset {
			t.Errorf("%s: restarts %v, streak %d; want a new count: %v", tt.name, m.restarts, m.streak, tt.reset)
		}
	}
}

// A renewal is a client's wish, not the user's: it never undoes a stop, never
// wakes a server that is down, and never saves one that crashes from its limit.
func TestRenewalNeitherStartsNorExcuses(t *testing.T) {
	renew := evStop{at: 1, then: causeRenew}
	for _, at := range []stage{stageEOF, stageTerm, stageKill} {
		m, effects := play(machineAt(at), renew, evCleared{at: 2})
		if m.phase() != berth.PhaseStopped {
			t.Errorf("%s: a renewal undid the stop: %s: %s", at, m.stage, verbs(effects))
		}
		m = machineAt(at)
		m.then = causeRestart
		if m, _ = play(m, renew, evCleared{at: 2}); m.why != causeRestart {
			t.Errorf("%s: the restart was recorded as %s", at, m.why)
		}
	}
	m := machineAt(stageClear)
	m.restarts = []moment{1, 2, 3}
	if m, _ = play(m, renew, evCleared{at: 2}); m.phase() != berth.PhaseFailed {
		t.Errorf("a renewal gave one that crashed another chance: %s", m.stage)
	}
}

// The healthy run of a process that was then renewed counts as one.
func TestRenewalAfterAHealthyRun(t *testing.T) {
	m := machineAt(stageUp)
	m.streak = 3
	at := m.bornAt + time.Minute
	m, _ = play(m, evStop{at: at, then: causeRenew}, evCleared{at: at}, evPolicy{at: at}, evSpawned{at: at})
	if m, _ = play(m, crash(at+time.Second, 0.5)...); m.stage != stagePolicy {
		t.Errorf("the first restart after a healthy run waits: %s", m.stage)
	}
}

// A stop that comes while the policy or the spawn is still being answered is
// not lost, whatever the answer.
func TestStopBeforeItIsUp(t *testing.T) {
	for _, tt := range []struct {
		from   stage
		events []event
		want   string
	}{
		{stagePolicy, []event{evStop{}, evPolicy{}}, "down stopped (): intend-stop record-stop rest"},
		{stagePolicy, []event{evStop{}, evPolicy{denied: "no"}}, "down stopped (): intend-stop record-stop rest"},
		{stageSpawn, []event{evStop{}, evSpawnFailed{}}, "down stopped (): intend-stop record-stop rest"},
		{stageSpawn, []event{evStop{}, evSpawnFailed{permanent: true, reason: "ENOENT"}}, "down stopped (): intend-stop record-stop rest"},
		{stageSpawn, []event{evStop{}, evSpawned{}}, "eof: intend-stop record-up intend-stop close-stdin await-empty timer"},
		// A start that comes later wins.
		{stagePolicy, []event{evStop{}, evStart{}, evPolicy{}}, "spawn: intend-stop spawn"},
		{stageSpawn, []event{evStop{}, evStart{}, evSpawned{}}, "up: intend-stop record-up"},
		{stageSpawn, []event{evStop{}, evStop{then: causeRestart}, evSpawned{}}, "up: intend-stop record-up"},
		// A renewal does not.
		{stageSpawn, []event{evStop{}, evStop{then: causeRenew}, evSpawnFailed{}}, "down stopped (): intend-stop record-stop rest"},
	} {
		m, effects := play(machineAt(tt.from), tt.events...)
		if got := describeMachine(m) + ": " + verbs(effects); got != tt.want {
			t.Errorf("%s %#v:\n got %s\nwant %s", tt.from, tt.events, got, tt.want)
		}
	}
}

// While processes of the last incarnation live, nothing is started; only a new
// shim, which looks for them first, may.
func TestNothingIsStartedBesideWhatEscaped(t *testing.T) {
	for _, from := range []stage{stageClear, stageEOF, stageTerm, stageKill} {
		down, _ := step(machineAt(from), evCleared{at: 1, left: "pid 7"})
		for ev, want := range map[event]string{evStart{}: "rest", evStop{then: causeRestart}: "rest", evHeal{}: ""} {
			m, effects := step(down, ev)
			if m.phase() != berth.PhaseFailed || !strings.Contains(m.reason, "pid 7") || verbs(effects) != want {
				t.Errorf("%s, then %T: %s (%s): %s", from, ev, m.stage, m.reason, verbs(effects))
			}
		}
	}
}

func TestManualStartThatFailsIsNotTriedAgain(t *testing.T) {
	for _, why := range []cause{causeStart, causeRestart, causeRenew} {
		m := machineAt(stageSpawn)
		m.why = why
		m, effects := step(m, evSpawnFailed{reason: "EAGAIN"})
		if m.phase() != berth.PhaseFailed || m.reason != "EAGAIN" || verbs(effects) != "rest" {
			t.Errorf("%s: %s (%s): %s", why, m.phase(), m.reason, verbs(effects))
		}
	}
}

func TestGivingUpNamesTheLastReason(t *testing.T) {
	m := machineAt(stageSpawn)
	m.restarts = []moment{1, 2, 3}
	m, _ = step(m, evSpawnFailed{at: 3, reason: "fork: EAGAIN"})
	if want := "gave up after 3 automatic restarts in 10m0s; last: fork: EAGAIN"; m.reason != want {
		t.Errorf("%q, want %q", m.reason, want)
	}
}

func TestHTTPServerIsTerminatedAtOnce(t *testing.T) {
	m := machineAt(stageUp)
	m.http = true
	m, effects := step(m, evStop{})
	if m.stage != stageTerm || verbs(effects) != "intend-stop close-stdin await-empty terminate timer" {
		t.Errorf("%s: %s", m.stage, verbs(effects))
	}
}

func TestPhases(t *testing.T) {
	want := map[stage]berth.Phase{
		stageDown: berth.PhaseStopped, stagePolicy: berth.PhaseStarting, stageSpawn: berth.PhaseStarting,
		stageUp: berth.PhaseRunning, stageClear: berth.PhaseBackoff, stageBackoff: berth.PhaseBackoff,
		stageEOF: berth.PhaseStopping, stageTerm: berth.PhaseStopping, stageKill: berth.PhaseStopping,
	}
	for at := stageDown; at <= stageKill; at++ {
		m := machine{stage: at, policy: testPolicy()}
		if m.phase() != want[at] {
			t.Errorf("%s: %s, want %s", at, m.phase(), want[at])
		}
		alive := at != stageDown && at != stagePolicy && at != stageSpawn && at != stageBackoff
		if m.alive() != alive {
			t.Errorf("%s: alive %v, want %v", at, m.alive(), alive)
		}
	}
	m, _ := step(machineAt(stageUp), evReady{})
	if m.phase() != berth.PhaseReady {
		t.Errorf("after the handshake: %s", m.phase())
	}
	if m, _ = play(m, append(append(crash(time.Hour, 0), evTimer{}), up(time.Hour)...)...); m.phase() != berth.PhaseRunning {
		t.Errorf("the next incarnation: %s, want running", m.phase())
	}
}
