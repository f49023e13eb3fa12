package supervisor_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/berth-run/berth"
)

// tear leaves the first n bytes of the server's state.
func (w *world) tear(name, doc string, n int) {
	w.Helper()
	w.write(doc[:n], "runtime", name+".toml")
}

// forgetSetAside removes what was set aside of a state, and returns how many
// files that were.
func (w *world) forgetSetAside(name string) int {
	w.Helper()
	aside, err := filepath.Glob(w.path("runtime", name+".toml.bad-*"))
	if err != nil {
		w.Fatal(err)
	}
	for _, file := range aside {
		if err := os.Remove(file); err != nil {
			w.Fatal(err)
		}
	}
	return len(aside)
}

// isTorn fails the test unless the error names the torn file.
func (w *world) isTorn(name string, err error) {
	w.Helper()
	is(w, err, berth.ErrBadState, w.path("runtime", name+".toml")+":")
}

// The state of a stopped server, cut at every byte: status says so and changes
// nothing. Then it does not matter where it was cut: the server can be stopped,
// and started.
func TestTornState_Stopped(t *testing.T) {
	w := newWorld(t)
	spec := restarting(idle(), 3)
	w.start("a", spec)
	w.stop("a")
	w.awaitShimEnd("a")
	doc := w.read("runtime", "a.toml")
	for n := range len(doc) - 1 { // the last newline says nothing
		w.tear("a", doc, n)
		_, err := w.m.Status(w.ctx, "a")
		w.isTorn("a", err)
		equal(t, "the file after a status", w.read("runtime", "a.toml"), doc[:n])
		step := rounds(11, 97)
		if n%step != 0 {
			continue
		}
		if n%2 == 0 {
			if outcome, err := w.m.Stop(w.ctx, "a"); err != nil || outcome != berth.AlreadyStopped {
				t.Fatalf("cut at %d: stop: %v, %v", n, outcome, err)
			}
			equal(t, "status", w.status("a").Phase, berth.PhaseStopped)
		} else if st := w.reconcile("a", &spec); st.Status != berth.Stopped {
			t.Fatalf("cut at %d: reconcile: %+v", n, st)
		}
		if w.forgetSetAside("a") != 1 {
			t.Fatalf("cut at %d: the file was not set aside", n)
		}
		if n%(5*step) == 0 {
			w.tear("a", doc, n)
			w.start("a", spec)
			w.stop("a")
			w.awaitShimEnd("a")
			w.forgetSetAside("a")
		}
	}
}

// That of a server that runs: its shim knows better. What it is asked, it does,
// and the file is whole again.
func TestTornState_Running(t *testing.T) {
	w := newWorld(t)
	spec := restarting(idle(), 1000)
	st := w.start("a", spec)
	doc := w.read("runtime", "a.toml")
	for n := range doc {
		w.tear("a", doc, n)
		if got := w.status("a"); got.PID != st.PID || got.Status != berth.Running || got.Error != "" {
			t.Fatalf("cut at %d: %+v", n, got)
		}
		if outcome, err := w.m.Start(w.ctx, "a", spec); err != nil || outcome != berth.AlreadyRunning {
			t.Fatalf("cut at %d: start: %v, %v", n, outcome, err)
		}
		if n%rounds(31, 199) != 0 {
			continue
		}
		switch n % 3 {
		case 0: // a crash
			w.kill(st.PID)
			st = w.awaitNext("a", st.Generation)
		case 1:
			if err := w.m.Restart(w.ctx, "a", spec); err != nil {
				t.Fatalf("cut at %d: restart: %v", n, err)
			}
			st = w.status("a")
		case 2:
			w.stop("a")
			equal(t, "status on disk", w.readRef("a").Status, "stopped")
			st = w.start("a", spec)
		}
		equal(t, "pid on disk", int(w.readRef("a").PID), st.PID)
	}
	equal(t, "files that were set aside", w.forgetSetAside("a"), 0)
}

// That of a server whose shim was killed too: nobody takes it for another, and
// the next start or stop ends it.
func TestTornState_Orphan(t *testing.T) {
	w := newWorld(t)
	spec := outliving()
	old := w.orphan("a", spec)
	doc := w.read("runtime", "a.toml")
	for n := 0; n < len(doc)-1; n++ {
		w.tear("a", doc, n)
		_, err := w.m.Status(w.ctx, "a")
		w.isTorn("a", err)
		if n%rounds(41, 251) != 0 {
			continue
		}
		if !running(old.PID) {
			t.Fatalf("cut at %d: a status has ended it", n)
		}
		if n%2 == 0 {
			if _, err := w.m.Stop(w.ctx, "a"); err != nil {
				t.Fatalf("cut at %d: stop: %v", n, err)
			}
			w.hasNoProcess("a", fmt.Sprintf("cut at %d, after a stop", n))
		} else {
			st := w.start("a", spec)
			if others := len(w.membersOf("a")); others != 1 || running(old.PID) {
				t.Fatalf("cut at %d: %d processes are up, of which %d is one", n, others, st.PID)
			}
			w.stop("a")
		}
		equal(t, "files that were set aside", w.forgetSetAside("a"), 1)
		w.awaitShimEnd("a")
		old = w.orphan("a", spec)
		doc = w.read("runtime", "a.toml")
	}
	w.write(doc, "runtime", "a.toml")
}

// The end of the audit trail, torn at every byte while a server runs: the
// server can be stopped, what was acknowledged before is there, and what was
// torn is told.
func TestTornAudit(t *testing.T) {
	w := newWorld(t)
	for n := 1; ; n += rounds(13, 60) {
		st := w.start("a", idle())
		whole := w.read("audit", "audit.jsonl")
		last := strings.LastIndexByte(whole[:len(whole)-1], '\n') + 1
		if n >= len(whole)-last {
			w.stop("a")
			break
		}
		w.write(whole[:last+n], "audit", "audit.jsonl")
		w.stop("a")
		after := w.read("audit", "audit.jsonl")
		if !strings.HasPrefix(after, whole[:last+n]+"\n") {
			t.Fatalf("torn after %d bytes: what was there has changed", n)
		}
		for _, want := range []string{`"action":"audit-repaired"`, fmt.Sprintf("an unfinished line of %d bytes", n), `"action":"stop"`, fmt.Sprintf(`"pid":%d`, st.PID)} {
			if !strings.Contains(after[last+n:], want) {
				t.Errorf("torn after %d bytes: no %s in %s", n, want, after[last+n:])
			}
		}
		if strings.Count(after, "\n") < strings.Count(whole, "\n")+1 || !strings.HasSuffix(after, "}\n") {
			t.Errorf("torn after %d bytes: it ends with %q", n, after[last:])
		}
		w.awaitShimEnd("a")
		// A trail without a fault in it is what the next round tears.
		for _, file := range []string{"audit.jsonl", "head"} {
			if err := os.Remove(w.path("audit", file)); err != nil && !errors.Is(err, os.ErrNotExist) {
				t.Fatal(err)
			}
		}
	}
}
