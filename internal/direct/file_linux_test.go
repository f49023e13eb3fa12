//go:build amd64 || arm64

package direct

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestFlock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	a, b := open(t, path), open(t, path)
	for i, tt := range []struct {
		f    *File
		how  int
		want error
	}{
		{a, unix.LOCK_EX, nil}, {b, unix.LOCK_EX, unix.EWOULDBLOCK}, {a, unix.LOCK_UN, nil},
		{b, unix.LOCK_EX, nil}, {a, unix.LOCK_SH, unix.EWOULDBLOCK},
	} {
		if err := tt.f.Flock(tt.how | unix.LOCK_NB); !errors.Is(err, tt.want) {
			t.Errorf("%d: %v", i, err)
		}
	}
}

// A disk that is full is told as package os tells it.
func TestFileFull(t *testing.T) {
	f, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip(err)
	}
	defer f.Close()
	d, err := NewFile(f, f.Name())
	if err != nil {
		t.Fatal(err)
	}
	n, err := d.Write([]byte("x"))
	_, want := f.Write([]byte("x"))
	if n != 0 || !errors.Is(err, syscall.ENOSPC) || err.Error() != want.Error() {
		t.Errorf("%d, %v instead of %v", n, err, want)
	}
}

// What had to wait once keeps no processor the next time.
func TestFileSlow(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	// The pipe that stands for a disk is to be like one: no signal ends the wait for
	// it, with which the scheduler would help itself.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var urgent, was unix.Sigset_t
	urgent.Val[0] = 1 << (unix.SIGURG - 1)
	if err := unix.PthreadSigmask(unix.SIG_BLOCK, &urgent, &was); err != nil {
		t.Fatal(err)
	}
	defer unix.PthreadSigmask(unix.SIG_SETMASK, &was, nil)
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	r, w := os.NewFile(uintptr(fds[0]), "r"), os.NewFile(uintptr(fds[1]), "w")
	defer w.Close()
	// The disk: it takes what is written after 100 ms, twice.
	disk := exec.Command("sh", "-c", "for n in 1 2; do sleep .1; head -c 1048576 >/dev/null; done")
	disk.Stdin = r
	if err := disk.Start(); err != nil {
		t.Fatal(err)
	}
	defer disk.Wait()
	r.Close()
	f, err := NewFile(w, "/nowhere")
	if err != nil {
		t.Fatal(err)
	}
	data := bytes.Repeat([]byte{'x'}, 1<<20)
	for i := range 2 {
		ran := make(chan time.Time, 1)
		begun := time.Now()
		go func() { ran <- time.Now() }()
		if n, err := f.Write(data); n != len(data) || err != nil {
			t.Fatalf("%d, %v", n, err)
		}
		took := time.Since(begun)
		if others := (<-ran).Sub(begun); i == 1 && others > took/2 {
			t.Errorf("of the %v that the disk took, nothing else ran for %v", took, others)
		}
		if time.Now().After(f.slow) {
			t.Fatal("nobody noticed that the disk was slow")
		}
	}
}

func TestFileNoGarbage(t *testing.T) {
	f := open(t, filepath.Join(t.TempDir(), "f"))
	line := []byte("a line\n")
	if n := testing.AllocsPerRun(100, func() {
		f.Flock(unix.LOCK_EX | unix.LOCK_NB)
		f.Write(line)
		f.InPlace()
		f.Flock(unix.LOCK_UN)
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// To look costs no garbage, whether there is a file or not.
func TestLookMakesNoGarbage(t *testing.T) {
	var l Looker
	for _, path := range []string{"/proc/self/exe", "/no such file"} {
		if n := testing.AllocsPerRun(100, func() { _, _, _ = l.Look(path) }); n > 0 {
			t.Errorf("%s: %v allocations", path, n)
		}
	}
}

// A call that took long has those that follow it go the ordinary way.
func TestLookThatWasSlow(t *testing.T) {
	var l Looker
	l.slow.Store(time.Now().Add(time.Hour).UnixNano())
	if _, _, err := l.Look(t.TempDir()); err != nil {
		t.Error(err)
	}
}
