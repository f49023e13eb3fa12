package shim

import (
	"bytes"
	"errors"
	"io"
	"os"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/berth-run/berth/internal/direct"
)

// relay moves lines between one incarnation of the server and whoever is
// attached. It always drains the server: what nobody takes is counted and
// dropped, what is not JSON goes to the log, and an attacher that does not read
// is cut off rather than waited for.
type relay struct {
	generation uint64
	to         atomic.Pointer[attachment] // nil: nobody is attached
	log        io.Writer                  // whole lines of the server's that are not protocol
	counts     *counts

	buffers *buffers

	rest  line // what the line is that pump has read the beginning of
	stdin io.WriteCloser
	inMu  sync.Mutex // held while one whole line is written to stdin
}

// stdinPipe is the pipe that is the server's stdin.
type stdinPipe struct {
	*direct.Stream
	io.Closer
}

// counts is what reached nobody.
type counts struct {
	notJSON, unattached, tooLong, stale atomic.Uint64
}

// pump reads the server's stdout until its end. It runs in a goroutine of its
// own for each incarnation and returns the error that ended it, nil at EOF.
func (r *relay) pump(stdout io.Reader) error {
	buf := r.buffers.get()
	defer r.buffers.put(buf)
	l := &r.rest
	for {
		n, err := stdout.Read(buf[:pieceSize])
		for b := buf[:n]; len(b) > 0; {
			piece, last := b, false
			if i := bytes.IndexByte(b, '\n'); i >= 0 {
				piece, last = b[:i], true
				b = b[i+1:]
			} else {
				b = nil
			}
			r.take(l, piece, last)
		}
		// Whoever passes it on goes first, or the rest of a long line would have
		// to wait on the disk.
		runtime.Gosched()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return err // told to pause
		}
		if err != nil {
			// A last line without a newline was cut short by the end of the
			// process. It is passed on all the same: the attacher judges it.
			r.take(l, nil, true)
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
	}
}

// line is where the line that is being read goes.
type line struct {
	kind lineKind
	size int
	to   *attachment // lineJSON
	// indent is the white space so far, for the log; lineBlank.
	indent []byte
}

// maxIndent bounds the white space before a line of text that reaches the log.
const maxIndent = 256

type lineKind byte

const (
	lineBlank   lineKind = iota // only white space so far
	lineJSON                    // to whoever was attached when it began
	lineNotJSON                 // to the log
	lineTooLong                 // over MaxLine: dropped to its end
)

// take handles one piece of a line.
func (r *relay) take(l *line, piece []byte, last bool) {
	if l.kind == lineBlank {
		text := bytes.TrimLeft(piece, " \t\r")
		blank := piece[:len(piece)-len(text)]
		l.indent = append(l.indent, blank[:min(len(blank), maxIndent-len(l.indent))]...)
		if piece = text; len(piece) > 0 {
			if c := piece[0]; c == '{' || c == '[' {
				*l = line{kind: lineJSON, to: r.to.Load()}
				if l.to == nil {
					r.counts.unattached.Add(1)
				}
			} else {
				r.log.Write(l.indent)
				*l = line{kind: lineNotJSON}
				r.counts.notJSON.Add(1)
			}
		}
	}
	l.size += len(piece)
	switch l.kind {
	case lineJSON:
		if l.size > MaxLine {
			r.counts.tooLong.Add(1)
			l.to.put(r.generation, flagLast|flagAbort, nil)
			l.kind = lineTooLong
			break
		}
		var flags byte
		if last {
			flags = flagLast
		}
		l.to.put(r.generation, flags, piece)
	case lineNotJSON:
		r.log.Write(piece)
		if last {
			r.log.Write([]byte{'\n'})
		}
	}
	if last {
		*l = line{}
	}
}

// errStdinClosed: the server's stdin is closed; it is being stopped or has
// exited.
var errStdinClosed = errors.New("the server's stdin is closed")

// send writes one whole line to the server's stdin. It waits while the server
// does not read; closeStdin ends the wait.
func (r *relay) send(line io.WriterTo) error {
	r.inMu.Lock()
	defer r.inMu.Unlock()
	if _, err := line.WriteTo(r.stdin); err != nil {
		return errors.Join(errStdinClosed, err)
	}
	return nil
}

// closeStdin ends the server's input; a send that is under way ends too.
func (r *relay) closeStdin() { r.stdin.Close() }

// lineLog passes whole lines to the log: the server's stdout and stderr are
// two writers of one file, and a line of one must not end inside a line of the
// other. A line longer than most is cut into several.
type lineLog struct {
	mu   sync.Mutex // guards buf
	buf  []byte
	out  func(line []byte)
	most int
}

const lineLogMost = 32 << 10

func newLineLog(out func(line []byte)) *lineLog { return &lineLog{out: out, most: lineLogMost} }

// Write implements io.Writer; it never fails.
func (w *lineLog) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := len(p)
	for len(p) > 0 {
		if p[0] == '\n' {
			p = p[1:]
			w.end()
			continue
		}
		if len(w.buf) == w.most {
			w.end() // and the line goes on
		}
		take := bytes.IndexByte(p, '\n')
		if take < 0 {
			take = len(p)
		}
		take = min(take, w.most-len(w.buf))
		w.buf = append(w.buf, p[:take]...)
		p = p[take:]
	}
	if len(w.buf) == 0 {
		w.buf = nil
	}
	return n, nil
}

// end passes on what is there as a line.
func (w *lineLog) end() {
	w.out(append(w.buf, '\n'))
	w.buf = w.buf[:0]
}

// flush ends an unfinished line.
func (w *lineLog) flush() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.buf) > 0 {
		w.end()
		w.buf = nil
	}
}
