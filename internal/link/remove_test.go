package link_test

import (
	"context"
	"strings"
	"testing"

	"github.com/berth-run/berth/internal/link"
	"github.com/berth-run/berth/internal/settings"
)

// theirs is the entry of somebody else, and the hash of what it says.
func (d *desk) theirs() (link.Target, string) {
	d.Helper()
	t := d.target()
	t.Path = []string{"mcpServers", "x"}
	_, sum, err := settings.Get(t.Format, []byte(d.read()), settings.Place{Path: t.Path})
	if err != nil {
		d.Fatal(err)
	}
	return t, sum
}

// An entry of somebody else's is taken out, alone, and the file is kept as it was before
// anything was done to it, whatever is linked or removed afterwards.
func TestRemoveKeepsTheOriginal(t *testing.T) {
	for _, first := range []string{"link", "remove"} {
		d := newDesk(t, before)
		target, sum := d.theirs()
		remove := func() {
			t.Helper()
			if out, err := d.book.Remove(context.Background(), target, sum, true); err != nil || out.Done != "removed" || strings.Contains(string(out.After), `"x"`) {
				t.Fatalf("dry: %+v, %v", out, err)
			}
			if out, err := d.book.Remove(context.Background(), target, sum, false); err != nil || out.Done != "removed" {
				t.Fatalf("%+v, %v", out, err)
			}
		}
		if first == "link" {
			d.mustPut("linked")
			remove()
		} else {
			remove()
			d.mustPut("linked")
		}
		if text := d.read(); strings.Contains(text, `"x"`) || !strings.Contains(text, "// mine") || !strings.Contains(text, "/usr/bin/berth") {
			t.Errorf("%s first: %s", first, text)
		}
		if plain, err := d.book.Original(d.file); err != nil || string(plain) != before {
			t.Errorf("%s first: the original is %q, %v", first, plain, err)
		}
		records, err := d.book.Records()
		if err != nil || len(records) != 1 {
			t.Fatal(records, err)
		}
		if out, err := d.book.Take(context.Background(), records[0], false, false); err != nil || out.Done != "unlinked" {
			t.Errorf("%+v, %v", out, err)
		}
		if removed, err := d.book.Removals(); err != nil || len(removed) != 1 || removed[0].Name() != "x" {
			t.Errorf("%+v, %v", removed, err)
		}
		if plain, err := d.book.Original(d.file); err != nil || string(plain) != before {
			t.Errorf("%s first: unlinked, the original is %q, %v", first, plain, err)
		}
	}
}

// What was edited since it was looked at is left alone; what is gone is gone.
func TestRemoveOfAnotherEntry(t *testing.T) {
	d := newDesk(t, before)
	target, sum := d.theirs()
	changed := strings.Replace(before, `"y"`, `"z"`, 1)
	d.write(d.file, changed)
	if out, err := d.book.Remove(context.Background(), target, sum, false); err != nil || out.Done != "kept" || d.read() != changed {
		t.Errorf("%+v, %v, %s", out, err, d.read())
	}
	d.write(d.file, "{}\n")
	if out, err := d.book.Remove(context.Background(), target, sum, false); err != nil || out.Done != "gone" {
		t.Errorf("%+v, %v", out, err)
	}
	d.write(d.file, "{\n")
	if _, err := d.book.Remove(context.Background(), target, sum, false); err == nil || !strings.Contains(err.Error(), d.file) {
		t.Error(err)
	}
	if removed, err := d.book.Removals(); err != nil || len(removed) != 0 {
		t.Errorf("%+v, %v", removed, err)
	}
}
