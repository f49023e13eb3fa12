package home

import (
	"errors"
	"os"
	"testing"
	"time"

	"github.com/berth-run/berth"
)

// settle makes a file of the home as old as if nobody had touched it lately.
func settle(t testing.TB, path string) {
	t.Helper()
	info, err := os.Stat(path)
	if err == nil {
		err = os.Chtimes(path, time.Time{}, info.ModTime().Add(-time.Minute))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// A file is read once as long as it is as it was, and each change is seen by the
// next who asks.
func TestRulesAreReadAgainWhenTheyChange(t *testing.T) {
	h := openTestHome(t)
	r := h.Rules()
	if _, _, err := r.Profile("p"); !errors.Is(err, ErrNoProfile) {
		t.Fatal(err)
	}
	if err := h.CreateProfile(Profile{Name: "p"}); err != nil {
		t.Fatal(err)
	}
	path, err := h.ProfilePath("p")
	if err != nil {
		t.Fatal(err)
	}
	is := func(readOnly bool) {
		t.Helper()
		p, _, err := r.Profile("p")
		if err != nil || p.ReadOnly != readOnly || p.Name != "p" {
			t.Errorf("%+v %v", p, err)
		}
	}
	is(false)
	flip := func(p *Profile) error { p.ReadOnly = !p.ReadOnly; return nil }
	for range 20 { // changes that come so soon that they could have one stamp
		for _, want := range []bool{true, false} {
			if err := h.UpdateProfile("p", flip); err != nil {
				t.Fatal(err)
			}
			is(want)
		}
	}
	putFile(t, h, "read-only = 1\n", profilesDir, "p.toml")
	if p, _, err := r.Profile("p"); !errors.Is(err, berth.ErrBadConfig) || p.Name != "" {
		t.Errorf("%+v %v", p, err)
	}
	putFile(t, h, "colour = 1\nread-only = true\n", profilesDir, "p.toml")
	settle(t, path)
	if _, warnings, err := r.Profile("p"); err != nil || len(warnings) != 1 {
		t.Errorf("%v %v", warnings, err)
	}
	if _, warnings, err := r.Profile("p"); err != nil || len(warnings) != 0 {
		t.Errorf("it is read twice: %v %v", warnings, err)
	}
	is(true)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if _, _, err := r.Profile("p"); !errors.Is(err, ErrNoProfile) {
		t.Error(err)
	}
	if len(r.profiles) != 0 {
		t.Error("what is gone is kept")
	}
	if _, _, err := r.Profile("../p"); !errors.Is(err, berth.ErrInvalidName) {
		t.Error(err)
	}

	if _, _, err := r.Client("c"); !errors.Is(err, ErrNoClient) {
		t.Error(err)
	}
	for _, want := range []string{"one", "two"} {
		if err := h.UpdateClient("c", func(c *Client) error { c.Profile = want; return nil }); err != nil {
			t.Fatal(err)
		}
		if c, _, err := r.Client("c"); err != nil || c.Profile != want {
			t.Errorf("%+v %v", c, err)
		}
	}
}

func BenchmarkRules(b *testing.B) {
	h := openTestHome(b)
	if err := h.CreateProfile(Profile{Name: "p"}); err != nil {
		b.Fatal(err)
	}
	path, _ := h.ProfilePath("p")
	settle(b, path)
	r := h.Rules()
	for b.Loop() {
		if _, _, err := r.Profile("p"); err != nil {
			b.Fatal(err)
		}
	}
}
