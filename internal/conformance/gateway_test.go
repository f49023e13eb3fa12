//go:build linux

package conformance

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/berth-run/berth/internal/released"
)

// watch is the time in which a server of a site has to be left alone.
type watch struct {
	released.Site
	name            string
	command         counted
	births, records int // before
}

// watchServer begins it: what came before, such as the first run that `berth
// add` makes, does not count.
func watchServer(t *testing.T, s released.Site, name string, command counted) watch {
	t.Helper()
	w := watch{Site: s, name: name, command: command}
	w.births, w.records = len(command.births(t)), len(w.trail(t))
	return w
}

type record struct{ Action, Detail string }

// trail is what the audit trail says about the server.
func (w watch) trail(t *testing.T) (records []record) {
	t.Helper()
	if err := json.Unmarshal([]byte(w.Berth("audit", w.name, "--json")), &records); err != nil {
		t.Fatal(err)
	}
	return records
}

// harm says what happened to the server that was not to: it was not started, or
// as more processes than some, or one of them has ended, or was restarted.
func (w watch) harm(t *testing.T, most int) (harm []string) {
	t.Helper()
	births := w.command.births(t)[w.births:]
	if len(births) == 0 || len(births) > most {
		harm = append(harm, fmt.Sprintf("%s was started as the processes %v, which are not 1 to %d", w.name, births, most))
	}
	if alive := w.command.alive(t, births); len(alive) != len(births) {
		harm = append(harm, fmt.Sprintf("of the processes %v of %s, %v live", births, w.name, alive))
	}
	for _, r := range w.trail(t)[w.records:] {
		switch r.Action {
		case "stop", "exit", "restart", "auto-restart", "renew":
			harm = append(harm, fmt.Sprintf("%s: the audit trail has %s", w.name, strings.TrimSpace(r.Action+" "+r.Detail)))
		}
	}
	return harm
}

// unharmed fails the test with what happened to the server.
func (w watch) unharmed(t *testing.T, most int) {
	t.Helper()
	for _, h := range w.harm(t, most) {
		t.Error(h)
	}
}

// unneeded fails the test if the server was started: its clients only asked what
// it is and what it lists.
func (w watch) unneeded(t *testing.T) {
	t.Helper()
	if births := w.command.births(t)[w.births:]; len(births) > 0 {
		t.Errorf("%s was started as the processes %v, and nobody called it", w.name, births)
	}
}

// TestHarmIsSeen: a server that is started once comes to no harm, one that is
// not started, or restarted, does.
func TestHarmIsSeen(t *testing.T) {
	switchedOn(t)
	s := released.NewSite(t, released.Build(t))
	c := count(t, dual.build(t))
	s.Berth(append([]string{"add", "conf", "--profile", "off", "--"}, c.argv...)...)
	w := watchServer(t, s, "conf", c)
	pids := regexp.MustCompile(`\d+`)
	for _, step := range []struct {
		does []string
		harm string
	}{
		{[]string{"status"}, "conf was started as the processes [], which are not N to N"},
		{[]string{"start", "conf"}, ""},
		{[]string{"restart", "conf"}, "conf was started as the processes [N N], which are not N to N; " +
			"of the processes [N N] of conf, [N] live; conf: the audit trail has stop; conf: the audit trail has restart"},
	} {
		s.Berth(step.does...)
		if got := pids.ReplaceAllString(strings.Join(w.harm(t, 1), "; "), "N"); got != step.harm {
			t.Errorf("after %q: got %q, want %q", step.does, got, step.harm)
		}
	}
}

// TestSuite runs the official suite through Berth, at the server of the Go SDK
// on stdio, in each setup.
func TestSuite(t *testing.T) {
	o := switchedOn(t)
	bin := released.Build(t)
	b := readBaseline(t)
	for _, setup := range []struct {
		name    string
		subject subject
		eras    string
		most    int // processes of the server
	}{
		{"both", dual, "both", 2},
		{"modern", dual, "auto", 1},
		{"modern-only", modernOnly, "auto", 1},
		{"legacy-only", legacyOnly, "auto", 1},
	} {
		t.Run(setup.name, func(t *testing.T) {
			s := released.NewSite(t, bin)
			c := count(t, setup.subject.build(t))
			s.Berth(append([]string{"add", "conf", "--profile", "off", "--"}, c.argv...)...)
			s.Berth("config", "conf", "--set", "berth.eras="+setup.eras)
			defer s.Logs("conf")
			w := watchServer(t, s, "conf", c)
			url := s.Up().URL + "/servers/conf/mcp"
			for _, revision := range []string{legacy, modern} {
				o.check(t, url, revision, b[[2]string{setup.name, revision}])
			}
			w.unharmed(t, setup.most)
		})
	}
}
