//go:build linux

package chaos

import (
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/proc"
)

// TestKillLoop sends SIGKILL to callers, the keeper, shims and servers, in any
// order and at any moment, and expects after each blow: nothing lost, nothing
// doubled, no restart that nothing provoked; and at the end, nothing left over.
// BERTH_CHAOS_KILLS and BERTH_CHAOS_SEED set its length and its course.
func TestKillLoop(t *testing.T) {
	kills := envInt(t, "BERTH_CHAOS_KILLS", 60)
	seed := envInt(t, "BERTH_CHAOS_SEED", int(time.Now().UnixNano()&0xffffffff))
	t.Logf("%d kills with BERTH_CHAOS_SEED=%d", kills, seed)
	w := newWorld(t)
	l := &loop{world: w, rng: rand.New(rand.NewPCG(uint64(seed), 1)), last: map[string]berth.Status{}}
	mechanisms := works()
	for _, k := range append(shKinds(), treeKinds(t, w.dir)...) {
		k.mechanism = mechanisms[l.rng.IntN(len(mechanisms))]
		t.Logf("%s is held by %s", k.name, k.mechanism)
		w.add(k.name, k)
		l.names = append(l.names, k.name)
	}
	w.startKeeper()
	for _, name := range l.names {
		w.mustCommand("start", name)
		l.last[name], _ = w.awaitUp(name, 0)
	}
	for l.kills < kills {
		l.blow()
		w.noTwins()
	}
	l.untouched("") // the last blow may have hit more than it was meant for
	w.soundFiles()
	for _, name := range l.names {
		w.mustCommand("attach", name)
		w.nothingLeft(name)
	}
	w.noTwins()
	slices.Sort(l.healed)
	t.Logf("%d kills: healed in %v (median), %v (99 %%), %v (at most)", l.kills,
		l.healed[len(l.healed)/2], l.healed[len(l.healed)*99/100], l.healed[len(l.healed)-1])
}

// works are the mechanisms that this user can have. A process group holds no
// more than the processes that stay in it.
func works() (list []berth.TreeMechanism) {
	for _, r := range proc.Probe() {
		if r.Works && r.Mechanism != berth.TreeProcessGroup {
			list = append(list, r.Mechanism)
		}
	}
	return list
}

func envInt(t *testing.T, key string, otherwise int) int {
	t.Helper()
	text := os.Getenv(key)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s: %v", key, err)
	}
	return n
}

// loop is the course of one kill loop.
type loop struct {
	*world
	rng    *rand.Rand
	names  []string
	last   map[string]berth.Status // as each server was left
	kills  int
	healed []time.Duration
}

// blow is one round: it hits one server, or the keeper, or somebody who is
// giving a command, and waits until all is well again.
func (l *loop) blow() {
	l.t.Helper()
	name := l.names[l.rng.IntN(len(l.names))]
	before := l.last[name]
	switch n := l.rng.IntN(100); {
	case n < 35:
		l.hit(before.PID)
		l.afterDeath(name, before)
	case n < 60:
		l.hit(before.ShimPID)
		l.afterDeath(name, before)
	case n < 70: // both, a moment apart, in either order
		first, second := before.PID, before.ShimPID
		if l.rng.IntN(2) == 0 {
			first, second = second, first
		}
		l.hit(first)
		l.pause(5 * time.Millisecond)
		l.hit(second)
		l.afterDeath(name, before)
	case n < 78: // a shim, and its successor while it begins
		l.hit(before.ShimPID)
		l.pause(30 * time.Millisecond)
		l.hit(l.status(name).ShimPID)
		l.afterDeath(name, before)
	case n < 86:
		l.kills++
		l.killKeeper()
		if l.rng.IntN(2) == 0 { // and what it would have healed
			l.hit(before.ShimPID)
			l.startKeeper()
			l.afterDeath(name, before)
			return
		}
		l.startKeeper()
		l.untouched("")
	default:
		l.interruptedCommand(name)
	}
}

func (l *loop) hit(pid int) {
	kill(pid)
	l.kills++
}

func (l *loop) pause(most time.Duration) { time.Sleep(time.Duration(l.rng.Int64N(int64(most)))) }

// afterDeath expects the server back by itself, and the others untouched.
func (l *loop) afterDeath(name string, before berth.Status) {
	l.t.Helper()
	_, took := l.awaitUp(name, before.PID)
	l.healed = append(l.healed, took)
	l.last[name] = l.settled(name)
	l.untouched(name)
}

// settled returns the server's status once it has not changed for a moment: a
// second blow may still be having its effect.
func (l *loop) settled(name string) berth.Status {
	l.t.Helper()
	for {
		st, _ := l.awaitUp(name, 0)
		time.Sleep(3 * time.Millisecond)
		if again := l.status(name); again.PID == st.PID && again.ShimPID == st.ShimPID && again.Status == berth.Running {
			return st
		}
	}
}

// untouched fails if a server other than the named one is another process than
// it was.
func (l *loop) untouched(but string) {
	l.t.Helper()
	for _, name := range l.names {
		if name == but {
			continue
		}
		if st := l.status(name); st.PID != l.last[name].PID {
			l.t.Fatalf("unprovoked: %s was process %d and is %d (%s %s)\n%s", name, l.last[name].PID, st.PID, st.Phase, st.Error, l.talk.String())
		}
	}
}

// interruptedCommand kills somebody who is giving a command. What it did not
// come to is done by a second one, and then the server is up.
func (l *loop) interruptedCommand(name string) {
	l.t.Helper()
	op := []string{"start", "stop", "restart", "status", "reconcile", "upgrade", "attach"}[l.rng.IntN(7)]
	caller := l.process(roleCaller, l.m.Dir(), l.specs(), op, name)
	l.pause(40 * time.Millisecond)
	caller.Process.Kill()
	caller.Wait()
	l.kills++
	switch op {
	case "stop":
		l.mustCommand("stop", name)
		l.mustCommand("start", name)
		l.last[name] = l.settled(name)
	case "restart":
		l.mustCommand("restart", name)
		l.last[name] = l.settled(name)
	case "upgrade":
		l.last[name] = l.settled(name)
		l.untouched("")
	default:
		l.untouched("")
	}
	l.untouched(name)
}
