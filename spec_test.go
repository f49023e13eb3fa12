package berth

import (
	"encoding/json"
	"errors"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func asJSON(t testing.TB, v any) string {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// referenceSpec is the reference's: a list is a list, never null.
type referenceSpec struct {
	Command     *string            `json:"command"`
	Args        *[]string          `json:"args"`
	Env         *map[string]string `json:"env"`
	AutoRestart *struct {
		Enabled     *bool   `json:"enabled"`
		MaxRestarts *uint32 `json:"max_restarts"`
	} `json:"auto_restart"`
	MaxMemoryBytes     *uint64 `json:"max_memory_bytes"`
	MaxFileDescriptors *uint64 `json:"max_file_descriptors"`
}

func TestJ1_SpecOfTheReference(t *testing.T) {
	for doc, want := range map[string]ProcessSpec{
		`{"command":"npx","args":["-y","x"],"env":{"K":"v"},"auto_restart":{"enabled":true,"max_restarts":3},"max_memory_bytes":536870912,"max_file_descriptors":1024}`: {
			Command: "npx", Args: []string{"-y", "x"}, Env: map[string]string{"K": "v"},
			AutoRestart: &RestartPolicy{Enabled: true, MaxRestarts: 3}, MaxMemoryBytes: 512 << 20, MaxFileDescriptors: 1024,
		},
		`{"command":"cat","args":[],"env":{},"auto_restart":null,"max_memory_bytes":null,"max_file_descriptors":null}`: {
			Command: "cat", Args: []string{}, Env: map[string]string{},
		},
		`{"command":"cat"}`: {Command: "cat"},
		`{"command":"cat","auto_restart":{"enabled":true,"max_restarts":4294967295},"max_memory_bytes":18446744073709551615,"later":[1]}`: {
			Command: "cat", AutoRestart: &RestartPolicy{Enabled: true, MaxRestarts: math.MaxUint32}, MaxMemoryBytes: math.MaxUint64,
		},
	} {
		var got ProcessSpec
		if err := json.Unmarshal([]byte(doc), &got); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s\n got %+v, %v\nwant %+v", doc, got, err, want)
		}
		if err := got.Check(); err != nil {
			t.Errorf("%s: %v", doc, err)
		}
	}
	for doc, want := range map[string]string{
		`{"command":7}`:                             "command",
		`{"args":"x"}`:                              "args",
		`{"env":["K=v"]}`:                           "env",
		`{"max_memory_bytes":-1}`:                   "max_memory_bytes",
		`{"max_memory_bytes":"512M"}`:               "max_memory_bytes",
		`{"max_file_descriptors":1.5}`:              "max_file_descriptors",
		`{"auto_restart":{"max_restarts":1e3}}`:     "max_restarts",
		`{"auto_restart":true}`:                     "auto_restart",
		`{"grace":5}`:                               "grace",
		`{"grace":"5"}`:                             `"5" is not a duration such as 5s or 1m30s`,
		`{"auto_restart":{"window":"ten minutes"}}`: `"ten minutes" is not a duration`,
	} {
		var got ProcessSpec
		if err := json.Unmarshal([]byte(doc), &got); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: the error is %v", doc, err)
		}
	}
}

// What we write has the reference's keys, of its types, and nothing of ours
// where ours says nothing.
func TestJ1_ReferenceReadsOurSpec(t *testing.T) {
	full := ProcessSpec{
		Command: "npx", Args: []string{"-y", "x"}, Env: map[string]string{"K": "v"},
		AutoRestart: &RestartPolicy{
			Enabled: true, MaxRestarts: 3, Window: DefaultWindow, MinDelay: DefaultMinDelay, MaxDelay: DefaultMaxDelay, Healthy: DefaultHealthy,
		},
		MaxMemoryBytes: 512 << 20, MaxFileDescriptors: 1024, Dir: "/srv", Grace: DefaultGrace, Transport: "http", TreeKill: TreeSubreaper,
	}
	for want, spec := range map[string]ProcessSpec{
		`{"command":"cat","args":[],"env":{},"auto_restart":null}`: {Command: "cat"},
		`{"command":"cat","args":["a"],"env":{},"auto_restart":{"enabled":false,"max_restarts":0},"max_memory_bytes":1}`: {
			Command: "cat", Args: []string{"a"}, AutoRestart: &RestartPolicy{}, MaxMemoryBytes: 1,
		},
		`{"command":"npx","args":["-y","x"],"env":{"K":"v"},"auto_restart":{"enabled":true,"max_restarts":3,` +
			`"window":"10m0s","min_delay":"250ms","max_delay":"30s","healthy":"1m0s"},"max_memory_bytes":536870912,` +
			`"max_file_descriptors":1024,"cwd":"/srv","grace":"5s","transport":"http","tree_kill":"subreaper"}`: full,
	} {
		for _, v := range []any{spec, &spec, []ProcessSpec{spec}} {
			if got := strings.Trim(asJSON(t, v), "[]"); got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
		}
		var ref referenceSpec
		if err := json.Unmarshal([]byte(asJSON(t, spec)), &ref); err != nil || ref.Command == nil || ref.Args == nil || ref.Env == nil {
			t.Errorf("the reference reads %+v, %v", ref, err)
		}
		if p := ref.AutoRestart; (p == nil) != (spec.AutoRestart == nil) || p != nil && (p.Enabled == nil || p.MaxRestarts == nil) {
			t.Errorf("the reference reads the policy %+v", p)
		}
	}
}

// anySpec draws a spec that JSON can hold.
func anySpec(t *rapid.T) ProcessSpec {
	duration := rapid.Custom(func(t *rapid.T) Duration {
		return Duration(rapid.OneOf(rapid.Just(int64(0)), rapid.Int64Min(0)).Draw(t, "ns"))
	})
	s := ProcessSpec{
		Command: rapid.String().Draw(t, "command"), Args: rapid.SliceOf(rapid.String()).Draw(t, "args"),
		Env:            rapid.MapOf(rapid.String(), rapid.String()).Draw(t, "env"),
		MaxMemoryBytes: rapid.Uint64().Draw(t, "memory"), MaxFileDescriptors: rapid.Uint64().Draw(t, "files"),
		Dir: rapid.String().Draw(t, "dir"), Grace: duration.Draw(t, "grace"), Transport: rapid.String().Draw(t, "transport"),
		TreeKill: rapid.SampledFrom(append(TreeMechanisms(), TreeAuto, "x")).Draw(t, "tree"),
	}
	if rapid.Bool().Draw(t, "policy") {
		s.AutoRestart = &RestartPolicy{
			Enabled: rapid.Bool().Draw(t, "enabled"), MaxRestarts: rapid.IntMin(0).Draw(t, "max"), Window: duration.Draw(t, "window"),
			MinDelay: duration.Draw(t, "min"), MaxDelay: duration.Draw(t, "most"), Healthy: duration.Draw(t, "healthy"),
		}
	}
	return s
}

func TestJ1_AnySpecRoundTrips(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := anySpec(t)
		data, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		var got ProcessSpec
		if err := json.Unmarshal(data, &got); err != nil {
			t.Fatalf("%v\n%s", err, data)
		}
		if want.Args == nil {
			want.Args = []string{}
		}
		if want.Env == nil {
			want.Env = map[string]string{}
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("\n got %+v\nwant %+v\n%s", got, want, data)
		}
	})
}

func TestSpecCheck(t *testing.T) {
	policy := func(p RestartPolicy) ProcessSpec { return ProcessSpec{Command: "x", AutoRestart: &p} }
	for want, specs := range map[string][]ProcessSpec{
		"": {
			{Command: "x"}, {Command: " x "}, {Command: "/a b/ü", Args: []string{"", "a\nb", "\xff"}},
			{Command: "x", Env: map[string]string{"A": "", "a.b-c": "=x=\n", "ProgramFiles(x86)": "1"}},
			{Command: "x", MaxMemoryBytes: math.MaxUint64, MaxFileDescriptors: math.MaxUint64},
			{Command: "x", Transport: "stdio"}, {Command: "x", Transport: "http", Grace: 1}, {Command: "x", TreeKill: TreeJob},
			policy(RestartPolicy{}), policy(RestartPolicy{Enabled: true, MaxRestarts: 1 << 20, Window: 1, MinDelay: 5, MaxDelay: 1}),
		},
		"the command is empty":         {{}, {Command: " "}, {Command: "\t\n"}, {Command: "\u00a0\u2003"}},
		"the command holds a NUL byte": {{Command: "x\x00"}, {Command: "\x00"}},
		"argument 2 holds a NUL byte":  {{Command: "x", Args: []string{"a", "\x00", "b\x00"}}},
		"is not one that a process can have": {
			{Command: "x", Env: map[string]string{"": "v"}}, {Command: "x", Env: map[string]string{"A=B": "v"}},
			{Command: "x", Env: map[string]string{"A\x00": "v"}}, {Command: "x", Env: map[string]string{"A": "v\x00"}},
		},
		"the working directory holds a NUL byte":               {{Command: "x", Dir: "/a\x00b"}},
		"the working directory \"sub/dir\" is not a full path": {{Command: "x", Dir: "sub/dir"}},
		"grace is negative":                                    {{Command: "x", Grace: -1}},
		`transport "sse" is neither stdio nor http`:            {{Command: "x", Transport: "sse"}},
		`tree_kill "magic" is not a mechanism`:                 {{Command: "x", TreeKill: "magic"}},
		"a number in auto_restart is negative": {
			policy(RestartPolicy{MaxRestarts: -1}), policy(RestartPolicy{Window: -1}), policy(RestartPolicy{MinDelay: -1}),
			policy(RestartPolicy{MaxDelay: -1}), policy(RestartPolicy{Healthy: -1}),
		},
	} {
		for _, s := range specs {
			err := s.Check()
			if want == "" {
				if err != nil {
					t.Errorf("%+v: %v", s, err)
				}
				continue
			}
			if !errors.Is(err, ErrInvalidSpec) || !strings.HasPrefix(err.Error(), "invalid spec: ") || !strings.HasSuffix(err.Error(), want) {
				t.Errorf("%+v: the error is %v, want %s", s, err, want)
			}
		}
	}
	// A value of the environment may be a secret, and a text of a megabyte is no
	// message.
	s := ProcessSpec{Command: "x", Env: map[string]string{"TOKEN=" + strings.Repeat("x", 1<<20): "s3cret\x00"}}
	if text := s.Check().Error(); strings.Contains(text, "s3cret") || len(text) > 200 {
		t.Errorf("the error is %.300q", text)
	}
}

// More restarts than the reference's files can count.
func TestSpecCheckOfMaxRestarts(t *testing.T) {
	if math.MaxInt == math.MaxInt32 {
		t.Skip("an int has 32 bits here, so none is too many")
	}
	most := int64(math.MaxUint32)
	for _, n := range []int64{most, most + 1, math.MaxInt64} {
		s := ProcessSpec{Command: "x", AutoRestart: &RestartPolicy{MaxRestarts: int(n)}}
		if err := s.Check(); (err == nil) != (n == most) || err != nil && !strings.Contains(err.Error(), "4294967295") {
			t.Errorf("%d: %v", n, err)
		}
	}
}

func TestWithDefaults(t *testing.T) {
	defaults := RestartPolicy{Window: DefaultWindow, MinDelay: DefaultMinDelay, MaxDelay: DefaultMaxDelay, Healthy: DefaultHealthy}
	for _, c := range []struct {
		p    *RestartPolicy
		want RestartPolicy
	}{
		{nil, defaults},
		{&RestartPolicy{}, defaults},
		{&RestartPolicy{Enabled: true, MaxRestarts: 7}, RestartPolicy{true, 7, DefaultWindow, DefaultMinDelay, DefaultMaxDelay, DefaultHealthy}},
		{&RestartPolicy{Window: 1, MinDelay: 2, MaxDelay: 3, Healthy: 4}, RestartPolicy{false, 0, 1, 2, 3, 4}},
		{&RestartPolicy{MaxDelay: 1}, RestartPolicy{Window: DefaultWindow, MinDelay: DefaultMinDelay, MaxDelay: 1, Healthy: DefaultHealthy}},
	} {
		var before RestartPolicy
		if c.p != nil {
			before = *c.p
		}
		got := c.p.WithDefaults()
		if got != c.want {
			t.Errorf("%+v: got %+v, want %+v", c.p, got, c.want)
		}
		if c.p != nil && *c.p != before {
			t.Errorf("the policy itself became %+v", *c.p)
		}
		if again := got.WithDefaults(); again != got {
			t.Errorf("done twice it is %+v", again)
		}
	}
	for what, d := range map[Duration]time.Duration{
		DefaultWindow: 10 * time.Minute, DefaultMinDelay: 250 * time.Millisecond, DefaultMaxDelay: 30 * time.Second,
		DefaultHealthy: time.Minute, DefaultGrace: 5 * time.Second,
	} {
		if what.Std() != d {
			t.Errorf("a default is %v, documented is %v", what, d)
		}
	}
}

func TestTreeMechanisms(t *testing.T) {
	want := []TreeMechanism{"cgroup", "pidns", "subreaper", "pgroup", "job"}
	if got := TreeMechanisms(); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	TreeMechanisms()[0] = "mine" // is nobody else's
	if got := TreeMechanisms(); !slices.Equal(got, want) {
		t.Errorf("then %q", got)
	}
}

func TestDuration(t *testing.T) {
	for text, want := range map[string]time.Duration{
		`"5s"`: 5 * time.Second, `"1m30s"`: 90 * time.Second, `"250ms"`: 250 * time.Millisecond, `"1h"`: time.Hour, `"0"`: 0, `"0s"`: 0,
		`"1.5s"`: 1500 * time.Millisecond, `"-3s"`: -3 * time.Second, `"+1ns"`: 1, `"2562047h47m16.854775807s"`: math.MaxInt64,
	} {
		var d Duration
		if err := json.Unmarshal([]byte(text), &d); err != nil || d.Std() != want || d.String() != want.String() {
			t.Errorf("%s: %v, %v", text, d, err)
		}
	}
	for _, text := range []string{`""`, `"5"`, `"s"`, `"5 s"`, `" 5s"`, `"5S"`, `"5d"`, `"1e3s"`, `"soon"`, `"\u0000"`, `"9999999h"`, `"NaNs"`, `5`, `5.0`, `true`, `{}`, `[]`} {
		d := Duration(7)
		if err := json.Unmarshal([]byte(text), &d); err == nil || d != 7 {
			t.Errorf("%s: %v, %v", text, d, err)
		}
	}
	d := Duration(7)
	if err := json.Unmarshal([]byte("null"), &d); err != nil || d != 7 {
		t.Errorf("null: %v, %v", d, err)
	}
	if err := d.UnmarshalText([]byte(strings.Repeat("9", 1<<20))); err == nil || len(err.Error()) > 200 {
		t.Errorf("a long text: %.300v", err)
	}
}

func TestAnyDurationRoundTrips(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := Duration(rapid.Int64().Draw(t, "ns"))
		text, err := want.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		var got Duration
		if err := got.UnmarshalText(text); err != nil || got != want {
			t.Fatalf("%s: %v, %v", text, got, err)
		}
	})
}

// FuzzSpec: whatever parses is judged without a panic; what the judge passes is
// still the same once it went to a shim and back.
func FuzzSpec(f *testing.F) {
	for _, doc := range []string{
		`{"command":"npx","args":["-y"],"env":{"K":"v"},"auto_restart":{"enabled":true,"max_restarts":3},"max_memory_bytes":1}`,
		`{"command":"\u0000"}`, `{"command":"x","env":{"=":""}}`, `{"command":"x","grace":"-1s"}`, `{"command":"x","tree_kill":"job","cwd":"/"}`,
		`{"command":"x","auto_restart":{"window":"1h","max_restarts":9223372036854775807}}`, `null`, `{"ARGS":null}`, "\xff",
	} {
		f.Add([]byte(doc))
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		var s ProcessSpec
		if json.Unmarshal(doc, &s) != nil {
			return
		}
		fault := s.Check()
		if fault != nil && (!errors.Is(fault, ErrInvalidSpec) || len(fault.Error()) > 400) {
			t.Fatalf("%.500v", fault)
		}
		once := asJSON(t, s)
		var again ProcessSpec
		if err := json.Unmarshal([]byte(once), &again); err != nil {
			t.Fatalf("%v\n%s", err, once)
		}
		if twice := asJSON(t, again); twice != once {
			t.Fatalf("%s became %s", once, twice)
		}
		if err := again.Check(); (err == nil) != (fault == nil) {
			t.Fatalf("%v, then %v", fault, err)
		}
	})
}
