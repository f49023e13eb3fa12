package home

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/berth-run/berth/internal/fail"
)

// logFile is the file that a log is being written to, and its rotation. The
// zero file is opened by the first write, and again by each after one that
// failed.
type logFile struct {
	path     string
	maxBytes int64
	keep     int

	file    *os.File // nil while it is not open
	size    int64
	midLine bool // the log ends in the middle of a line
	// breakLine: that line must be ended before anything is written. Without
	// it, more output goes on with the line.
	breakLine bool
}

// writeLine writes a line of ours, after ending one that is not finished.
func (f *logFile) writeLine(line []byte) error {
	if err := f.fit(len(line) + 1); err != nil && f.file == nil {
		return err // else it is over the size, and these lines are few
	}
	if f.midLine {
		if err := f.put([]byte{'\n'}); err != nil {
			return err
		}
	}
	return f.put(line)
}

// write writes output and returns how much of it was written.
func (f *logFile) write(p []byte) (int, error) {
	if err := f.fit(len(p) + 1); err != nil {
		return 0, err
	}
	if f.breakLine && f.midLine {
		if err := f.put([]byte{'\n'}); err != nil {
			return 0, err
		}
	}
	before := f.size
	err := f.put(p)
	return int(f.size - before), err
}

// put is the one place that writes. A write that ends early leaves its
// beginning in the file, and midLine set.
func (f *logFile) put(p []byte) error {
	fail.Point("home.log.write")
	n, err := f.file.Write(p)
	f.size += int64(n)
	if n > 0 {
		f.midLine, f.breakLine = p[n-1] != '\n', false
	}
	return err
}

// fit makes the file ready to take n bytes more: opened, and rotated if they
// would make it too large.
func (f *logFile) fit(n int) error {
	if f.file == nil {
		if err := f.open(); err != nil {
			return err
		}
	}
	if f.size == 0 || f.size+int64(n) <= f.maxBytes {
		return nil
	}
	if f.refresh(); f.file == nil {
		return f.fit(n)
	}
	if f.size == 0 || f.size+int64(n) <= f.maxBytes {
		return nil
	}
	if err := f.rotate(); err != nil {
		return fmt.Errorf("rotate: %w", err)
	}
	return f.open()
}

// open opens the current file and looks how it ends: the process before may
// have been killed in the middle of a line.
func (f *logFile) open() error {
	file, err := logOpenAppend(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(filepath.Dir(f.path), 0o700); err != nil {
			return err
		}
		file, err = logOpenAppend(f.path)
	}
	if err != nil {
		return err
	}
	info, err := file.Stat()
	if err != nil {
		file.Close()
		return err
	}
	f.file, f.size = file, info.Size()
	if !f.midLine {
		f.midLine = f.endsMidLine()
		f.breakLine = f.midLine
	}
	return nil
}

// endsMidLine says whether the last byte of the log is no newline. It answers
// no where it cannot be known: the worst is a line that two share.
func (f *logFile) endsMidLine() bool {
	if f.size > 0 {
		return logLastByte(f.file, f.size) != '\n'
	}
	numbers, err := tailNumbers(f.path)
	if err != nil || len(numbers) == 0 {
		return false
	}
	newest, err := logOpenShared(logNumbered(f.path, numbers[0]))
	if err != nil {
		return false
	}
	defer newest.Close()
	info, err := newest.Stat()
	return err == nil && info.Size() > 0 && logLastByte(newest, info.Size()) != '\n'
}

func logLastByte(file *os.File, size int64) byte {
	var last [1]byte
	if _, err := file.ReadAt(last[:], size-1); err != nil {
		return '\n'
	}
	return last[0]
}

// refresh closes the file if it is no longer the one at its path, because
// someone else rotated or removed it, so that the next write opens that; and
// takes note of its size.
func (f *logFile) refresh() {
	if f.file == nil {
		return
	}
	have, err := f.file.Stat()
	if err == nil {
		f.size = have.Size()
		var now fs.FileInfo
		if now, err = os.Stat(f.path); err == nil && os.SameFile(have, now) {
			return
		}
	}
	f.forget()
	f.midLine = false // of a file that is not ours any more
}

// rotate moves the file to .1, and each numbered one to the next number, up to
// the first number that is free: a crash between two renames leaves a hole,
// which the next rotation fills, and loses nothing. The last number of all is
// overwritten.
func (f *logFile) rotate() error {
	numbers, err := tailNumbers(f.path)
	if err != nil {
		return err
	}
	hole := 1
	for _, i := range numbers {
		if i == hole && hole < f.keep {
			hole++
		}
		if i > f.keep {
			// Left from a time when more were kept.
			if err := os.Remove(logNumbered(f.path, i)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	for i := hole; i > 1; i-- {
		if err := os.Rename(logNumbered(f.path, i-1), logNumbered(f.path, i)); err != nil {
			return err
		}
		fail.Point("home.log.rotate-between")
	}
	if err := os.Rename(f.path, logNumbered(f.path, 1)); err != nil {
		return err
	}
	fail.Point("home.log.rotate-done")
	f.forget()
	return nil
}

func (f *logFile) forget() {
	f.file.Close() // it was written without buffer: there is nothing to lose
	f.file, f.size = nil, 0
}

func (f *logFile) close() error {
	if f.file == nil {
		return nil
	}
	err := f.file.Close()
	f.file = nil
	return err
}
