package home

import (
	"crypto/rand"
	"os"
	"path/filepath"

	"golang.org/x/sys/windows"
)

// scratch makes a file that the system removes when its handle is closed
// (CreateFile, FILE_FLAG_DELETE_ON_CLOSE).
func scratch(dir string) (*os.File, error) {
	return os.OpenFile(filepath.Join(dir, "scratch-"+rand.Text()),
		os.O_RDWR|os.O_CREATE|os.O_EXCL|windows.FILE_FLAG_DELETE_ON_CLOSE, 0o600)
}
