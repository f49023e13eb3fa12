package link

import (
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/windows"
)

// ownedByUs: access is by lists here, and the rename tells.
func ownedByUs(fs.FileInfo) bool { return true }

// namesOf is not looked at: the information that a look gives has no such number.
func namesOf(fs.FileInfo) int { return 1 }

// copyAttrs does nothing: no such attributes are here.
func copyAttrs(*os.File, string) error { return nil }

// likeOld does nothing: the new file has the list of the directory, as the old one
// had unless somebody changed it.
func likeOld(*os.File, fs.FileInfo) error { return nil }

// renameNew renames a file to a name that must not be there yet.
func renameNew(from, to string) error {
	a, err := windows.UTF16PtrFromString(from)
	if err != nil {
		return err
	}
	b, err := windows.UTF16PtrFromString(to)
	if err != nil {
		return err
	}
	err = windows.MoveFileEx(a, b, windows.MOVEFILE_WRITE_THROUGH)
	if errors.Is(err, windows.ERROR_ALREADY_EXISTS) || errors.Is(err, windows.ERROR_FILE_EXISTS) {
		return fs.ErrExist
	}
	return err
}

// syncDir does nothing: renames are ordered by NTFS's journal.
func syncDir(string) error { return nil }

// exchange would exchange two files; no call of this system does.
func exchange(string, string) (bool, error) { return false, nil }
