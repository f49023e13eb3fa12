package jsonrpc

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"
)

// readAll returns what a Reader gives: each line, or "TOO LONG" for one that is.
func readAll(r *Reader) ([]string, error) {
	var got []string
	for {
		line, err := r.Next()
		switch {
		case err == nil:
			got = append(got, string(line))
		case errors.Is(err, ErrTooLong):
			got = append(got, "TOO LONG")
		default:
			return got, err
		}
	}
}

type fataler interface{ Fatalf(string, ...any) }

// checkReader compares a Reader with splitting the whole.
func checkReader(t fataler, data []byte, max int) {
	var want []string
	for _, line := range strings.Split(string(data), "\n") {
		line = strings.TrimSuffix(line, "\r")
		switch {
		case len(line) > max:
			want = append(want, "TOO LONG")
		case strings.Trim(line, " \t\r") != "":
			want = append(want, line)
		}
	}
	for name, r := range map[string]io.Reader{
		"whole": bytes.NewReader(data), "halves": iotest.HalfReader(bytes.NewReader(data)), "with EOF": iotest.DataErrReader(bytes.NewReader(data)),
		"to a file": bytes.NewReader(data),
	} {
		in := NewReader(r, max)
		if name == "to a file" {
			in.SpillTo(64<<10, func() Spill { return new(memorySpill) })
		}
		got, err := readAll(in)
		if err != io.EOF || fmt.Sprintf("%q", got) != fmt.Sprintf("%q", want) {
			t.Fatalf("%s, at most %d:\n got %.300q, %v\nwant %.300q", name, max, got, err, want)
		}
	}
}

// memorySpill shows what a Spill is given.
type memorySpill struct{ bytes.Buffer }

func (m *memorySpill) Finish() []byte { return m.Bytes() }
func (m *memorySpill) Abort()         {}

func TestReader(t *testing.T) {
	for _, data := range []string{
		"", "\n", "\r\n", "a", "a\n", "a\r\n", "a\nb\r\n\n \t\r\nc", "a\r\r\n", "a\x00b\n\xff\n", strings.Repeat("x", 10), strings.Repeat("x", 10) + "\r\n",
		strings.Repeat("x", 11) + "\nok\n", strings.Repeat("x", 11), strings.Repeat(" ", 20) + "\nok",
		strings.Repeat("x", 10) + "\r\r\nok\n",
	} {
		checkReader(t, []byte(data), 10)
	}
}

func TestReaderLongLines(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		max := rapid.IntRange(60<<10, 200<<10).Draw(t, "max")
		var data []byte
		for range rapid.IntRange(1, 4).Draw(t, "lines") {
			n := rapid.OneOf(rapid.IntRange(max-2, max+2), rapid.IntRange(0, 300<<10), rapid.IntRange(64<<10-2, 64<<10+2)).Draw(t, "length")
			data = append(data, bytes.Repeat([]byte("x"), n)...)
			data = append(data, rapid.SampledFrom([]string{"\n", "\r\n", "\r\r\n"}).Draw(t, "end")...)
		}
		checkReader(t, data, max)
	})
}

func TestReaderError(t *testing.T) {
	broken := errors.New("broken")
	for _, data := range []string{"a\n", "a\n" + strings.Repeat("x", 1000)} {
		got, err := readAll(NewReader(io.MultiReader(strings.NewReader(data), iotest.ErrReader(broken)), 10))
		if err != broken || len(got) != 1 || got[0] != "a" {
			t.Errorf("%.10q: got %q, %v", data, got, err)
		}
	}
}

// xs is n times "x", then tail.
func xs(n int64, tail string) io.Reader {
	return io.MultiReader(io.LimitReader(repeat{}, n), strings.NewReader(tail))
}

type repeat struct{}

func (repeat) Read(p []byte) (int, error) {
	const block = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
	n := 0
	for n < len(p) {
		n += copy(p[n:], block)
	}
	return n, nil
}

// allocated returns the bytes that f allocates, freed or not.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

func TestReaderHundredMegabytes(t *testing.T) {
	const size = 100 << 20
	t.Run("above the cap", func(t *testing.T) {
		n := allocated(func() {
			got, err := readAll(NewReader(xs(size, "\nnext\n"), 1<<20))
			if err != io.EOF || len(got) != 2 || got[0] != "TOO LONG" || got[1] != "next" {
				t.Fatalf("got %.100q, %v", got, err)
			}
		})
		if most := uint64(8 << 20); n > most {
			t.Errorf("skipping a line of %d MiB took %d MiB", size>>20, n>>20)
		}
	})
	t.Run("below the cap", func(t *testing.T) {
		if testing.Short() {
			t.Skip("100 MB in memory: not with -short")
		}
		r := NewReader(xs(size, "\nnext\n"), 0)
		n := allocated(func() {
			line, err := r.Next()
			if err != nil || len(line) != size {
				t.Fatalf("%d bytes, %v", len(line), err)
			}
		})
		// Doubling sums up to twice the last buffer, which is below twice the line.
		if most := uint64(4 * size); n > most {
			t.Errorf("a line of %d MiB took %d MiB", size>>20, n>>20)
		}
		if line, err := r.Next(); err != nil || string(line) != "next" {
			t.Errorf("%q, %v", line, err)
		}
		if cap(r.long) > keepBuffer {
			t.Errorf("a buffer of %d MiB is kept", cap(r.long)>>20)
		}
	})
}
