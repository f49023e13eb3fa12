package supervisor_test

import (
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/berth-run/berth"
)

// A zombie is dead: nothing of it runs, it only waits for its parent.
func TestS3_ZombieIsDead(t *testing.T) {
	w := newWorld(t)
	ref := w.reference("a")
	w.kill(ref.pid)
	awaitZombie(t, ref.pid)
	if st := w.status("a"); st.Status != berth.Stopped || st.PID != 0 {
		t.Errorf("status of the reference's zombie: %+v", st)
	}
	// A record of ours of a zombie is made by hand: that of a server whose shim
	// was killed is reaped by another parent.
	w.orphan("b", deaf())
	doc := replaceKey(t, w.read("runtime", "b.toml"), "pid", fmt.Sprint(ref.pid))
	doc = replaceKey(t, doc, "start_time", startTime(t, ref.pid))
	w.write(doc, "runtime", "b.toml")
	if st := w.status("b"); st.Status != berth.Stopped || st.PID != 0 {
		t.Errorf("status of our zombie: %+v", st)
	}
}

// A record of ours is of one process for ever: the same pid with another start
// time, boot or namespace is somebody else.
func TestS3_RunningByIdentity(t *testing.T) {
	w := newWorld(t)
	was := w.orphan("a", outliving())
	doc := w.read("runtime", "a.toml")
	for key, c := range map[string]struct{ value, why string }{
		"start_time": {"1", "its supervisor was killed"},
		"boot_id":    {`"another"`, "the system went down while it ran"},
	} {
		w.write(replaceKey(t, doc, key, c.value), "runtime", "a.toml")
		if st := w.status("a"); st.Status != berth.Stopped || st.PID != 0 || st.Error != c.why {
			t.Errorf("another %s: %+v", key, st)
		}
	}
	w.write(replaceKey(t, doc, "pid_namespace", "1"), "runtime", "a.toml")
	if st := w.status("a"); st.Status != berth.Stopped || st.PID != 0 || st.Warning == "" {
		t.Errorf("another PID namespace: %+v", st)
	}
	w.write(doc, "runtime", "a.toml")
	equal(t, "pid by its own record", w.status("a").PID, was.PID)
}

// replaceKey returns the document with another value of a key that it has.
func replaceKey(t *testing.T, doc, key, value string) string {
	t.Helper()
	var b strings.Builder
	found := false
	for line := range strings.Lines(doc) {
		if strings.HasPrefix(line, key+" = ") {
			found = true
			line = key + " = " + value + "\n"
		}
		b.WriteString(line)
	}
	if !found {
		t.Fatalf("there is no key %s in\n%s", key, doc)
	}
	return b.String()
}

// startTime returns the 22nd field of /proc/PID/stat, as a state names it.
func startTime(t *testing.T, pid int) string {
	t.Helper()
	f := statOf(pid)
	if len(f) < 20 {
		t.Fatalf("there is no process %d", pid)
	}
	return f[19]
}

// awaitZombie returns when a child has ended; it is not reaped.
func awaitZombie(t *testing.T, pid int) {
	t.Helper()
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		return
	}
}
