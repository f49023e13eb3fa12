package proc

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestSelf(t *testing.T) {
	id, err := Self()
	if err != nil {
		t.Fatal(err)
	}
	if id.PID != os.Getpid() || id.Start == 0 || len(id.Boot) != 36 || id.Namespace == 0 {
		t.Errorf("%+v", id)
	}
	again, err := Identify(os.Getpid())
	if again != id || err != nil {
		t.Errorf("Identify: %+v, %v; Self: %+v", again, err, id)
	}
	text, err := json.Marshal(id)
	if err != nil {
		t.Fatal(err)
	}
	var back ID
	if err := json.Unmarshal(text, &back); err != nil || back != id {
		t.Errorf("through JSON: %+v, %v", back, err)
	}
	if alive, err := id.Alive(); !alive || err != nil {
		t.Errorf("Alive: %v, %v", alive, err)
	}
}

// TestOtherWorlds: what an ID of another boot, namespace or time is worth.
func TestOtherWorlds(t *testing.T) {
	self, err := Self()
	if err != nil {
		t.Fatal(err)
	}
	cases := []struct {
		name     string
		change   func(*ID)
		aliveErr error
		pinErr   error
	}{
		{"another boot", func(id *ID) { id.Boot = "00000000-0000-0000-0000-000000000000" }, nil, ErrGone},
		{"no boot", func(id *ID) { id.Boot = "" }, nil, ErrGone},
		{"another namespace", func(id *ID) { id.Namespace++ }, ErrForeign, ErrForeign},
		{"another start", func(id *ID) { id.Start++ }, nil, ErrGone},
		{"no such pid", func(id *ID) { id.PID = math.MaxInt32 }, nil, ErrGone},
		{"no pid", func(id *ID) { id.PID = 0 }, nil, ErrGone},
		{"negative pid", func(id *ID) { id.PID = -1 }, nil, ErrGone},
	}
	for _, c := range cases {
		id := self
		c.change(&id)
		if alive, err := id.Alive(); alive || !errors.Is(err, c.aliveErr) {
			t.Errorf("%s: Alive: %v, %v", c.name, alive, err)
		}
		p, err := Pin(id)
		if !errors.Is(err, c.pinErr) {
			t.Errorf("%s: Pin: %v", c.name, err)
		}
		if err == nil {
			p.Close()
		}
	}
}

// TestThreadIsNoProcess: /proc answers for the ids of threads too.
func TestThreadIsNoProcess(t *testing.T) {
	self, err := Self()
	if err != nil {
		t.Fatal(err)
	}
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil || len(tasks) < 2 {
		t.Fatal(len(tasks), err)
	}
	for _, task := range tasks {
		id := self
		if id.PID, err = strconv.Atoi(task.Name()); err != nil || id.PID == self.PID {
			continue
		}
		s, err := readStat(id.PID)
		if err != nil {
			continue
		}
		id.Start = s.start
		if _, err := Pin(id); !errors.Is(err, ErrGone) {
			t.Errorf("thread %d was pinned (%v)", id.PID, err)
		}
	}
}

func TestPinned(t *testing.T) {
	checkLeaks(t)
	cmd := exec.Command("/bin/cat")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	id, err := Identify(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	p, err := Pin(id)
	if err != nil {
		t.Fatal(err)
	}
	mustBe(t, "ID", p.ID(), id)
	short, cancel := context.WithCancel(t.Context())
	cancel()
	if err := p.Wait(short); !errors.Is(err, context.Canceled) {
		t.Errorf("Wait for one that lives: %v", err)
	}
	// Not reaped: dead all the same.
	in.Close()
	if err := p.Wait(deadlineContext(t)); err != nil {
		t.Fatal(err)
	}
	if alive, err := id.Alive(); alive || err != nil {
		t.Errorf("a zombie is alive: %v, %v", alive, err)
	}
	if _, err := Identify(id.PID); !errors.Is(err, ErrGone) || !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("Identify of a zombie: %v", err)
	}
	if _, err := Pin(id); !errors.Is(err, ErrGone) {
		t.Errorf("Pin of a zombie: %v", err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if err := p.Kill(); !errors.Is(err, ErrGone) {
		t.Errorf("Kill of one that was reaped: %v", err)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	if err := p.Kill(); err == nil {
		t.Error("a closed handle sent a signal")
	}
}

// TestPinnedKill: a signal reaches a process that is nobody's child here.
func TestPinnedKill(t *testing.T) {
	checkLeaks(t)
	cmd := exec.Command("/bin/sh", "-c", "cat <&3 & echo $!; exec 3>&-; read x")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	r, w := mustPipe(t)
	defer r.Close()
	defer w.Close()
	cmd.ExtraFiles = []*os.File{r}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var pid int
	if err := json.NewDecoder(out).Decode(&pid); err != nil {
		t.Fatal(err)
	}
	id, err := Identify(pid)
	if err != nil {
		t.Fatal(err)
	}
	self, err := Self()
	if err != nil {
		t.Fatal(err)
	}
	if list, err := Descendants(self); err != nil || !slices.Contains(list, id) {
		t.Errorf("Descendants: %v, %v; want %v in it", list, err, id)
	}
	p, err := Pin(id)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	done := p.Done()
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-done:
	case <-deadlineContext(t).Done():
		t.Fatal("no end")
	}
	in.Close()
	_ = cmd.Wait()
}

func TestPinnedCloseEndsDone(t *testing.T) {
	checkLeaks(t) // the goroutine behind Done, too
	self, err := Self()
	if err != nil {
		t.Fatal(err)
	}
	p, err := Pin(self)
	if err != nil {
		t.Fatal(err)
	}
	done := p.Done()
	p.Close()
	select {
	case <-done:
		t.Error("done, but this process lives")
	default:
	}
}

func TestDescribe(t *testing.T) {
	before := time.Now()
	cmd := exec.Command("/bin/sh")
	cmd.Args = []string{"an odd name", "-c", "echo; read x", "", "ü\n"}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer in.Close()
	// Start returns when execve(2) has closed descriptors, which is before the process
	// has its arguments.
	if _, err := out.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	info, err := Describe(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	mustBe(t, "pid", info.ID.PID, cmd.Process.Pid)
	mustBe(t, "uid", info.UID, os.Geteuid())
	if !slices.Equal(info.Argv, cmd.Args) {
		t.Errorf("argv %q, want %q", info.Argv, cmd.Args)
	}
	// A tick is 10 ms, and the clocks are read one after the other.
	if info.Started.Before(before.Add(-100*time.Millisecond)) || info.Started.After(time.Now().Add(100*time.Millisecond)) {
		t.Errorf("started %v, but it is about %v", info.Started, before)
	}
	if _, err := Describe(math.MaxInt32); !errors.Is(err, ErrGone) {
		t.Errorf("Describe of nobody: %v", err)
	}
}

func TestLookPath(t *testing.T) {
	dir := t.TempDir()
	bin, other := filepath.Join(dir, "bin"), filepath.Join(dir, "other")
	for _, d := range []string{bin, other, filepath.Join(bin, "folder")} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for path, mode := range map[string]os.FileMode{
		filepath.Join(bin, "tool"): 0o755, filepath.Join(bin, "plain"): 0o644,
		filepath.Join(other, "plain"): 0o755, filepath.Join(other, "tool"): 0o755,
	} {
		if err := os.WriteFile(path, nil, mode); err != nil {
			t.Fatal(err)
		}
	}
	env := []string{"PATH=/wrong", "PATH=" + strings.Join([]string{"", ".", "other", bin, other}, ":"), "X=1"}
	cases := []struct {
		command, want string
		kind          error
	}{
		{"tool", filepath.Join(bin, "tool"), nil},
		{"plain", filepath.Join(other, "plain"), nil},
		{"bin/tool", filepath.Join(bin, "tool"), nil},
		{"./bin/tool", filepath.Join(bin, "tool"), nil},
		{filepath.Join(bin, "tool"), filepath.Join(bin, "tool"), nil},
		{"folder", "", fs.ErrPermission},
		{"bin/plain", "", fs.ErrPermission},
		{"nothing", "", fs.ErrNotExist},
		{"bin/nothing", "", fs.ErrNotExist},
		{"", "", fs.ErrPermission},
	}
	for _, c := range cases {
		got, err := LookPath(c.command, dir, env)
		if got != c.want || !errors.Is(err, c.kind) {
			t.Errorf("LookPath(%q) = %q, %v", c.command, got, err)
		}
		if err != nil && !strings.Contains(err.Error(), `"`+c.command+`"`) {
			t.Errorf("LookPath(%q): the error does not name the command: %v", c.command, err)
		}
	}
	if _, err := LookPath("sh", "/", nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without PATH: %v", err)
	}
}
