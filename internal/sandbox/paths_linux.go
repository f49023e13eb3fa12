package sandbox

import (
	"os"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// openPath opens a path of a plan as a place. Compile has resolved all symbolic links;
// one that is there now was put there since, to have something else opened.
func openPath(path string) (int, error) { return openBelow(unix.AT_FDCWD, path) }

func openBelow(dir int, path string) (int, error) {
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_SYMLINKS}
	for {
		fd, err := unix.Openat2(dir, path, &how)
		switch err {
		case unix.EINTR, unix.EAGAIN:
			continue
		case unix.ENOSYS, unix.EPERM:
			// Filters of containers from before openat2 refuse it.
			return unix.Openat(dir, path, unix.O_PATH|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
		}
		return fd, err
	}
}

// procSelf replaces /proc/self, a link, by what it points to for this process.
func procSelf(paths []string) []string {
	paths = slices.Clone(paths)
	for i, path := range paths {
		if path == "/proc/self" {
			paths[i] = "/proc/" + strconv.Itoa(os.Getpid())
		}
	}
	return paths
}
