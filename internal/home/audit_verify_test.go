package home

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/berth-run/berth"
)

// trailFiles returns all files of a trail, and a function that puts them back.
func trailFiles(t testing.TB, tr trail) (files map[string][]byte, restore func()) {
	t.Helper()
	files = map[string][]byte{}
	entries, err := os.ReadDir(tr.dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if files[e.Name()], err = os.ReadFile(tr.path(e.Name())); err != nil {
			t.Fatal(err)
		}
	}
	return files, func() {
		t.Helper()
		now, err := filepath.Glob(tr.path("*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range now {
			if err := os.Remove(name); err != nil {
				t.Fatal(err)
			}
		}
		for name, data := range files {
			if err := os.WriteFile(tr.path(name), data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// mixedTrail has records in two files, lines of the reference, a rest that was
// closed, and a record at its end.
func mixedTrail(t testing.TB) trail {
	tr := testTrail(t)
	reference := `{"timestampEpochSecs":%d,"server":"s","action":"start"}` + "\n"
	writeTrail(t, tr, fmt.Appendf(fmt.Appendf(nil, reference, 1), reference, 2))
	mustAppend(t, tr, action("a"), action("b"), action("c"))
	tr.maxBytes = 1
	mustAppend(t, tr, action("d"))
	tr.maxBytes = auditMaxBytes
	writeTrail(t, tr, append(fmt.Appendf(readTrail(t, tr), reference, 3), `{"cut`...))
	mustAppend(t, tr, action("e"))
	writeTrail(t, tr, fmt.Appendf(readTrail(t, tr), reference, 4))
	mustAppend(t, tr, action("f"))
	report := wantWhole(t, tr)
	if report.Records != 7 || report.Unnumbered != 4 || report.Files != 2 || report.LastSeq != 7 {
		t.Fatalf("the trail is not as this test needs it: %+v", report)
	}
	return tr
}

func TestVerifyFindsEveryChange(t *testing.T) {
	tr := mixedTrail(t)
	files, restore := trailFiles(t, tr)
	tried := 0
	wantProblem := func(what string, name string, data []byte) {
		t.Helper()
		if err := os.WriteFile(tr.path(name), data, 0o600); err != nil {
			t.Fatal(err)
		}
		if report := mustVerify(t, tr); report.OK() {
			t.Errorf("%s: %s: not found (notes %v)", name, what, report.Notes)
		}
		tried++
		if err := os.WriteFile(tr.path(name), files[name], 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, data := range files {
		if !strings.HasSuffix(name, ".jsonl") {
			continue
		}
		for i := range data {
			if name == auditCurrent && i == len(data)-1 {
				continue // without its last newline the last record is still whole
			}
			changed := bytes.Clone(data)
			changed[i] ^= 1
			wantProblem(fmt.Sprintf("byte %d changed", i), name, changed)
		}
		lines := slices.Collect(bytes.Lines(data))
		for i := range lines {
			wantProblem(fmt.Sprintf("line %d removed", i+1), name, bytes.Join(slices.Delete(slices.Clone(lines), i, i+1), nil))
			wantProblem(fmt.Sprintf("line %d repeated", i+1), name, bytes.Join(slices.Insert(slices.Clone(lines), i, lines[i]), nil))
			wantProblem(fmt.Sprintf("all from line %d removed", i+1), name, bytes.Join(lines[:i], nil))
			if i > 0 {
				moved := slices.Clone(lines)
				moved[i-1], moved[i] = moved[i], moved[i-1]
				wantProblem(fmt.Sprintf("line %d moved up", i+1), name, bytes.Join(moved, nil))
			}
		}
	}
	if tried < 1000 {
		t.Errorf("only %d changes were tried", tried)
	}
	for name := range files {
		if strings.HasSuffix(name, ".jsonl") {
			if err := os.Remove(tr.path(name)); err != nil {
				t.Fatal(err)
			}
			if mustVerify(t, tr).OK() {
				t.Errorf("%s removed: not found", name)
			}
			restore()
		}
	}
	wantWhole(t, tr)
}

// What was done to the trail stays found when the next record is appended, and
// for ever after.
func TestVerifyFindsChangesAfterTheNextAppend(t *testing.T) {
	for name, change := range map[string]func(lines [][]byte) [][]byte{
		"last record edited":         func(l [][]byte) [][]byte { l[3] = bytes.Replace(l[3], []byte(`"d"`), []byte(`"x"`), 1); return l },
		"last record made no record": func(l [][]byte) [][]byte { l[3] = []byte("gone\n"); return l },
		"last record removed":        func(l [][]byte) [][]byte { return l[:3] },
		"last two records removed":   func(l [][]byte) [][]byte { return l[:2] },
		"last two changed places":    func(l [][]byte) [][]byte { l[2], l[3] = l[3], l[2]; return l },
		"all removed":                func([][]byte) [][]byte { return nil },
		"last record cut":            func(l [][]byte) [][]byte { l[3] = l[3][:9]; return l },
		"last record edited, more cut": func(l [][]byte) [][]byte {
			l[3] = bytes.Replace(l[3], []byte(`"d"`), []byte(`"x"`), 1)
			return append(l, []byte("{"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			tr := testTrail(t)
			mustAppend(t, tr, action("a"), action("b"), action("c"), action("d"))
			writeTrail(t, tr, bytes.Join(change(slices.Collect(bytes.Lines(readTrail(t, tr)))), nil))
			for range 3 {
				if mustVerify(t, tr).OK() {
					t.Error("not found")
				}
				mustAppend(t, tr, action("next"))
			}
			if mustVerify(t, tr).OK() {
				t.Error("not found")
			}
		})
	}
}

func TestVerifySaysWhere(t *testing.T) {
	edit := func(i int) func(l [][]byte) [][]byte {
		return func(l [][]byte) [][]byte {
			l[i] = bytes.Replace(l[i], []byte(`"server":"s"`), []byte(`"server":"t"`), 1)
			return l
		}
	}
	for _, test := range []struct {
		name   string
		change func(lines [][]byte) [][]byte
		line   int
		says   string
	}{
		{"first edited", edit(0), 1, "record 1 was edited"},
		{"third edited", edit(2), 3, "record 3 was edited"},
		{"last edited", edit(4), 5, "record 5 was edited"},
		{"first removed", func(l [][]byte) [][]byte { return l[1:] }, 1, "record 1 missing before record 2"},
		{"two removed", func(l [][]byte) [][]byte { return slices.Delete(l, 1, 3) }, 2, "records 2 to 3 missing before record 4"},
		{"last removed", func(l [][]byte) [][]byte { return l[:4] }, 0, "record 5 missing at the end"},
		{"moved", func(l [][]byte) [][]byte { l[1], l[2] = l[2], l[1]; return l }, 3, "record 2 comes after record 3"},
		{"repeated", func(l [][]byte) [][]byte { return slices.Insert(l, 2, l[1]) }, 3, "record 2 comes after record 2"},
		{"one added", func(l [][]byte) [][]byte { return slices.Insert(l, 2, []byte(`{"server":"s","action":"start"}`+"\n")) }, 2, "a line from here to audit.jsonl:3 was edited, added or removed"},
		{"no record", func(l [][]byte) [][]byte { l[2] = []byte("x\n"); return l }, 3, "not an audit record"},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := openTestHome(t)
			tr := h.trail()
			mustAppend(t, tr, action("a"), action("b"), action("c"), action("d"), action("e"))
			writeTrail(t, tr, bytes.Join(test.change(slices.Collect(bytes.Lines(readTrail(t, tr)))), nil))
			report, err := h.VerifyAudit()
			if err != nil {
				t.Fatal(err)
			}
			if !slices.ContainsFunc(report.Problems, func(f AuditFinding) bool {
				return f.Line == test.line && f.File == tr.path(auditCurrent) && strings.Contains(f.What, test.says)
			}) {
				t.Errorf("no problem at line %d with %q: %v", test.line, test.says, report.Problems)
			}
		})
	}
}

// Hashes come from the lines, so that those who know the rule can check them
// without Berth.
func TestAuditHashesAsDescribed(t *testing.T) {
	tr := mixedTrail(t)
	before := "" // what covers all lines so far
	err := tr.each(AuditFilter{}, func(name string, l auditLine) bool {
		if l.numbered() {
			if l.rec.Prev != before {
				t.Errorf("%s:%d: prev is %q, want %q", name, l.number, l.rec.Prev, before)
			}
			before = l.sum
			return true
		}
		if before == "" {
			before = l.sum
		} else {
			before = auditSum([]byte(before + "\n" + l.sum))
		}
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestVerifyTrails(t *testing.T) {
	reference := `{"timestampEpochSecs":1,"server":"s","action":"start"}` + "\n"
	t.Run("none", func(t *testing.T) {
		h, err := Open(filepath.Join(t.TempDir(), "none"), &Options{ReadOnly: true})
		if err != nil {
			t.Fatal(err)
		}
		if report, err := h.VerifyAudit(); err != nil || !report.OK() || report.Records+report.Files+len(report.Notes) > 0 {
			t.Errorf("%+v, %v", report, err)
		}
		for _, err := range h.Audit(AuditFilter{}) {
			t.Errorf("something is there, error %v", err)
		}
		if _, err := h.Append(action("start")); err == nil {
			t.Error("a home that was opened for reading was written")
		}
	})
	t.Run("of the reference", func(t *testing.T) {
		tr := testTrail(t)
		writeTrail(t, tr, []byte(reference+reference))
		if report := wantWhole(t, tr); report.Unnumbered != 2 || len(report.Notes) > 0 {
			t.Errorf("%+v", report)
		}
	})
	t.Run("head behind, as after a crash", func(t *testing.T) {
		tr := testTrail(t)
		mustAppend(t, tr, action("a"))
		head, err := os.ReadFile(tr.path("head"))
		if err != nil {
			t.Fatal(err)
		}
		mustAppend(t, tr, action("b"))
		if err := os.WriteFile(tr.path("head"), head, 0o600); err != nil {
			t.Fatal(err)
		}
		wantWhole(t, tr)
		mustAppend(t, tr, action("c"))
		wantWhole(t, tr)
	})
	t.Run("head torn or gone", func(t *testing.T) {
		tr := testTrail(t)
		mustAppend(t, tr, action("a"))
		mustAppend(t, tr, action("b"))
		head, err := os.ReadFile(tr.path("head"))
		if err != nil {
			t.Fatal(err)
		}
		// b is in the second place. Torn at any byte, the first still holds.
		for cut := auditSlot; cut < len(head); cut++ {
			if err := os.WriteFile(tr.path("head"), head[:cut], 0o600); err != nil {
				t.Fatal(err)
			}
			if got, err := tr.head(); err != nil || got.Seq != 1 {
				t.Fatalf("cut after %d bytes: head %+v, %v", cut, got, err)
			}
		}
		wantWhole(t, tr)
		if err := os.Remove(tr.path("head")); err != nil {
			t.Fatal(err)
		}
		if report := wantWhole(t, tr); len(report.Notes) != 1 {
			t.Errorf("notes %v", report.Notes)
		}
		mustAppend(t, tr, action("c"))
		if report := wantWhole(t, tr); len(report.Notes) != 0 {
			t.Errorf("notes %v", report.Notes)
		}
	})
	t.Run("something else", func(t *testing.T) {
		tr := testTrail(t)
		writeTrail(t, tr, bytes.Repeat([]byte("x\n"), 3000))
		mustAppend(t, tr, action("a"))
		writeTrail(t, tr, append(readTrail(t, tr), bytes.Repeat([]byte(`{"action":"a","seq":5}`+"\n"), 3000)...))
		if report := mustVerify(t, tr); len(report.Problems) != auditMaxFindings || report.MoreProblems == 0 || len(report.Notes) > auditMaxFindings {
			t.Errorf("%d problems and %d more, %d notes", len(report.Problems), report.MoreProblems, len(report.Notes))
		}
	})
	t.Run("written late", func(t *testing.T) {
		tr := testTrail(t)
		kept := []berth.Record{{Action: "stop", TimestampEpochSecs: 60}, {Action: "exit", TimestampEpochSecs: 120}}
		stored := mustAppend(t, tr, append([]berth.Record{AuditGap(kept, "no space left on device")}, kept...)...)
		want := "records that could not be written in time: 2 (no space left on device); they are of 1970-01-01T00:01:00Z to 1970-01-01T00:02:00Z"
		if stored[0].Detail != want || stored[1].Time.Unix() != 60 {
			t.Errorf("stored %+v", stored)
		}
		if report := wantWhole(t, tr); len(report.Notes) != 1 || !strings.HasSuffix(report.Notes[0].String(), ":1: audit-gap: "+want) {
			t.Errorf("notes %v", report.Notes)
		}
	})
}

// A file that was put aside is linked to the next; a crash right after it was
// renamed leaves no current file.
func TestAuditRotation(t *testing.T) {
	tr := testTrail(t)
	tr.maxBytes = 500
	for i := range 20 {
		if i == 10 {
			names, err := tr.olderFiles()
			if err != nil || len(names) == 0 {
				t.Fatal(names, err)
			}
			if err := os.Rename(tr.path(auditCurrent), tr.path(auditRotated(10))); err != nil {
				t.Fatal(err)
			}
			wantWhole(t, tr)
		}
		if rec := mustAppend(t, tr, action("a"))[0]; rec.Seq != uint64(i+1) {
			t.Fatalf("record %d has number %d", i+1, rec.Seq)
		}
	}
	if report := wantWhole(t, tr); report.Records != 20 || report.Files < 4 {
		t.Errorf("%+v", report)
	}
	older, err := tr.olderFiles()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range append(older, auditCurrent) {
		if info, err := os.Stat(tr.path(name)); err != nil || info.Size() > tr.maxBytes+300 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
}

func fuzzAuditSeeds(f *testing.F) {
	line, _, err := auditEncode(berth.Record{Server: "s", Action: "start", Args: []string{"\xff"}, Seq: 2, Prev: auditSum(nil)})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(line)
	f.Add(bytes.TrimSuffix(line, []byte("\n")))
	f.Add([]byte(`{"timestampEpochSecs":1,"server":"s","action":"start","pid":null}`))
	f.Add([]byte("{\"action\":\"a\"}\n{\"action\":\"b\",\"seq\":18446744073709551615}\n"))
	f.Add([]byte("\x00\xff{}\r\n\n[]"))
}

// What reads as a record can be written and reads as the same again; and the
// lines of any bytes are those bytes.
func FuzzAuditLine(f *testing.F) {
	fuzzAuditSeeds(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		in := newAuditLines(bytes.NewReader(data))
		var sums []string
		for {
			l, err := in.next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			sums = append(sums, l.sum)
			if !l.finished {
				break
			}
		}
		var want []string
		for line := range bytes.Lines(data) {
			want = append(want, auditSum(bytes.TrimSuffix(line, []byte("\n"))))
		}
		if !slices.Equal(sums, want) {
			t.Errorf("%q was read as %d lines, has %d", data, len(sums), len(want))
		}
		rec, err := auditParse(data)
		if err != nil {
			return
		}
		line, stored, err := auditEncode(rec)
		if err != nil {
			t.Fatalf("%q was read as %+v, which cannot be written: %v", data, rec, err)
		}
		if back, err := auditParse(bytes.TrimSuffix(line, []byte("\n"))); err != nil || asJSON(t, back) != asJSON(t, stored) {
			t.Errorf("%q was read as %+v, %v", line, back, err)
		}
	})
}

// Whatever is there already, the trail goes on, and can be read.
func FuzzAuditTrail(f *testing.F) {
	fuzzAuditSeeds(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		tr := testTrail(t)
		tr.dir = memoryDir(t)
		writeTrail(t, tr, data)
		rec := mustAppend(t, tr, action("next"))[0]
		mustVerify(t, tr)
		var last auditLine
		if err := tr.each(AuditFilter{}, func(_ string, l auditLine) bool { last = l; return true }); err != nil {
			t.Fatal(err)
		}
		if !bytes.HasPrefix(readTrail(t, tr), data) || !last.numbered() || asJSON(t, last.rec) != asJSON(t, rec) {
			t.Errorf("the trail ends with %+v, appended was %+v", last, rec)
		}
	})
}
