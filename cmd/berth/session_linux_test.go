package main

import (
	"strings"
	"testing"

	"github.com/berth-run/berth"
)

func TestUnitOf(t *testing.T) {
	for path, want := range map[string]string{
		"/\n": "",
		"/user.slice/user-1000.slice/session-3.scope\n":                                  "session-3.scope",
		"/user.slice/user-1000.slice/user@1000.service/app.slice/app-x@1.service\n":      "app-x@1.service",
		"/system.slice/cron.service\n":                                                   "cron.service",
		"/system.slice/docker-0123.scope/inner\n":                                        "docker-0123.scope",
		"/user.slice/user-1000.slice/user@1000.service/app.slice/run-r1.scope/berth-0.0": "run-r1.scope",
	} {
		if got := unitOf(path); got != want {
			t.Errorf("%q is in the unit %q, want %q", path, got, want)
		}
	}
}

func TestJudge(t *testing.T) {
	for _, c := range []struct {
		unit    string
		lingers bool
		state   berth.GuaranteeState
		gap     string
		not     string
	}{
		{"", false, berth.Enforced, "", "logout"},
		{"session-3.scope", true, berth.Partial, "KillUserProcesses=yes", "KillMode"},
		{"app-x@1.service", false, berth.Partial, "loginctl enable-linger", "KillMode"},
		{"run-r1.scope", true, berth.Partial, "when this unit is stopped", "loginctl"},
		{"cron.service", true, berth.Partial, "KillMode=process", "loginctl"},
	} {
		got := judge(c.unit, c.lingers)
		if len(got) != 1 || got[0].State != c.state || !strings.Contains(got[0].Gap, c.gap) || strings.Contains(got[0].Gap, c.not) {
			t.Errorf("%q, lingers %t: %+v", c.unit, c.lingers, got)
		}
	}
}
