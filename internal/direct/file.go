package direct

import "os"

// File is an open file that is written or locked again and again, and that is to be
// the one at its path. One goroutine at a time may use it.
//
// A call for a file may have to wait for a disk, and keeps a processor if the
// scheduler is not told. So a call that took long sends those that follow the
// ordinary way for a while.
type File struct {
	f    *os.File
	path string
	system
}

// NewFile returns a File of f, which was opened at path. Closing f is left to the
// caller.
func NewFile(f *os.File, path string) (*File, error) {
	d := &File{f: f, path: path}
	return d, d.begin()
}
