package home

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/fsnotify/fsnotify"

	"github.com/berth-run/berth"
)

// Follow calls fn with the last n finished lines of a server's log, and then
// with each line as soon as it is finished, across rotation, until fn returns an
// error, which it returns, or ctx ends, whose cause it returns. The log need not
// exist yet. It waits for events, not by looking again and again. A line is as
// Tail returns it.
func (h *Home) Follow(ctx context.Context, name string, n int, fn func(line []byte) error) error {
	if err := berth.CheckInstance(name); err != nil {
		return err
	}
	// The directory is watched, since a rotation replaces the file; and before
	// the first look, so that nothing falls between the two.
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("follow the log of %s: %w", name, err)
	}
	defer w.Close()
	if err := w.Add(h.path(logsDir)); err != nil {
		return fmt.Errorf("follow the log of %s: %w", name, err)
	}
	f := follower{path: h.logPath(name), fn: fn}
	defer f.close()
	if err := f.begin(ctx, max(n, 0)); err != nil {
		return f.explain(ctx, name, err)
	}
	tick := followTick(ctx)
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case e := <-w.Events:
			if filepath.Base(e.Name) != filepath.Base(f.path) {
				continue
			}
		case err := <-w.Errors:
			// Too many events at once: one of them may have been ours.
			if !errors.Is(err, fsnotify.ErrEventOverflow) {
				return fmt.Errorf("follow the log of %s: %w", name, err)
			}
		case <-tick:
		}
		if err := f.read(ctx); err != nil {
			return f.explain(ctx, name, err)
		}
	}
}

// follower hands out the lines of a log file by file.
type follower struct {
	path  string
	fn    func([]byte) error
	file  *os.File // the one being read; nil before there is one
	lines tailLines
	fnErr error
}

var errFollowStopped = errors.New("stopped")

func (f *follower) explain(ctx context.Context, name string, err error) error {
	switch {
	case f.fnErr != nil:
		return f.fnErr
	case ctx.Err() != nil:
		return context.Cause(ctx)
	}
	return fmt.Errorf("follow the log of %s: %w", name, err)
}

// begin hands out the last n lines, and stays at the end of the newest file.
func (f *follower) begin(ctx context.Context, n int) error {
	f.lines = tailLines{in: bufio.NewReaderSize(nil, tailBlock), max: MaxLogLine}
	var s tailStream
	defer func() { s.cut(0) }()
	if err := s.open(f.path, n, true); err != nil {
		return err
	}
	for _, p := range slices.Backward(s.parts) {
		if _, err := p.file.Seek(p.from, io.SeekStart); err != nil {
			return err
		}
		f.file = p.file
		f.lines.in.Reset(p.file)
		if err := f.drain(ctx); err != nil {
			return err
		}
	}
	if len(s.parts) > 0 {
		s.parts = s.parts[1:] // the newest stays open, as f.file
	}
	return f.read(ctx)
}

// read hands out what was written since, up to the end of the newest file.
func (f *follower) read(ctx context.Context) error {
	for {
		if err := f.rewind(); err != nil {
			return err
		}
		// In this order: once there is a next file nothing is added to this one.
		next, err := f.next()
		if err != nil {
			return err
		}
		err = f.drain(ctx)
		if next == nil {
			return err
		}
		f.close()
		f.file = next
		f.lines.in.Reset(next)
		if err != nil {
			return err
		}
	}
}

// drain hands out the lines up to the end of the file, and keeps what it has of
// an unfinished one.
func (f *follower) drain(ctx context.Context) error {
	for f.file != nil {
		if ctx.Err() != nil {
			return errFollowStopped
		}
		if err := f.lines.next(); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		if f.fnErr = f.fn(f.lines.text()); f.fnErr != nil {
			return errFollowStopped
		}
	}
	return nil
}

// rewind goes to the beginning of a file that was made shorter in place.
func (f *follower) rewind() error {
	if f.file == nil {
		return nil
	}
	info, err := f.file.Stat()
	if err != nil {
		return err
	}
	at, err := f.file.Seek(0, io.SeekCurrent)
	if err != nil || info.Size() >= at {
		return err
	}
	_, err = f.file.Seek(0, io.SeekStart)
	f.lines.start()
	f.lines.in.Reset(f.file)
	return err
}

// next opens the file that follows the one being read, or returns nil if that
// is the newest. Rotations go on meanwhile: a file moves to the next higher
// number each time, so that the one after ours is just below it as long as ours
// stays where it is.
func (f *follower) next() (*os.File, error) {
	if f.file == nil {
		return f.openBelow(tailMaxNumber + 1)
	}
	have, err := f.file.Stat()
	if err != nil {
		return nil, err
	}
	for {
		at, err := f.find(have)
		if at == 0 || err != nil {
			return nil, err
		}
		next, err := f.openBelow(at)
		if at > tailMaxNumber || next == nil || err != nil {
			return next, err
		}
		now, err := os.Stat(logNumbered(f.path, at))
		if err == nil && os.SameFile(have, now) {
			return next, nil
		}
		next.Close()
	}
}

// find returns the number that the file has now, 0 for that of the current one,
// and more than tailMaxNumber if it is gone.
func (f *follower) find(have fs.FileInfo) (int, error) {
	for i := 0; i <= tailMaxNumber; i++ {
		now, err := os.Stat(logNumbered(f.path, i))
		if err == nil && os.SameFile(have, now) {
			return i, nil
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return 0, err
		}
	}
	return tailMaxNumber + 1, nil
}

// openBelow opens the oldest file with a number below that, or returns nil if
// there is none.
func (f *follower) openBelow(number int) (*os.File, error) {
	for i := number - 1; i >= 0; i-- {
		file, err := logOpenShared(logNumbered(f.path, i))
		if !errors.Is(err, fs.ErrNotExist) {
			return file, err
		}
	}
	return nil, nil
}

func (f *follower) close() {
	if f.file != nil {
		f.file.Close()
		f.file = nil
	}
}
