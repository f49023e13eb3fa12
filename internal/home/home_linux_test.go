package home

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/berth-run/berth"
)

// asNobody runs f on a thread of user 65534, in a directory of that user's: for
// root there are no modes.
func asNobody(t *testing.T, f func(t *testing.T, dir string)) {
	t.Helper()
	if os.Geteuid() != 0 {
		f(t, t.TempDir())
		return
	}
	dir, err := os.MkdirTemp("/tmp", "berth-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chown(dir, 65534, 65534); err != nil {
		t.Fatal(err)
	}
	t.Run("uid=65534", func(t *testing.T) {
		// The thread is not unlocked, so it ends with the goroutine. Only raw
		// calls change one thread.
		runtime.LockOSThread()
		for _, call := range []uintptr{unix.SYS_SETRESGID, unix.SYS_SETRESUID} {
			if _, _, e := syscall.RawSyscall(call, 65534, 65534, 65534); e != 0 {
				t.Fatal(e)
			}
		}
		f(t, dir)
	})
}

func TestReadOnlyHome(t *testing.T) {
	asNobody(t, func(t *testing.T, parent string) {
		dir := filepath.Join(parent, "home")
		h, err := Open(dir, nil)
		if err != nil {
			t.Fatal(err)
		}
		st := fullState()
		if err := errors.Join(h.WriteState("s", st), h.WriteServer(NewServer("s", "true", nil), false)); err != nil {
			t.Fatal(err)
		}
		for _, sub := range append(subdirs(), ".") {
			chmod(t, filepath.Join(dir, sub), 0o500)
		}
		defer func() {
			for _, sub := range append(subdirs(), ".") {
				chmod(t, filepath.Join(dir, sub), 0o700)
			}
		}()
		h, err = Open(dir, nil)
		if err != nil {
			t.Fatal(err)
		}
		got, found, err := h.ReadState("s")
		got.UpdatedAt = st.UpdatedAt
		if err != nil || !found || !reflect.DeepEqual(got, st) {
			t.Errorf("ReadState: %+v, %v, %v", got, found, err)
		}
		if _, err := h.ReadServer("s"); err != nil {
			t.Errorf("ReadServer: %v", err)
		}
		for what, err := range map[string]error{
			"WriteState":   h.WriteState("s", st),
			"RemoveState":  h.RemoveState("s"),
			"WriteServer":  h.WriteServer(NewServer("x", "true", nil), false),
			"RemoveServer": h.RemoveServer("s"),
			"SetConfig":    h.SetConfig("s", "k", "v"),
		} {
			var hint *berth.Hinted
			if !errors.Is(err, os.ErrPermission) || !errors.As(err, &hint) ||
				!strings.Contains(hint.Hint, dir) || !strings.Contains(hint.Hint, "BERTH_HOME") {
				t.Errorf("%s: error %v", what, err)
			}
		}
		if _, err := Open(filepath.Join(dir, "below"), nil); !errors.Is(err, os.ErrPermission) {
			t.Errorf("a home below it: %v", err)
		}
	})
}

func TestReadOnlyFilesystem(t *testing.T) {
	dir := smallDisk(t, "1m")
	h, err := Open(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.WriteState("s", State{Status: "stopped"}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Skip(err)
	}
	if h, err = Open(dir, nil); err != nil {
		t.Fatal(err)
	}
	if _, found, err := h.ReadState("s"); err != nil || !found {
		t.Errorf("ReadState: %v, %v", found, err)
	}
	var hint *berth.Hinted
	if err := h.WriteState("s", State{Status: "stopped"}); !errors.Is(err, unix.EROFS) || !errors.As(err, &hint) {
		t.Errorf("WriteState: %v", err)
	}
}

// A full disk is ENOSPC to the caller, and the old state stays.
func TestFullDisk(t *testing.T) {
	dir := smallDisk(t, "64k")
	h, err := Open(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	st := State{Status: "running", PID: 1}
	if err := h.WriteState("s", st); err != nil {
		t.Fatal(err)
	}
	free := fillDisk(t, dir)
	if err := h.WriteState("s", State{Status: "stopped"}); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("WriteState on a full disk: %v", err)
	}
	if got, found, err := h.ReadState("s"); err != nil || !found || got.PID != 1 {
		t.Errorf("ReadState: %+v, %v, %v", got, found, err)
	}
	if left, err := filepath.Glob(filepath.Join(dir, runtimeDir, tempPrefix+"*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	free()
	if err := h.WriteState("s", State{Status: "stopped"}); err != nil {
		t.Errorf("WriteState with space again: %v", err)
	}
}

func TestNetworkKind(t *testing.T) {
	if kind := networkKind(t.TempDir()); kind != "" {
		t.Skipf("the directory for temporary files is on a network filesystem (%s)", kind)
	}
	if kind := networkKind("/does/not/exist"); kind != "" {
		t.Errorf("of no directory: %q", kind)
	}
	if kind := networkFuse("/"); kind != "" {
		t.Skipf("/ is on a network filesystem (%s)", kind)
	}
	for _, c := range []struct{ line, want string }{
		{"36 35 0:98 / /mnt rw,noatime master:1 - fuse.sshfs me@there:/ rw", "fuse.sshfs"},
		{"36 35 0:98 / /mnt rw shared:2 master:1 - virtiofs tag rw", "virtiofs"},
		{"36 35 0:98 / /mnt rw - fuse.gocryptfs /x rw", ""},
		{"36 35 0:98 / /mnt rw - fuse /x rw", ""},
		{"36 35 0:99 / /mnt rw - fuse.sshfs me@there:/ rw", ""},
		{"36 35 - fuse.sshfs", ""},
		{"", ""},
	} {
		if got := fuseKind(c.line, "0:98"); got != c.want {
			t.Errorf("%q: %q, want %q", c.line, got, c.want)
		}
	}
}
