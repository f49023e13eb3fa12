//go:build unix && (!linux || !(amd64 || arm64))

package direct

import "golang.org/x/sys/unix"

// Flock is flock(2).
func (f *File) Flock(how int) error {
	for {
		if err := unix.Flock(int(f.f.Fd()), how); err != unix.EINTR {
			return err
		}
	}
}
