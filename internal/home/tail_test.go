package home

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// tailModel is what Tail must return: the log as one piece, cut at newlines.
func tailModel(log []byte, n int) []string {
	if len(log) == 0 {
		return nil
	}
	lines := strings.Split(strings.TrimSuffix(string(log), "\n"), "\n")
	return lines[max(0, len(lines)-n):]
}

func tailStrings(t testing.TB, path string, n int) []string {
	t.Helper()
	lines, err := tailLog(path, n)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, l := range lines {
		all = append(all, string(l))
	}
	return all
}

// writeLogFiles writes a log whose oldest part is the first. It leaves a hole
// in the numbers where a part is nil.
func writeLogFiles(t testing.TB, path string, parts [][]byte) {
	t.Helper()
	for i, p := range parts {
		name := path
		if number := len(parts) - 1 - i; number > 0 {
			name = logNumbered(path, number)
		}
		if p == nil {
			continue
		}
		if err := os.WriteFile(name, p, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestTailAgainstModel(t *testing.T) {
	base := t.TempDir()
	runs := 0
	rapid.Check(t, func(rt *rapid.T) {
		runs++
		dir := filepath.Join(base, fmt.Sprint(runs))
		if err := os.Mkdir(dir, 0o700); err != nil {
			rt.Fatal(err)
		}
		defer os.RemoveAll(dir)
		path := filepath.Join(dir, "s.log")
		// Lines about as long as a block, so that newlines fall on its edges.
		length := rapid.OneOf(rapid.IntRange(0, 3), rapid.IntRange(tailFirstBlock-2, tailFirstBlock+2), rapid.IntRange(tailBlock-2, tailBlock+2))
		var parts [][]byte
		for range rapid.IntRange(1, 4).Draw(rt, "files") {
			if rapid.IntRange(0, 5).Draw(rt, "hole") == 0 {
				parts = append(parts, nil)
				continue
			}
			part := []byte{}
			for i := range rapid.IntRange(0, 5).Draw(rt, "lines") {
				part = append(part, bytes.Repeat([]byte{byte(0xf0 + i)}, length.Draw(rt, "length"))...)
				part = append(part, '\n')
			}
			if rapid.Bool().Draw(rt, "unfinished") {
				part = append(part, "rest"...)
			}
			parts = append(parts, part)
		}
		writeLogFiles(t, path, parts)
		n := rapid.IntRange(0, 12).Draw(rt, "n")
		got := tailStrings(t, path, n)
		want := tailModel(bytes.Join(parts, nil), n)
		if n == 0 {
			want = nil
		}
		if fmt.Sprintf("%q", got) != fmt.Sprintf("%q", want) {
			rt.Fatalf("tail %d of %d files: got %.200q, want %.200q", n, len(parts), got, want)
		}
	})
}

// memoryDir returns a directory that is on no disk where there is such a thing:
// fuzzing writes and syncs thousands of files.
func memoryDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "berth-test-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func FuzzTail(f *testing.F) {
	f.Add([]byte("a\nb\n"), []byte("c\nd"), 2)
	f.Add([]byte(""), []byte("\n"), 1)
	f.Add([]byte("\xff\x00\r\n"), []byte("\n\n"), 5)
	f.Add([]byte("no newline"), []byte(" goes on\n"), 1)
	dir := memoryDir(f)
	f.Fuzz(func(t *testing.T, older, newer []byte, n int) {
		path := filepath.Join(dir, "s.log")
		writeLogFiles(t, path, [][]byte{older, newer})
		got := tailStrings(t, path, n)
		var want []string
		if n > 0 {
			want = tailModel(append(bytes.Clone(older), newer...), n)
		}
		if fmt.Sprintf("%q", got) != fmt.Sprintf("%q", want) {
			t.Fatalf("tail %d of %q, %q: got %q, want %q", n, older, newer, got, want)
		}
	})
}

func TestTailWithoutLog(t *testing.T) {
	h, err := Open(t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{-1, 0, 1, 1 << 40} {
		if lines, err := h.Tail("none", n); err != nil || len(lines) != 0 {
			t.Errorf("tail %d: %q, %v", n, lines, err)
		}
	}
	if _, err := h.Tail("../policy", 1); err == nil {
		t.Error("a name that is a path was taken")
	}
}

// Names of other servers' logs, and numbers that rotation does not write.
func TestTailPassesOverOtherFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.log")
	for name, text := range map[string]string{
		path: "b\n", path + ".1": "a\n", path + ".01": "no\n", path + ".0": "no\n", path + ".-1": "no\n",
		path + ".1000": "no\n", path + ".log": "no\n", path + ".1.log": "no\n", path + ".2x": "no\n",
	} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got := fmt.Sprint(tailStrings(t, path, 9)); got != "[a b]" {
		t.Errorf("got %s", got)
	}
}

// allocated returns how many bytes f allocates.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

func TestTailBoundsHugeLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.log")
	const size = 128 << 20
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	// A sparse file: a line of NUL bytes that takes no room on the disk.
	for at, text := range map[int64]string{0: "first\nhuge ", size: "\nlast\n"} {
		if _, err := file.WriteAt([]byte(text), at); err != nil {
			t.Fatal(err)
		}
	}
	var lines []string
	if got := allocated(func() { lines = tailStrings(t, path, 3) }); got > 12<<20 {
		t.Errorf("allocated %d MiB for a line of 128 MiB", got>>20)
	}
	if len(lines) != 3 || lines[0] != "first" || lines[2] != "last" {
		t.Fatalf("got %d lines: %.20q", len(lines), lines)
	}
	var left int
	head, mark, _ := strings.Cut(lines[1], " [… ")
	if _, err := fmt.Sscanf(mark, "%d bytes left out]", &left); err != nil {
		t.Fatalf("no mark at the end: %q: %v", mark, err)
	}
	if len(lines[1]) > MaxLogLine || !strings.HasPrefix(head, "huge ") || len(head)+left != size-len("first\n") {
		t.Errorf("%d bytes, of which %d are of the line and %d are said to be left out", len(lines[1]), len(head), left)
	}
}

// bigLog writes a log of about size bytes, in lines as programs write them.
func bigLog(t testing.TB, size int) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s.log")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	chunk := bytes.Repeat([]byte("2026-01-02T03:04:05Z \xff a line of ordinary length, as servers write them\n"), 1<<13)
	for size > 0 {
		n, err := file.Write(chunk[len(chunk)-min(len(chunk), size):])
		if err != nil {
			t.Fatal(err)
		}
		size -= n
	}
	return path
}

func TestTailOfBigLogAllocatesLittleMore(t *testing.T) {
	big, small := bigLog(t, 200<<20), bigLog(t, 1<<10)
	tailStrings(t, small, 50)
	b := allocated(func() { tailStrings(t, big, 50) })
	s := allocated(func() { tailStrings(t, small, 50) })
	if b > s+1<<20 {
		t.Errorf("the last 50 lines of 200 MB allocate %d bytes, those of 1 KB %d", b, s)
	}
}

// BenchmarkTail50 reads the last 50 lines of a log of 200 MB and one of 1 KB in
// turns, so that what else the machine does weighs on both, and reports by how
// much the big one takes longer.
func BenchmarkTail50(b *testing.B) {
	big, small := bigLog(b, 200<<20), bigLog(b, 1<<10)
	tail := func(path string) func() error {
		return func() error { _, err := tailLog(path, 50); return err }
	}
	benchInTurns(b, "200MB", tail(big), "1KB", tail(small))
}

// benchInTurns runs two functions in turns and reports the median time of each,
// and the first as a multiple of the second.
func benchInTurns(b *testing.B, name1 string, f1 func() error, name2 string, f2 func() error) {
	b.Helper()
	var times [2][]time.Duration
	for b.Loop() {
		for i, f := range []func() error{f1, f2} {
			start := time.Now()
			if err := f(); err != nil {
				b.Fatal(err)
			}
			times[i] = append(times[i], time.Since(start))
		}
	}
	var medians [2]float64
	for i, t := range times {
		slices.Sort(t)
		medians[i] = float64(t[len(t)/2].Nanoseconds())
	}
	b.ReportMetric(medians[0], "ns/"+name1)
	b.ReportMetric(medians[1], "ns/"+name2)
	b.ReportMetric(medians[0]/medians[1], "x")
}

// In the middle of a rotation a file may be met under two numbers.
func TestTailTakesAFileOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.log")
	writeLogFiles(t, path, [][]byte{[]byte("a\n"), nil, []byte("b\n"), []byte("c\n")})
	if err := os.Link(logNumbered(path, 1), logNumbered(path, 2)); err != nil {
		t.Skipf("no hard links here: %v", err)
	}
	if got := fmt.Sprint(tailStrings(t, path, 9)); got != "[a b c]" {
		t.Errorf("got %s", got)
	}
}

// While the log is rotated as fast as it goes, what Tail returns is always one
// piece of it: lines in order, none missing between them.
func TestTailDuringRotation(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.log")
	l := newLog(path, LogOptions{MaxBytes: 4 << 10, Keep: 3, BytesPerSecond: -1})
	stop := make(chan struct{})
	var writer sync.WaitGroup
	writer.Go(func() {
		defer l.Close()
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
				l.Output(fmt.Appendf(nil, "%d\n", i))
			}
		}
	})
	defer writer.Wait()
	defer close(stop)
	full := 0
	for deadline := time.Now().Add(2 * time.Second); time.Now().Before(deadline); {
		lines := tailStrings(t, path, 1000)
		if len(lines) == 1000 {
			full++
		}
		var first int
		for i, line := range lines {
			var number int
			if _, err := fmt.Sscan(line, &number); err != nil {
				t.Fatalf("line %d is %q: %v", i, line, err)
			}
			if i == 0 {
				first = number
			}
			if number != first+i {
				t.Fatalf("line %d is %d, after %d lines from %d", i, number, i, first)
			}
		}
	}
	if full == 0 {
		t.Error("no tail reached into the rotated files")
	}
}
