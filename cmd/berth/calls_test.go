package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/home"
)

// calls are the records of calls in the audit trail, which is whole.
func (b bench) calls() (recs []berth.Record) {
	b.Helper()
	h, err := home.Open(b.dir, nil)
	if err != nil {
		b.Fatal(err)
	}
	if r, err := h.VerifyAudit(); err != nil || !r.OK() {
		b.Fatalf("the trail: %+v, %v", r, err)
	}
	for rec, err := range h.Audit(home.AuditFilter{Action: berth.ActionToolCall}) {
		if err != nil {
			b.Fatal(err)
		}
		recs = append(recs, rec)
	}
	return recs
}

func hashOf(args string) string {
	sum := sha256.Sum256([]byte(args))
	return hex.EncodeToString(sum[:])
}

// Each call by way of the gateway is a record: whose it was, what became of it,
// which process it reached.
func TestCallsAreOnRecord(t *testing.T) {
	b := newBench(t)
	b.berth("add", "one", "--no-run", "--", "testserver")
	g := b.up()
	legacy, modern := g.guest("one").join(), g.guest("one").modern()
	ask := func(c *guest, tool, args string) {
		line, headers := c.call(tool, args)
		c.must(line, headers...)
	}
	ask(legacy, "echo", `{ "message" : "secret-in-arguments" }`)
	ask(modern, "echo", `{"message":"hi"}`)
	ask(legacy, "echo", `{"message":1}`) // the tool fails
	ask(modern, "nothing", `{}`)
	pid := b.status("one").PID
	ask(legacy, "crash", `{}`)
	ask(modern, "echo", `{"message":"again"}`)
	p := b.proxy("one")
	p.shakeHands()
	p.echo(1, "by proxy")
	if code := p.hangUp(); code != 0 {
		t.Errorf("proxy: exit code %d", code)
	}
	b.berth("call", "one", "echo", `{"message":"by a command"}`)
	now := b.status("one")

	own := fmt.Sprintf("uid:%d", os.Getuid())
	want := []berth.Call{
		{Tool: "echo", Principal: "anyone", Client: "guest 1", Outcome: berth.CallDone, ArgumentsSHA256: hashOf(`{ "message" : "secret-in-arguments" }`)},
		{Tool: "echo", Principal: "anyone", Client: "guest 2", Outcome: berth.CallDone, ArgumentsSHA256: hashOf(`{"message":"hi"}`)},
		{Tool: "echo", Principal: "anyone", Client: "guest 1", Outcome: berth.CallFailed, ArgumentsSHA256: hashOf(`{"message":1}`)},
		{Tool: "crash", Principal: "anyone", Client: "guest 1", Outcome: berth.CallLost, ArgumentsSHA256: hashOf(`{}`)},
		{Tool: "echo", Principal: "anyone", Client: "guest 2", Outcome: berth.CallDone, ArgumentsSHA256: hashOf(`{"message":"again"}`), Restarts: 1},
		{Tool: "echo", Principal: own, Client: "t 1", Outcome: berth.CallDone, ArgumentsSHA256: hashOf(`{"message":"by proxy"}`), Restarts: 1},
		{Tool: "echo", Principal: own, Client: "berth " + berth.Version, Outcome: berth.CallDone, ArgumentsSHA256: hashOf(`{"message":"by a command"}`), Restarts: 1},
	}
	got := b.calls()
	if len(got) != len(want) {
		t.Fatalf("%d calls are on record, %d were made: %+v", len(got), len(want), got)
	}
	for i, rec := range got {
		c := *rec.Call
		if c.BytesIn < len(c.Tool) || c.BytesOut < 10 || c.RunMicros < 0 || c.QueueMicros < 0 {
			t.Errorf("record %d: %+v", i, c)
		}
		c.BytesIn, c.BytesOut, c.QueueMicros, c.StartMicros, c.RunMicros = 0, 0, 0, 0, 0
		if c != want[i] || rec.Server != "one" {
			t.Errorf("record %d of %s:\n got %+v\nwant %+v", i, rec.Server, c, want[i])
		}
		at := now.PID
		if i < 4 {
			at = pid
		}
		if rec.PID != at {
			t.Errorf("record %d: process %d, want %d", i, rec.PID, at)
		}
	}
	if text := b.berth("audit", "--json"); strings.Contains(text, "secret-in-arguments") {
		t.Error("the trail holds arguments though nobody asked for them")
	}
	text := b.berth("audit", "one", "--action", "tool-call")
	for _, part := range []string{" echo: done in ", " echo: failed in ", ", by guest 2 (anyone)", " crash: lost in "} {
		if !strings.Contains(text, part) {
			t.Errorf("berth audit does not say %q:\n%s", part, text)
		}
	}
}

// The arguments are kept where that is asked for, without secrets; a client's
// name is cut, and hides none either.
func TestArgumentsOnRecord(t *testing.T) {
	t.Setenv("SHELLS_TOKEN", "open-sesame")
	b := newBench(t)
	b.berth("add", "one", "--no-run", "--env", "MY_TOKEN=hunter2-hunter2", "--allow", "env:SHELLS_TOKEN", "--", "testserver")
	b.berth("config", "one", "--set", "berth.audit-arguments=text")
	g := b.up()
	c := g.guest("one").modern()
	line, headers := c.call("echo", `{"message":"x hunter2-hunter2 y open-sesame", "password":"abcdefgh"}`)
	line = strings.Replace(line, `"name":"guest"`, `"name":"--token=abcdefgh `+strings.Repeat("é", 200)+`"`, 1)
	c.must(line, headers...)
	line, headers = c.call("echo", `{"message":"`+strings.Repeat("x", 20<<10)+`"}`)
	c.must(line, headers...)
	got := b.calls()
	if len(got) != 2 {
		t.Fatalf("%+v", got)
	}
	first := got[0].Call
	if first.Arguments != `{"message":"x *** y ***", "password":"***"}` {
		t.Errorf("arguments %s", first.Arguments)
	}
	if len(first.Client) > 120 || !strings.HasPrefix(first.Client, "--token=***") {
		t.Errorf("client %q", first.Client)
	}
	if got[1].Call.Arguments != "" || got[1].Call.ArgumentsSHA256 == "" {
		t.Error("arguments that are too long are to be left to their hash")
	}
}

// A call that was answered is on record though the gateway is killed at once.
func TestCallsOutliveTheGateway(t *testing.T) {
	b := newBench(t)
	b.berth("add", "one", "--no-run", "--", "testserver")
	b.berth("start", "one")
	answered := map[string]bool{}
	for round := range 5 {
		g := b.up()
		c := g.guest("one").modern()
		for i := range 3 * (round + 1) {
			args := fmt.Sprintf(`{"message":"%d.%d"}`, round, i)
			line, headers := c.call("echo", args)
			if got := c.must(line, headers...); !strings.Contains(got, `"resultType":"complete"`) {
				t.Fatalf("got %s", got)
			}
			answered[hashOf(args)] = true
		}
		b.kill(g.cmd.Process.Pid)
	}
	for _, rec := range b.calls() {
		delete(answered, rec.Call.ArgumentsSHA256)
	}
	if len(answered) > 0 {
		t.Errorf("%d calls that were answered are on no record", len(answered))
	}
}

// Who calls too often is told when to come again, in the words of its era, and
// that is on record; what is let through is not slowed down.
func TestBusy(t *testing.T) {
	b := newBench(t)
	b.berth("add", "one", "--no-run", "--", "testserver")
	b.berth("config", "one", "--set", "berth.max-rate=0.01", "--set", "berth.max-calls=1", "--set", "berth.call-timeout=30s")
	g := b.up()
	modern, legacy := g.guest("one").modern(), g.guest("one").join()
	line, headers := modern.call("echo", `{"message":"first"}`)
	if got := modern.must(line, headers...); !strings.Contains(got, `"text":"first"`) {
		t.Fatalf("got %s", got)
	}
	resp, body, err := modern.post(t.Context(), line, headers...)
	if err != nil {
		t.Fatal(err)
	}
	after, err := strconv.Atoi(resp.Header.Get("Retry-After"))
	if resp.StatusCode != 429 || err != nil || after < 60 || after > 100 || !strings.Contains(body, `"code":429`) || !strings.Contains(body, `"retryAfterMs":`) {
		t.Errorf("got %s, Retry-After %d: %s", resp.Status, after, body)
	}
	line, _ = legacy.call("echo", `{"message":"x"}`)
	resp, body, err = legacy.post(t.Context(), line)
	if err != nil || resp.StatusCode != 200 || !strings.Contains(body, `"code":429`) || !strings.Contains(body, `"retryAfterMs":`) {
		t.Errorf("got %v, %v: %s", resp, err, body)
	}
	p := b.proxy("one") // by the socket it is another user
	p.shakeHands()
	p.echo(1, "mine")
	if code := p.hangUp(); code != 0 {
		t.Errorf("proxy: exit code %d", code)
	}
	var got []string
	for _, rec := range b.calls() {
		got = append(got, fmt.Sprintf("%s %s %d", rec.Call.Principal, rec.Call.Outcome, rec.Call.Code))
	}
	if want := fmt.Sprintf("anyone done 0; anyone refused 429; anyone refused 429; uid:%d done 0", os.Getuid()); strings.Join(got, "; ") != want {
		t.Errorf("on record is %q, want %s", got, want)
	}
}

// acknowledged is the number of the last record that is known to be on the disk.
func (b bench) acknowledged() (last uint64) {
	b.Helper()
	text, err := os.ReadFile(filepath.Join(b.dir, "audit", "head"))
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) > 0 {
			n, _ := strconv.ParseUint(fields[0], 10, 64)
			last = max(last, n)
		}
	}
	return last
}

// Where a server is set so, or the home is, the record of a call is on the disk
// before its answer is sent.
func TestStrictAudit(t *testing.T) {
	for _, where := range []string{"server", "home"} {
		t.Run(where, func(t *testing.T) {
			b := newBench(t)
			b.berth("add", "one", "--no-run", "--", "testserver")
			if where == "server" {
				b.berth("config", "one", "--set", "berth.audit=strict")
			} else if err := os.WriteFile(filepath.Join(b.dir, "berth.toml"), []byte("[security]\naudit = \"strict\"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			g := b.up()
			var all sync.WaitGroup
			for n := range 4 {
				c := g.guest("one").modern()
				all.Go(func() {
					for i := range 10 {
						args := fmt.Sprintf(`{"message":"%d.%d"}`, n, i)
						line, headers := c.call("echo", args)
						c.must(line, headers...)
						sure := b.acknowledged()
						for _, rec := range b.calls() {
							if rec.Call.ArgumentsSHA256 == hashOf(args) {
								if rec.Seq > sure {
									t.Errorf("call %s was answered as record %d when record %d was the last on the disk", args, rec.Seq, sure)
								}
								args = ""
							}
						}
						if args != "" {
							t.Errorf("call %s was answered and is on no record", args)
						}
					}
				})
			}
			all.Wait()
		})
	}
}

// A strict server answers no call that cannot be put on record, and makes none
// once that is known.
func TestStrictAuditThatCannotBeWritten(t *testing.T) {
	b := newBench(t)
	b.berth("add", "one", "--no-run", "--", "testserver")
	b.berth("config", "one", "--set", "berth.audit=strict")
	g := b.up()
	c := g.guest("one").modern()
	line, headers := c.call("echo", `{"message":"hi"}`)
	c.must(line, headers...)
	// A directory cannot be written as a file, whoever one is.
	current := filepath.Join(b.dir, "audit", "audit.jsonl")
	if err := os.Rename(current, current+".kept"); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(current, 0o700); err != nil {
		t.Fatal(err)
	}
	if got := c.must(line, headers...); !strings.Contains(got, "its record is not on the disk") {
		t.Errorf("got %s", got)
	}
	if got := c.must(line, headers...); !strings.Contains(got, "write the audit trail") || strings.Contains(got, "was answered") {
		t.Errorf("got %s", got)
	}
	if err := os.Remove(current); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(current+".kept", current); err != nil {
		t.Fatal(err)
	}
	for strings.Contains(c.must(line, headers...), `"error"`) { // it is tried again after a second
		if t.Context().Err() != nil {
			t.Fatal("the calls go on being refused")
		}
	}
	if n := len(b.calls()); n < 4 {
		t.Errorf("%d calls are on record", n)
	}
}
