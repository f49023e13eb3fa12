//go:build unix

package home

import (
	"errors"
	"os"
	"testing"
)

// Tree locks: a child that inherits the descriptor holds the lock after this
// process closed it, until it ends.
func TestLockIsInherited(t *testing.T) {
	path, err := openTestHome(t).TreeLock("s")
	if err != nil {
		t.Fatal(err)
	}
	l := mustLock(t, path)
	_, end := helper(t, "inherit", path, l.File())
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	mustBe(t, path, true)
	end()
	mustBe(t, path, false)

	// Unlock frees it for the child too; and a child that was not given the
	// descriptor does not have it.
	l = mustLock(t, path)
	_, end = helper(t, "inherit", path, l.File())
	defer end()
	if err := l.Unlock(); err != nil {
		t.Fatal(err)
	}
	mustBe(t, path, false)
	l = mustLock(t, path)
	_, end = helper(t, "inherit", path)
	defer end()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	mustBe(t, path, false)
}

func TestLockThatCannotBeOpened(t *testing.T) {
	dir := t.TempDir()
	if _, err := TryLock(dir); err == nil || errors.Is(err, ErrLocked) {
		t.Errorf("a directory: %v", err)
	}
	if err := os.Symlink("loop", dir+"/loop"); err != nil {
		t.Fatal(err)
	}
	if _, err := TryLock(dir + "/loop"); err == nil || errors.Is(err, ErrLocked) {
		t.Errorf("a loop: %v", err)
	}
}
