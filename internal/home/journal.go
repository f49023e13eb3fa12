package home

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
)

// Journal is a file of lines in the home that one process at a time replaces: a
// lock of its caller's says which. Others may add to it meanwhile as long as none
// does. What was added outlives a SIGKILL at any
// moment. It may not outlive the machine: what a Journal holds is worthless
// then.
type Journal struct {
	h    *Home
	path string

	mu   sync.Mutex // guards the fields below
	f    *os.File
	size int64
	torn bool // the file may end in part of a line
}

// OpenJournal opens the journal of that name, which it creates, and returns the
// lines that are in it. The last one may be part of a line, if its writer was
// killed: what reads them has to see that.
func (h *Home) OpenJournal(word string) (j *Journal, lines [][]byte, err error) {
	if err := h.canWrite(); err != nil {
		return nil, nil, err
	}
	j = &Journal{h: h, path: h.path(runDir, word+".journal")}
	if lines, j.torn, err = j.read(); err != nil {
		return nil, nil, err
	}
	if err := j.open(); err != nil {
		return nil, nil, err
	}
	return j, lines, nil
}

// Lines returns the lines that are in the journal now, those too that another
// process has added.
func (j *Journal) Lines() ([][]byte, error) {
	lines, _, err := j.read()
	return lines, err
}

func (j *Journal) read() (lines [][]byte, torn bool, err error) {
	data, err := os.ReadFile(j.path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, false, fmt.Errorf("read the journal: %w", err)
	}
	for line := range bytes.SplitSeq(data, []byte{'\n'}) {
		if len(line) > 0 {
			lines = append(lines, line)
		}
	}
	return lines, len(data) > 0 && data[len(data)-1] != '\n', nil
}

func (j *Journal) open() error {
	f, err := os.OpenFile(j.path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return j.h.writeError(fmt.Errorf("open the journal: %w", err))
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return fmt.Errorf("open the journal: %w", err)
	}
	j.f, j.size = f, info.Size()
	return nil
}

// Append adds a line, which has no line break in it.
func (j *Journal) Append(line []byte) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.f == nil {
		return fs.ErrClosed
	}
	whole := make([]byte, 0, len(line)+2)
	if j.torn {
		whole = append(whole, '\n') // what is there must not spoil this one
	}
	whole = append(append(whole, line...), '\n')
	n, err := j.f.Write(whole)
	j.size += int64(n)
	if err != nil {
		j.torn = j.torn || n > 0
		return j.h.writeError(fmt.Errorf("add to the journal: %w", err))
	}
	j.torn = false
	return nil
}

// Replace has the journal hold these lines and no others, or leaves it as it is.
func (j *Journal) Replace(lines [][]byte) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.f == nil {
		return fs.ErrClosed
	}
	var whole []byte
	for _, line := range lines {
		whole = append(append(whole, line...), '\n')
	}
	if err := j.h.replace(j.path, whole); err != nil {
		return fmt.Errorf("replace the journal: %w", err)
	}
	j.f.Close()
	j.f, j.torn = nil, false
	return j.open()
}

// Size is how many bytes the journal has.
func (j *Journal) Size() int64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.size
}

// Close closes the file.
func (j *Journal) Close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.f == nil {
		return nil
	}
	f := j.f
	j.f = nil
	return f.Close()
}
