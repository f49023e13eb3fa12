package home

import (
	"io/fs"
	"path/filepath"

	"golang.org/x/sys/windows"
)

// checkOwner accepts any directory: below a user's profile the access lists
// keep others out, and elsewhere the administrator set them.
func checkOwner(string, fs.FileInfo) error { return nil }

// tighten does nothing: Windows has access lists, which a home inherits, and
// no modes.
func (h *Home) tighten(fs.FileInfo) error { return nil }

// networkKind names the network that dir is on, by the type of its drive.
func networkKind(dir string) string {
	root, err := windows.UTF16PtrFromString(filepath.VolumeName(dir) + `\`)
	if err != nil {
		return ""
	}
	if windows.GetDriveType(root) == windows.DRIVE_REMOTE {
		return "a network drive"
	}
	return ""
}
