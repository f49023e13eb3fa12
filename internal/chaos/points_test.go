//go:build linux && failpoint

package chaos

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/berth-run/berth"
)

// TestEveryPoint kills whoever comes to each named point first, and expects the
// keeper to heal what that broke; and once more without a keeper, where the next
// command has to.
func TestEveryPoint(t *testing.T) {
	names := points(t)
	if len(names) < 30 {
		t.Fatalf("%d points are too few: %v", len(names), names)
	}
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			if why := elsewhere(name); why != "" {
				t.Skip(why)
			}
			for _, keeper := range []bool{true, false} {
				kindsOf(t, name, func(k kind) bool { return killAt(t, name, k, keeper) })
			}
		})
	}
}

// points finds the names in the source, so that none is forgotten.
func points(t *testing.T) []string {
	t.Helper()
	call := regexp.MustCompile(`fail\.Point\("([^"]+)"\)`)
	var names []string
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, m := range call.FindAllStringSubmatch(string(text), -1) {
			if slices.Contains(names, m[1]) {
				t.Errorf("the point %s is named twice", m[1])
			}
			names = append(names, m[1])
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// elsewhere says why a point is not for this test.
func elsewhere(name string) string {
	if strings.Contains(name, ".job-") {
		return "job objects are Windows'"
	}
	switch name {
	case "home.audit.rotated", "home.log.rotate-between", "home.log.rotate-done":
		return "a rotation needs more output than a server here makes; internal/home kills at it"
	case "home.aside.renamed", "home.remove.removed":
		return "no server is involved; internal/home kills at it"
	}
	return ""
}

// kindsOf calls try for servers of several kinds until one comes to the point.
func kindsOf(t *testing.T, name string, try func(kind) bool) {
	t.Helper()
	mechanism := berth.TreeAuto
	switch {
	case strings.Contains(name, "pidns"):
		mechanism = berth.TreePIDNamespace
	case strings.Contains(name, "swept"), strings.Contains(name, "plain"), strings.Contains(name, "hunt"):
		mechanism = berth.TreeSubreaper
	}
	for _, k := range shKinds() {
		k.mechanism = mechanism
		if try(k) {
			return
		}
	}
	t.Errorf("no scenario comes to %s", name)
}

// killAt arms the point, goes through the life of a server, and says whether
// somebody came to it.
func killAt(t *testing.T, point string, k kind, keeper bool) bool {
	t.Helper()
	w := newWorld(t)
	const name = "subject"
	w.add(name, k)
	armed := filepath.Join(w.points, point)
	hit := func() bool {
		_, err := os.Stat(armed + ".hit")
		return err == nil
	}
	if keeper {
		w.startKeeper()
	}
	scenarios := []struct {
		name string
		do   func()
		up   bool // the server is to be up afterwards
	}{
		{"start", func() { w.command("start", name) }, true},
		{"attach", func() { w.command("attach", name) }, true},
		{"crash", func() { kill(w.status(name).PID) }, true},
		{"upgrade", func() { w.command("upgrade", name) }, true},
		{"restart", func() { w.command("restart", name) }, true},
		{"kill the shim", func() {
			kill(w.status(name).ShimPID)
			if !keeper {
				w.command("reconcile", name)
			}
		}, true},
		{"kill the shim of one that was stopped", func() {
			kill(w.status(name).ShimPID)
			w.command("stop", name)
		}, false},
		{"start again", func() { w.command("start", name) }, true},
		{"stop", func() { w.command("stop", name) }, false},
	}
	if err := os.WriteFile(armed, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, s := range scenarios {
		s.do()
		if s.name == "crash" && !hit() {
			// The crash is noticed without a command: the point may be about
			// to be reached.
			w.awaitStill(name, hit)
		}
		if !hit() {
			if s.up && !keeper && w.status(name).Status != berth.Running {
				w.mustCommand("start", name)
			}
			continue
		}
		w.afterPoint(name, s.up, keeper)
		return true
	}
	w.nothingLeft(name)
	return false
}

// awaitStill waits until the server is up again or the point was reached.
func (w *world) awaitStill(name string, hit func() bool) {
	w.t.Helper()
	for deadline := time.Now().Add(awaited); time.Now().Before(deadline) && !hit(); {
		if st := w.status(name); st.Phase == berth.PhaseRunning {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// afterPoint expects what a blow at a point must not have broken.
func (w *world) afterPoint(name string, up, keeper bool) {
	w.t.Helper()
	if keeper && w.keeperDied() {
		w.startKeeper() // it was the one that came to the point
	}
	st := w.status(name)
	if st.Status == berth.Running && st.PID == 0 || st.Status == berth.Stopped && st.PID != 0 {
		w.t.Errorf("the status contradicts itself: %+v", st)
	}
	if up {
		if keeper {
			w.awaitUpOrNeverStarted(name)
		}
		w.mustCommand("start", name)
		w.awaitUp(name, 0)
		w.mustCommand("attach", name)
	}
	w.nothingLeft(name)
	w.noTwins()
	w.soundFiles()
}

// awaitUpOrNeverStarted waits for the keeper, unless the one that came to the
// point was a caller that had not yet said what it wants.
func (w *world) awaitUpOrNeverStarted(name string) {
	w.t.Helper()
	if st, found, err := w.home.ReadState(name); err == nil && (!found || st.Desired != string(berth.Running)) {
		return
	}
	w.awaitUp(name, 0)
}

func (w *world) keeperDied() bool {
	w.t.Helper()
	// A keeper that was killed has no audience for its last words; whether it
	// lives is asked of the kernel.
	return w.keeper.Process.Signal(nullSignal) != nil || isZombie(w.keeper.Process.Pid)
}
