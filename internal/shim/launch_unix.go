//go:build unix

package shim

import (
	"errors"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

// startShim starts cmd with one end of a socket pair and returns the other.
// The shim is in a session of its own, its standard streams are the null
// device: a kept stdout would block a capturing caller for the shim's life.
func startShim(cmd *exec.Cmd) (connection, error) {
	fds, err := socketPair()
	if err != nil {
		return nil, err
	}
	theirs := os.NewFile(uintptr(fds[1]), "greeting")
	defer theirs.Close()
	ours, err := connOf(fds[0])
	if err != nil {
		return nil, err
	}
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		ours.Close()
		return nil, err
	}
	return ours, nil
}

// inheritedConn returns the socket that startShim left, and closes every other
// descriptor that this process inherited.
func inheritedConn() (connection, error) {
	kind, err := unix.GetsockoptInt(greetFD, unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil || kind != unix.SOCK_STREAM {
		return nil, errors.New("no socket at descriptor 3")
	}
	unix.CloseOnExec(greetFD)
	if err := closeInherited(greetFD + 1); err != nil {
		return nil, err
	}
	return connOf(greetFD)
}

func rootDir() string { return "/" }

// ownVariables are what the shim's own code may need. Failpoints are for tests
// and mean nothing to a binary that was built without them.
func ownVariables() []string {
	return []string{"PATH", "HOME", "TMPDIR", "XDG_RUNTIME_DIR", "BERTH_FAILPOINTS", "BERTH_ALLOW_NETWORK_HOME", "GOCOVERDIR", "GORACE"}
}
