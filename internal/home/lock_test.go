package home

import (
	"bufio"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// deadline bounds what a test waits for when something is wrong.
const deadline = 20 * time.Second

// TestHelper is not a test: it is what child processes of tests run.
func TestHelper(t *testing.T) {
	switch os.Getenv("HOME_TEST_HELPER") {
	case "":
		t.Skip("only for the tests that start it")
	case "hold": // holds the lock until its stdin ends
		lock, err := TryLock(os.Getenv("HOME_TEST_PATH"))
		if err != nil {
			t.Fatal(err)
		}
		defer lock.Unlock()
		fallthrough
	case "inherit": // has inherited a descriptor, which it does not look at
		os.Stdout.WriteString("ready\n")
		io.Copy(io.Discard, os.Stdin)
	case "write": // replaces a state until it is killed
		h, err := Open(os.Getenv("HOME_TEST_PATH"), nil)
		if err != nil {
			t.Fatal(err)
		}
		os.Stdout.WriteString("ready\n")
		for {
			if err := h.WriteState("s", bigState(7)); err != nil {
				t.Fatal(err)
			}
		}
	case "once": // replaces a state once
		h, err := Open(os.Getenv("HOME_TEST_PATH"), nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := h.WriteState("s", bigState(7)); err != nil {
			t.Fatal(err)
		}
	}
}

// helper starts a child that plays a part, and waits until it does. end ends it
// and waits for that.
func helper(t *testing.T, part, path string, files ...*os.File) (cmd *exec.Cmd, end func()) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	t.Cleanup(cancel)
	cmd = exec.CommandContext(ctx, os.Args[0], "-test.run=^TestHelper$", "-test.timeout=1m")
	cmd.Env = append(os.Environ(), "HOME_TEST_HELPER="+part, "HOME_TEST_PATH="+path)
	cmd.ExtraFiles = files
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		t.Fatalf("the child said %q, %v", line, err)
	}
	return cmd, sync.OnceFunc(func() {
		in.Close()
		io.Copy(io.Discard, out)
		cmd.Wait()
	})
}

func mustLock(t *testing.T, path string) *Lock {
	t.Helper()
	l, err := TryLock(path)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func mustBe(t *testing.T, path string, want bool) {
	t.Helper()
	got, err := Locked(path)
	if err != nil || got != want {
		t.Fatalf("Locked() = %v, %v, want %v", got, err, want)
	}
}

func TestLockExcludes(t *testing.T) {
	path, err := openTestHome(t).ShimLock("s")
	if err != nil {
		t.Fatal(err)
	}
	mustBe(t, path, false)
	if _, err := os.Stat(path); err == nil {
		t.Error("Locked created the file")
	}
	l := mustLock(t, path)
	mustBe(t, path, true)
	if _, err := TryLock(path); !errors.Is(err, ErrLocked) {
		t.Fatalf("a second lock: %v", err)
	}
	if err := l.Unlock(); err != nil {
		t.Fatal(err)
	}
	mustBe(t, path, false)
	if _, err := os.Stat(path); err != nil {
		t.Errorf("the file of a lock that was freed: %v", err)
	}
	if err := mustLock(t, path).Unlock(); err != nil {
		t.Fatal(err)
	}
}

func TestLockOfAnotherProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "not", "yet", "there")
	cmd, end := helper(t, "hold", path)
	defer end()
	mustBe(t, path, true)
	if _, err := TryLock(path); !errors.Is(err, ErrLocked) {
		t.Fatalf("error %v", err)
	}
	got := make(chan error, 1)
	go func() {
		l, err := WaitLock(t.Context(), path)
		if err == nil {
			err = l.Unlock()
		}
		got <- err
	}()
	// The kernel frees the lock of a process that is killed.
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	end()
	if err := <-got; err != nil {
		t.Fatal(err)
	}
}

func TestWaitLockEnds(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	held := mustLock(t, path)
	why := errors.New("tired")
	ctx, cancel := context.WithCancelCause(t.Context())
	got := make(chan error, 1)
	go func() {
		_, err := WaitLock(ctx, path)
		got <- err
	}()
	cancel(why)
	if err := <-got; !errors.Is(err, why) {
		t.Fatalf("error %v", err)
	}
	if _, err := WaitLock(ctx, path); !errors.Is(err, why) {
		t.Fatalf("with an ended context: %v", err)
	}
	if err := held.Unlock(); err != nil {
		t.Fatal(err)
	}
	// What waited in the background does not keep the lock.
	l, err := WaitLock(context.Background(), path)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Unlock(); err != nil {
		t.Fatal(err)
	}
}

// A home that is removed while somebody waits for a lock in it stays removed
// once the wait is given up.
func TestWaitLockLeavesNothing(t *testing.T) {
	for range 50 {
		dir := filepath.Join(t.TempDir(), "home")
		path := filepath.Join(dir, "lock")
		held := mustLock(t, path)
		ctx, cancel := context.WithCancel(t.Context())
		got := make(chan error, 1)
		before := runtime.NumGoroutine()
		go func() {
			_, err := WaitLock(ctx, path)
			got <- err
		}()
		cancel()
		<-got
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		if err := held.Unlock(); err != nil {
			t.Fatal(err)
		}
		for runtime.NumGoroutine() > before { // until the one that waited has ended
			runtime.Gosched()
		}
		if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("it was made again: %v", err)
		}
	}
}

// A counter that only the holder touches shows two holders at once.
func TestWaitLockOneHolder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	var inside, total atomic.Int32
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 50 {
				l, err := WaitLock(t.Context(), path)
				if err != nil {
					t.Error(err)
					return
				}
				if n := inside.Add(1); n != 1 {
					t.Errorf("%d hold the lock", n)
				}
				total.Add(1)
				inside.Add(-1)
				if err := l.Unlock(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	if total.Load() != 400 {
		t.Errorf("the lock was held %d times", total.Load())
	}
}

// Two that lock in a home that is removed and made anew must agree on the file.
func TestLockOfRemovedHome(t *testing.T) {
	if !onUnix {
		t.Skip("Windows does not remove files that are open")
	}
	h := openTestHome(t)
	path, _ := h.ShimLock("s")
	held := mustLock(t, path)
	got := make(chan *Lock, 1)
	go func() {
		l, err := WaitLock(t.Context(), path)
		if err != nil {
			t.Error(err)
		}
		got <- l
	}()
	if err := os.RemoveAll(h.Dir()); err != nil {
		t.Fatal(err)
	}
	if err := held.Unlock(); err != nil {
		t.Fatal(err)
	}
	l := <-got
	if l == nil {
		return
	}
	mustBe(t, path, true)
	if err := l.Unlock(); err != nil {
		t.Error(err)
	}
}

func TestProveLocksWhileOthersDo(t *testing.T) {
	dir := t.TempDir()
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 50 {
				if _, err := Open(dir, nil); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
}
