package home

import (
	"os"

	"golang.org/x/sys/windows"
)

// logOpenAppend opens the log at path so that every write goes to its end; it
// can be read too, to see how it ends.
func logOpenAppend(path string) (*os.File, error) {
	return logCreateFile(path, windows.FILE_APPEND_DATA|windows.FILE_GENERIC_READ, windows.OPEN_ALWAYS)
}

// logOpenShared opens a log for reading without keeping its writer from
// renaming it.
func logOpenShared(path string) (*os.File, error) {
	return logCreateFile(path, windows.FILE_GENERIC_READ, windows.OPEN_EXISTING)
}

// logCreateFile opens a file that others may rename and remove meanwhile, which
// os.OpenFile does not allow here.
func logCreateFile(path string, access, disposition uint32) (*os.File, error) {
	p, err := windows.UTF16PtrFromString(path)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	const share = windows.FILE_SHARE_READ | windows.FILE_SHARE_WRITE | windows.FILE_SHARE_DELETE
	handle, err := windows.CreateFile(p, access, share, nil, disposition, windows.FILE_ATTRIBUTE_NORMAL, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(handle), path), nil
}
