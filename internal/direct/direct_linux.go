package direct

import (
	"io"
	"os"
	"syscall"
	"unsafe"
)

// half is one direction of a Stream. The functions that the poller calls are made
// once: as closures they would be garbage of each call.
type half struct {
	raw  syscall.RawConn
	step func(fd uintptr) (done bool)

	p, q   []byte // what is left to do
	n      int
	err    error
	waited bool
}

func halves(rw io.ReadWriter) (in, out *half) {
	c, ok := rw.(syscall.Conn)
	if !ok {
		return nil, nil
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, nil
	}
	in, out = &half{raw: raw}, &half{raw: raw}
	in.step, out.step = in.readStep, out.writeStep
	return in, out
}

func (h *half) read(p []byte) (n int, waited bool, err error) {
	h.p, h.n, h.err, h.waited = p, 0, nil, false
	err = h.raw.Read(h.step)
	h.p = nil
	if err == nil {
		err = h.err
	}
	return h.n, h.waited, err
}

func (h *half) readStep(fd uintptr) (done bool) {
	for {
		n, _, errno := syscall.RawSyscall(syscall.SYS_READ, fd, uintptr(unsafe.Pointer(unsafe.SliceData(h.p))), uintptr(len(h.p)))
		switch {
		case errno == syscall.EINTR:
			continue
		case errno == syscall.EAGAIN:
			h.waited = true
			return false
		case errno != 0:
			h.err = os.NewSyscallError("read", errno)
		case n == 0:
			h.err = io.EOF
		default:
			h.n = int(n)
			hasRead(fd)
		}
		return true
	}
}

func (h *half) write(p, q []byte) (int, error) {
	willWrite()
	h.p, h.q, h.n, h.err = p, q, 0, nil
	err := h.raw.Write(h.step)
	h.p, h.q = nil, nil
	if err == nil {
		err = h.err
	}
	return h.n, err
}

func (h *half) writeStep(fd uintptr) (done bool) {
	for len(h.p) > 0 || len(h.q) > 0 {
		var (
			n     uintptr
			errno syscall.Errno
		)
		if len(h.p) > 0 && len(h.q) > 0 {
			var v [2]syscall.Iovec
			v[0].Base, v[1].Base = unsafe.SliceData(h.p), unsafe.SliceData(h.q)
			v[0].SetLen(len(h.p))
			v[1].SetLen(len(h.q))
			n, _, errno = syscall.RawSyscall(syscall.SYS_WRITEV, fd, uintptr(unsafe.Pointer(&v)), 2)
		} else {
			if len(h.p) == 0 {
				h.p, h.q = h.q, nil
			}
			n, _, errno = syscall.RawSyscall(syscall.SYS_WRITE, fd, uintptr(unsafe.Pointer(unsafe.SliceData(h.p))), uintptr(len(h.p)))
		}
		switch {
		case errno == syscall.EINTR:
			continue
		case errno == syscall.EAGAIN:
			return false
		case errno != 0:
			h.err = os.NewSyscallError("write", errno)
			return true
		}
		h.n += int(n)
		k := min(int(n), len(h.p))
		h.p, h.q = h.p[k:], h.q[int(n)-k:]
	}
	return true
}
