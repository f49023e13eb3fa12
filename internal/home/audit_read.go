package home

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path"
	"strings"
	"time"

	"github.com/berth-run/berth"
)

// AuditFilter chooses records; the zero value of each field chooses all.
type AuditFilter struct {
	Server string
	Action string
	// Since leaves out what happened before. Recent has what is older not be read, as
	// far as that can be seen from the end: files of the trail that were last written
	// before, and in the others what is before auditLate records in a row that are
	// older. What is wrong there is not told.
	Since  time.Time
	Recent bool
	// Client, Tool and Outcome leave out what is no record of a call, but for callers
	// that were refused, whose outcome that is. Client is the name that CallerName
	// returns; Tool is a pattern of path.Match, and one that is malformed chooses
	// nothing.
	Client  string
	Tool    string
	Outcome berth.CallOutcome
}

// CallerName is what who made a call is called: the name that Berth knows the client
// by; else the first word of what the client calls itself, which its version follows;
// else the principal.
func CallerName(c berth.Call) string {
	if c.Caller != "" {
		return c.Caller
	}
	if words := strings.Fields(c.Client); len(words) > 0 {
		return words[0]
	}
	return c.Principal
}

// wantsCall says whether the filter chooses a record by its call, if it has one.
func (f AuditFilter) wantsCall(rec berth.Record) bool {
	c := rec.Call
	if f.Client == "" && f.Tool == "" && (f.Outcome == "" || f.Outcome == berth.CallRefused && rec.Action == berth.ActionCallerRefused) {
		return true
	}
	if c == nil || f.Client != "" && f.Client != CallerName(*c) || f.Outcome != "" && f.Outcome != c.Outcome {
		return false
	}
	if f.Tool == "" {
		return true
	}
	ok, err := path.Match(f.Tool, c.Tool)
	return ok && err == nil
}

func (f AuditFilter) wants(rec berth.Record) bool {
	if f.Server != "" && f.Server != berth.ServerOf(rec.Server) || f.Action != "" && f.Action != rec.Action || !f.wantsCall(rec) {
		return false
	}
	return f.since(rec)
}

// since says whether a record is not of before Since.
func (f AuditFilter) since(rec berth.Record) bool {
	if rec.Time.IsZero() {
		return rec.TimestampEpochSecs >= f.Since.Unix() // of a whole second
	}
	return !rec.Time.Before(f.Since)
}

// AuditLineError is a line of the audit trail that holds no record.
type AuditLineError struct {
	File string // its path
	Line int    // from where it was begun to read; that is not the beginning for a filter that is Recent
	Err  error
	// Unfinished: it is the last line and has no newline. The next record that
	// is appended accounts for it.
	Unfinished bool
	// Repaired: it is the rest of a write that was cut off, and the next record
	// accounts for it. No such line was ever acknowledged.
	Repaired bool
}

// Error names the file and the line.
func (e *AuditLineError) Error() string {
	what := "not an audit record"
	switch {
	case e.Unfinished:
		what = "unfinished audit record"
	case e.Repaired:
		what = "the rest of a record that was cut off"
	}
	return fmt.Sprintf("%s:%d: %s: %v", e.File, e.Line, what, e.Err)
}

// Unwrap returns what is wrong with the line.
func (e *AuditLineError) Unwrap() error { return e.Err }

// Audit reads the audit trail, oldest record first. Each line that is no record
// is an *AuditLineError in its place, whatever the filter; any other error ends
// the trail. It takes no lock while the caller goes through the records.
func (h *Home) Audit(f AuditFilter) iter.Seq2[berth.Record, error] {
	return func(yield func(berth.Record, error) bool) {
		t := h.trail()
		sift := auditSift{t: t, f: f, yield: yield}
		err := t.each(f, sift.line)
		if sift.tell() && err != nil {
			yield(berth.Record{}, fmt.Errorf("read the audit trail: %w", err))
		}
	}
}

// auditSift hands out what a filter chooses of the lines that it is given in turn.
type auditSift struct {
	t     trail
	f     AuditFilter
	yield func(berth.Record, error) bool
	bad   *AuditLineError // until the line after it is known
}

// tell hands out the line that is no record, if there is one, and says whether more
// is wanted.
func (s *auditSift) tell() bool {
	e := s.bad
	s.bad = nil
	return e == nil || s.yield(berth.Record{}, e)
}

// line takes a line of a file, and says whether more is wanted.
func (s *auditSift) line(name string, l auditLine) bool {
	if s.bad != nil {
		s.bad.Repaired = l.err == nil && l.rec.Action == berth.ActionAuditRepaired
	}
	if !s.tell() {
		return false
	}
	if l.err != nil {
		s.bad = &AuditLineError{File: s.t.path(name), Line: l.number, Err: l.err, Unfinished: !l.finished}
		return true
	}
	return !s.f.wants(l.rec) || s.yield(l.rec, nil)
}

// each calls fn with each line of the files that the filter has not left out, oldest
// first, until it returns false.
func (t trail) each(f AuditFilter, fn func(name string, l auditLine) bool) error {
	current, older, err := t.open()
	if current != nil {
		defer current.Close()
	}
	if err != nil {
		return err
	}
	for _, name := range t.recent(older, f) {
		file, err := logOpenShared(t.path(name))
		if err != nil {
			return err
		}
		more, err := t.eachIn(name, file, f, fn)
		file.Close()
		if err != nil || !more {
			return err
		}
	}
	if current == nil {
		return nil
	}
	_, err = t.eachIn(auditCurrent, current, f, fn)
	return err
}

// recent leaves out the files that the filter does, of those that were put aside.
func (t trail) recent(older []string, f AuditFilter) []string {
	for f.Recent && len(older) > 0 {
		info, err := os.Stat(t.path(older[0]))
		if err != nil || !info.ModTime().Before(f.Since) {
			break
		}
		older = older[1:]
	}
	return older
}

// auditLate is how many records in a row may be older than those before them: of calls
// that a full disk did not let be written in time, for one.
const auditLate = 256

// seekRecent goes to where the records begin that a filter which is Recent may want, and
// returns where that is.
func (t trail) seekRecent(file *os.File, f AuditFilter) (from int64, err error) {
	info, err := file.Stat()
	if err != nil || !f.Recent {
		return 0, err
	}
	p := tailPart{file: file, size: info.Size()}
	buf := make([]byte, auditEndBlock)
	for lines := 4 * auditLate; ; lines *= 4 {
		if _, buf, err = p.seek(p.size, lines, buf); err != nil || p.from == 0 {
			return 0, err
		}
		if old, err := f.beginsBefore(io.NewSectionReader(file, p.from, p.size-p.from)); err != nil || old {
			return p.from, errors.Join(err, seekTo(file, p.from))
		}
	}
}

func seekTo(file *os.File, at int64) error {
	_, err := file.Seek(at, io.SeekStart)
	return err
}

// beginsBefore says whether the first records are of before Since.
func (f AuditFilter) beginsBefore(r io.Reader) (bool, error) {
	in := newAuditLines(r)
	for range auditLate {
		l, err := in.next()
		switch {
		case err == io.EOF:
			return true, nil
		case err != nil:
			return false, err
		case l.err == nil && f.since(l.rec):
			return false, nil
		}
	}
	return true, nil
}

// eachIn calls fn with each line of one file that the filter has not left out, and says
// whether it wants more.
func (t trail) eachIn(name string, file *os.File, f AuditFilter, fn func(name string, l auditLine) bool) (bool, error) {
	if _, err := t.seekRecent(file, f); err != nil {
		return false, fmt.Errorf("%s: %w", t.path(name), err)
	}
	in := newAuditLines(file)
	for settled := 0; ; {
		l, err := in.next()
		if err == io.EOF {
			return true, nil
		}
		if err != nil {
			return false, fmt.Errorf("%s: %w", t.path(name), err)
		}
		if !l.finished && settled < l.number {
			// It may be in the middle of being written.
			if settled = l.number; t.settle() {
				continue // with the same line
			}
		}
		if !fn(name, l) {
			return false, nil
		}
		if !l.finished {
			return true, nil
		}
	}
}

// settle waits until nobody is in the middle of a write, and says whether it
// could. On a home that can only be read it cannot.
func (t trail) settle() bool {
	if t.readOnly {
		return false
	}
	lock, err := t.lock(time.Second)
	if err != nil {
		return false
	}
	return lock.Unlock() == nil
}
