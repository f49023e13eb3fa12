// Package autostart has the files and the commands by which a system starts Berth
// when its user logs in: units for systemd's user manager, an agent for launchd, a
// task for Windows' scheduler. It writes and runs nothing.
//
//	plan, err := autostart.For(job, system)
package autostart

import (
	"errors"
	"fmt"
	"path/filepath"
)

// Job is what is to be started.
type Job struct {
	// Name tells the jobs of several homes apart: "berth", or "berth-" and more.
	Name    string
	Program string // its absolute path, which an upgrade leaves in place
	// Args are its arguments: those of a gateway that stays in the foreground.
	Args []string
	// Listen is the address that the system listens on for it, where it can; ""
	// for none.
	Listen string
	// Log is a file for what it prints, where the system keeps no journal.
	Log string
}

// System is what paths and commands depend on.
type System struct {
	OS     string // GOOS
	Home   string // the user's home directory
	Config string // XDG_CONFIG_HOME, "" for the usual one
	User   string // the user's number; on Windows the name, with its domain
}

// File is a file to write.
type File struct {
	Path string
	Text string
	// Wide has it written in UTF-16 with a byte order mark.
	Wide bool
}

// Plan is all that has to be done.
type Plan struct {
	Manager string // what starts the job, for messages
	Files   []File
	// Units are what the manager calls the parts of the job.
	Units []string
	// Probe fails where there is no such manager; NoManager says what to do then.
	Probe     []string
	NoManager string
	// Load has the manager start the job, now and at each login; Reload does so where
	// it ran with other files. They run one after the other.
	Load, Reload [][]string
	// Unload ends it, before the files are removed; Forget is run after that.
	Unload, Forget [][]string
	// Show prints what the manager knows of it.
	Show []string
}

// For is the plan for a system; errors.ErrUnsupported where it is none that is known.
func For(j Job, s System) (Plan, error) {
	if !filepath.IsAbs(j.Program) && s.OS != "windows" {
		return Plan{}, fmt.Errorf("%s is not an absolute path", j.Program)
	}
	switch s.OS {
	case "linux":
		return systemd(j, s)
	case "darwin":
		return launchd(j, s), nil
	case "windows":
		return scheduler(j, s), nil
	}
	return Plan{}, fmt.Errorf("start Berth at login on %s: %w", s.OS, errors.ErrUnsupported)
}
