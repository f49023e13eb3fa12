package main

import (
	"os"
	"os/user"
	"path/filepath"
	"strings"

	"github.com/berth-run/berth"
)

// session says what becomes of servers when this login session ends, or the
// service that this command runs in is stopped: systemd then ends every process
// of the unit's cgroup (systemd.kill(5), KillMode=control-group), shims
// included, whatever session and process group they are in.
func session() []finding {
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return []finding{{What: "logout", State: berth.Partial, Gap: "cannot be told: " + err.Error()}}
	}
	unit := ""
	for line := range strings.Lines(string(text)) {
		// The unified hierarchy, or systemd's own on a hybrid system.
		if path, ok := strings.CutPrefix(line, "0::"); ok && unit == "" {
			unit = unitOf(path)
		}
		if _, path, ok := strings.Cut(line, ":name=systemd:"); ok && unit == "" {
			unit = unitOf(path)
		}
	}
	return judge(unit, lingers())
}

// unitOf is the innermost systemd unit that a cgroup path names.
func unitOf(path string) string {
	parts := strings.Split(strings.TrimSpace(path), "/")
	for i := len(parts) - 1; i >= 0; i-- {
		for _, suffix := range []string{".service", ".scope"} {
			if strings.HasSuffix(parts[i], suffix) {
				return parts[i]
			}
		}
	}
	return ""
}

// judge is the part of session that looks at nothing.
func judge(unit string, lingers bool) []finding {
	switch {
	case unit == "":
		return []finding{{What: "logout", State: berth.Enforced, How: "this command is in no systemd unit: servers stay up when it and its terminal end"}}
	case strings.HasPrefix(unit, "session-"):
		return []finding{{
			What: "logout", State: berth.Partial, How: "login session " + unit,
			Gap: "where logind has KillUserProcesses=yes, servers started from here end at logout; `systemd-run --user --scope berth up` with `loginctl enable-linger` keeps them",
		}}
	case strings.HasPrefix(unit, "user@") || strings.HasPrefix(unit, "app-") || strings.HasSuffix(unit, ".scope"):
		f := finding{What: "logout", State: berth.Partial, How: "the user manager, unit " + unit}
		f.Gap = "servers started from here end when this unit is stopped"
		if !lingers {
			f.Gap += ", and at logout: `loginctl enable-linger` prevents that"
		}
		return []finding{f}
	}
	return []finding{{
		What: "service", State: berth.Partial, How: "systemd unit " + unit,
		Gap: "stopping or restarting it ends servers started from here, unless the unit says KillMode=process",
	}}
}

// lingers says whether the user's manager outlives logout (loginctl(1)).
func lingers() bool {
	u, err := user.Current()
	if err != nil {
		return false
	}
	_, err = os.Stat(filepath.Join("/var/lib/systemd/linger", u.Username))
	return err == nil
}
