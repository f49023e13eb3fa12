package home

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/berth-run/berth"
)

// MaxLogLine is the longest line, in bytes, that Tail and Follow hand out. A
// longer one is cut, and says at its end how many bytes were left out; the log
// file keeps them all.
const MaxLogLine = 1 << 20

const (
	// tailFirstBlock is read first from a log's end: the usual 50 lines fit, so
	// that a big log costs what a small one does.
	tailFirstBlock = 8 << 10
	tailBlock      = 64 << 10
	// tailMaxNumber is the highest number of a rotated log file.
	tailMaxNumber = 999
)

// Tail returns the last n lines of a server's log in their order, their
// newlines left out. It reads backwards from the end, on into rotated files
// where the newest holds too few, and passes any bytes. The result is empty if
// n is 0 or there is no log; a line longer than MaxLogLine is cut.
func (h *Home) Tail(name string, n int) ([][]byte, error) {
	if err := berth.CheckInstance(name); err != nil {
		return nil, err
	}
	lines, err := tailLog(h.logPath(name), n)
	if err != nil {
		return nil, fmt.Errorf("read the log of %s: %w", name, err)
	}
	return lines, nil
}

func (h *Home) logPath(name string) string {
	return h.path(logsDir, name+".log")
}

func tailLog(path string, n int) ([][]byte, error) {
	if n <= 0 {
		return nil, nil
	}
	var s tailStream
	defer s.cut(0)
	if err := s.open(path, n, false); err != nil {
		return nil, err
	}
	in, size := s.reader()
	lines := tailLines{in: bufio.NewReaderSize(in, int(min(size, tailBlock))), max: MaxLogLine}
	var all [][]byte
	for {
		err := lines.next()
		if err == nil || err == io.EOF && lines.unfinished() {
			all = append(all, lines.text())
		}
		if err == io.EOF {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// tailPart is one file of a log, as far as it was written when it was opened.
type tailPart struct {
	file *os.File
	from int64 // where the wanted lines begin
	size int64
}

// tailStream is the end of a log. All the files of a log, oldest first, are
// taken as one stream of bytes: a long line may go on from one to the next.
type tailStream struct {
	parts []tailPart // newest first
}

// open opens what holds the last n lines. If finished is true only finished
// lines count, and what is left of an unfinished one is a line more. Where the
// log is rotated meanwhile it begins anew; a log that is rotated faster than
// that is taken without its older files.
func (s *tailStream) open(path string, n int, finished bool) error {
	const tries = 10
	for try := 1; ; try++ {
		newest, err := logOpenShared(path)
		if err == nil {
			err = s.add(newest)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		moved, err := s.seek(path, n, finished)
		if !moved || err != nil || try == tries {
			return err
		}
		s.cut(0)
	}
}

// seek finds where the last n lines begin, and opens older files as far as they
// are needed. It says whether the log was rotated meanwhile: then only what was
// open before was searched.
func (s *tailStream) seek(path string, n int, finished bool) (moved bool, err error) {
	buf := make([]byte, tailFirstBlock)
	last, listed := !finished, false
	if finished {
		n++ // the newline that ends the last line is counted too
	}
	for i := 0; n > 0; i++ {
		if i == len(s.parts) && !listed {
			listed = true
			if moved, err = s.openRotated(path); err != nil {
				return moved, err
			}
		}
		if i == len(s.parts) {
			return moved, nil
		}
		p := &s.parts[i]
		end := p.size
		if last && end > 0 {
			end, last = end-1, false // the newline that ends the log begins no line
		}
		if n, buf, err = p.seek(end, n, buf); err != nil {
			return moved, err
		}
		if n == 0 {
			s.cut(i + 1)
		}
	}
	return moved, nil
}

// cut closes all parts but the newest n.
func (s *tailStream) cut(n int) {
	for _, p := range s.parts[n:] {
		p.file.Close()
	}
	s.parts = s.parts[:n]
}

func (s *tailStream) add(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return err
	}
	s.parts = append(s.parts, tailPart{file: f, size: info.Size()})
	return nil
}

// openRotated opens the rotated files of the log, newest first. In a rotation
// that goes on meanwhile each file moves to the next higher number: walking
// upwards misses none, and may meet one twice. If a rotation was completed
// meanwhile it says so, and keeps no file that was not open before.
func (s *tailStream) openRotated(path string) (moved bool, err error) {
	before := len(s.parts)
	numbers, err := tailNumbers(path)
	if err != nil || len(numbers) == 0 {
		return false, err
	}
	// A listing may miss a file that is being renamed: only its end is used.
	for i := 1; i <= numbers[len(numbers)-1]+1; i++ {
		f, err := logOpenShared(logNumbered(path, i))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return false, err
		}
		if s.has(f) {
			f.Close()
		} else if err := s.add(f); err != nil {
			return false, err
		}
	}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		moved = before > 0
	case err != nil:
		return false, err
	case before == 0:
		moved = true
	default:
		have, err := s.parts[0].file.Stat()
		moved = err != nil || !os.SameFile(info, have)
	}
	if moved {
		s.cut(before)
	}
	return moved, nil
}

// has says whether f is one of the files that are open already.
func (s *tailStream) has(f *os.File) bool {
	info, err := f.Stat()
	if err != nil {
		return false
	}
	for _, p := range s.parts {
		if have, err := p.file.Stat(); err == nil && os.SameFile(info, have) {
			return true
		}
	}
	return false
}

// seek looks backwards from end for the n-th newline and sets p.from behind it,
// or to 0 if there are fewer. It returns how many are still missing, and the
// buffer, which may have grown.
func (p *tailPart) seek(end int64, n int, buf []byte) (int, []byte, error) {
	for first := true; end > 0; first = false {
		if !first && len(buf) < tailBlock {
			buf = make([]byte, tailBlock)
		}
		block := buf[:min(end, int64(len(buf)))]
		end -= int64(len(block))
		got, err := p.file.ReadAt(block, end)
		if err != nil && err != io.EOF {
			return n, buf, err
		}
		// A file that shrank meanwhile has fewer bytes: the rest is not there.
		for block = block[:got]; ; n-- {
			at := bytes.LastIndexByte(block, '\n')
			if at < 0 {
				break
			}
			if n == 1 {
				p.from = end + int64(at) + 1
				return 0, buf, nil
			}
			block = block[:at]
		}
	}
	p.from = 0
	return n, buf, nil
}

// reader returns the wanted bytes of the stream, and their number.
func (s *tailStream) reader() (io.Reader, int64) {
	var readers []io.Reader
	var size int64
	for _, p := range slices.Backward(s.parts) {
		readers = append(readers, io.NewSectionReader(p.file, p.from, p.size-p.from))
		size += p.size - p.from
	}
	return io.MultiReader(readers...), size
}

// tailLines cuts a stream into lines and bounds what is kept of each.
type tailLines struct {
	in  *bufio.Reader
	max int       // what is kept of a line, in bytes
	sum hash.Hash // when not nil: fed with all the bytes of the line

	line  []byte // what is kept of the current line
	extra int64  // the bytes of it that are not
	ended bool   // its newline was read
}

// next reads one line to its end. At the end of the stream it returns io.EOF,
// and a further call goes on with the line if the stream has grown meanwhile.
func (l *tailLines) next() error {
	if l.ended {
		l.start()
	}
	for {
		piece, err := l.in.ReadSlice('\n')
		if err == nil {
			piece = piece[:len(piece)-1]
			l.ended = true
		}
		l.keep(piece)
		if err != bufio.ErrBufferFull {
			return err
		}
	}
}

// start forgets the current line.
func (l *tailLines) start() {
	l.line, l.extra, l.ended = l.line[:0], 0, false
	if l.sum != nil {
		l.sum.Reset()
	}
}

// unfinished says whether the bytes of a line were read, but not its end.
func (l *tailLines) unfinished() bool {
	return !l.ended && len(l.line) > 0
}

func (l *tailLines) keep(piece []byte) {
	if l.sum != nil {
		l.sum.Write(piece)
	}
	n := min(l.max-len(l.line), len(piece))
	l.line = append(l.line, piece[:n]...)
	l.extra += int64(len(piece) - n)
}

// text returns a copy of the line; one that was cut says so and is still no
// longer than max.
func (l *tailLines) text() []byte {
	if l.extra == 0 {
		// Not nil, so that an empty line is told from none.
		return append(make([]byte, 0, len(l.line)), l.line...)
	}
	const room = 64
	kept := max(0, len(l.line)-room)
	left := l.extra + int64(len(l.line)-kept)
	return fmt.Appendf(slices.Clip(slices.Clone(l.line[:kept])), " [… %d bytes left out]", left)
}

// logNumbered returns the path of the log's i-th rotated file; the 0th is the
// current one.
func logNumbered(path string, i int) string {
	if i == 0 {
		return path
	}
	return path + "." + strconv.Itoa(i)
}

// tailNumbers returns the numbers of the rotated files of the log, ascending.
func tailNumbers(path string) ([]int, error) {
	dir, err := os.Open(filepath.Dir(path))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	var numbers []int
	prefix := filepath.Base(path) + "."
	for _, name := range names {
		digits, ok := strings.CutPrefix(name, prefix)
		if !ok {
			continue
		}
		i, err := strconv.Atoi(digits)
		if err == nil && 1 <= i && i <= tailMaxNumber && strconv.Itoa(i) == digits {
			numbers = append(numbers, i)
		}
	}
	slices.Sort(numbers)
	return numbers, nil
}
