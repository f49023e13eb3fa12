//go:build !linux

package main

import (
	"runtime"

	"github.com/berth-run/berth"
)

// session says what becomes of servers at logout. Nothing is looked at: on
// macOS a process of a session of its own outlives logout, on Windows none
// does.
func session() []finding {
	if runtime.GOOS == "windows" {
		return []finding{{What: "logout", State: berth.None, Gap: "Windows ends a user's processes at logout"}}
	}
	return []finding{{What: "logout", State: berth.Partial, How: "servers are in sessions of their own", Gap: "not tried on this system"}}
}

// lingers is about systemd.
func lingers() bool { return false }

// userNamespaces are Linux's.
func userNamespaces() finding {
	return finding{What: "user namespaces", State: berth.None, Gap: "this system has none"}
}
