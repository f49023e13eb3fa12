package home

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/berth-run/berth"
)

// The lifecycle lines of a log that name no process; see also LogStart and
// LogAutoRestart.
const (
	LogStop         = "STOP"
	LogExit         = "EXIT"
	LogPolicyDenied = "POLICY_DENIED_AUTO_RESTART"
)

// LogStart returns the text of the lifecycle line for a start.
func LogStart(pid int) string { return "START pid=" + strconv.Itoa(pid) }

// LogAutoRestart returns the text of the lifecycle line for an automatic
// restart, the attempt-th of at most limit.
func LogAutoRestart(pid, attempt, limit int) string {
	return fmt.Sprintf("AUTO_RESTART pid=%d attempt=%d/%d", pid, attempt, limit)
}

// LogOptions bounds a server's log. The zero value of each field means its
// default.
type LogOptions struct {
	// MaxBytes is the size at which a file is rotated: 10 MiB, at least 4 KiB.
	MaxBytes int64
	// Keep is how many rotated files stay beside the current one: 5, from 1 to
	// 999. A log takes at most MaxBytes × (Keep+1).
	Keep int
	// BytesPerSecond caps the server's output in the long run: 1 MiB; negative
	// for no cap.
	BytesPerSecond int64
	// Burst is how much may come at once above that: 4 × BytesPerSecond.
	Burst int64
	// Now is the clock of the cap: time.Now.
	Now func() time.Time
}

func (o LogOptions) withDefaults() LogOptions {
	if o.MaxBytes == 0 {
		o.MaxBytes = 10 << 20
	}
	o.MaxBytes = max(o.MaxBytes, 4<<10)
	if o.Keep == 0 {
		o.Keep = 5
	}
	o.Keep = min(max(o.Keep, 1), tailMaxNumber)
	if o.BytesPerSecond == 0 {
		o.BytesPerSecond = 1 << 20
	}
	if o.Burst == 0 {
		o.Burst = 4 * o.BytesPerSecond
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

const (
	// logBuffer bounds the unfinished line that is kept in memory; a longer one
	// reaches the file in pieces.
	logBuffer = 64 << 10
	// logSmallBuffer is the capacity that is kept for the next unfinished line;
	// a larger one goes back to the heap.
	logSmallBuffer = 4 << 10
	// logMaxText bounds the text of a lifecycle line.
	logMaxText = 1 << 10
	// logMaxLate bounds the lifecycle lines that wait for room on the disk.
	logMaxLate = 64
)

// Log writes a server's log: lifecycle lines, and the server's own output
// between them. A disk that is full stops nobody: what cannot be written is
// counted, and lifecycle lines are tried again. Its methods may be called from
// any goroutine; one process at a time writes a server's log, the holder of its
// shim lock.
type Log struct {
	mu   sync.Mutex // guards the fields below
	file logFile
	cap  logCap

	partial []byte   // the line that the server has not finished
	dropped uint64   // bytes left out since the last LOG_DROPPED line
	lost    uint64   // bytes left out since OpenLog
	late    [][]byte // lifecycle lines that could not be written yet
}

// OpenLog returns the log of the server. It touches no file before the first
// write: a disk in trouble keeps no server from starting.
func (h *Home) OpenLog(name string, o LogOptions) (*Log, error) {
	if err := berth.CheckInstance(name); err != nil {
		return nil, err
	}
	if err := h.canWrite(); err != nil {
		return nil, err
	}
	return newLog(h.logPath(name), o), nil
}

func newLog(path string, o LogOptions) *Log {
	o = o.withDefaults()
	return &Log{
		file: logFile{path: path, maxBytes: o.MaxBytes, keep: o.Keep},
		cap:  newLogCap(o),
	}
}

// Lifecycle writes the line "[<epoch seconds>] text" with one write. It is
// never capped, and never joined to a line that the server has not finished:
// that line is ended first. If the line cannot be written it is kept, and tried
// again with the next write; the error says why.
func (l *Log) Lifecycle(at time.Time, text string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.endLine()
	l.file.refresh()
	err := l.catchUp() // what came before this line is told before it
	line := logLine(at, text)
	if len(l.late) == logMaxLate {
		l.lose(len(line))
		return err
	}
	l.late = append(l.late, line)
	if err == nil {
		err = l.writeLate()
	}
	return err
}

// logLine builds a line of ours. Its text is one line of bounded length
// whatever it was.
func logLine(at time.Time, text string) []byte {
	if len(text) > logMaxText {
		text = text[:logMaxText]
	}
	text = strings.ReplaceAll(strings.ReplaceAll(text, "\n", " "), "\r", " ")
	line := make([]byte, 0, len(text)+24)
	line = append(line, '[')
	line = strconv.AppendInt(line, at.Unix(), 10)
	line = append(line, "] "...)
	line = append(line, text...)
	return append(line, '\n')
}

// Output takes the server's output as it comes: any bytes, cut anywhere. A line
// is written with one write, together with whole lines that came with it, as
// long as it fits in 64 KiB; an unfinished one waits for its end, Flush or
// Close. Output beyond the cap is dropped and counted, and a line
// "[<epoch seconds>] LOG_DROPPED bytes=<n>" takes its place.
func (l *Log) Output(p []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(p) > 0 {
		p = p[l.take(p):]
	}
}

// OutputLine takes a whole line of output that does not belong to the stream
// given to Output, as a stdio server's stdout does not belong to its stderr.
// The line is not joined to what Output has of an unfinished one.
func (l *Log) OutputLine(line []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	kept := l.partial
	l.partial = nil
	l.file.breakLine = l.file.midLine
	for rest := append(bytes.Clone(line), '\n'); len(rest) > 0; {
		rest = rest[l.take(rest):]
	}
	l.partial = kept
}

// take deals with the beginning of p and returns how much that was.
func (l *Log) take(p []byte) int {
	most := int(min(logBuffer, l.file.maxBytes-1)) // 1 for a newline before it
	if len(l.partial) == 0 {
		p = p[:min(len(p), most)]
		if end := bytes.LastIndexByte(p, '\n'); end >= 0 {
			p = p[:end+1]
		} else if len(p) < most {
			l.partial = append(l.partial, p...)
			return len(p)
		}
		l.write(p)
		return len(p)
	}
	end := bytes.IndexByte(p, '\n') + 1
	head := p[:end]
	if end == 0 {
		head = p
	}
	if len(l.partial)+len(head) > most {
		l.writePartial()
		return 0
	}
	l.partial = append(l.partial, head...)
	if end > 0 {
		l.writePartial()
	}
	return len(head)
}

// writePartial writes the unfinished line as it is.
func (l *Log) writePartial() {
	l.write(l.partial)
	if cap(l.partial) > logSmallBuffer {
		l.partial = nil
	}
	l.partial = l.partial[:0]
}

// endLine writes the unfinished line, ended by a newline.
func (l *Log) endLine() {
	if len(l.partial) > 0 {
		l.partial = append(l.partial, '\n')
		l.writePartial()
	}
}

// write writes output, unless the cap or the disk forbids it.
func (l *Log) write(p []byte) {
	if !l.cap.admit(len(p)) {
		l.lose(len(p))
		return
	}
	if l.catchUp() != nil {
		l.lose(len(p))
		return
	}
	n, err := l.file.write(p)
	if err != nil {
		l.lose(len(p) - n)
	}
}

func (l *Log) lose(n int) {
	l.dropped += uint64(n)
	l.lost += uint64(n)
}

// catchUp writes what should have been written before.
func (l *Log) catchUp() error {
	if err := l.writeLate(); err != nil {
		return err
	}
	return l.tellDropped()
}

// tellDropped writes the line that stands for what was left out.
func (l *Log) tellDropped() error {
	if l.dropped == 0 {
		return nil
	}
	text := "LOG_DROPPED bytes=" + strconv.FormatUint(l.dropped, 10)
	if err := l.file.writeLine(logLine(l.cap.now(), text)); err != nil {
		return fmt.Errorf("write the log: %w", err)
	}
	l.dropped = 0
	return nil
}

// writeLate writes the lifecycle lines that wait, in their order.
func (l *Log) writeLate() error {
	for len(l.late) > 0 {
		if err := l.file.writeLine(l.late[0]); err != nil {
			return fmt.Errorf("write the log: %w", err)
		}
		l.late[0] = nil
		l.late = l.late[1:]
	}
	l.late = nil
	return nil
}

// Flush writes the unfinished line that waits for its end, as it is. It is for
// a server that has paused in the middle of one.
func (l *Log) Flush() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.partial) > 0 {
		l.writePartial()
	}
}

// Lost returns how many bytes were left out since OpenLog, by the cap or
// because they could not be written.
func (l *Log) Lost() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lost
}

// Close writes what waits and closes the file. The error says that lines of
// ours are lost; output that is lost was counted.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.partial) > 0 {
		l.writePartial()
	}
	return errors.Join(l.catchUp(), l.file.close())
}
