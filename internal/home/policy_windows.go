package home

import (
	"io/fs"
	"os"
	"path/filepath"
	"unsafe"

	"golang.org/x/sys/windows"
)

// organisationPolicy asks the system where programs keep what is of all users: the
// variable ProgramData is the user's to set. Without an answer it is a path that
// cannot be read, which forbids everything.
func organisationPolicy() string {
	dir, err := windows.KnownFolderPath(windows.FOLDERID_ProgramData, windows.KF_FLAG_DEFAULT)
	if err != nil {
		dir = `C:\ProgramData\<unknown>` // no name that a file can have
	}
	return filepath.Join(dir, "Berth", "policy.toml")
}

// readTrusted reads a file that administrators alone can have written: it and its
// directory belong to them, and nobody else may change either.
func readTrusted(path string) ([]byte, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, untrusted(path, "it is no plain file")
	}
	// Users may add files to a directory of ProgramData, not change others' there.
	const change = windows.DELETE | windows.WRITE_DAC | windows.WRITE_OWNER | windows.GENERIC_WRITE | windows.GENERIC_ALL
	const deleteChild = 0x40
	if err := administratorsOwn(filepath.Dir(path), change|deleteChild); err != nil {
		return nil, err
	}
	if err := administratorsOwn(path, change|windows.FILE_WRITE_DATA|windows.FILE_APPEND_DATA); err != nil {
		return nil, err
	}
	return os.ReadFile(path)
}

// administratorsOwn returns why somebody who is no administrator has one of the given
// rights to a file.
func administratorsOwn(path string, rights windows.ACCESS_MASK) error {
	sd, err := windows.GetNamedSecurityInfo(path, windows.SE_FILE_OBJECT, windows.OWNER_SECURITY_INFORMATION|windows.DACL_SECURITY_INFORMATION)
	if err != nil {
		return &fs.PathError{Op: "read who may write", Path: path, Err: err}
	}
	owner, _, err := sd.Owner()
	if err != nil || !administrates(owner) {
		return untrusted(path, "it does not belong to the administrators")
	}
	dacl, _, err := sd.DACL()
	if err != nil || dacl == nil {
		return untrusted(path, "everyone may write to it")
	}
	for i := range uint32(dacl.AceCount) {
		var ace *windows.ACCESS_ALLOWED_ACE
		if err := windows.GetAce(dacl, i, &ace); err != nil {
			return untrusted(path, "who may write to it cannot be told: %v", err)
		}
		if ace.Header.AceType != windows.ACCESS_ALLOWED_ACE_TYPE || ace.Header.AceFlags&windows.INHERIT_ONLY_ACE != 0 || ace.Mask&rights == 0 {
			continue
		}
		if who := (*windows.SID)(unsafe.Pointer(&ace.SidStart)); !administrates(who) {
			return untrusted(path, "others than administrators (%s) may write to it", who)
		}
	}
	return nil
}

// administrates says whether that is the system, its installer or its administrators.
func administrates(who *windows.SID) bool {
	if who == nil {
		return false
	}
	const installer = "S-1-5-80-956008885-3418522649-1831038044-1853292631-2271478464"
	return who.IsWellKnown(windows.WinBuiltinAdministratorsSid) || who.IsWellKnown(windows.WinLocalSystemSid) || who.String() == installer
}
