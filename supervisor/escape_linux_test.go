package supervisor_test

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/berth-run/berth"
)

// A server that became another user cannot be signalled by its own: the stop
// says so and names it, and nothing says "stopped" while it lives.
func TestP4_SignalIsRefused(t *testing.T) {
	g := newGuest(t)
	become := filepath.Join(filepath.Dir(g.exe), "become")
	copySelf(t, become)
	if err := os.Chmod(become, 0o755|os.ModeSetuid); err != nil {
		t.Fatal(err)
	}
	pipe := g.gate()
	spec := berth.ProcessSpec{
		Command: become, Args: []string{rolePrefix + "become-root", pipe},
		Grace: berth.Duration(50 * time.Millisecond),
		// In a user namespace the file's owner would mean nothing.
		TreeKill: berth.TreeProcessGroup,
	}
	a := g.call(request{Verb: "start", Name: "a", Spec: spec})
	if a.Outcome != "started" {
		t.Fatalf("start: %+v", a)
	}
	t.Cleanup(func() { end(t, a.Status.PID) })
	needs(t, g.hear(pipe) == "user 0", "a file system that honours the set-user-ID bit")

	got := g.call(request{Verb: "stop", Name: "a"})
	if !got.is("permission") || !strings.Contains(got.Error, strconv.Itoa(a.Status.PID)) {
		t.Errorf("stop: %q, of the kinds %q", got.Error, got.Kinds)
	}
	if !running(a.Status.PID) {
		t.Fatal("the server ended all the same")
	}
	st := g.call(request{Verb: "status", Name: "a"}).Status
	if st.Status != berth.Running || st.PID != a.Status.PID || st.Error == "" {
		t.Errorf("status while it lives: %+v", st)
	}
	equal(t, "status on disk while it lives", g.readRef("a").Status, "running")
	equal(t, "lines of the log", fmt.Sprint(g.lifecycle("a")), fmt.Sprintf("[%s]", startLine(a.Status.PID)))

	// Once somebody with the right to ended it, a stop is a stop.
	end(t, a.Status.PID)
	if got := g.call(request{Verb: "stop", Name: "a"}); got.Error != "" || got.Status.Status != berth.Stopped {
		t.Errorf("stop after its end: %+v", got)
	}
}

// hear returns the next line that a server writes into a gate.
func (w *world) hear(gate string) string {
	w.Helper()
	f, err := os.OpenFile(gate, os.O_RDWR, 0) // so that it does not wait for a writer
	if err != nil {
		w.Fatal(err)
	}
	defer f.Close()
	if err := f.SetReadDeadline(time.Now().Add(patience)); err != nil {
		w.Fatal(err)
	}
	line, err := bufio.NewReader(f).ReadString('\n')
	if err != nil {
		w.Fatalf("the server says nothing: %v", err)
	}
	return strings.TrimSuffix(line, "\n")
}
