//go:build unix

package supervisor_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/berth-run/berth"
)

func TestA1_BlankCommand(t *testing.T) {
	w := newWorld(t)
	before := w.snapshot()
	for _, command := range []string{"", " ", "\t\n"} {
		spec := restarting(berth.ProcessSpec{Command: command}, 3)
		_, err := w.m.Start(w.ctx, "a", spec)
		is(t, err, berth.ErrInvalidSpec)
		is(t, w.m.Restart(w.ctx, "a", spec), berth.ErrInvalidSpec)
		is(t, w.m.Supervise(w.ctx, "a", spec), berth.ErrInvalidSpec)
		_, err = w.m.Reconcile(w.ctx, "a", &spec)
		is(t, err, berth.ErrInvalidSpec)
	}
	w.unchanged(before)
}

func TestA2_AlreadyRunning(t *testing.T) {
	w := newWorld(t)
	spec := idle()
	first := w.start("a", spec)
	before := w.snapshot()
	for _, other := range []berth.ProcessSpec{spec, sh("echo another"), {Command: "/no/such/program"}} {
		if outcome, err := w.m.Start(w.ctx, "a", other); err != nil || outcome != berth.AlreadyRunning {
			t.Errorf("start: %v, %v", outcome, err)
		}
	}
	w.unchanged(before)
	equal(t, "pid", w.status("a").PID, first.PID)
	// The spec that counts is the one that it was started with.
	w.stop("a")
	w.last("a", "stop").about(t, first.PID, spec)
}

func TestA2_AlreadyRunningOfTheReference(t *testing.T) {
	w := newWorld(t)
	ref := w.reference("a")
	before := w.snapshot()
	outcome, err := w.m.Start(w.ctx, "a", idle())
	if err != nil || outcome != berth.AlreadyRunning {
		t.Errorf("start: %v, %v", outcome, err)
	}
	w.unchanged(before)
	equal(t, "pid", w.status("a").PID, ref.pid)
}

// A server whose shim was killed has nobody to speak to, nor an open stdin: it
// is replaced, and never doubled.
func TestA2_StartOfAnOrphanReplacesIt(t *testing.T) {
	w := newWorld(t)
	spec := deaf()
	old := w.orphan("a", spec)
	st := w.start("a", spec)
	if st.PID == old.PID || st.Generation != old.Generation+1 {
		t.Errorf("status: %+v", st)
	}
	equal(t, "the old process lives", running(old.PID), false)
	w.hasLifecycle("a", startLine(old.PID), "EXIT", startLine(st.PID))
	w.hasActions("a", "start", "exit", "start")
	w.last("a", "exit").about(t, old.PID, spec)
}

func TestA3_DeadIsReplaced(t *testing.T) {
	bothDead(t, func(w *world, kill dead) {
		old := deaf()
		pid := kill(w, "a", old)
		spec := idle()
		st := w.start("a", spec)
		w.hasLifecycle("a", "EXIT", startLine(st.PID))
		w.hasActions("a", "exit", "start")
		w.last("a", "exit").about(w, pid, old)
		w.last("a", "start").about(w, st.PID, spec)
		equal(w, "pid on disk", int(w.readRef("a").PID), st.PID)
	})
}

func TestA4_StartIsOnRecord(t *testing.T) {
	w := newWorld(t)
	spec := restarting(sh("cat >/dev/null", "two words", `"quoted"`, "täg\n"), 5)
	begin := time.Now()
	st := w.start("a", spec)
	finish := time.Now()

	ref := w.readRef("a")
	want := refOf(uint32(st.PID), spec)
	if ref.Status != "running" || ref.PID != want.PID || ref.Command != want.Command || !slices.Equal(ref.Args, want.Args) ||
		!ref.AutoRestartEnabled || ref.MaxRestarts != 5 || ref.RestartAttempts != 0 {
		t.Errorf("state: %+v", ref)
	}
	if at := int64(ref.UpdatedAtEpochSecs); at < begin.Unix() || at > finish.Unix() {
		t.Errorf("the state is of %v", time.Unix(at, 0))
	}
	w.hasLifecycle("a", startLine(st.PID))
	w.hasActions("a", "start")
	r := w.last("a", "start")
	r.about(t, st.PID, spec)
	if r.Time.Before(begin.Add(-time.Second)) || r.Time.After(finish) || r.TimestampEpochSecs != r.Time.Unix() || r.Seq != 1 || r.Prev != "" {
		t.Errorf("record: %+v", r.Record)
	}
	for _, key := range []string{"timestampEpochSecs", "server", "action", "pid", "command", "args"} {
		if r.keys[key] == nil {
			t.Errorf("the record has no %s: %v", key, r.keys)
		}
	}
}

func TestA4_StartCountsAnew(t *testing.T) {
	w := newWorld(t)
	spec := restarting(idle(), 5)
	st := w.start("a", spec)
	for range 2 {
		w.kill(st.PID)
		st = w.awaitNext("a", st.Generation)
	}
	equal(t, "restarts", st.Restarts, 2)
	equal(t, "restarts on disk", w.readRef("a").RestartAttempts, 2)
	w.stop("a")
	equal(t, "restarts after a start", w.start("a", spec).Restarts, 0)
	equal(t, "restarts on disk after a start", w.readRef("a").RestartAttempts, 0)
}

func TestA5_CannotBeExecuted(t *testing.T) {
	dir := shortDir(t)
	file := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	plain := file("plain", "text", 0o600)
	for what, c := range map[string]struct {
		spec berth.ProcessSpec
		kind error
		name string
	}{
		"no such path":      {berth.ProcessSpec{Command: dir + "/missing"}, fs.ErrNotExist, dir + "/missing"},
		"not in the PATH":   {berth.ProcessSpec{Command: "no-such-program"}, fs.ErrNotExist, "no-such-program"},
		"not executable":    {berth.ProcessSpec{Command: plain}, fs.ErrPermission, plain},
		"a directory":       {berth.ProcessSpec{Command: dir}, fs.ErrPermission, dir},
		"below a file":      {berth.ProcessSpec{Command: plain + "/x"}, syscall.ENOTDIR, plain + "/x"},
		"no program":        {berth.ProcessSpec{Command: file("text", "just text", 0o700)}, syscall.ENOEXEC, dir + "/text"},
		"too long":          {sh(strings.Repeat("#", 200<<10)), syscall.E2BIG, "/bin/sh"},
		"no such directory": {berth.ProcessSpec{Command: "/bin/sh", Dir: dir + "/missing"}, fs.ErrNotExist, dir + "/missing"},
	} {
		t.Run(what, func(t *testing.T) {
			w := newWorld(t)
			outcome, err := w.m.Start(w.ctx, "a", restarting(c.spec, 3))
			if outcome != 0 {
				t.Errorf("outcome: %v", outcome)
			}
			is(t, err, c.kind, c.name, `"a"`)
			w.hasNotStarted("a")
			if st := w.status("a"); st.Phase != berth.PhaseFailed || !strings.Contains(st.Error, c.name) {
				t.Errorf("status: %+v", st)
			}
			// It is not beyond help.
			w.start("a", idle())
		})
	}
}

// hasNotStarted fails the test unless the server is down and nothing says that
// it ever ran.
func (w *world) hasNotStarted(name string) {
	w.Helper()
	if st := w.status(name); st.Status != berth.Stopped || st.PID != 0 {
		w.Errorf("status: %+v", st)
	}
	if ref := w.readRef(name); ref.Status != "stopped" || ref.PID != 0 {
		w.Errorf("state: %+v", ref)
	}
	w.hasLifecycle(name)
	if got := w.actions(name); slices.Contains(got, "start") {
		w.Errorf("the audit trail has %q", got)
	}
}

// A shim that waits to restart a server is told another way to run it.
func TestA5_CannotBeExecutedUnderAShim(t *testing.T) {
	w := newWorld(t)
	spec := w.inBackoff("a")
	_, err := w.m.Start(w.ctx, "a", berth.ProcessSpec{Command: "/no/such/program"})
	is(t, err, fs.ErrNotExist, "/no/such/program")
	if st := w.status("a"); st.Phase != berth.PhaseFailed {
		t.Errorf("status: %+v", st)
	}
	w.start("a", spec)
}

// inBackoff starts a server that is then in a backoff of an hour.
func (w *world) inBackoff(name string) berth.ProcessSpec {
	w.Helper()
	spec := idle()
	spec.AutoRestart = &berth.RestartPolicy{
		Enabled: true, MaxRestarts: 10, MinDelay: berth.Duration(time.Hour), MaxDelay: berth.Duration(time.Hour),
	}
	st := w.start(name, spec)
	w.kill(st.PID)
	st = w.awaitNext(name, st.Generation)
	w.kill(st.PID)
	w.await(name, "backoff", func(st berth.Status) bool {
		return st.Phase == berth.PhaseBackoff && !st.NextRestart.IsZero()
	})
	return spec
}

// Started means that the program survived exec: an interpreter that is missing
// is found out by exec alone.
func TestA7_StartedMeansExecuted(t *testing.T) {
	w := newWorld(t)
	path := filepath.Join(shortDir(t), "script")
	if err := os.WriteFile(path, []byte("#!/no/such/interpreter\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, limited := range []uint64{0, 100} { // the limit is set by a stage between fork and exec
		_, err := w.m.Start(w.ctx, "a", berth.ProcessSpec{Command: path, MaxFileDescriptors: limited})
		is(t, err, fs.ErrNotExist, path, "/no/such/interpreter")
		w.hasNotStarted("a")
	}
}

func TestA8_BadStateIsSetAside(t *testing.T) {
	spec := restarting(idle(), 3)
	for what, c := range map[string]struct {
		act  func(w *world) error
		want berth.RunState
	}{
		"start":     {func(w *world) error { _, err := w.m.Start(w.ctx, "a", spec); return err }, berth.Running},
		"restart":   {func(w *world) error { return w.m.Restart(w.ctx, "a", spec) }, berth.Running},
		"stop":      {func(w *world) error { _, err := w.m.Stop(w.ctx, "a"); return err }, berth.Stopped},
		"reconcile": {func(w *world) error { _, err := w.m.Reconcile(w.ctx, "a", nil); return err }, berth.Stopped},
		"reconcile with a spec": {func(w *world) error {
			_, err := w.m.Reconcile(w.ctx, "a", &spec)
			return err
		}, berth.Stopped},
	} {
		t.Run(what, func(t *testing.T) {
			w := newWorld(t)
			const rubbish = "status = \"running\"\npid = 1\nupdated_at_ep"
			w.write(rubbish, "runtime", "a.toml")
			if err := c.act(w); err != nil {
				t.Fatal(err)
			}
			st := w.status("a")
			equal(t, "status", st.Status, c.want)
			aside, err := filepath.Glob(w.path("runtime", "a.toml.bad-*"))
			if err != nil || len(aside) != 1 {
				t.Fatalf("set aside: %v, %v", aside, err)
			}
			if text, err := os.ReadFile(aside[0]); err != nil || string(text) != rubbish {
				t.Errorf("what was set aside: %q, %v", text, err)
			}
			if log := w.read("logs", "a.log"); !strings.Contains(log, aside[0]) {
				t.Errorf("the log does not tell of it: %q", log)
			}
			if st.Status == berth.Running && !strings.Contains(st.Warning, aside[0]) {
				t.Errorf("status does not warn: %+v", st)
			}
		})
	}
}

// What ran when its state was damaged is found without it, and ended.
func TestA8_BadStateOfAnOrphan(t *testing.T) {
	for _, verb := range []string{"start", "stop"} {
		t.Run(verb, func(t *testing.T) {
			w := newWorld(t)
			old := w.orphan("a", deaf())
			w.write("rubbish", "runtime", "a.toml")
			if verb == "start" {
				w.start("a", idle())
			} else if _, err := w.m.Stop(w.ctx, "a"); err != nil {
				t.Fatal(err)
			}
			equal(t, "the old process lives", running(old.PID), false)
		})
	}
}

func TestA9_PolicyIsAsked(t *testing.T) {
	for what, c := range map[string]struct {
		policy string
		kind   error
	}{
		"denied":    {"[servers]\ndeny = [\"other\", \"A\"]\n", berth.ErrDenied},
		"all":       {"[servers]\ndeny = [\"*\"]\n", berth.ErrDenied},
		"malformed": {"[servers\n", berth.ErrBadConfig},
	} {
		t.Run(what, func(t *testing.T) {
			w := newWorld(t)
			w.write(c.policy, "policy.toml")
			_, err := w.m.Start(w.ctx, "a", idle())
			is(t, err, c.kind, w.path("policy.toml"))
			w.hasNotStarted("a")
			w.hasActions("a", "policy-denied")
			is(t, w.m.Restart(w.ctx, "a", idle()), c.kind)
			w.hasNotStarted("a")
			if st := w.status("a"); st.Phase != berth.PhaseFailed || !strings.Contains(st.Error, "policy.toml") {
				t.Errorf("status: %+v", st)
			}
		})
	}
}

// A policy that came after the start: what runs goes on, Start says so, and
// what would replace it is refused before anything is ended.
func TestA9_PolicyIsAskedBeforeAnythingIsEnded(t *testing.T) {
	for what, c := range map[string]struct {
		policy string
		kind   error
	}{
		"denied":    {"[servers]\ndeny = [\"a\"]\n", berth.ErrDenied},
		"malformed": {"[servers\n", berth.ErrBadConfig},
	} {
		t.Run(what, func(t *testing.T) {
			w := newWorld(t)
			spec := restarting(idle(), 7)
			was := w.start("a", spec)
			w.write(c.policy, "policy.toml")
			if outcome, err := w.m.Start(w.ctx, "a", idle()); err != nil || outcome != berth.AlreadyRunning {
				t.Errorf("start: %v, %v", outcome, err)
			}
			is(t, w.m.Restart(w.ctx, "a", idle()), c.kind, w.path("policy.toml"))
			is(t, w.m.Renew(w.ctx, "a", was.Generation), c.kind, w.path("policy.toml"))
			st := w.status("a")
			if st.PID != was.PID || st.Status != berth.Running || st.MaxRestarts != 7 || st.Error != "" {
				t.Errorf("status: %+v", st)
			}
			w.hasLifecycle("a", startLine(was.PID))
			w.hasActions("a", "start", "policy-denied", "policy-denied")
			w.stop("a") // which nothing forbids
		})
	}
}

func TestA9_PolicyIsAskedBeforeTheReferenceIsEnded(t *testing.T) {
	w := newWorld(t)
	ref := w.reference("a")
	w.write("[servers]\ndeny = [\"a\"]\n", "policy.toml")
	is(t, w.m.Restart(w.ctx, "a", idle()), berth.ErrDenied, w.path("policy.toml"))
	equal(t, "the reference's process runs", running(ref.pid), true)
	w.hasActions("a", "policy-denied")
	w.stop("a")
}
