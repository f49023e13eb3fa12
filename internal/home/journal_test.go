package home

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// TestJournalOutlivesItsWriter: what was added is found by the next, whole lines
// each, wherever the last write was cut short.
func TestJournalOutlivesItsWriter(t *testing.T) {
	h, err := Open(t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	open := func() (*Journal, []string) {
		t.Helper()
		j, lines, err := h.OpenJournal("test")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { j.Close() })
		var text []string
		for _, l := range lines {
			text = append(text, string(l))
		}
		return j, text
	}
	j, lines := open()
	if len(lines) != 0 {
		t.Fatalf("a new journal has %q", lines)
	}
	for _, line := range []string{"one", "two", "three"} {
		if err := j.Append([]byte(line)); err != nil {
			t.Fatal(err)
		}
	}
	whole, err := os.ReadFile(j.path)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(j.path); err != nil || info.Mode().Perm() != 0o600 && os.PathSeparator == '/' {
		t.Errorf("its mode is %v (%v)", info.Mode(), err)
	}
	for cut := range len(whole) + 1 {
		if err := os.WriteFile(j.path, whole[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		next, _ := open()
		if err := next.Append([]byte("four")); err != nil {
			t.Fatal(err)
		}
		if next.Size() == 0 {
			t.Error("it has no size")
		}
		_, got := open()
		want := strings.FieldsFunc(string(whole[:cut]), func(r rune) bool { return r == '\n' })
		if want = append(want, "four"); !slices.Equal(got, want) {
			t.Errorf("cut at %d: got %q, want %q", cut, got, want)
		}
	}
	next, _ := open()
	if err := next.Replace([][]byte{[]byte("five")}); err != nil {
		t.Fatal(err)
	}
	if err := next.Append([]byte("six")); err != nil {
		t.Fatal(err)
	}
	if _, got := open(); !slices.Equal(got, []string{"five", "six"}) {
		t.Errorf("after it was replaced: %q", got)
	}
	if next.Close(); next.Append(nil) == nil {
		t.Error("a closed journal took a line")
	}
}
