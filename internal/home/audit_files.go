package home

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/berth-run/berth/internal/fail"
)

// auditCurrent is the file that is written. When it has grown too large it is
// renamed after the number of its last record, and a new one goes on: the first
// record there has the hash of the last one here.
const auditCurrent = "audit.jsonl"

func auditRotated(seq uint64) string { return fmt.Sprintf("audit-%020d.jsonl", seq) }

// auditRotatedSeq returns the number in the name of an older file.
func auditRotatedSeq(name string) (uint64, bool) {
	digits, ok := strings.CutSuffix(strings.TrimPrefix(name, "audit-"), ".jsonl")
	seq, err := strconv.ParseUint(digits, 10, 64)
	return seq, ok && err == nil && name == auditRotated(seq)
}

func auditSum(line []byte) string {
	sum := sha256.Sum256(line)
	var text [2 * sha256.Size]byte
	hex.Encode(text[:], sum[:])
	return string(text[:])
}

func (t trail) path(name string) string { return filepath.Join(t.dir, name) }

// rotate puts the current file aside and closes it. Another writer's lines in it
// may not be synced yet; lines of the next file must not outlive them.
func (t trail) rotate(current *os.File, seq uint64) error {
	if err := errors.Join(current.Sync(), current.Close()); err != nil {
		return err
	}
	to := t.path(auditRotated(seq))
	switch _, err := os.Lstat(to); {
	case err == nil:
		return fmt.Errorf("%s is there already", to)
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if err := os.Rename(t.path(auditCurrent), to); err != nil {
		return err
	}
	fail.Point("home.audit.rotated")
	return nil
}

// olderFiles returns the names of the files that are complete, oldest first.
func (t trail) olderFiles() ([]string, error) {
	entries, err := os.ReadDir(t.dir) // sorted by name, and so by number
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if _, ok := auditRotatedSeq(e.Name()); ok {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// open opens the current file, and returns the names of those before it. It
// takes no lock. The current file is opened first: if it is put aside meanwhile,
// it is found among the older ones, and what is newer is not looked at.
func (t trail) open() (current *os.File, older []string, err error) {
	current, err = logOpenShared(t.path(auditCurrent))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, nil, err
	}
	if older, err = t.olderFiles(); err != nil || current == nil {
		return current, older, err
	}
	have, err := current.Stat()
	if err != nil {
		return current, older, err
	}
	for i, name := range slices.Backward(older) {
		info, err := os.Stat(t.path(name))
		if err != nil {
			return current, older, err
		}
		if os.SameFile(info, have) {
			return current, older[:i], nil
		}
	}
	return current, older, nil
}
