package berth

import (
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestG1_VersionAndWords(t *testing.T) {
	if !regexp.MustCompile(`^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?$`).MatchString(Version) {
		t.Errorf("the version %q is not one of semver", Version)
	}
	for want, v := range map[string]any{
		"running": Running, "stopped": Stopped,
		"started": Started, "already running": AlreadyRunning,
	} {
		if got := fmt.Sprint(v); got != want {
			t.Errorf("%#v prints as %q, want %q", v, got, want)
		}
	}
	for want, o := range map[string]StopOutcome{"stopped": StopDone, "already stopped": AlreadyStopped} {
		if got := fmt.Sprint(o); got != want {
			t.Errorf("%#v prints as %q, want %q", o, got, want)
		}
	}
	// What came to nothing, because of an error, must not read as a success.
	for _, o := range []fmt.Stringer{StartOutcome(0), StartOutcome(9), StartOutcome(-1)} {
		if got := o.String(); got != "not started" {
			t.Errorf("%#v prints as %q", o, got)
		}
	}
	for _, o := range []fmt.Stringer{StopOutcome(0), StopOutcome(9), StopOutcome(-1)} {
		if got := o.String(); got != "not stopped" {
			t.Errorf("%#v prints as %q", o, got)
		}
	}
}

func TestExitInWords(t *testing.T) {
	zero, one, nt := 0, 1, -1073741819
	for want, e := range map[string]Exit{
		"exit code 0":                    {Code: &zero},
		"exit code 1":                    {Code: &one, At: time.Now()},
		"exit code -1073741819":          {Code: &nt},
		"signal SIGKILL":                 {Signal: "SIGKILL"},
		"signal SIGKILL (out of memory)": {Signal: "SIGKILL", OutOfMemory: true},
		"exit code 1 (out of memory)":    {Code: &one, OutOfMemory: true},
		"unknown exit":                   {},
		"unknown exit (out of memory)":   {OutOfMemory: true},
		"signal SIGTERM":                 {Signal: "SIGTERM", Code: &one}, // the signal says more
	} {
		if got := e.String(); got != want {
			t.Errorf("%+v reads %q, want %q", e, got, want)
		}
		if got := fmt.Sprint(e); got != want {
			t.Errorf("%+v prints as %q", e, got)
		}
	}
}

// TestStatusJSON: the names of `berth status --json` are promised; what is not
// known is left out, and never null.
func TestStatusJSON(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC)
	code := 3
	for want, st := range map[string]Status{
		`{"name":"a","status":"stopped","phase":"stopped","restarts":0,"maxRestarts":0}`: {Name: "a", Status: Stopped, Phase: PhaseStopped},
		`{"name":"a","status":"running","phase":"ready","pid":1,"shimPid":2,"startedAt":"2026-01-02T03:04:05.000006Z","restarts":3,` +
			`"maxRestarts":4,"lastExit":{"code":3,"at":"2026-01-02T03:04:05.000006Z"},"error":"e","stderr":["l"],"warning":"w","memoryBytes":5,` +
			`"mcp":{"protocolVersion":"v","serverInfo":{"name":"n","version":"1"}},"guarantees":{"tree-kill":{"state":"enforced","how":"h"},` +
			`"memory":{"state":"partial","how":"h","gap":"g"}},"nextRestart":"2026-01-02T03:04:05.000006Z","generation":6,"stalledMs":1,` +
			`"dropped":{"notJson":7,"unattached":8,"tooLong":9}}`: {
			Name: "a", Status: Running, Phase: PhaseReady, PID: 1, ShimPID: 2, StartedAt: at, Restarts: 3, MaxRestarts: 4,
			LastExit: &Exit{Code: &code, At: at}, Error: "e", Stderr: []string{"l"}, Warning: "w", MemoryBytes: 5,
			MCP: &MCPInfo{ProtocolVersion: "v", ServerInfo: ServerInfo{Name: "n", Version: "1"}},
			Guarantees: map[string]Guarantee{
				GuaranteeTreeKill: {State: Enforced, How: "h"}, GuaranteeMemory: {State: Partial, How: "h", Gap: "g"},
			},
			NextRestart: at, Generation: 6, StalledMillis: 1, Dropped: &Dropped{NotJSON: 7, Unattached: 8, TooLong: 9},
		},
		`{"name":"a","status":"stopped","phase":"exited","restarts":0,"maxRestarts":0,"lastExit":{"signal":"SIGKILL","outOfMemory":true,"at":"0001-01-01T00:00:00Z"}}`: {
			Name: "a", Status: Stopped, Phase: PhaseExited, LastExit: &Exit{Signal: "SIGKILL", OutOfMemory: true},
		},
	} {
		sameJSON(t, asJSON(t, st), want)
		var back Status
		if err := json.Unmarshal([]byte(want), &back); err != nil || !reflect.DeepEqual(back, st) {
			t.Errorf("%s\nreads as %+v, %v", want, back, err)
		}
	}
}

// sameJSON compares two texts but for the order of an object's members.
func sameJSON(t *testing.T, got, want string) {
	t.Helper()
	var a, b any
	if err := json.Unmarshal([]byte(got), &a); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(want), &b); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(a, b) || strings.Contains(got, "null") {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// TestRecordJSON: the reference's members come first, under its names; args are
// left out when there are none.
func TestRecordJSON(t *testing.T) {
	code := 0
	for want, r := range map[string]Record{
		`{"timestampEpochSecs":0,"server":"a","action":"start"}`: {Server: "a", Action: ActionStart, Args: []string{}},
		`{"timestampEpochSecs":7,"server":"a","action":"exit","pid":1,"command":"c","args":["x",""],"time":"2026-01-02T03:04:05Z","seq":2,` +
			`"code":0,"signal":"s","durationMs":3,"detail":"d","prev":"p"}`: {
			TimestampEpochSecs: 7, Server: "a", Action: ActionExit, PID: 1, Command: "c", Args: []string{"x", ""},
			Time: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Seq: 2, Code: &code, Signal: "s", DurationMillis: 3, Detail: "d", Prev: "p",
		},
		`{"timestampEpochSecs":0,"server":"a","action":"tool-call","call":{"tool":"t","outcome":"done","bytesIn":0,"bytesOut":0,` +
			`"queueMicros":0,"startMicros":0,"runMicros":0,"restarts":0}}`: {Server: "a", Action: ActionToolCall, Call: &Call{Tool: "t", Outcome: CallDone}},
		`{"timestampEpochSecs":0,"server":"a","action":"tool-call","pid":7,"call":{"tool":"t","principal":"p","caller":"x","client":"c 1","outcome":"error",` +
			`"code":-32602,"bytesIn":1,"bytesOut":2,"queueMicros":3,"startMicros":4,"runMicros":5,"restarts":6,"argumentsSha256":"h","arguments":"{}"}}`: {
			Server: "a", Action: ActionToolCall, PID: 7, Call: &Call{
				Tool: "t", Principal: "p", Caller: "x", Client: "c 1", Outcome: CallError, Code: -32602, BytesIn: 1, BytesOut: 2,
				QueueMicros: 3, StartMicros: 4, RunMicros: 5, Restarts: 6, ArgumentsSHA256: "h", Arguments: "{}",
			},
		},
	} {
		if got := asJSON(t, r); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
	actions := []string{
		ActionStart, ActionStop, ActionRestart, ActionExit, ActionAutoRestart, ActionPolicyDenied, ActionProxyStart, ActionProxyEnd,
		ActionProxyError, ActionToolCall, ActionToolCallDenied, ActionResourceRenamed, ActionConfig, ActionAdd, ActionRemove, ActionLogin, ActionLogout, ActionLink, ActionUnlink, ActionImport, ActionServiceInstall, ActionServiceUninstall, ActionRenew, ActionHung, ActionUpgrade, ActionTokenCreate, ActionTokenRevoke, ActionAuditRepaired, ActionAuditGap,
	}
	slices.Sort(actions)
	if all := len(actions); len(slices.Compact(actions)) != all {
		t.Errorf("two actions are one: %q", actions)
	}
	// The reference's own.
	for _, a := range []string{"start", "stop", "restart", "exit", "auto-restart", "policy-denied", "proxy-start", "proxy-end", "proxy-error"} {
		if !slices.Contains(actions, a) {
			t.Errorf("the action %q is not there", a)
		}
	}
}
