package supervisor_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/supervisor"
)

// Options.Executable becomes the shim, also when its file is removed while the
// server runs: what the shim needs of it later, it finds.
func TestExecutableIsTheShim(t *testing.T) {
	exe := filepath.Join(shortDir(t), "other")
	copySelf(t, exe)
	w := newWorldWith(t, supervisor.Options{Executable: exe})
	spec := restarting(idle(), 3)
	spec.MaxFileDescriptors = 64 // which takes a process of the shim's own between
	st := w.start("a", spec)
	equal(t, "the shim's program", programOf(t, st.ShimPID), exe)
	if err := os.Remove(exe); err != nil {
		t.Fatal(err)
	}
	w.kill(st.PID)
	next := w.awaitNext("a", st.Generation)
	equal(t, "shim", next.ShimPID, st.ShimPID)
	w.stop("a")
	w.awaitShimEnd("a")
	_, err := w.m.Start(w.ctx, "a", spec)
	is(t, err, fs.ErrNotExist, exe)
}

// programOf returns the file that a process executes.
func programOf(t *testing.T, pid int) string {
	t.Helper()
	path, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// A binary that cannot become a shim is said to be none, with what to do; it is
// ended, and nothing is made.
func TestExecutableThatIsNoShim(t *testing.T) {
	w := newWorld(t)
	for what, c := range map[string]struct {
		exe  string
		kind error
		why  string
	}{
		"ends at once":          {"/bin/true", berth.ErrNoShim, "it ended without a greeting"},
		"never ends":            {w.program("exec sleep 1000"), berth.ErrNoShim, "it did not greet within 100ms"},
		"says something else":   {w.program("echo 'berth-shim 9000, at your service' >&3; exec sleep 1000"), berth.ErrNoShim, "it greeted as something else"},
		"says half of it":       {w.program("printf berth-sh >&3"), berth.ErrNoShim, "it ended without a greeting"},
		"is not there":          {"/no/such/berth", fs.ErrNotExist, ""},
		"is not executable":     {w.path("locks", "probe"), fs.ErrPermission, ""},
		"is a directory":        {w.dir, fs.ErrPermission, ""},
		"has no file's content": {os.DevNull, fs.ErrPermission, ""},
	} {
		t.Run(what, func(t *testing.T) {
			w := &world{T: t, dir: w.dir, ctx: w.ctx}
			before := w.snapshot()
			begin := time.Now()
			timeout := patience
			if strings.Contains(c.why, "100ms") {
				timeout = 100 * time.Millisecond
			}
			m, err := supervisor.Open(&supervisor.Options{Home: w.dir, Executable: c.exe, GreetTimeout: timeout})
			if err != nil {
				t.Fatal(err)
			}
			outcome, err := m.Start(w.ctx, "a", idle())
			is(t, err, c.kind, c.exe, `"a"`, c.why)
			equal(t, "outcome", outcome, 0)
			var hint *berth.Hinted
			if c.kind == berth.ErrNoShim && (!errors.As(err, &hint) || !strings.Contains(hint.Hint, "Options.Executable")) {
				t.Errorf("the error %v has no hint", err)
			}
			if d := time.Since(begin); d > patience/2 {
				t.Errorf("it was found out after %v", d)
			}
			w.unchanged(before)
		})
	}
}
