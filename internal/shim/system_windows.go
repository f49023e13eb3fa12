package shim

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sys/windows"
)

// Compiled, not run: this file was never executed on Windows.

// greetHandles is the variable by which a new shim learns the two inherited
// pipe handles to its launcher.
const greetHandles = "BERTH_SHIM_PIPES"

// startShim starts cmd with two pipes, since Windows inherits no sockets.
func startShim(cmd *exec.Cmd) (connection, error) {
	theirR, ourW, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	ourR, theirW, err := os.Pipe()
	if err != nil {
		closeAll(theirR, ourW)
		return nil, err
	}
	defer closeAll(theirR, theirW)
	for _, f := range []*os.File{theirR, theirW} {
		if err := windows.SetHandleInformation(windows.Handle(f.Fd()), windows.HANDLE_FLAG_INHERIT, windows.HANDLE_FLAG_INHERIT); err != nil {
			closeAll(ourR, ourW)
			return nil, os.NewSyscallError("SetHandleInformation", err)
		}
	}
	cmd.Env = append(cmd.Env, fmt.Sprintf("%s=%d,%d", greetHandles, theirR.Fd(), theirW.Fd()))
	cmd.SysProcAttr = &syscall.SysProcAttr{
		HideWindow:                 true,
		CreationFlags:              windows.CREATE_NEW_PROCESS_GROUP | windows.CREATE_BREAKAWAY_FROM_JOB,
		AdditionalInheritedHandles: []syscall.Handle{syscall.Handle(theirR.Fd()), syscall.Handle(theirW.Fd())},
	}
	err = cmd.Start()
	if errors.Is(err, windows.ERROR_ACCESS_DENIED) {
		// The caller's job forbids leaving it: the shim ends with that job.
		again := &exec.Cmd{Path: cmd.Path, Args: cmd.Args, Env: cmd.Env, Dir: cmd.Dir, SysProcAttr: cmd.SysProcAttr}
		again.SysProcAttr.CreationFlags &^= windows.CREATE_BREAKAWAY_FROM_JOB
		if err = again.Start(); err == nil {
			cmd.Process = again.Process
		}
	}
	if err != nil {
		closeAll(ourR, ourW)
		return nil, err
	}
	return pipeConn{r: ourR, w: ourW}, nil
}

func inheritedConn() (connection, error) {
	var r, w uintptr
	if _, err := fmt.Sscanf(os.Getenv(greetHandles), "%d,%d", &r, &w); err != nil {
		return nil, errors.New("no pipes to a launcher")
	}
	os.Unsetenv(greetHandles)
	return pipeConn{r: os.NewFile(r, "greeting"), w: os.NewFile(w, "greeting")}, nil
}

// pipeConn makes a connection of two pipes. Anonymous pipes know no deadlines;
// the greeting relies on the other end's exit instead.
type pipeConn struct{ r, w *os.File }

func (p pipeConn) Read(b []byte) (int, error)            { return p.r.Read(b) }
func (p pipeConn) Write(b []byte) (int, error)           { return p.w.Write(b) }
func (p pipeConn) Close() error                          { return errors.Join(p.r.Close(), p.w.Close()) }
func (p pipeConn) SetDeadline(time.Time) error           { return nil }
func (p pipeConn) SetReadDeadline(time.Time) error       { return nil }
func (p pipeConn) SetWriteDeadline(time.Time) error      { return nil }
func (p pipeConn) SyscallConn() (syscall.RawConn, error) { return p.r.SyscallConn() }

// netListener is package net's, for what else Windows needs for a socket.
type netListener struct{ *net.UnixListener }

func listenAt(path string) (listener, error) {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false)
	return netListener{l}, nil
}

func (l netListener) Accept() (connection, error) {
	c, err := l.AcceptUnix()
	if errors.Is(err, net.ErrClosed) {
		return nil, os.ErrClosed
	}
	if err != nil {
		return nil, err
	}
	return c, nil
}

func (l netListener) file() (*os.File, error) {
	return nil, fmt.Errorf("hand over the socket: %w", errors.ErrUnsupported)
}

// adoptSocket is a no-op: nothing is handed over on Windows.
func adoptSocket(*os.File, string) *socket { return nil }

func dialSocket(path string) (connection, error) {
	c, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	return c, nil
}

func ownExecutable() (string, error) { return os.Executable() }

func rootDir() string { return `C:\` }

func ownVariables() []string {
	return []string{"PATH", "Path", "SystemRoot", "SYSTEMROOT", "TEMP", "TMP", "USERPROFILE", "LOCALAPPDATA", "BERTH_FAILPOINTS", "BERTH_ALLOW_NETWORK_HOME"}
}

// CheckPeer is a no-op: Windows tells nothing of the peer of a Unix socket. The
// socket's directory is the user's own, and its access list keeps others out.
func CheckPeer(syscall.Conn) error { return nil }

// peerPID is a no-op for the same reason: 0 is "unknown".
func peerPID(syscall.Conn) int { return 0 }
