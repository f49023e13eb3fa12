//go:build unix

package supervisor_test

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pelletier/go-toml/v2"

	"github.com/berth-run/berth"
)

// refState is a state file as the reference knows it: these keys, these types.
// It reads ours with them, and writes its own in this order.
type refState struct {
	Status             string   `toml:"status"`
	PID                uint32   `toml:"pid,omitempty"`
	Command            string   `toml:"command,omitempty"`
	Args               []string `toml:"args"`
	AutoRestartEnabled bool     `toml:"auto_restart_enabled"`
	MaxRestarts        uint32   `toml:"max_restarts"`
	RestartAttempts    uint32   `toml:"restart_attempts"`
	UpdatedAtEpochSecs uint64   `toml:"updated_at_epoch_secs"`
}

// writeRef writes a state file as the reference does.
func (w *world) writeRef(name string, st refState) {
	w.Helper()
	if st.UpdatedAtEpochSecs == 0 {
		st.UpdatedAtEpochSecs = uint64(time.Now().Unix())
	}
	doc, err := toml.Marshal(st)
	if err != nil {
		w.Fatal(err)
	}
	w.write(string(doc), "runtime", name+".toml")
}

// readRef reads a state file as the reference does: it demands two keys.
func (w *world) readRef(name string) refState {
	w.Helper()
	st, err := parseRef([]byte(w.read("runtime", name+".toml")))
	if err != nil {
		w.Fatalf("the reference cannot read the state: %v", err)
	}
	return st
}

func parseRef(doc []byte) (refState, error) {
	var st refState
	var keys map[string]any
	if err := toml.Unmarshal(doc, &keys); err != nil {
		return st, err
	}
	for _, key := range []string{"status", "updated_at_epoch_secs"} {
		if _, ok := keys[key]; !ok {
			return st, fmt.Errorf("the key %s is missing", key)
		}
	}
	if err := toml.Unmarshal(doc, &st); err != nil {
		return st, err
	}
	if st.Status != "running" && st.Status != "stopped" {
		return st, fmt.Errorf("status is %q", st.Status)
	}
	return st, nil
}

// deadPID returns the pid of a process that has ended and was reaped.
func deadPID(t *testing.T) uint32 {
	t.Helper()
	cmd := exec.Command("/bin/sh", "-c", "exit 0")
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	return uint32(cmd.Process.Pid)
}

// refOf is the record that the reference writes when it has started the spec.
func refOf(pid uint32, s berth.ProcessSpec) refState {
	st := refState{Status: "running", PID: pid, Command: s.Command, Args: s.Args}
	if p := s.AutoRestart; p != nil {
		st.AutoRestartEnabled, st.MaxRestarts = p.Enabled, uint32(p.MaxRestarts)
	}
	return st
}

// lifecycle returns the log's lines that are Berth's own, without their time,
// which is checked.
func (w *world) lifecycle(name string) []string {
	w.Helper()
	var found []string
	for line := range strings.Lines(w.read("logs", name+".log")) {
		m := lifecycleLine().FindStringSubmatch(line)
		if m == nil {
			continue
		}
		at, err := strconv.ParseInt(m[1], 10, 64)
		if now := time.Now().Unix(); err != nil || at > now || at < now-int64(10*time.Minute/time.Second) {
			w.Errorf("the log's line %q is of another time", line)
		}
		found = append(found, m[2])
	}
	return found
}

// lifecycleLine matches the lines of the reference, and no others.
func lifecycleLine() *regexp.Regexp {
	return regexp.MustCompile(`^\[([0-9]+)\] (START pid=[0-9]+|STOP|EXIT|AUTO_RESTART pid=[0-9]+ attempt=[0-9]+/[0-9]+|POLICY_DENIED_AUTO_RESTART)\n$`)
}

// hasLifecycle fails the test unless the log's lines of Berth are these.
func (w *world) hasLifecycle(name string, want ...string) {
	w.Helper()
	if got := w.lifecycle(name); !slices.Equal(got, want) {
		w.Errorf("the log has %q, want %q", got, want)
	}
}

func startLine(pid int) string { return fmt.Sprintf("START pid=%d", pid) }

func autoLine(pid, attempt, most int) string {
	return fmt.Sprintf("AUTO_RESTART pid=%d attempt=%d/%d", pid, attempt, most)
}

// records returns the server's audit records, oldest first, as written; an
// empty name is all of them. Each line must be whole.
func (w *world) records(name string) []record {
	w.Helper()
	var found []record
	for line := range strings.Lines(w.read("audit", "audit.jsonl")) {
		var r record
		if err := json.Unmarshal([]byte(line), &r.Record); err != nil {
			w.Fatalf("the audit line %q: %v", line, err)
		}
		if err := json.Unmarshal([]byte(line), &r.keys); err != nil {
			w.Fatal(err)
		}
		if !strings.HasSuffix(line, "\n") {
			w.Fatalf("the audit line %q has no end", line)
		}
		if name == "" || r.Server == name {
			found = append(found, r)
		}
	}
	return found
}

// record is an audit record, and its JSON member by member.
type record struct {
	berth.Record
	keys map[string]any
}

// actions are those of the server's audit records.
func (w *world) actions(name string) []string {
	w.Helper()
	var found []string
	for _, r := range w.records(name) {
		found = append(found, r.Action)
	}
	return found
}

func (w *world) hasActions(name string, want ...string) {
	w.Helper()
	if got := w.actions(name); !slices.Equal(got, want) {
		w.Errorf("the audit trail has %q, want %q", got, want)
	}
}

// last returns the newest audit record of an action.
func (w *world) last(name, action string) record {
	w.Helper()
	for _, r := range slices.Backward(w.records(name)) {
		if r.Action == action {
			return r
		}
	}
	w.Fatalf("there is no audit record %q among %q", action, w.actions(name))
	panic("unreachable")
}

// about fails the test unless the record is about this process.
func (r record) about(t testing.TB, pid int, s berth.ProcessSpec) {
	t.Helper()
	if r.PID != pid || r.Command != s.Command || !slices.Equal(r.Args, s.Args) {
		t.Errorf("the record %q is about pid %d %q %q, not about pid %d %q %q",
			r.Action, r.PID, r.Command, r.Args, pid, s.Command, s.Args)
	}
}

// snapshot is every file of a home: mode, time of the last change, and bytes.
type snapshot map[string]string

func (w *world) snapshot() snapshot {
	w.Helper()
	s := snapshot{}
	err := filepath.WalkDir(w.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		text := fmt.Sprint(info.Mode(), " ", info.ModTime().UnixNano())
		if info.Mode().IsRegular() {
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			text += " " + string(data)
		}
		s[path] = text
		return nil
	})
	if err != nil {
		w.Fatal(err)
	}
	return s
}

// unchanged fails the test if anything in the home differs from before.
func (w *world) unchanged(before snapshot) {
	w.Helper()
	now := w.snapshot()
	for _, path := range slices.Sorted(maps.Keys(now)) {
		if was, ok := before[path]; !ok {
			w.Errorf("%s was made", path)
		} else if was != now[path] {
			w.Errorf("%s changed from %q to %q", path, was, now[path])
		}
	}
	for path := range before {
		if _, ok := now[path]; !ok {
			w.Errorf("%s was removed", path)
		}
	}
}
