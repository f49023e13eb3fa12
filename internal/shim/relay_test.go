package shim

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"testing/synctest"

	"pgregory.net/rapid"
)

// fakeConn is a connection of which only the end matters.
type fakeConn struct {
	connection
	closed atomic.Int32
}

func (c *fakeConn) Close() error { c.closed.Add(1); return nil }

// attachTo returns an attachment whose spool holds at most most bytes on disk.
func attachTo(dir string, most int64) *attachment {
	return &attachment{conn: &fakeConn{}, out: newSpool(most, scratchIn(dir), &buffers{})}
}

// received is what a client would make of what is spooled for it: the lines,
// by generation, and how many were called off.
func received(t fatal, a *attachment) (lines []string, generations []uint64, aborted int) {
	a.out.close(nil)
	wire, err := readSpool(a.out, 10_000)
	if err != io.EOF {
		t.Fatalf("the spool: %v", err)
	}
	frames, err := readFrames(bytes.NewReader(wire))
	if err != io.EOF {
		t.Fatalf("the frames: %v", err)
	}
	var whole []byte
	open := false
	for _, f := range frames {
		p, err := parsePiece(f.payload)
		if f.kind != frameLine || err != nil || p.note != nil {
			t.Fatalf("a frame %q: %v, note %q", f.kind, err, p.note)
		}
		open = true
		whole = append(whole, p.data...)
		if p.flags&flagLast == 0 {
			continue
		}
		if p.flags&flagAbort != 0 {
			aborted++
		} else {
			lines = append(lines, string(whole))
			generations = append(generations, p.generation)
		}
		whole, open = nil, false
	}
	if open {
		t.Fatalf("a line without an end: %.80q", whole)
	}
	return lines, generations, aborted
}

// chunk is what one read of the server's stdout gives.
type chunk struct {
	data   []byte
	err    error
	attach *attachment // who is attached from now on, if change
	change bool
}

type chunks struct {
	rest  []chunk
	relay *relay
}

func (c *chunks) Read(p []byte) (int, error) {
	if len(c.rest) == 0 {
		return 0, io.EOF
	}
	first := &c.rest[0]
	if first.change {
		c.relay.to.Store(first.attach)
		first.change = false
	}
	n := copy(p, first.data)
	if first.data = first.data[n:]; len(first.data) > 0 {
		return n, nil
	}
	err := first.err
	c.rest = c.rest[1:]
	return n, err
}

// drawLine is one line of a server's stdout, without its newline.
func drawLine(t *rapid.T) string {
	line := rapid.SampledFrom([]string{"", " ", "\t \r", "    "}).Draw(t, "indent") +
		rapid.SampledFrom([]string{"", "{", "[", "x", "\xff", "}", "\"", "{}\r"}).Draw(t, "first")
	if rapid.Bool().Draw(t, "long") {
		line += strings.Repeat("y", rapid.SampledFrom([]int{1, 100, pieceSize - 2, pieceSize - 1, pieceSize, 3 * pieceSize}).Draw(t, "length"))
	}
	rest := rapid.SliceOfN(rapid.Byte(), 0, 20).Draw(t, "rest")
	return line + string(bytes.ReplaceAll(rest, []byte("\n"), nil))
}

// TestPumpDeliversLines is any output in any pieces, with clients that come and
// go in between, against a model that sees whole lines.
func TestPumpDeliversLines(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		var stream []byte
		var starts []int // of each line's first byte that is not blank
		var lines []string
		for range rapid.IntRange(0, 8).Draw(t, "lines") {
			line := drawLine(t)
			starts = append(starts, len(stream)+len(line)-len(strings.TrimLeft(line, " \t\r")))
			lines = append(lines, line)
			stream = append(append(stream, line...), '\n')
		}
		if len(stream) > 0 && rapid.Bool().Draw(t, "cut short") {
			stream = stream[:len(stream)-1]
		}

		clients := []*attachment{nil, attachTo(dir, 1<<30), attachTo(dir, 1<<30)}
		for _, a := range clients[1:] {
			defer a.out.free()
		}
		r := &relay{generation: 7, log: &bytes.Buffer{}, counts: &counts{}}
		source := &chunks{relay: r}
		var holders []*attachment // of each byte
		var holder *attachment
		pauses := 0
		for rest := stream; len(rest) > 0; {
			n := min(len(rest), rapid.SampledFrom([]int{1, 2, 7, 1000, pieceSize, 1 << 20}).Draw(t, "chunk"))
			c := chunk{data: rest[:n]}
			if rapid.IntRange(0, 2).Draw(t, "switch") == 0 {
				holder = rapid.SampledFrom(clients).Draw(t, "holder")
				c.attach, c.change = holder, true
			}
			if rapid.IntRange(0, 9).Draw(t, "pause") == 0 {
				c.err = os.ErrDeadlineExceeded
				pauses++
			}
			for range n {
				holders = append(holders, holder)
			}
			source.rest = append(source.rest, c)
			rest = rest[n:]
		}
		broken := errors.New("EIO")
		if rapid.Bool().Draw(t, "broken") {
			source.rest = append(source.rest, chunk{err: broken})
		} else {
			broken = nil
		}

		for range pauses {
			if err := r.pump(source); err != os.ErrDeadlineExceeded {
				t.Fatalf("told to pause, pump returned %v", err)
			}
		}
		if err := r.pump(source); err != broken {
			t.Fatalf("pump returned %v, want %v", err, broken)
		}

		want := map[*attachment][]string{}
		log := ""
		var notJSON, unattached uint64
		for i, line := range lines {
			body := strings.TrimLeft(line, " \t\r")
			switch {
			case body == "":
			case body[0] == '{' || body[0] == '[':
				a := holders[starts[i]]
				if want[a] = append(want[a], body); a == nil {
					unattached++
				}
			default:
				log += line + "\n"
				notJSON++
			}
		}
		for _, a := range clients[1:] {
			got, generations, aborted := received(t, a)
			if fmt.Sprintf("%q", got) != fmt.Sprintf("%q", want[a]) || aborted != 0 {
				t.Fatalf("a client received %.200q, want %.200q", got, want[a])
			}
			for _, g := range generations {
				if g != 7 {
					t.Fatalf("a line of generation %d", g)
				}
			}
		}
		if got := r.log.(*bytes.Buffer).String(); got != log {
			t.Fatalf("the log has %.200q, want %.200q", got, log)
		}
		if c := r.counts; c.notJSON.Load() != notJSON || c.unattached.Load() != unattached || c.tooLong.Load() != 0 {
			t.Fatalf("%d not JSON, %d unattached, %d too long; want %d, %d, 0",
				c.notJSON.Load(), c.unattached.Load(), c.tooLong.Load(), notJSON, unattached)
		}
	})
}

// White space is kept until it is known what the line is, but not all of it.
func TestPumpBoundsAnIndent(t *testing.T) {
	for _, size := range []int{1, 100, 10_000} {
		var log bytes.Buffer
		r := &relay{log: &log, counts: &counts{}}
		source := &chunks{relay: r}
		for rest := []byte(strings.Repeat(" ", 5000) + "text \n  more\n"); len(rest) > 0; rest = rest[min(size, len(rest)):] {
			source.rest = append(source.rest, chunk{data: rest[:min(size, len(rest))]})
		}
		if err := r.pump(source); err != nil {
			t.Fatal(err)
		}
		if want := strings.Repeat(" ", maxIndent) + "text \n  more\n"; log.String() != want {
			t.Errorf("in pieces of %d: %d bytes, want %d", size, log.Len(), len(want))
		}
	}
}

func FuzzPump(f *testing.F) {
	f.Add([]byte("{\"a\":1}\n[2]\nnot\n\n  {\r\n"), uint16(3))
	f.Add([]byte("  at line 1\n"), uint16(1))
	f.Add(bytes.Repeat([]byte("{"), 3*pieceSize), uint16(9999))
	f.Fuzz(func(t *testing.T, stream []byte, size uint16) {
		a := attachTo(t.TempDir(), 1<<30)
		defer a.out.free()
		r := &relay{log: &bytes.Buffer{}, counts: &counts{}}
		r.to.Store(a)
		source := &chunks{relay: r}
		for rest := stream; len(rest) > 0; {
			n := min(len(rest), int(size)+1)
			source.rest = append(source.rest, chunk{data: rest[:n]})
			rest = rest[n:]
		}
		if err := r.pump(source); err != nil {
			t.Fatal(err)
		}
		var want []string
		for line := range strings.SplitSeq(string(stream), "\n") {
			if body := strings.TrimLeft(line, " \t\r"); body != "" && (body[0] == '{' || body[0] == '[') {
				want = append(want, body)
			}
		}
		if got, _, _ := received(t, a); fmt.Sprintf("%q", got) != fmt.Sprintf("%q", want) {
			t.Errorf("received %q, want %q", got, want)
		}
	})
}

// A line may have MaxLine bytes. One byte more, and what was sent of it is
// called off; the next line is as good as any.
func TestPumpCapsALine(t *testing.T) {
	for _, tt := range []struct {
		name    string
		stream  string // the end of a line of which MaxLine-3 bytes were read
		lines   []string
		aborted int
	}{
		{"as long as may be", "xyz\n{}\n", []string{"xyz", "{}"}, 0},
		{"one more", "xxyz\n{}\n", []string{"{}"}, 1},
		{"many more", strings.Repeat("x", 5*pieceSize) + "\n{}\n", []string{"{}"}, 1},
		{"one more at the end", "xxyz", nil, 1},
	} {
		a := attachTo(t.TempDir(), 1<<20)
		r := &relay{log: io.Discard, counts: &counts{}}
		r.to.Store(a)
		r.rest = line{kind: lineJSON, size: MaxLine - 3, to: a}
		if err := r.pump(strings.NewReader(tt.stream)); err != nil {
			t.Fatal(err)
		}
		lines, _, aborted := received(t, a)
		if fmt.Sprint(lines) != fmt.Sprint(tt.lines) || aborted != tt.aborted || r.counts.tooLong.Load() != uint64(tt.aborted) {
			t.Errorf("%s: %.80q, %d aborted, %d counted; want %q and %d", tt.name, lines, aborted, r.counts.tooLong.Load(), tt.lines, tt.aborted)
		}
		a.out.free()
	}
}

// endless is a line of n bytes, then the line {}.
type endless struct{ n int }

func (e *endless) Read(p []byte) (int, error) {
	if e.n == 0 {
		e.n = -1
		return copy(p, "\n{}\n"), nil
	}
	if e.n < 0 {
		return 0, io.EOF
	}
	p = p[:min(len(p), e.n)]
	for i := range p {
		p[i] = '{'
	}
	e.n -= len(p)
	return len(p), nil
}

// The same for all its bytes: nothing but the count grows with a line.
func TestPumpDrainsALineOfAnyLength(t *testing.T) {
	if testing.Short() {
		t.Skip("it reads 129 MiB")
	}
	r := &relay{log: io.Discard, counts: &counts{}}
	if err := r.pump(&endless{n: MaxLine + 1<<20}); err != nil {
		t.Fatal(err)
	}
	if r.counts.tooLong.Load() != 1 || r.counts.unattached.Load() != 2 {
		t.Errorf("%d too long, %d unattached", r.counts.tooLong.Load(), r.counts.unattached.Load())
	}
}

// A client that does not read is cut off; the server is drained all the same.
func TestPumpCutsOffASlowClient(t *testing.T) {
	a := attachTo(t.TempDir(), 100_000)
	defer a.out.free()
	r := &relay{log: io.Discard, counts: &counts{}}
	r.to.Store(a)
	if err := r.pump(&endless{n: 1 << 20}); err != nil {
		t.Fatal(err)
	}
	if a.conn.(*fakeConn).closed.Load() == 0 {
		t.Error("its connection is open")
	}
	if _, err := readSpool(a.out, 10_000); err != errSpoolFull {
		t.Errorf("its spool ends with %v", err)
	}
}

// slowStdin lets others run after each write, as a full pipe does.
type slowStdin struct {
	mu  sync.Mutex // guards got
	got []byte
}

func (w *slowStdin) Write(p []byte) (int, error) {
	w.mu.Lock()
	w.got = append(w.got, p...)
	w.mu.Unlock()
	runtime.Gosched()
	return len(p), nil
}

func (w *slowStdin) Close() error { return nil }

// dribble is a line that is written byte by byte.
type dribble string

func (d dribble) WriteTo(w io.Writer) (n int64, err error) {
	return io.Copy(w, iotest.OneByteReader(strings.NewReader(string(d))))
}

// Lines of many senders, each of which comes in pieces, reach the server whole.
func TestSendWritesWholeLines(t *testing.T) {
	var stdin slowStdin
	r := &relay{stdin: &stdin}
	var senders sync.WaitGroup
	for _, c := range "abcdefgh" {
		senders.Go(func() {
			line := strings.Repeat(string(c), 50) + "\n"
			if err := r.send(dribble(line)); err != nil {
				t.Error(err)
			}
		})
	}
	senders.Wait()
	seen := map[byte]bool{}
	for line := range strings.SplitSeq(strings.TrimSuffix(string(stdin.got), "\n"), "\n") {
		if len(line) != 50 || strings.Count(line, line[:1]) != 50 || seen[line[0]] {
			t.Fatalf("a line %q", line)
		}
		seen[line[0]] = true
	}
	if len(seen) != 8 {
		t.Errorf("%d lines of 8", len(seen))
	}
}

func TestCloseStdinEndsASend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, pw := io.Pipe() // nobody reads
		r := &relay{stdin: pw}
		done := make(chan error)
		go func() { done <- r.send(strings.NewReader("line\n")) }()
		synctest.Wait()
		r.closeStdin()
		if err := <-done; !errors.Is(err, errStdinClosed) {
			t.Errorf("the send that waited: %v", err)
		}
		if err := r.send(strings.NewReader("line\n")); !errors.Is(err, errStdinClosed) {
			t.Errorf("the next one: %v", err)
		}
	})
}

// cutLines is what a lineLog of that width makes of a stream.
func cutLines(stream string, most int) (lines []string) {
	for line := range strings.SplitAfterSeq(stream, "\n") {
		end := strings.HasSuffix(line, "\n")
		line = strings.TrimSuffix(line, "\n")
		for len(line) > most {
			lines = append(lines, line[:most]+"\n")
			line = line[most:]
		}
		if end || line != "" {
			lines = append(lines, line+"\n")
		}
	}
	return lines
}

// Two streams into one file: a line of one never ends inside a line of the
// other, however they come.
func TestLineLogsDoNotInterleave(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const most = 16
		var file []byte
		var streams, want, got [2]string
		var logs [2]*lineLog
		for i := range logs {
			logs[i] = newLineLog(func(line []byte) {
				if len(file) > 0 && file[len(file)-1] != '\n' {
					t.Fatalf("%q is written into the line %q", line, file)
				}
				file = append(file, line...)
				got[i] += string(line)
				if len(line) == 0 || line[len(line)-1] != '\n' || bytes.IndexByte(line, '\n') != len(line)-1 {
					t.Fatalf("%q is not one line", line)
				}
			})
			logs[i].most = most
		}
		for range rapid.IntRange(0, 30).Draw(t, "writes") {
			i := rapid.IntRange(0, 1).Draw(t, "which")
			b := rapid.StringOfN(rapid.SampledFrom([]rune("ab\n")), 0, 40, -1).Draw(t, "bytes")
			streams[i] += b
			if n, err := logs[i].Write([]byte(b)); n != len(b) || err != nil {
				t.Fatalf("Write: %d, %v", n, err)
			}
		}
		for i := range logs {
			logs[i].flush()
			logs[i].flush() // there is nothing left to end
			want[i] = strings.Join(cutLines(streams[i], most), "")
		}
		if got != want {
			t.Fatalf("written %q, want %q", got, want)
		}
	})
}

func TestLineLogGivesMemoryBack(t *testing.T) {
	l := newLineLog(func([]byte) {})
	fmt.Fprint(l, strings.Repeat("x", 100_000))
	if cap(l.buf) > 4*lineLogMost {
		t.Errorf("%d bytes for a long line", cap(l.buf))
	}
	fmt.Fprint(l, "\n")
	if l.buf != nil {
		t.Errorf("%d bytes between two lines", cap(l.buf))
	}
}
