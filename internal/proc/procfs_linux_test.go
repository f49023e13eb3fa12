package proc

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestEntries: the names in a directory, also where they fill several blocks,
// and where its links point.
func TestEntries(t *testing.T) {
	dir := t.TempDir()
	want := map[string]string{}
	for i := range 100 {
		name := fmt.Sprintf("%d%s", i, strings.Repeat("x", i*2))
		want[name] = strings.Repeat("y", 1+i*3)
		if err := os.Symlink(want[name], filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	fd, err := openRead(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	got := map[string]string{}
	for names := (entries{fd: fd}); ; {
		name, err := names.next()
		if err != nil {
			t.Fatal(err)
		}
		if name == nil {
			break
		}
		if n := string(name); n != "." && n != ".." {
			var buf [150]byte
			target, err := readLink(fd, name, buf[:])
			if err != nil {
				t.Fatal(err)
			}
			got[n] = string(target)
		}
	}
	for name, target := range want {
		if target = target[:min(len(target), 150)]; got[name] != target {
			t.Errorf("%q points at %q, want %q", name, got[name], target)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d names, want %d", len(got), len(want))
	}
}

func TestPIDList(t *testing.T) {
	list, err := openPIDs()
	if err != nil {
		t.Fatal(err)
	}
	defer list.close()
	var got []int
	for {
		pid, err := list.next()
		if err != nil {
			t.Fatal(err)
		}
		if pid == 0 {
			break
		}
		got = append(got, pid)
	}
	if !slices.Contains(got, os.Getpid()) || !slices.Contains(got, os.Getppid()) {
		t.Errorf("%d and its parent %d are not among %d", os.Getpid(), os.Getppid(), got)
	}
}

func TestNamed(t *testing.T) {
	e := evidence{lock: "/home/u/.berth/locks/a.tree"}
	for path, want := range map[string]bool{
		"/home/u/.berth/locks/a.tree": true, "/elsewhere/a.tree": true, "/a.tree": true, "/x/a.tree2": false, "/x/ba.tree": false,
		"a.tree": false, "": false, "/dev/null": false, strings.Repeat("/y", 50): true, // cut off
	} {
		if got := e.named([]byte(path), 100); got != want {
			t.Errorf("%q: %v, want %v", path, got, want)
		}
	}
}

func TestHasVariable(t *testing.T) {
	for environ, want := range map[string]bool{
		"\x00A=1": true, "\x00B=2\x00A=1\x00": true, "A=1": false, "\x00XA=1\x00": false, "\x00XA=1\x00A=1\x00": true, "": false,
	} {
		if got := hasVariable([]byte(environ), []byte("A=1")); got != want {
			t.Errorf("%q: %v, want %v", environ, got, want)
		}
	}
}
