package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestAuditTellsWhatBecameOfIt: a record whose write a crash cut off is told and
// forgiven; what somebody did to the trail is told, and makes verify fail.
func TestAuditTellsWhatBecameOfIt(t *testing.T) {
	b := newBench(t)
	b.berth("add", "one", "--no-run", "--", "testserver")
	b.berth("enable", "one")
	b.berth("disable", "one")
	file := filepath.Join(b.dir, "audit", "audit.jsonl")
	read := func() []string {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return slices.Collect(strings.Lines(string(text)))
	}
	whole := read()
	if len(whole) != 3 {
		t.Fatalf("the trail has %d lines", len(whole))
	}
	for what, c := range map[string]struct {
		lines []string
		code  exitCode
		says  string
	}{
		"whole":                 {whole, exitOK, `the audit trail is whole: 3 records in 1 file`},
		"a record is edited":    {[]string{whole[0], strings.Replace(whole[1], "enabled", "removed", 1), whole[2]}, exitFailed, `audit\.jsonl:[23]: `},
		"a record is missing":   {[]string{whole[0], whole[2]}, exitFailed, `audit\.jsonl:2: `},
		"records are reordered": {[]string{whole[1], whole[0], whole[2]}, exitFailed, `audit\.jsonl:[12]: `},
		"a record comes twice":  {[]string{whole[0], whole[1], whole[1], whole[2]}, exitFailed, `audit\.jsonl:3: `},
		"the end is missing":    {whole[:2], exitFailed, ``},
		"a line is put between": {[]string{whole[0], "no record\n", whole[1], whole[2]}, exitFailed, `audit\.jsonl:[23]: `},
		"a write was cut off":   {append(slices.Clone(whole), whole[2][:40]), exitOK, `unfinished`},
		"another, of one byte":  {append(slices.Clone(whole), "{"), exitOK, `unfinished`},
	} {
		t.Run(what, func(t *testing.T) {
			b := bench{t, b.dir}
			if err := os.WriteFile(file, []byte(strings.Join(c.lines, "")), 0o600); err != nil {
				t.Fatal(err)
			}
			code, out := b.try("audit", "verify")
			if code != c.code || !regexp.MustCompile(c.says).MatchString(out) {
				t.Errorf("exit code %d, want %d and %q:\n%s", code, c.code, c.says, out)
			}
			if strings.Contains(out, "is whole") != (code == exitOK) {
				t.Errorf("exit code %d, and it says:\n%s", code, out)
			}
			if _, out := b.try("audit", "verify", "--json"); strings.Contains(out, `"ok": true`) != (code == exitOK) {
				t.Errorf("exit code %d, but as JSON:\n%s", code, out)
			}
			if got := read(); !slices.Equal(got, c.lines) {
				t.Errorf("verify has changed the trail to %q", got)
			}
		})
	}
	// The next record closes what was cut off, and says so.
	torn := append(slices.Clone(whole), whole[2][:40])
	if err := os.WriteFile(file, []byte(strings.Join(torn, "")), 0o600); err != nil {
		t.Fatal(err)
	}
	b.berth("enable", "one")
	after := strings.Join(read(), "")
	if !strings.HasPrefix(after, strings.Join(torn, "")+"\n") || !strings.Contains(after, "audit-repaired") {
		t.Errorf("the trail is now\n%s", after)
	}
	if code, out := b.try("audit", "verify"); code != exitOK || !strings.Contains(out, "unfinished line of 40 bytes") {
		t.Errorf("exit code %d:\n%s", code, out)
	}
}
