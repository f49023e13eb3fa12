//go:build !linux || !(amd64 || arm64)

package direct

import (
	"io/fs"
	"os"
)

// system is what the file was: every call goes the ordinary way here; see half.
type system struct{ is fs.FileInfo }

func (f *File) begin() (err error) {
	f.is, err = f.f.Stat()
	return err
}

// Write implements io.Writer.
func (f *File) Write(p []byte) (int, error) { return f.f.Write(p) }

// InPlace says whether this file is the one at its path, and how long it is.
func (f *File) InPlace() (size int64, ok bool) {
	now, err := os.Stat(f.path)
	if err != nil {
		return 0, false
	}
	return now.Size(), os.SameFile(now, f.is)
}
