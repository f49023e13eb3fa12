package supervisor_test

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/home"
	"github.com/berth-run/berth/internal/shim"
	"golang.org/x/sys/unix"
)

// killWhom kills the process whose number comes by stdin, and its own parent, in all ways
// that there are.
func killWhom() (string, error) {
	line, err := bufio.NewReader(os.Stdin).ReadString('\n')
	if err != nil {
		return "", err
	}
	whom, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		return "", err
	}
	byDescriptor := func() error {
		fd, err := unix.PidfdOpen(whom, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
	}
	var failed []error
	for _, err := range []error{
		unix.Kill(whom, unix.SIGTERM), unix.Kill(whom, unix.SIGKILL), unix.Kill(-whom, unix.SIGKILL),
		unix.Tgkill(whom, whom, unix.SIGKILL), unix.PtraceSeize(whom), byDescriptor(),
		unix.Prlimit(whom, unix.RLIMIT_CPU, &unix.Rlimit{Cur: 1, Max: 1}, nil),
	} {
		if err == nil {
			return "did it", nil
		}
		failed = append(failed, err)
	}
	_ = unix.Kill(syscall.Getppid(), unix.SIGKILL) // an init is not ended by those within
	return "", errors.Join(failed...)
}

// fill takes more of a directory's room than a server is to have.
func fill(dir string) (string, error) {
	f, err := os.CreateTemp(dir, "fill")
	if err != nil {
		return "", err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	return "filled", unix.Fallocate(int(f.Fd()), 0, 0, 600<<20)
}

// TestConfinedAttempts: a confined server can neither end its shim nor fill what is not
// its own.
func TestConfinedAttempts(t *testing.T) {
	w := newWorld(t)
	places := []string{"/tmp", "/var/tmp", "/dev/shm", "/run", w.dir, w.path("logs"), w.path("audit")}
	does := []string{"kill", "shim"}
	for _, place := range places {
		does = append(does, "fill", place)
	}
	st := w.start("a", confinedGuest(t, nil, does...))
	if g := st.Guarantees[berth.GuaranteeSignals]; g.State != berth.Enforced {
		needs(t, false, "signals to be kept: "+g.Gap)
	}
	h, err := home.Open(w.dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	a, err := shim.Attach(w.ctx, h, "a", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	if err := a.Write(w.ctx, []byte(strconv.Itoa(st.ShimPID)), nil); err != nil {
		t.Fatal(err)
	}
	w.awaitLog("a", "all done")
	log := w.read("logs", "a.log")
	for i := 0; i < len(does); i += 2 {
		if line := fmt.Sprintf("%s %s: refused", does[i], does[i+1]); !strings.Contains(log, line) {
			t.Errorf("the log has no %q:\n%s", line, log)
		}
	}
	if now := w.status("a"); now.PID != st.PID || now.ShimPID != st.ShimPID || now.Status != berth.Running {
		t.Errorf("after all that: %+v, before %+v", now, st)
	}
	w.stop("a")
}
