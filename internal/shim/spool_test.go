package shim

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"

	"pgregory.net/rapid"
)

// scratchIn makes files in dir, as Home.Scratch does in a home.
func scratchIn(dir string) func() (*os.File, error) {
	return func() (*os.File, error) { return os.CreateTemp(dir, "scratch") }
}

func noScratch() (*os.File, error) { return nil, errors.New("no file is wanted here") }

// readSpool reads to the error that ends the spool.
func readSpool(s *spool, size int) ([]byte, error) {
	var all []byte
	buf := make([]byte, size)
	for {
		n, err := s.next(buf)
		all = append(all, buf[:n]...)
		if err != nil {
			return all, err
		}
	}
}

// noise is n bytes that differ from what was before them.
func noise(r *rand.Rand, n int) []byte {
	b := make([]byte, n+8)
	for i := 0; i < n; i += 8 {
		binary.NativeEndian.PutUint64(b[i:], r.Uint64())
	}
	return b[:n]
}

func TestSpoolIsAQueue(t *testing.T) {
	dir := t.TempDir()
	buf := make([]byte, 2*spoolMemory)
	rapid.Check(t, func(t *rapid.T) {
		most := rapid.SampledFrom([]int{0, 1, 50_000, 200_000, 1 << 20}).Draw(t, "most")
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		s := newSpool(int64(most), scratchIn(dir), &buffers{})
		defer s.free()
		var model []byte
		var end error
		size := rapid.SampledFrom([]int{0, 1, 100, 10_000, spoolMemory - 1, spoolMemory, spoolMemory + 1})
		acts := []string{"put", "put", "put", "put", "put", "take", "take", "take", "take"}
		if rapid.Bool().Draw(t, "may close") {
			acts = append(acts, "close")
		}
		act := rapid.SampledFrom(acts)
		for range 25 {
			switch act.Draw(t, "act") {
			case "put":
				parts := [][]byte{noise(r, rapid.IntRange(0, 20).Draw(t, "head")), noise(r, size.Draw(t, "size"))}
				whole := bytes.Join(parts, nil)
				err := s.put(parts...)
				switch {
				case end != nil && err != end:
					t.Fatalf("put after the end: %v, want %v", err, end)
				case end != nil:
				case err == nil:
					model = append(model, whole...)
					if len(model) > most+spoolMemory {
						t.Fatalf("%d bytes wait, %d may", len(model), most+spoolMemory)
					}
				case err != errSpoolFull:
					t.Fatal(err)
				case len(model)+len(whole) <= max(most, spoolMemory):
					t.Fatalf("full with %d + %d bytes of %d", len(model), len(whole), most)
				default:
					end = err
				}
			case "take":
				if len(model) == 0 && end == nil {
					continue // it would wait
				}
				n, err := s.next(buf[:1+rapid.SampledFrom([]int{0, 9, 5000, 2*spoolMemory - 1}).Draw(t, "room")])
				if len(model) == 0 && (n != 0 || err != end) {
					t.Fatalf("at the end: %d bytes, %v; want %v", n, err, end)
				}
				if len(model) > 0 && (n == 0 || err != nil || !bytes.Equal(buf[:n], model[:n])) {
					t.Fatalf("%d bytes, %v; they are not those that were put", n, err)
				}
				model = model[n:]
			case "close":
				s.close(nil)
				if end == nil {
					end = io.EOF
				}
			}
			if len(model) == 0 && (s.mem != nil || s.start != 0) {
				t.Fatalf("empty, and %d bytes of memory are kept", cap(s.mem))
			}
			if cap(s.mem) > 2*spoolMemory {
				t.Fatalf("%d bytes of memory", cap(s.mem))
			}
			if s.file != nil {
				info, err := s.file.Stat()
				if err != nil {
					t.Fatal(err)
				}
				if info.Size() > int64(most) || len(model) == 0 && info.Size() != 0 {
					t.Fatalf("%d bytes on disk for %d that wait, of at most %d", info.Size(), len(model), most)
				}
			}
		}
		s.close(nil)
		rest, err := readSpool(s, 7000)
		if end == nil {
			end = io.EOF
		}
		if !bytes.Equal(rest, model) || err != end {
			t.Fatalf("%d bytes at the end, want %d; %v, want %v", len(rest), len(model), err, end)
		}
	})
}

// A reader that is always a little behind must not fill the disk.
func TestSpoolOnDiskIsBoundedThoughNeverEmpty(t *testing.T) {
	const most = 256 << 10
	s := newSpool(most, scratchIn(t.TempDir()), &buffers{})
	defer s.free()
	r := rand.New(rand.NewPCG(1, 1))
	var model []byte
	buf := make([]byte, 30_000)
	for range 200 {
		for len(model) < 2*spoolMemory {
			b := noise(r, 10_000+r.IntN(30_000))
			if err := s.put(b); err != nil {
				t.Fatal(err)
			}
			model = append(model, b...)
		}
		n, err := s.next(buf)
		if err != nil || !bytes.Equal(buf[:n], model[:n]) {
			t.Fatalf("%d bytes, %v; they are not those that were put", n, err)
		}
		model = model[n:]
		if info, err := s.file.Stat(); err != nil || info.Size() > most {
			t.Fatalf("%d bytes on disk, %v; at most %d may be", info.Size(), err, most)
		}
	}
}

// Nor memory.
func TestSpoolInMemoryIsBoundedThoughNeverEmpty(t *testing.T) {
	s := newSpool(0, noScratch, &buffers{})
	buf := make([]byte, 1000)
	s.put(buf[:1])
	for range 1000 {
		if err := s.put(buf); err != nil {
			t.Fatal(err)
		}
		if n, err := s.next(buf); n != len(buf) || err != nil {
			t.Fatal(n, err)
		}
		if cap(s.mem) > 2*spoolMemory {
			t.Fatalf("%d bytes of memory for 1", cap(s.mem))
		}
	}
}

// The writer never waits, the reader misses nothing and no wake-up: synctest
// reports it if both come to wait.
func TestSpoolConcurrently(t *testing.T) {
	dir := t.TempDir()
	for seed := range uint64(5) {
		synctest.Test(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 2))
			s := newSpool(1<<30, scratchIn(dir), &buffers{})
			var want bytes.Buffer
			got := make(chan []byte)
			go func() {
				all, err := readSpool(s, 100+r.IntN(20_000))
				if err != io.EOF {
					t.Error(err)
				}
				s.free()
				got <- all
			}()
			w := rand.New(rand.NewPCG(seed, 3))
			for range 100 {
				b := noise(w, []int{1, 10, 1000, 60_000}[min(w.IntN(40)/9, 3)])
				want.Write(b)
				if err := s.put(b[:len(b)/2], b[len(b)/2:]); err != nil {
					t.Fatal(err)
				}
				if w.IntN(4) == 0 {
					synctest.Wait() // for the reader to catch up
					s.mu.Lock()
					waiting := len(s.mem) - s.start + int(s.w-s.r)
					s.mu.Unlock()
					if waiting > 0 {
						t.Fatalf("seed %d: the reader waits beside %d bytes", seed, waiting)
					}
				}
			}
			s.close(nil)
			if all := <-got; !bytes.Equal(all, want.Bytes()) {
				t.Errorf("seed %d: %d bytes of %d arrived, or others", seed, len(all), want.Len())
			}
		})
	}
}

// What comes between the reader's look and its wait wakes it all the same: these
// are the two halves of next.
func TestSpoolLosesNoWakeUp(t *testing.T) {
	for name, act := range map[string]func(*spool){
		"put":   func(s *spool) { s.put([]byte("x")) },
		"close": func(s *spool) { s.close(nil) },
		"full":  func(s *spool) { s.put(make([]byte, spoolMemory+1)) },
	} {
		s := newSpool(0, noScratch, &buffers{})
		if n, err := s.take(make([]byte, 1)); n != 0 || err != nil {
			t.Fatal(n, err)
		}
		act(s)
		select {
		case <-s.more:
		default:
			t.Errorf("%s: the reader waits for ever", name)
		}
	}
}

func TestSpoolWakesAWaitingReader(t *testing.T) {
	for name, act := range map[string]func(*spool){
		"put":   func(s *spool) { s.put([]byte("x")); s.close(nil) },
		"close": func(s *spool) { s.close(nil) },
		"free":  func(s *spool) { s.free() },
		"full":  func(s *spool) { s.put(make([]byte, spoolMemory+1)) },
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newSpool(0, noScratch, &buffers{})
			ended := make(chan error)
			go func() {
				_, err := readSpool(s, 10)
				ended <- err
			}()
			synctest.Wait() // it waits
			act(s)
			want := io.EOF
			if name == "full" {
				want = errSpoolFull
			}
			if err := <-ended; err != want {
				t.Errorf("%s: %v, want %v", name, err, want)
			}
		})
	}
}

func TestSpoolWithoutAFile(t *testing.T) {
	broken := errors.New("no space left on device")
	s := newSpool(1<<20, func() (*os.File, error) { return nil, broken }, &buffers{})
	first := make([]byte, spoolMemory)
	if err := s.put(first); err != nil {
		t.Fatal(err) // memory is enough for this
	}
	if err := s.put([]byte("x")); err != broken {
		t.Errorf("put: %v, want %v", err, broken)
	}
	if err := s.put(nil); err != broken {
		t.Errorf("put after the failure: %v, want %v", err, broken)
	}
	if all, err := readSpool(s, 1000); !bytes.Equal(all, first) || err != broken {
		t.Errorf("%d bytes and %v, want %d and %v", len(all), err, len(first), broken)
	}
}

// What a failed put was to append is not there in part: half a frame would be
// taken for a whole one with the next.
func TestSpoolPutsAllOrNone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "scratch")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s := newSpool(1<<20, func() (*os.File, error) { return os.Open(path) }, &buffers{}) // not for writing
	defer s.free()
	first := make([]byte, spoolMemory)
	s.put(first)
	if err := s.put([]byte("head"), []byte("data")); err == nil {
		t.Fatal("put to a file that is not open for writing")
	}
	if all, _ := readSpool(s, 1000); len(all) != len(first) {
		t.Errorf("%d bytes of a put that failed", len(all)-len(first))
	}
}

func TestSpoolFreeGivesAllBack(t *testing.T) {
	var file *os.File
	s := newSpool(1<<20, func() (*os.File, error) {
		f, err := os.CreateTemp(t.TempDir(), "scratch")
		file = f
		return f, err
	}, &buffers{})
	for range 3 {
		if err := s.put(make([]byte, spoolMemory)); err != nil {
			t.Fatal(err)
		}
	}
	s.free()
	if _, err := file.Stat(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("the file is open: %v", err)
	}
	if s.mem != nil {
		t.Error("memory is kept")
	}
	if err := s.put([]byte("x")); err != io.EOF {
		t.Errorf("put: %v", err)
	}
	if n, err := s.next(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("next: %d, %v", n, err)
	}
	s.free() // again
}
