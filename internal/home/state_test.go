package home

import (
	"bytes"
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pelletier/go-toml/v2"
	"pgregory.net/rapid"

	"github.com/berth-run/berth"
)

// referenceState is the reference's record: two keys are required, the others
// have defaults, and keys that it does not know are passed over.
type referenceState struct {
	Status             string   `toml:"status"`
	UpdatedAt          uint64   `toml:"updated_at_epoch_secs"`
	PID                *uint32  `toml:"pid"`
	Command            *string  `toml:"command"`
	Args               []string `toml:"args"`
	AutoRestartEnabled bool     `toml:"auto_restart_enabled"`
	MaxRestarts        uint32   `toml:"max_restarts"`
	RestartAttempts    uint32   `toml:"restart_attempts"`
}

func fullState() State {
	code := 3
	at := time.Date(2026, 1, 2, 3, 4, 5, 678901234, time.UTC)
	return State{
		Status: "running", UpdatedAt: 1767323045, PID: 4711, Command: "npx", Args: []string{"-y", `a "quoted" \ one`, "zwei\nZeilen"},
		AutoRestartEnabled: true, MaxRestarts: 10, RestartAttempts: 2,
		StartTime: 987654321, BootID: "9c2c", PIDNamespace: 4026531836, Host: "box", ShimPID: 4710, ShimStartTime: 987654000,
		Generation: 7, Incarnation: "0123456789abcdef.00", NextIncarnation: "0123456789abcdef.01",
		Phase: "ready", Desired: "running", Reason: "none", Failure: "not-exist", StartedAt: at, Transport: "stdio",
		AtRest: true, SpecDigest: "a1_-",
		LastExit:   &berth.Exit{Code: &code, OutOfMemory: true, At: at.Add(-time.Minute)},
		StderrTail: []string{"Error: ENOENT", "", "ende\u0000\u007f"}, RestartTimes: []time.Time{at.Add(-time.Hour), at.Add(-time.Minute)},
		NextRestart: at.Add(time.Second), Mechanism: "cgroup", Cgroup: "/sys/fs/cgroup/x", MemoryCgroup: "/sys/fs/cgroup/memory/x",
		Guarantees: map[string]berth.Guarantee{
			"tree-kill": {State: berth.Enforced, How: "cgroup.kill"},
			"memory":    {State: berth.Partial, How: "RLIMIT_DATA", Gap: "each process alone"},
		},
	}
}

func TestStateAsTheReferenceWritesIt(t *testing.T) {
	h := openTestHome(t)
	for _, c := range []struct {
		file string
		want State
	}{
		{"reference-running.toml", State{
			Status: "running", UpdatedAt: 1753000000, PID: 12345, Command: "npx",
			Args:               []string{"-y", "@modelcontextprotocol/server-everything"},
			AutoRestartEnabled: true, MaxRestarts: 3, RestartAttempts: 1,
		}},
		{"reference-stopped.toml", State{Status: "stopped", UpdatedAt: 1753000001, Args: []string{}}},
		{"reference-least.toml", State{Status: "running", UpdatedAt: 1}},
	} {
		t.Run(c.file, func(t *testing.T) {
			doc, err := os.ReadFile(filepath.Join("testdata", c.file))
			if err != nil {
				t.Fatal(err)
			}
			path, err := h.StatePath("s")
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, doc, 0o644); err != nil {
				t.Fatal(err)
			}
			got, found, err := h.ReadState("s")
			if err != nil || !found || !reflect.DeepEqual(got, c.want) {
				t.Fatalf("found %v, error %v\n got %+v\nwant %+v", found, err, got, c.want)
			}
		})
	}
}

func TestReferenceReadsOurState(t *testing.T) {
	st := fullState()
	doc, err := encodeState(st)
	if err != nil {
		t.Fatal(err)
	}
	var got referenceState
	if err := toml.Unmarshal(doc, &got); err != nil {
		t.Fatal(err)
	}
	pid := uint32(4711)
	want := referenceState{
		Status: "running", UpdatedAt: 1767323045, PID: &pid, Command: &st.Command, Args: st.Args,
		AutoRestartEnabled: true, MaxRestarts: 10, RestartAttempts: 2,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("the reference reads %+v", got)
	}
	doc, err = encodeState(State{Status: "stopped"})
	if err != nil {
		t.Fatal(err)
	}
	got = referenceState{}
	if err := toml.Unmarshal(doc, &got); err != nil {
		t.Fatal(err)
	}
	if got.PID != nil || got.Command != nil || got.Args == nil {
		t.Errorf("of a server that never ran the reference reads %+v; pid and command are absent when none", got)
	}
	// A table's head would take the keys after it away from the reference.
	if bytes.Contains(doc, []byte("\n[")) {
		t.Errorf("a state is flat:\n%s", doc)
	}
}

func TestStateGolden(t *testing.T) {
	doc, err := encodeState(fullState())
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "state.toml", doc)
}

func TestWriteStateThenRead(t *testing.T) {
	h := openTestHome(t)
	if _, found, err := h.ReadState("s"); found || err != nil {
		t.Fatalf("a server without a state: found %v, %v", found, err)
	}
	st := fullState()
	before := time.Now().Unix()
	if err := h.WriteState("s", st); err != nil {
		t.Fatal(err)
	}
	got, found, err := h.ReadState("s")
	if err != nil || !found {
		t.Fatal(found, err)
	}
	if got.UpdatedAt < before || got.UpdatedAt > time.Now().Unix() {
		t.Errorf("UpdatedAt is %d, not now", got.UpdatedAt)
	}
	got.UpdatedAt = st.UpdatedAt
	if !reflect.DeepEqual(got, st) {
		t.Errorf("\n got %+v\nwant %+v", got, st)
	}
	path, _ := h.StatePath("s")
	if info, err := os.Stat(path); err != nil || onUnix && info.Mode() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if names, err := h.States(); err != nil || !slices.Equal(names, []string{"s"}) {
		t.Errorf("States() = %v, %v", names, err)
	}
	if err := h.RemoveState("s"); err != nil {
		t.Fatal(err)
	}
	if _, found, err := h.ReadState("s"); found || err != nil {
		t.Errorf("after RemoveState: found %v, %v", found, err)
	}
	if err := h.RemoveState("s"); err != nil {
		t.Errorf("RemoveState of none: %v", err)
	}
}

// genTime draws a moment that RFC 3339 can hold.
func genTime(t *rapid.T, label string) time.Time {
	if rapid.Bool().Draw(t, label+"?") {
		return time.Time{}
	}
	secs := rapid.Int64Range(1, 253402300799).Draw(t, label)
	return time.Unix(secs, rapid.Int64Range(0, 999999999).Draw(t, label+".ns")).UTC()
}

func genState(t *rapid.T, text *rapid.Generator[string]) State {
	texts := rapid.SliceOf(text)
	count := rapid.IntRange(0, math.MaxUint32)
	big := rapid.Uint64Range(0, math.MaxInt64)
	st := State{
		Status:    rapid.SampledFrom([]string{"running", "stopped"}).Draw(t, "status"),
		UpdatedAt: rapid.Int64Range(0, math.MaxInt64).Draw(t, "updated"),
		PID:       count.Draw(t, "pid"), Command: text.Draw(t, "command"), Args: texts.Draw(t, "args"),
		AutoRestartEnabled: rapid.Bool().Draw(t, "auto"), MaxRestarts: count.Draw(t, "max"), RestartAttempts: count.Draw(t, "attempts"),
		StartTime: big.Draw(t, "start"), BootID: text.Draw(t, "boot"), PIDNamespace: big.Draw(t, "ns"), Host: text.Draw(t, "host"),
		ShimPID: count.Draw(t, "shim"), ShimStartTime: big.Draw(t, "shimstart"),
		Generation: big.Draw(t, "generation"), Incarnation: text.Draw(t, "incarnation"), NextIncarnation: text.Draw(t, "next"),
		Phase: text.Draw(t, "phase"), Desired: text.Draw(t, "desired"), Reason: text.Draw(t, "reason"), Failure: text.Draw(t, "failure"),
		StartedAt: genTime(t, "started"), Transport: text.Draw(t, "transport"), NextRestart: genTime(t, "nextrestart"),
		AtRest: rapid.Bool().Draw(t, "atrest"), SpecDigest: text.Draw(t, "digest"),
		Mechanism: text.Draw(t, "mechanism"), Cgroup: text.Draw(t, "cgroup"), MemoryCgroup: text.Draw(t, "memorycgroup"),
	}
	if tail := texts.Draw(t, "stderr"); len(tail) > 0 {
		st.StderrTail = tail
	}
	for range rapid.IntRange(0, 3).Draw(t, "restarts") {
		st.RestartTimes = append(st.RestartTimes, time.Unix(rapid.Int64Range(0, 253402300799).Draw(t, "restart"), 0).UTC())
	}
	if at := genTime(t, "exit"); !at.IsZero() {
		st.LastExit = &berth.Exit{At: at, Signal: text.Draw(t, "signal"), OutOfMemory: rapid.Bool().Draw(t, "oom")}
		if rapid.Bool().Draw(t, "code?") {
			code := rapid.Int().Draw(t, "code")
			st.LastExit.Code = &code
		}
	}
	if names := texts.Draw(t, "guarantees"); len(names) > 0 {
		st.Guarantees = map[string]berth.Guarantee{}
		for _, name := range names {
			st.Guarantees[name] = berth.Guarantee{State: berth.GuaranteeState(text.Draw(t, "g.state")), How: text.Draw(t, "how"), Gap: text.Draw(t, "gap")}
		}
	}
	for range rapid.IntRange(0, 3).Draw(t, "denied") {
		st.Denied = append(st.Denied, berth.Denial{
			What: text.Draw(t, "what"), Grant: text.Draw(t, "grant"), Why: text.Draw(t, "why"),
			Times: rapid.IntRange(0, math.MaxUint32).Draw(t, "times"), At: time.Unix(rapid.Int64Range(0, 253402300799).Draw(t, "at"), 0).UTC(),
		})
	}
	return st
}

func TestAnyStateRoundTrips(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := genState(t, rapid.String())
		doc, err := encodeState(want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := decodeState("state", doc)
		if err != nil {
			t.Fatalf("%v\n%s", err, doc)
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("\n got %+v\nwant %+v\n%s", got, want, doc)
		}
	})
}

// Bytes that are not UTF-8 come back as U+FFFD, one each, and harm nothing else.
func TestStateOfAnyBytes(t *testing.T) {
	text := rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) })
	valid := func(s string) string { return string([]rune(s)) }
	rapid.Check(t, func(t *rapid.T) {
		st := genState(t, text)
		st.Guarantees = nil // two names may become one
		doc, err := encodeState(st)
		if err != nil {
			t.Fatal(err)
		}
		got, err := decodeState("state", doc)
		if err != nil {
			t.Fatalf("%v\n%s", err, doc)
		}
		if got.Command != valid(st.Command) || got.PID != st.PID || got.Status != st.Status || len(got.Args) != len(st.Args) {
			t.Fatalf("\n got %+v\nwant %+v", got, st)
		}
		for i, a := range st.Args {
			if got.Args[i] != valid(a) {
				t.Fatalf("argument %q came back as %q", a, got.Args[i])
			}
		}
	})
}

func TestStateCutAtEveryByte(t *testing.T) {
	h := openTestHome(t)
	path, _ := h.StatePath("s")
	place := regexp.MustCompile(regexp.QuoteMeta(path) + `:[1-9][0-9]*(:[1-9][0-9]*)?: \S`)
	for _, st := range []State{fullState(), {Status: "stopped"}} {
		doc, err := encodeState(st)
		if err != nil {
			t.Fatal(err)
		}
		for n := range len(doc) - 1 { // the last newline says nothing
			_, err := decodeState(path, doc[:n])
			if !errors.Is(err, berth.ErrBadState) || !place.MatchString(err.Error()) || strings.Contains(err.Error(), "struct") {
				t.Fatalf("cut at byte %d of %d: %v\n%s", n, len(doc), err, doc[:n])
			}
		}
		if _, err := decodeState(path, doc[:len(doc)-1]); err != nil {
			t.Errorf("without the last newline: %v", err)
		}
	}
}

// A file of the reference may be whole after some cuts; after the others it is
// an error with a place.
func TestReferenceStateCutAtEveryByte(t *testing.T) {
	doc, err := os.ReadFile("testdata/reference-running.toml")
	if err != nil {
		t.Fatal(err)
	}
	place := regexp.MustCompile(`state\.toml:[1-9][0-9]*(:[1-9][0-9]*)?: \S`)
	bad := 0
	for n := range doc {
		st, err := decodeState("state.toml", doc[:n])
		switch {
		case err == nil && st.Status != "running":
			t.Errorf("cut at byte %d: %+v", n, st)
		case err != nil && (!errors.Is(err, berth.ErrBadState) || !place.MatchString(err.Error())):
			t.Errorf("cut at byte %d: %v", n, err)
		case err != nil:
			bad++
		}
	}
	if bad == 0 {
		t.Error("no cut was noticed")
	}
}

func TestBadStates(t *testing.T) {
	for _, c := range []struct{ doc, want string }{
		{"", `state:1: the file ends without the key status`},
		{"status = \"running\"\n", `state:2: the file ends without the key updated_at_epoch_secs`},
		{"updated_at_epoch_secs = 1\n\nstatus = \"paused\"\n", `state:3: status is "paused", neither running nor stopped`},
		{"status = 3", `state:1:10: status: the value is of type integer, but a string in quotes is needed`},
		{"status = \"running\"\npid = \"x\"", `state:2:7: pid: the value is of type string, but a whole number is needed`},
		{"status = \"running\"\nargs = [\"a\", 2]", `state:2:14: args: the value is of type integer, but a string in quotes is needed`},
		{"auto_restart_enabled = 1", `state:1:24: auto_restart_enabled: the value is of type integer, but true or false is needed`},
		{"pid = -5", `state:1:7: pid: negative integer value -5 is out of range`},
		{"status = \"running", `state:1:17: unterminated basic string`},
		{"status = \"running\"\nstatus = \"running\"\n", `state:2:1: key status is already defined`},
		{"command = \"\xff\"", `state:1:12: invalid UTF-8 character`},
		{"status = \"stopped\"\nupdated_at_epoch_secs = 1\nstarted_at = 2", `state:3: started_at is not a date and time`},
		{"updated_at_epoch_secs = 1\nlast_exit_at = 2020-01-01\nstatus = \"stopped\"", `state:2: last_exit_at is not`},
		{"restart_times = [1979-05-27T07:32:00Z,\n9999-12-31T23:59:59-23:59]\nupdated_at_epoch_secs = 1\nstatus = \"stopped\"", `state:1: restart_times is not`},
		{"\x00", `state:1:1: `},
	} {
		_, err := decodeState("state", []byte(c.doc))
		if !errors.Is(err, berth.ErrBadState) || !strings.HasPrefix(err.Error(), "bad state file: "+c.want) {
			t.Errorf("%q:\n got %v\nwant %s", c.doc, err, c.want)
		}
	}
}

func TestStateThatCannotBeWritten(t *testing.T) {
	h := openTestHome(t)
	for key, st := range map[string]State{
		"status":           {Status: "paused"},
		"pid":              {Status: "stopped", PID: -1},
		"max_restarts":     {Status: "stopped", MaxRestarts: -1},
		"restart_attempts": {Status: "stopped", RestartAttempts: math.MaxUint32 + 1},
		"start_time":       {Status: "stopped", StartTime: math.MaxUint64},
		"started_at":       {Status: "stopped", StartedAt: time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)},
	} {
		if err := h.WriteState("s", st); err == nil || !strings.Contains(err.Error(), key) {
			t.Errorf("%s: error %v", key, err)
		}
	}
	if _, found, err := h.ReadState("s"); found || err != nil {
		t.Errorf("something was written: %v, %v", found, err)
	}
}

func TestSetAside(t *testing.T) {
	h := openTestHome(t)
	path, _ := h.StatePath("s")
	seen := map[string]bool{path: true}
	for i := range 3 { // within one second, most likely
		if err := os.WriteFile(path, []byte{byte('a' + i)}, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, _, err := h.ReadState("s"); !errors.Is(err, berth.ErrBadState) {
			t.Fatalf("error %v", err)
		}
		to, err := h.SetAside("s")
		if err != nil || seen[to] || !strings.HasPrefix(to, path+".bad-") {
			t.Fatalf("set aside as %s: %v", to, err)
		}
		seen[to] = true
		if doc, err := os.ReadFile(to); err != nil || string(doc) != string(byte('a'+i)) {
			t.Fatalf("%s holds %q, %v", to, doc, err)
		}
	}
	if _, found, err := h.ReadState("s"); found || err != nil {
		t.Errorf("after SetAside: found %v, %v", found, err)
	}
	if names, err := h.States(); err != nil || len(names) != 0 {
		t.Errorf("States() = %v, %v", names, err)
	}
	if _, err := h.SetAside("s"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("SetAside of none: %v", err)
	}
}

func FuzzState(f *testing.F) {
	full, err := encodeState(fullState())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(full)
	for _, name := range []string{"reference-running.toml", "reference-stopped.toml", "reference-least.toml"} {
		doc, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(doc)
	}
	for _, doc := range []string{"", "status=3", "[status]", "status='running'\nupdated_at_epoch_secs=0x10\nlast_exit_at=2020-01-01",
		"\xef\xbb\xbfstatus='stopped'", "guarantees = {a = {state = 'x'}}", "a.b.c = [[[]]]", "pid=9223372036854775807",
		"updated_at_epoch_secs=1\nstarted_at=9999-12-31T23:59:59-23:59\nstatus='stopped'"} {
		f.Add([]byte(doc))
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		st, err := decodeState("state", doc)
		if err != nil {
			if !errors.Is(err, berth.ErrBadState) || !strings.Contains(err.Error(), "state:") {
				t.Fatalf("error without its kind or place: %v", err)
			}
			return
		}
		// What was read can be written, and is then read as the same.
		again, err := encodeState(st)
		if err != nil {
			t.Fatalf("%+v: %v", st, err)
		}
		got, err := decodeState("state", again)
		if err != nil {
			t.Fatalf("%v\n%s", err, again)
		}
		third, err := encodeState(got)
		if err != nil || !bytes.Equal(again, third) {
			t.Fatalf("%v\n%s\n%s", err, again, third)
		}
	})
}
