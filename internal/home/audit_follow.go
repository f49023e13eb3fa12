package home

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/berth-run/berth"
)

// FollowAudit is Audit that goes on: it calls fn with the records that there are,
// oldest first, and then with each as soon as it is written, across rotation, until
// fn returns an error, which it returns, or ctx ends, whose cause it returns. The
// trail need not exist yet. It waits for events, not by looking again and again.
//
// A line that is no record comes to fn as an *AuditLineError once the line after it
// is there, which may account for it, or ctx ends. A line without an end is not told:
// the rest of it may come.
func (h *Home) FollowAudit(ctx context.Context, f AuditFilter, fn func(berth.Record, error) error) error {
	t := h.trail()
	// The directory is watched, since a rotation replaces the file; and before the
	// first look, so that nothing falls between the two.
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("follow the audit trail: %w", err)
	}
	defer w.Close()
	if err := w.Add(t.dir); err != nil {
		return fmt.Errorf("follow the audit trail in %s: %w", t.dir, err)
	}
	a := auditFollower{t: t}
	a.sift = auditSift{t: t, f: f, yield: func(rec berth.Record, err error) bool {
		a.fnErr = fn(rec, err)
		return a.fnErr == nil
	}}
	defer a.close()
	tick := followTick(ctx)
	for {
		if err := a.read(ctx); err != nil {
			return a.explain(ctx, err)
		}
		if err := auditEvent(ctx, w, tick); err != nil {
			return a.explain(ctx, err)
		}
	}
}

// auditEvent waits until the trail may have grown.
func auditEvent(ctx context.Context, w *fsnotify.Watcher, tick <-chan time.Time) error {
	for {
		select {
		case <-ctx.Done():
			return errFollowStopped
		case e := <-w.Events:
			base := filepath.Base(e.Name)
			if _, older := auditRotatedSeq(base); older || base == auditCurrent {
				return nil
			}
		case err := <-w.Errors:
			// Too many events at once: one of them may have been ours.
			if !errors.Is(err, fsnotify.ErrEventOverflow) {
				return err
			}
			return nil
		case <-tick:
			return nil
		}
	}
}

// auditFollower hands out the lines of the trail file by file.
type auditFollower struct {
	t     trail
	sift  auditSift
	file  *os.File // the one being read; nil before there is one
	name  string   // what it was called when it was opened
	lines *auditLines
	at    int64 // where the line begins that is read next
	fnErr error
}

func (a *auditFollower) explain(ctx context.Context, err error) error {
	if a.fnErr == nil && ctx.Err() != nil {
		a.sift.tell()
	}
	switch {
	case a.fnErr != nil:
		return a.fnErr
	case ctx.Err() != nil:
		return context.Cause(ctx)
	}
	return fmt.Errorf("follow the audit trail: %w", err)
}

// oldest opens the oldest file that there is, or returns nil if there is none.
func (a *auditFollower) oldest() (string, *os.File, error) {
	current, older, err := a.t.open()
	older = a.t.recent(older, a.sift.f)
	if err != nil || len(older) == 0 {
		return auditCurrent, current, err
	}
	if current != nil {
		current.Close()
	}
	file, err := logOpenShared(a.t.path(older[0]))
	return older[0], file, err
}

// take goes on with a file.
func (a *auditFollower) take(name string, file *os.File) {
	a.close()
	a.file, a.name, a.lines, a.at = file, name, newAuditLines(file), 0
}

func (a *auditFollower) close() {
	if a.file != nil {
		a.file.Close()
		a.file = nil
	}
}

// read hands out what was written since, up to the end of the newest file.
func (a *auditFollower) read(ctx context.Context) error {
	for {
		// In this order: once there is a next file nothing is added to this one.
		name, next, err := a.next()
		if err != nil {
			return err
		}
		err = a.drain(ctx)
		if next == nil {
			return err
		}
		isFirst := a.file == nil
		a.take(name, next)
		if err == nil && isFirst {
			a.at, err = a.t.seekRecent(next, a.sift.f)
		}
		if err != nil {
			return err
		}
	}
}

// drain hands out the lines up to the end of the file.
func (a *auditFollower) drain(ctx context.Context) error {
	for a.file != nil {
		if ctx.Err() != nil {
			return errFollowStopped
		}
		l, err := a.lines.next()
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			return fmt.Errorf("%s: %w", a.t.path(a.name), err)
		case !l.finished:
			return a.again()
		}
		a.at += l.bytes + 1
		if !a.sift.line(a.name, l) {
			return errFollowStopped
		}
	}
	return nil
}

// again has an unfinished line be read from its beginning: its writer may take it
// back, if the disk is full, and another writes there.
func (a *auditFollower) again() error {
	if _, err := a.file.Seek(a.at, io.SeekStart); err != nil {
		return err
	}
	a.lines.lines.start()
	a.lines.lines.in.Reset(a.file)
	return nil
}

// next opens the file that follows the one being read, or returns nil if that is the
// newest.
func (a *auditFollower) next() (string, *os.File, error) {
	if a.file == nil {
		return a.oldest()
	}
	have, err := a.file.Stat()
	if err != nil {
		return "", nil, err
	}
	for {
		name, file, err := a.after(have)
		if errors.Is(err, fs.ErrNotExist) {
			return "", nil, nil // it was put aside, and the next is not there yet
		}
		if name != auditCurrent || err != nil {
			return name, file, err
		}
		// If another was put aside between the look at the others and the opening,
		// that one is between ours and what is current now.
		now, err := a.nameAfter(have)
		if err == nil && now == auditCurrent {
			return name, file, nil
		}
		file.Close()
		if err != nil {
			return "", nil, err
		}
	}
}

// after opens the file after that one; "" and nil if that is the current one.
func (a *auditFollower) after(have fs.FileInfo) (string, *os.File, error) {
	if now, err := os.Stat(a.t.path(auditCurrent)); err == nil && os.SameFile(have, now) {
		return "", nil, nil
	}
	name, err := a.nameAfter(have)
	if err != nil {
		return "", nil, err
	}
	file, err := logOpenShared(a.t.path(name))
	return name, file, err
}

// nameAfter is what the file is called that follows one that was put aside. One that
// is gone is followed by the current one.
func (a *auditFollower) nameAfter(have fs.FileInfo) (string, error) {
	older, err := a.t.olderFiles()
	if err != nil {
		return "", err
	}
	next := auditCurrent
	for _, name := range slices.Backward(older) {
		info, err := os.Stat(a.t.path(name))
		if err != nil {
			return "", err
		}
		if os.SameFile(info, have) {
			return next, nil
		}
		next = name
	}
	return auditCurrent, nil
}
