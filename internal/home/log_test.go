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
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// wholeLog returns all files of a log as one piece, and checks their sizes.
func wholeLog(t interface{ Fatal(...any) }, path string, maxBytes int64) string {
	numbers, err := tailNumbers(path)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, i := range slices.Backward(numbers) {
		names = append(names, logNumbered(path, i))
	}
	var all strings.Builder
	for _, name := range append(names, path) {
		data, err := os.ReadFile(name)
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		if int64(len(data)) > maxBytes {
			t.Fatal(fmt.Sprintf("%s has %d bytes, at most %d are allowed", name, len(data), maxBytes))
		}
		all.Write(data)
	}
	return all.String()
}

func TestLogLifecycleLines(t *testing.T) {
	h := openTestHome(t)
	l := openTestLog(t, h, LogOptions{})
	for i, text := range []string{LogStart(41), LogExit, LogAutoRestart(42, 1, 3), LogPolicyDenied, LogStop, "two\nlines\r"} {
		if err := l.Lifecycle(time.Unix(int64(1700000000+i), 999), text); err != nil {
			t.Fatal(err)
		}
	}
	want := `[1700000000] START pid=41
[1700000001] EXIT
[1700000002] AUTO_RESTART pid=42 attempt=1/3
[1700000003] POLICY_DENIED_AUTO_RESTART
[1700000004] STOP
[1700000005] two lines 
`
	path := filepath.Join(h.Dir(), "logs", "s.log")
	if got := wholeLog(t, path, 1<<20); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	if info, err := os.Stat(path); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("the log is %v, %v", info.Mode(), err)
	}
	if _, err := h.OpenLog("../s", LogOptions{}); err == nil {
		t.Error("a name that is a path was taken")
	}
}

// Output comes cut anywhere, lifecycle lines in between, files are rotated: all
// bytes are there, in order, and no lifecycle line shares a line.
func TestLogKeepsAllBytes(t *testing.T) {
	base := t.TempDir()
	runs := 0
	rapid.Check(t, func(rt *rapid.T) {
		runs++
		dir := filepath.Join(base, fmt.Sprint(runs))
		defer os.RemoveAll(dir)
		path := filepath.Join(dir, "s.log")
		const maxBytes = 4 << 10
		o := LogOptions{MaxBytes: maxBytes, Keep: tailMaxNumber, BytesPerSecond: -1}
		l := newLog(path, o)
		var want []byte
		for range rapid.IntRange(1, 30).Draw(rt, "steps") {
			switch rapid.IntRange(0, 9).Draw(rt, "step") {
			case 0:
				if len(want) > 0 && want[len(want)-1] != '\n' {
					want = append(want, '\n')
				}
				want = append(want, "[5] START pid=7\n"...)
				if err := l.Lifecycle(time.Unix(5, 0), LogStart(7)); err != nil {
					rt.Fatal(err)
				}
			case 1:
				l.Flush()
			case 2: // the next process ends what this one left unfinished
				if err := l.Close(); err != nil {
					rt.Fatal(err)
				}
				l = newLog(path, o)
				l.Output([]byte("next\n"))
				if len(want) > 0 && want[len(want)-1] != '\n' {
					want = append(want, '\n')
				}
				want = append(want, "next\n"...)
			default:
				length := rapid.OneOf(rapid.IntRange(0, 20), rapid.IntRange(maxBytes-3, maxBytes+3), rapid.Just(3*maxBytes)).Draw(rt, "length")
				p := rapid.SliceOfN(rapid.SampledFrom([]byte("\n\n\xffab\x00\r")), 0, 20).Draw(rt, "bytes")
				p = append(p, bytes.Repeat([]byte{'x'}, length)...)
				p = append(p, rapid.SliceOfN(rapid.SampledFrom([]byte("\ny")), 0, 3).Draw(rt, "end")...)
				want = append(want, p...)
				l.Output(p)
			}
		}
		if err := l.Close(); err != nil {
			rt.Fatal(err)
		}
		if got := wholeLog(rt, path, maxBytes); got != string(want) {
			rt.Fatalf("got %.300q\nwant %.300q", got, want)
		}
		if l.Lost() != 0 {
			rt.Fatalf("%d bytes are said to be lost", l.Lost())
		}
	})
}

// What fits is written with one write: lines of several writers never mix.
func TestLogLinesOfSeveralWritersStayWhole(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.log")
	const writers, rounds = 8, 200
	begin := make(chan struct{})
	var all sync.WaitGroup
	for w := range writers {
		l := newLog(path, LogOptions{MaxBytes: 1 << 30, BytesPerSecond: -1})
		// Each opens the file before another can be in the middle of a line.
		if err := l.Lifecycle(time.Unix(0, 0), LogAutoRestart(w, 0, rounds)); err != nil {
			t.Fatal(err)
		}
		all.Go(func() {
			defer l.Close()
			<-begin
			line := strings.Repeat(fmt.Sprint(w), 5000) + "\n"
			for i := 1; i <= rounds; i++ {
				if err := l.Lifecycle(time.Unix(0, 0), LogAutoRestart(w, i, rounds)); err != nil {
					t.Error(err)
				}
				l.Output([]byte(line[:1000])) // two reads of a pipe
				l.Output([]byte(line[1000:]))
			}
		})
	}
	close(begin)
	all.Wait()
	counts := map[string]int{}
	for line := range strings.Lines(wholeLog(t, path, 1<<30)) {
		counts[line]++
	}
	if want := writers * (rounds + 2); len(counts) != want {
		t.Fatalf("%d different lines, want %d", len(counts), want)
	}
	for line, n := range counts {
		if strings.HasPrefix(line, "[") && n != 1 || !strings.HasPrefix(line, "[") && (n != rounds || len(line) != 5001) {
			t.Errorf("%d times %.40q (%d bytes)", n, line, len(line))
		}
	}
}

func TestLogOutputLineIsNotJoined(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.log")
	l := newLog(path, LogOptions{})
	l.Output([]byte("stderr, unfin"))
	l.OutputLine([]byte("not JSON"))
	l.Output([]byte("ished\nwritten, unfin"))
	l.Flush()
	l.OutputLine([]byte("not JSON either"))
	l.Output([]byte("ished\n"))
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	want := "not JSON\nstderr, unfinished\nwritten, unfin\nnot JSON either\nished\n"
	if got := wholeLog(t, path, 1<<20); got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

// A process that was killed in the middle of a line, before or after a rotation.
func TestLogEndsTheLineOfAKilledProcess(t *testing.T) {
	for name, parts := range map[string][][]byte{
		"in the current file":  {[]byte("a\nunfin")},
		"before the next file": {[]byte("a\nunfin"), []byte("")},
		"no next file yet":     {[]byte("a\nunfin"), nil},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "s.log")
			writeLogFiles(t, path, parts)
			l := newLog(path, LogOptions{})
			l.Output([]byte("out\n"))
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			if got := wholeLog(t, path, 1<<20); got != "a\nunfin\nout\n" {
				t.Errorf("got %q", got)
			}
		})
	}
}

func TestLogRateCap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "s.log")
		l := newLog(path, LogOptions{BytesPerSecond: 100, Burst: 200})
		line := []byte("123456789\n")
		for range 50 {
			l.Output(line) // 20 pass
		}
		time.Sleep(time.Second - time.Nanosecond)
		l.Output(line) // it is shut until a second's worth is there
		if err := l.Lifecycle(time.Unix(1, 0), LogExit); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond)
		for range 30 {
			l.Output(line) // 10 pass
		}
		time.Sleep(time.Hour)
		l.Output(line)
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		now := time.Now().Unix()
		want := strings.Repeat(string(line), 20) +
			fmt.Sprintf("[%d] LOG_DROPPED bytes=310\n[1] EXIT\n", now-3601) +
			strings.Repeat(string(line), 10) +
			fmt.Sprintf("[%d] LOG_DROPPED bytes=200\n", now) + string(line)
		if got := wholeLog(t, path, 1<<20); got != want {
			t.Errorf("got\n%swant\n%s", got, want)
		}
		if l.Lost() != 510 {
			t.Errorf("%d bytes are said to be lost, want 510", l.Lost())
		}
	})
}

// Whatever comes when: what was written and what was counted is what came, and
// the cap holds over any time.
func TestLogRateCapCountsEveryByte(t *testing.T) {
	base := t.TempDir()
	runs := 0
	rapid.Check(t, func(rt *rapid.T) {
		runs++
		path := filepath.Join(base, fmt.Sprint(runs))
		defer os.Remove(path)
		now := time.Unix(1, 0)
		rate, burst := rapid.Int64Range(1, 500).Draw(rt, "rate"), rapid.Int64Range(1, 500).Draw(rt, "burst")
		l := newLog(path, LogOptions{BytesPerSecond: rate, Burst: burst, Now: func() time.Time { return now }})
		var came, longest int
		for range rapid.IntRange(1, 40).Draw(rt, "steps") {
			p := bytes.Repeat([]byte{'x'}, rapid.IntRange(0, 400).Draw(rt, "length"))
			p = append(p, '\n')
			longest = max(longest, len(p))
			came += len(p)
			l.Output(p)
			now = now.Add(time.Duration(rapid.IntRange(0, 3e9).Draw(rt, "pause")))
		}
		if err := l.Close(); err != nil {
			rt.Fatal(err)
		}
		var written, dropped int
		for line := range strings.Lines(wholeLog(rt, path, 1<<20)) {
			var at, n int
			if _, err := fmt.Sscanf(line, "[%d] LOG_DROPPED bytes=%d\n", &at, &n); err == nil {
				dropped += n
			} else {
				written += len(line)
			}
		}
		if written+dropped != came || uint64(dropped) != l.Lost() {
			rt.Fatalf("%d bytes came, %d were written, %d counted as dropped (Lost says %d)", came, written, dropped, l.Lost())
		}
		if most := float64(burst) + now.Sub(time.Unix(1, 0)).Seconds()*float64(rate) + float64(longest); float64(written) > most {
			rt.Fatalf("%d bytes were written, at most %.0f are allowed", written, most)
		}
	})
}

// A gigabyte against the default bound of 60 MiB is 17 times the bound; this is
// more than 100 times, with small files, uncapped.
func TestLogFloodStaysInItsBound(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.log")
	const maxBytes, keep = 64 << 10, 4
	const bound = maxBytes * (keep + 1)
	l := newLog(path, LogOptions{MaxBytes: maxBytes, Keep: keep, BytesPerSecond: -1})
	chunk := append(bytes.Repeat([]byte("flood\n"), 5000), bytes.Repeat([]byte("no newline"), 3000)...)
	used := func() (sum int64) {
		entries, err := os.ReadDir(filepath.Dir(path))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			info, err := e.Info()
			if err != nil {
				t.Fatal(err)
			}
			sum += info.Size()
		}
		return sum
	}
	most := int64(0)
	for sent := 0; sent < 110*bound; sent += len(chunk) {
		l.Output(chunk)
		most = max(most, used())
	}
	if err := l.Lifecycle(time.Unix(9, 0), LogExit); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if most = max(most, used()); most > bound || most < bound*9/10 {
		t.Errorf("the log took up to %d bytes, its bound is %d", most, bound)
	}
	if got := tailStrings(t, path, 1); len(got) != 1 || got[0] != "[9] EXIT" {
		t.Errorf("the last line is %q", got)
	}
}

// The same with the cap of the default options: a gigabyte within 10 s.
func TestLogFloodIsCapped(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.log")
	now := time.Unix(0, 0)
	l := newLog(path, LogOptions{Now: func() time.Time { return now }})
	chunk := bytes.Repeat([]byte("flood\n"), 10<<10)
	for sent := 0; sent < 1<<30; sent += len(chunk) {
		l.Output(chunk)
		now = now.Add(10 * time.Second / (1 << 30 / (60 << 10)))
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if n := len(wholeLog(t, path, 10<<20)); n > 15<<20 || n < 10<<20 {
		t.Errorf("%d MiB were written in 10 s", n>>20)
	}
}

// A crash between any two renames of a rotation leaves files that the next one
// takes up: only what exceeds Keep is lost, and a rest of a larger Keep goes.
func TestLogRotationAfterACrash(t *testing.T) {
	const keep = 4
	for renames := range keep {
		path := filepath.Join(t.TempDir(), "s.log")
		writeLogFiles(t, path, [][]byte{[]byte("9\n"), []byte("4\n"), []byte("3\n"), []byte("2\n"), []byte("1\n"), []byte("0\n")})
		// What a rotation that was killed after so many renames has done. (.5 is
		// the rest of a larger Keep.)
		for i := range renames {
			from := path
			if number := keep - 1 - i; number > 0 {
				from = logNumbered(path, number)
			}
			if err := os.Rename(from, logNumbered(path, keep-i)); err != nil {
				t.Fatal(err)
			}
		}
		l := newLog(path, LogOptions{MaxBytes: 4 << 10, Keep: keep})
		l.Output([]byte(strings.Repeat("y", 4<<10-4) + "\n")) // fills the file
		l.Output([]byte("z\n"))
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		got := strings.ReplaceAll(wholeLog(t, path, 4<<10), "\n", "")
		got = strings.ReplaceAll(got, "y", "")
		if got != "3210z" {
			t.Errorf("after %d renames: %q, want 3210z", renames, got)
		}
		if _, err := os.Stat(logNumbered(path, keep+1)); !os.IsNotExist(err) {
			t.Errorf("after %d renames: more than %d files are kept", renames, keep)
		}
	}
}

func TestLogAllocatesLittle(t *testing.T) {
	l := newLog(filepath.Join(t.TempDir(), "s.log"), LogOptions{BytesPerSecond: -1})
	defer l.Close()
	lines := []byte("one\ntwo\n")
	if n := testing.AllocsPerRun(100, func() { l.Output(lines) }); n > 0 {
		t.Errorf("whole lines: %v allocations", n)
	}
	half := []byte("half")
	end := []byte("\n")
	if n := testing.AllocsPerRun(100, func() { l.Output(half); l.Output(end) }); n > 0 {
		t.Errorf("a line in two pieces: %v allocations", n)
	}
	l.Output(make([]byte, 30<<10))
	l.Output(end)
	if cap(l.partial) > logSmallBuffer {
		t.Errorf("a buffer of %d bytes is kept", cap(l.partial))
	}
}
