package shim

import (
	"os"

	"golang.org/x/sys/unix"
)

// pipeSize is asked of the kernel for stdin and stdout: a big result then needs
// fewer turns of writer and reader. Where it is refused (pipe(7), the user's
// limit on pipe pages) the default stays.
const pipeSize = 1 << 20

func cloexecPipe(fds *[2]int) error { return unix.Pipe2(fds[:], unix.O_CLOEXEC) }

func growPipe(f *os.File) {
	raw, err := f.SyscallConn()
	if err != nil {
		return
	}
	raw.Control(func(fd uintptr) {
		unix.FcntlInt(fd, unix.F_SETPIPE_SZ, pipeSize) // refused: the default stays
	})
}
