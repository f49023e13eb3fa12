package home

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/berth-run/berth"
)

func testTrail(t testing.TB) trail {
	return trail{dir: t.TempDir(), maxBytes: auditMaxBytes}
}

func mustAppend(t testing.TB, tr trail, recs ...berth.Record) []berth.Record {
	t.Helper()
	stored, err := tr.append(recs)
	if err != nil {
		t.Fatal(err)
	}
	return stored
}

func mustVerify(t testing.TB, tr trail) AuditReport {
	t.Helper()
	report, err := tr.verify()
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// wantWhole fails the test if the trail has problems.
func wantWhole(t testing.TB, tr trail) AuditReport {
	t.Helper()
	report := mustVerify(t, tr)
	for _, p := range report.Problems {
		t.Errorf("problem: %v", p)
	}
	return report
}

func readTrail(t testing.TB, tr trail) []byte {
	t.Helper()
	data, err := os.ReadFile(tr.path(auditCurrent))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func writeTrail(t testing.TB, tr trail, data []byte) {
	t.Helper()
	if err := os.WriteFile(tr.path(auditCurrent), data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func action(a string) berth.Record { return berth.Record{Server: "s", Action: a} }

func TestAuditFormat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // whose clock is known
		h := openTestHome(t)
		code := 3
		first, err := h.Append(berth.Record{Server: "s", Action: berth.ActionExit, PID: 12, Command: "c", Args: []string{"<a>"}, Code: &code, DurationMillis: 5})
		if err != nil {
			t.Fatal(err)
		}
		second, err := h.Append(berth.Record{
			Server: "s", Action: berth.ActionStop, Args: []string{}, Detail: "late", Seq: 77, Prev: "x",
			Time: time.Unix(5, 6).In(time.FixedZone("east", 3600)),
		})
		if err != nil {
			t.Fatal(err)
		}
		want := `{"timestampEpochSecs":946684800,"server":"s","action":"exit","pid":12,"command":"c","args":["<a>"],"time":"2000-01-01T00:00:00Z","seq":1,"code":3,"durationMs":5}` + "\n"
		want += `{"timestampEpochSecs":5,"server":"s","action":"stop","time":"1970-01-01T00:00:05.000000006Z","seq":2,"detail":"late","prev":"` + auditSum([]byte(strings.TrimSuffix(want, "\n"))) + `"}` + "\n"
		if got := readTrail(t, h.trail()); string(got) != want {
			t.Errorf("got\n%swant\n%s", got, want)
		}
		var back []berth.Record
		for rec, err := range h.Audit(AuditFilter{}) {
			if err != nil {
				t.Fatal(err)
			}
			back = append(back, rec)
		}
		if got, want := asJSON(t, back), asJSON(t, []berth.Record{first, second}); got != want {
			t.Errorf("read\n%s\nwhich was stored as\n%s", got, want)
		}
	})
}

func asJSON(t testing.TB, v any) string {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestAuditRefusesRecordWithoutAction(t *testing.T) {
	h := openTestHome(t)
	if _, err := h.AppendAll([]berth.Record{action("start"), action(" \t")}); err == nil {
		t.Error("a blank action was taken")
	}
	if _, err := os.Stat(h.trail().path(auditCurrent)); !os.IsNotExist(err) {
		t.Error("something was written")
	}
	if stored, err := h.AppendAll(nil); err != nil || len(stored) != 0 {
		t.Errorf("no records: %v, %v", stored, err)
	}
}

// Whatever a record holds is one line, which reads back as what was returned.
func TestAuditAnyRecordIsOneLine(t *testing.T) {
	text := rapid.OneOf(rapid.String(), rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) }))
	rapid.Check(t, func(rt *rapid.T) {
		rec := berth.Record{
			TimestampEpochSecs: rapid.Int64Range(0, 1<<40).Draw(rt, "secs"),
			Server:             text.Draw(rt, "server"),
			Action:             "a" + text.Draw(rt, "action"),
			PID:                rapid.Int().Draw(rt, "pid"),
			Command:            text.Draw(rt, "command"),
			Args:               rapid.SliceOf(text).Draw(rt, "args"),
			Detail:             text.Draw(rt, "detail"),
			Signal:             text.Draw(rt, "signal"),
			Seq:                rapid.Uint64Range(1, auditMaxSeq).Draw(rt, "seq"),
			DurationMillis:     rapid.Int64().Draw(rt, "duration"),
			Prev:               rapid.StringMatching(`[0-9a-f]*`).Draw(rt, "prev"),
			Code:               rapid.Ptr(rapid.Int(), true).Draw(rt, "code"),
			Time:               time.Unix(rapid.Int64Range(0, 1<<32).Draw(rt, "time"), rapid.Int64Range(0, 1e9-1).Draw(rt, "nanos")).UTC(),
			Call: &berth.Call{
				Tool: text.Draw(rt, "tool"), Client: text.Draw(rt, "client"), Arguments: text.Draw(rt, "arguments"), Principal: text.Draw(rt, "principal"), Caller: text.Draw(rt, "caller"),
				Outcome: rapid.SampledFrom([]berth.CallOutcome{"", berth.CallDone}).Draw(rt, "outcome"), Code: rapid.Int64().Draw(rt, "error"),
				BytesIn: rapid.Int().Draw(rt, "in"), BytesOut: rapid.Int().Draw(rt, "out"), QueueMicros: rapid.Int64().Draw(rt, "queue"),
				StartMicros: rapid.Int64().Draw(rt, "start"), RunMicros: rapid.Int64().Draw(rt, "run"), Restarts: rapid.Int().Draw(rt, "restarts"),
				ArgumentsSHA256: rapid.StringMatching(`[0-9a-f]*`).Draw(rt, "hash"),
			},
		}
		before := fmt.Sprintf("%#v %#v", rec, *rec.Call)
		line, stored, err := auditEncode(rec)
		if err != nil {
			rt.Fatal(err)
		}
		if after := fmt.Sprintf("%#v %#v", rec, *rec.Call); after != before {
			rt.Fatalf("the caller's record became %s, it was %s", after, before)
		}
		if bytes.IndexByte(line, '\n') != len(line)-1 || bytes.Contains(line, []byte("null")) && !strings.Contains(before, "null") {
			rt.Fatalf("line %q", line)
		}
		var byLibrary bytes.Buffer
		e := json.NewEncoder(&byLibrary)
		e.SetEscapeHTML(false)
		if err := e.Encode(stored); err != nil || !bytes.Equal(byLibrary.Bytes(), line) {
			rt.Fatalf("line\n%swhich encoding/json writes as\n%s", line, &byLibrary)
		}
		back, err := auditParse(line[:len(line)-1])
		if err != nil {
			rt.Fatal(err)
		}
		if got, want := asJSON(t, back), asJSON(t, stored); got != want {
			rt.Fatalf("read %s, stored %s", got, want)
		}
	})
}

func TestAuditKeepsBytesThatAreNoText(t *testing.T) {
	args := []string{"ok", "caf\xe9", "\xff\xfe\ufffd"}
	_, rec, err := auditEncode(berth.Record{Action: "start", Command: "/bin/\x80x", Args: args})
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprintf("%s %s", rec.Command, rec.Args); got != `/bin/\x80x [ok caf\xe9 \xff\xfe`+"\ufffd]" {
		t.Errorf("got %s", got)
	}
}

func TestAuditShortensHugeRecord(t *testing.T) {
	tr := testTrail(t)
	huge := berth.Record{Action: "start", Command: strings.Repeat("c", 3<<20), Detail: strings.Repeat("\x00", 3<<20), Args: []string{"kept", strings.Repeat("a", 3<<20), "x"}}
	rec := mustAppend(t, tr, huge)[0]
	mustAppend(t, tr, action("stop"))
	lines := bytes.SplitAfter(readTrail(t, tr), []byte("\n"))
	if len(lines[0]) > auditMaxLine {
		t.Errorf("the line has %d bytes", len(lines[0]))
	}
	if len(rec.Args) != 2 || rec.Args[0] != "kept" || !strings.Contains(rec.Args[1], "2 arguments left out") || !strings.Contains(rec.Command, "bytes left out") {
		t.Errorf("got %.100q", rec.Args)
	}
	wantWhole(t, tr)
}

// Appends of any sizes, by one or many, from several goroutines, in files of any
// size, among lines of the reference and crashes at any byte: the trail is
// always whole, and has every record that was acknowledged.
func TestAuditAppendAndVerifyAgree(t *testing.T) {
	base := t.TempDir()
	runs := 0
	rapid.Check(t, func(rt *rapid.T) {
		runs++
		tr := trail{dir: filepath.Join(base, fmt.Sprint(runs)), maxBytes: rapid.Int64Range(1, 2000).Draw(rt, "maxBytes")}
		if err := os.Mkdir(tr.dir, 0o700); err != nil {
			rt.Fatal(err)
		}
		defer os.RemoveAll(tr.dir)
		var acked []string
		raw := func(data []byte) {
			f, err := logOpenAppend(tr.path(auditCurrent))
			if err != nil {
				rt.Fatal(err)
			}
			defer f.Close()
			if _, err := f.Write(data); err != nil {
				rt.Fatal(err)
			}
		}
		for i := range rapid.IntRange(1, 12).Draw(rt, "steps") {
			switch rapid.IntRange(0, 3).Draw(rt, "step") {
			case 0: // the reference
				raw(fmt.Appendf(nil, `{"timestampEpochSecs":%d,"server":"s","action":"start","pid":7}`+"\n", i))
			case 1: // a writer that was killed
				raw([]byte(`{"timestampEpochSecs":1,"server":"s","action":"cut"}`)[:rapid.IntRange(1, 52).Draw(rt, "cut")])
			default:
				var recs []berth.Record
				for j := range rapid.IntRange(1, 3).Draw(rt, "records") {
					recs = append(recs, action(fmt.Sprintf("a%d.%d", i, j)))
					acked = append(acked, recs[j].Action)
				}
				if _, err := tr.append(recs); err != nil {
					rt.Fatal(err)
				}
			}
		}
		report, err := tr.verify()
		if err != nil {
			rt.Fatal(err)
		}
		if !report.OK() {
			rt.Fatalf("problems: %v", report.Problems)
		}
		var got []string
		seq := uint64(0)
		err = tr.each(AuditFilter{}, func(name string, l auditLine) bool {
			if l.numbered() {
				if seq++; l.rec.Seq != seq {
					rt.Fatalf("%s:%d has number %d, want %d", name, l.number, l.rec.Seq, seq)
				}
			}
			if l.numbered() && l.rec.Server == "s" {
				got = append(got, l.rec.Action)
			}
			return true
		})
		if err != nil {
			rt.Fatal(err)
		}
		if fmt.Sprint(got) != fmt.Sprint(acked) {
			rt.Fatalf("the trail has %v, acknowledged were %v", got, acked)
		}
	})
}

func TestAuditTornAtEveryByte(t *testing.T) {
	tr := testTrail(t)
	mustAppend(t, tr, action("start"), action("exit"))
	head, err := os.ReadFile(tr.path("head"))
	if err != nil {
		t.Fatal(err)
	}
	kept := len(readTrail(t, tr))
	mustAppend(t, tr, action("stop"))
	whole := readTrail(t, tr)
	for cut := kept; cut < len(whole); cut++ {
		writeTrail(t, tr, whole[:cut])
		if err := os.WriteFile(tr.path("head"), head, 0o600); err != nil {
			t.Fatal(err)
		}
		torn := cut - kept
		report := wantWhole(t, tr)
		if (len(report.Notes) > 0) != (torn > 0) {
			t.Errorf("torn after %d bytes, before a repair: notes %v", torn, report.Notes)
		}
		mustAppend(t, tr, action("next"))
		report = wantWhole(t, tr)
		got := string(readTrail(t, tr)[kept:])
		says := fmt.Sprintf("closed an unfinished line of %d bytes", torn)
		if strings.Contains(got, says) != (torn > 0) || strings.Contains(fmt.Sprint(report.Notes), says) != (torn > 0) {
			t.Errorf("torn after %d bytes: the trail goes on with %q, verify notes %v", torn, got, report.Notes)
		}
		if complete := torn == len(whole)-kept-1; report.Records != map[bool]int{true: 5, false: 4}[complete] && torn > 0 {
			t.Errorf("torn after %d bytes: %d records", torn, report.Records)
		}
	}
}

// A crash in the middle of a repair leaves another fragment, or only the newline.
func TestAuditRepairThatWasTornToo(t *testing.T) {
	for _, rest := range []string{"\n", "\n{\"timestampE", "\n\n\xff"} {
		tr := testTrail(t)
		mustAppend(t, tr, action("start"))
		writeTrail(t, tr, append(readTrail(t, tr), `{"cut`+rest...))
		wantWhole(t, tr)
		mustAppend(t, tr, action("next"))
		report := wantWhole(t, tr)
		if report.Records != 3 || len(report.Notes) < 2 {
			t.Errorf("%q: %d records, notes %v", rest, report.Records, report.Notes)
		}
	}
}

func TestAuditReadsBadLinesAsErrors(t *testing.T) {
	h := openTestHome(t)
	reference := `{"timestampEpochSecs":100,"server":"old","action":"start","pid":1,"command":"c"}`
	writeTrail(t, h.trail(), []byte(reference+"\nno JSON\n\n[1]\nnull\n{\"server\":\"x\"}\n{\"action\":1}\n{\"action\":\"a\"\xff}\n"+strings.Repeat(" ", auditMaxRead+1)+"\n"+reference))
	var got []string
	for rec, err := range h.Audit(AuditFilter{}) {
		var bad *AuditLineError
		switch {
		case err == nil:
			got = append(got, rec.Action)
		case errors.As(err, &bad):
			if bad.File != h.trail().path(auditCurrent) || !strings.HasPrefix(err.Error(), fmt.Sprintf("%s:%d: ", bad.File, bad.Line)) {
				t.Errorf("error %v", err)
			}
			got = append(got, fmt.Sprint(bad.Line))
		default:
			t.Fatal(err)
		}
	}
	if want := "[start 2 3 4 5 6 7 8 9 start]"; fmt.Sprint(got) != want {
		t.Errorf("got %v, want %v", got, want)
	}
}

// What a crash cut off is told apart from damage, whatever the filter: while it
// is the last line, and once a record accounts for it.
func TestAuditTellsWhatWasCutOff(t *testing.T) {
	h := openTestHome(t)
	tr := h.trail()
	faults := func() string {
		var got []string
		for _, err := range h.Audit(AuditFilter{Server: "nobody"}) {
			bad := err.(*AuditLineError)
			got = append(got, fmt.Sprintf("%d unfinished %t repaired %t", bad.Line, bad.Unfinished, bad.Repaired))
		}
		return strings.Join(got, "; ")
	}
	mustAppend(t, tr, action("start"), action("stop"))
	first, second, _ := strings.Cut(string(readTrail(t, tr)), "\n")
	writeTrail(t, tr, []byte(first+"\ndamage\n"+second+`{"cut`))
	if got, want := faults(), "2 unfinished false repaired false; 4 unfinished true repaired false"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	mustAppend(t, tr, action("start"))
	if got, want := faults(), "2 unfinished false repaired false; 4 unfinished false repaired true"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	for range h.Audit(AuditFilter{}) {
		break // also where the first is an error
	}
	writeTrail(t, tr, []byte("x\ny\n"))
	for range h.Audit(AuditFilter{}) {
		break
	}
}

func TestAuditFilter(t *testing.T) {
	h := openTestHome(t)
	tr := h.trail()
	writeTrail(t, tr, []byte(`{"timestampEpochSecs":100,"server":"a","action":"start"}`+"\n"))
	mustAppend(t, tr,
		berth.Record{Server: "a", Action: "stop", Time: time.Unix(100, 5)},
		berth.Record{Server: "b", Action: "start", Time: time.Unix(101, 0)},
		berth.Record{Server: "b", Action: "stop", Time: time.Unix(102, 0)})
	for _, test := range []struct {
		filter AuditFilter
		want   string
	}{
		{AuditFilter{}, "[a.start a.stop b.start b.stop]"},
		{AuditFilter{Server: "a"}, "[a.start a.stop]"},
		{AuditFilter{Action: "start"}, "[a.start b.start]"},
		{AuditFilter{Server: "b", Action: "stop"}, "[b.stop]"},
		{AuditFilter{Server: "A"}, "[]"},
		{AuditFilter{Since: time.Unix(100, 5)}, "[a.start a.stop b.start b.stop]"}, // it may have been later in its second
		{AuditFilter{Since: time.Unix(100, 6)}, "[a.start b.start b.stop]"},
		{AuditFilter{Since: time.Unix(102, 0)}, "[b.stop]"},
	} {
		got := []string{}
		for rec, err := range h.Audit(test.filter) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, rec.Server+"."+rec.Action)
		}
		if fmt.Sprint(got) != test.want {
			t.Errorf("%+v: got %v, want %v", test.filter, got, test.want)
		}
	}
	for range h.Audit(AuditFilter{}) {
		break // the caller may stop early
	}
}

func TestAuditFilterCalls(t *testing.T) {
	h := openTestHome(t)
	tr := h.trail()
	call := func(tool, caller, client string, outcome berth.CallOutcome) berth.Record {
		return berth.Record{Server: "s", Action: berth.ActionToolCall,
			Call: &berth.Call{Tool: tool, Principal: "uid:1", Caller: caller, Client: client, Outcome: outcome}}
	}
	mustAppend(t, tr, action("start"), // no call
		call("read", "laptop", "claude-ai 1.0", berth.CallDone),
		call("write", "", "claude-ai 1.0", berth.CallFailed),
		call("write_all", "", "", berth.CallRefused),
		berth.Record{Server: "s", Action: berth.ActionToolCallDenied, Call: &berth.Call{Tool: "rm", Caller: "laptop", Outcome: berth.CallRefused}},
		berth.Record{Action: berth.ActionCallerRefused, Detail: "no token was shown"})
	for _, test := range []struct {
		filter AuditFilter
		want   string
	}{
		{AuditFilter{}, "[start read write write_all rm caller-refused]"},
		{AuditFilter{Client: "laptop"}, "[read rm]"},
		{AuditFilter{Client: "claude-ai"}, "[write]"}, // what Berth knows it by comes first
		{AuditFilter{Client: "claude-ai 1.0"}, "[]"},
		{AuditFilter{Client: "uid:1"}, "[write_all]"},
		{AuditFilter{Client: "lap*"}, "[]"},
		{AuditFilter{Tool: "write*"}, "[write write_all]"},
		{AuditFilter{Tool: "write"}, "[write]"},
		{AuditFilter{Tool: "["}, "[]"},
		{AuditFilter{Outcome: berth.CallRefused}, "[write_all rm caller-refused]"},
		{AuditFilter{Outcome: berth.CallDone}, "[read]"},
		{AuditFilter{Outcome: berth.CallRefused, Tool: "*"}, "[write_all rm]"},
		{AuditFilter{Outcome: berth.CallRefused, Server: "s"}, "[write_all rm]"},
		{AuditFilter{Outcome: berth.CallRefused, Client: "laptop"}, "[rm]"},
		{AuditFilter{Outcome: berth.CallRefused, Action: berth.ActionToolCall}, "[write_all]"},
		{AuditFilter{Tool: "*", Server: "other"}, "[]"},
	} {
		got := []string{}
		for rec, err := range h.Audit(test.filter) {
			if err != nil {
				t.Fatal(err)
			}
			what := rec.Action
			if rec.Call != nil {
				what = rec.Call.Tool
			}
			got = append(got, what)
		}
		if fmt.Sprint(got) != test.want {
			t.Errorf("%+v: got %v, want %v", test.filter, got, test.want)
		}
	}
}

// Readers see whole records only, while eight writers are in the middle of
// theirs and files are put aside.
func TestAuditReadDuringWrites(t *testing.T) {
	tr := testTrail(t)
	tr.maxBytes = 20 << 10
	var writers sync.WaitGroup
	var acked [8]int
	stop := make(chan struct{})
	for w := range acked {
		writers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				rec := action(fmt.Sprintf("a%d", w))
				rec.Detail = strings.Repeat("x", 5000)
				if _, err := tr.append([]berth.Record{rec}); err != nil {
					t.Error(err)
					return
				}
				acked[w]++
			}
		})
	}
	for deadline := time.Now().Add(2 * time.Second); time.Now().Before(deadline); {
		report := wantWhole(t, tr)
		if len(report.Notes) > 0 && report.Records > 20 {
			t.Errorf("notes %v", report.Notes)
		}
	}
	close(stop)
	writers.Wait()
	total := 0
	for _, n := range acked {
		total += n
	}
	if report := wantWhole(t, tr); report.Records != total || report.Files < 2 {
		t.Errorf("%d records in %d files, %d were acknowledged", report.Records, report.Files, total)
	}
	if head, err := tr.head(); err != nil || head.Seq != uint64(total) {
		t.Errorf("the head is %+v, %v after %d records", head, err, total)
	}
}

// A reader that meets a line in the middle of being written waits for its end.
func TestAuditReadWaitsForAWrite(t *testing.T) {
	tr := testTrail(t)
	mustAppend(t, tr, action("a"))
	whole := readTrail(t, tr)
	lock, err := tr.lock(time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	more := `{"timestampEpochSecs":1,"server":"s","action":"b"}` + "\n"
	writeTrail(t, tr, append(whole, more[:20]...))
	read := make(chan AuditReport)
	go func() {
		report, err := tr.verify()
		if err != nil {
			t.Error(err)
		}
		read <- report
	}()
	select {
	case report := <-read:
		t.Fatalf("it did not wait: %+v", report)
	case <-time.After(200 * time.Millisecond): // enough to see one that does not
	}
	writeTrail(t, tr, append(whole, more...))
	if err := lock.Unlock(); err != nil {
		t.Fatal(err)
	}
	if report := <-read; !report.OK() || len(report.Notes) > 0 || report.Unnumbered != 1 {
		t.Errorf("%+v", report)
	}
}

// A lock that is held for good delays a reader, and stops no one for ever.
func TestAuditLockThatIsHeld(t *testing.T) {
	tr := testTrail(t)
	mustAppend(t, tr, action("a"))
	lock, err := tr.lock(time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tr.lock(time.Millisecond); err == nil || !strings.Contains(err.Error(), "another process has held it for 1ms") {
		t.Errorf("locked twice: %v", err)
	}
	writeTrail(t, tr, append(readTrail(t, tr), "{"...))
	if report := wantWhole(t, tr); len(report.Notes) != 1 {
		t.Errorf("%+v", report)
	}
	if err := lock.Unlock(); err != nil {
		t.Fatal(err)
	}
}
