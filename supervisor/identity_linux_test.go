package supervisor_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/berth-run/berth"
)

// everyVerb asks everything of a server that might signal a process.
func (w *world) everyVerb(name string) {
	w.Helper()
	spec := restarting(deaf(), 3)
	w.status(name)
	if _, err := w.m.Stop(w.ctx, name); err != nil {
		w.Errorf("stop: %v", err)
	}
	if _, err := w.m.Reconcile(w.ctx, name, &spec); err != nil {
		w.Errorf("reconcile: %v", err)
	}
	w.start(name, spec)
	if err := w.m.Restart(w.ctx, name, spec); err != nil {
		w.Errorf("restart: %v", err)
	}
	w.stop(name)
}

// A file that says "running" names a stranger: the pid was used again. It is
// never signalled, not even one that runs the same command: it started when the
// record cannot mean it.
func TestFault5_StalePIDNeverHitsAStranger(t *testing.T) {
	for what, at := range map[string]func(refState) refState{
		"another command": func(st refState) refState {
			st.Command = "/usr/bin/some-server"
			return st
		},
		"other arguments": func(st refState) refState {
			st.Args = []string{"1001"}
			return st
		},
		"the same command, started later": func(st refState) refState {
			st.UpdatedAtEpochSecs -= 60
			return st
		},
		"the same command, started earlier": func(st refState) refState {
			st.UpdatedAtEpochSecs += 60
			return st
		},
	} {
		t.Run(what, func(t *testing.T) {
			w := newWorld(t)
			pid := w.process("sleep", "1000")
			st := refState{Status: "running", PID: uint32(pid), Command: "sleep", Args: []string{"1000"}, UpdatedAtEpochSecs: uint64(time.Now().Unix())}
			for _, verb := range []string{"every verb", "restart", "stop"} {
				w.writeRef("a", at(st))
				if got := w.status("a"); got.Status != berth.Stopped {
					t.Fatalf("status: %+v", got)
				}
				switch verb {
				case "every verb":
					w.everyVerb("a")
				case "restart":
					if err := w.m.Restart(w.ctx, "a", deaf()); err != nil {
						t.Fatal(err)
					}
					w.stop("a")
				case "stop":
					w.stop("a")
				}
				w.unharmed(pid)
			}
		})
	}
}

// The same with a record of ours, which names a process by more than its pid.
func TestFault5_OurStaleRecordNeverHitsAStranger(t *testing.T) {
	for what, of := range map[string]map[string]string{
		"another start time": {},
		"another boot":       {"boot_id": `"another"`},
		"another namespace":  {"pid_namespace": "1"},
	} {
		t.Run(what, func(t *testing.T) {
			w := newWorld(t)
			pid := w.process("sleep", "1000")
			was := w.orphan("a", deaf())
			end(t, was.PID)
			doc := replaceKey(t, w.read("runtime", "a.toml"), "pid", fmt.Sprint(pid))
			// Its own may be that of the stranger: a tick is 10 ms.
			doc = replaceKey(t, doc, "start_time", "1")
			for key, value := range of {
				// As if the pid and its start were the same there.
				doc = replaceKey(t, replaceKey(t, doc, key, value), "start_time", startTime(t, pid))
			}
			w.write(doc, "runtime", "a.toml")
			if got := w.status("a"); got.Status != berth.Stopped {
				t.Fatalf("status: %+v", got)
			}
			w.everyVerb("a")
			w.unharmed(pid)
		})
	}
}

// unharmed fails the test unless the process lives, runs, and was sent nothing:
// a signal that ends a process by default would have, one that stops it shows
// in its state, and what waits shows too.
func (w *world) unharmed(pid int) {
	w.Helper()
	if f := statOf(pid); len(f) == 0 || f[0] != "S" {
		w.Fatalf("the stranger is %s", describe(pid))
	}
	for line := range strings.Lines(procFile(w.T, pid, "status")) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ":\t")
		if (key == "SigPnd" || key == "ShdPnd") && strings.Trim(value, "0") != "" {
			w.Errorf("the stranger has %s %s", key, value)
		}
	}
}
