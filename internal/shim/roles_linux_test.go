package shim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/home"
	"golang.org/x/sys/unix"
)

// TestLaunchOfBefore: a launcher that knows of one role only, as those of before, gets a
// shim that confines all the same.
func TestLaunchOfBefore(t *testing.T) {
	dir, err := os.MkdirTemp("", "berth") // its path is short, so that a socket fits
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	h, err := home.Open(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	exe, err := ownExecutable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := &exec.Cmd{Path: exe, Args: []string{ShimName, "a"}, Dir: rootDir(), Env: shimEnviron(os.Environ())}
	conn, err := startShim(cmd)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	l, err := converse(ctx, conn, time.Minute, boot{
		Version: confinedVersion, Home: dir, Name: "a", Mode: ModeStart,
		Spec: berth.ProcessSpec{Command: "/bin/cat", Confine: &berth.Confinement{Profile: berth.ProfileStandard}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if l.Status.Status != berth.Running || l.Status.Guarantees[berth.GuaranteePrivileges].State != berth.Enforced || l.Status.ShimPID != cmd.Process.Pid {
		t.Errorf("it says %+v, and is process %d", l.Status, cmd.Process.Pid)
	}
	argv, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", cmd.Process.Pid))
	if err != nil || !strings.HasSuffix(string(argv), "\x00"+confining+"\x00") {
		t.Errorf("its arguments are %q, %v", argv, err)
	}
	if _, err := Stop(ctx, h, "a"); err != nil {
		t.Error(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

// TestShimOfBefore: what a shim of before says of a version that it does not know is told
// apart from other errors.
func TestShimOfBefore(t *testing.T) {
	for text, replace := range map[string]bool{
		"this shim speaks version 2 of its protocol, not 3: restart the server to replace it": true,
		"the server is broken: this shim speaks version 2":                                    false,
	} {
		fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		ours, err := connOf(fds[0])
		if err != nil {
			t.Fatal(err)
		}
		theirs, err := connOf(fds[1])
		if err != nil {
			t.Fatal(err)
		}
		answered := make(chan error, 1)
		go func() {
			_, _, err := (&frameReader{r: theirs}).next()
			answer(theirs, reply{Error: &wireError{Message: text}})
			answered <- err
		}()
		_, _, err = ask(t.Context(), ours, request{Op: opRestart, Spec: &berth.ProcessSpec{Confine: &berth.Confinement{Profile: berth.ProfileStandard}}})
		if got := errors.Is(err, ErrReplace); got != replace || err == nil || err.Error() != text {
			t.Errorf("%q is %v, to be replaced: %v", text, err, got)
		}
		if err := <-answered; err != nil && err != io.EOF {
			t.Error(err)
		}
		ours.Close()
		theirs.Close()
	}
}
