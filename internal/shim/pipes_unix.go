//go:build unix

package shim

import (
	"os"

	"golang.org/x/sys/unix"
)

func openPipes() (p pipes, err error) {
	defer func() {
		if err != nil {
			p.closeChild()
			p.closeOurs()
		}
	}()
	if p.childIn, p.in, err = pipePair(false); err != nil {
		return p, err
	}
	if p.out, p.childOut, err = pipePair(true); err != nil {
		return p, err
	}
	p.err, p.childErr, err = pipePair(true)
	if err != nil {
		return p, err
	}
	growPipe(p.in)
	growPipe(p.out)
	return p, nil
}

// pipePair returns the read and the write end of a pipe; ours is the reading
// one if weRead. Only our end is non-blocking: the flag belongs to the open
// file description, which the server shares.
func pipePair(weRead bool) (r, w *os.File, err error) {
	var fds [2]int
	if err := cloexecPipe(&fds); err != nil {
		return nil, nil, os.NewSyscallError("pipe", err)
	}
	ours := fds[1]
	if weRead {
		ours = fds[0]
	}
	if err := unix.SetNonblock(ours, true); err != nil {
		unix.Close(fds[0])
		unix.Close(fds[1])
		return nil, nil, os.NewSyscallError("fcntl", err)
	}
	return os.NewFile(uintptr(fds[0]), "pipe"), os.NewFile(uintptr(fds[1]), "pipe"), nil
}
