//go:build unix

package proc

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// explainExec finds out what the errno of a failed exec is about: the kernel
// says "no such file" of a working directory, a program and its interpreter
// alike. The answer keeps the errno.
func (s *Spec) explainExec(err error) error {
	if bad := checkDir(s.Dir); bad != nil {
		return fmt.Errorf("start %q: %w", s.Path, bad)
	}
	var errno syscall.Errno
	if !errors.As(err, &errno) {
		return fmt.Errorf("start %q: %w", s.Path, err)
	}
	info, statErr := os.Stat(s.Path)
	switch {
	case statErr != nil:
		return fmt.Errorf("start %q: the program cannot be found: %w", s.Path, errno)
	case info.IsDir():
		return fmt.Errorf("start %q: it is a directory: %w", s.Path, errno)
	case errno == syscall.ENOENT:
		if name := interpreter(s.Path); name != "" {
			return fmt.Errorf("start %q: its interpreter %q cannot be found: %w", s.Path, name, errno)
		}
		return fmt.Errorf("start %q: its interpreter or loader cannot be found: %w", s.Path, errno)
	case errno == syscall.EACCES && info.Mode()&0o111 == 0:
		return fmt.Errorf("start %q: the file is not executable (chmod +x): %w", s.Path, errno)
	case errno == syscall.ENOEXEC:
		return fmt.Errorf("start %q: it is neither a program for this machine nor a script with a #! line: %w", s.Path, errno)
	}
	return fmt.Errorf("start %q: %w", s.Path, errno)
}

// checkDir returns an error that names the working directory if a process
// cannot enter it.
func checkDir(dir string) error {
	info, err := os.Stat(dir)
	if err == nil && !info.IsDir() {
		err = syscall.ENOTDIR
	}
	if err == nil {
		err = unix.Access(dir, unix.X_OK)
	}
	var errno syscall.Errno
	if errors.As(err, &errno) {
		err = errno
	}
	if err != nil {
		return fmt.Errorf("working directory %q: %w", dir, err)
	}
	return nil
}

// interpreter returns the program that the #! line of a script names.
func interpreter(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	var head [256]byte
	n, _ := f.Read(head[:])
	line, _, _ := bytes.Cut(head[:n], []byte("\n"))
	text, ok := strings.CutPrefix(string(line), "#!")
	if !ok {
		return ""
	}
	fields := strings.Fields(text)
	if len(fields) == 0 {
		return ""
	}
	return fields[0]
}
