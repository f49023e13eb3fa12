package direct

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"
)

// end is one end of a pair.
type end interface {
	io.ReadWriteCloser
	SetDeadline(time.Time) error
}

// pairs are the kinds of streams that there are: a writes, b reads.
func pairs(t testing.TB) map[string][2]end {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][2]end{"pipe": {w, r}}
	for network, addr := range map[string]string{"tcp": "127.0.0.1:0", "unix": t.TempDir() + "/s"} {
		l, err := net.Listen(network, addr)
		if err != nil {
			t.Fatal(err)
		}
		a, err := net.Dial(network, l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		b, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		l.Close()
		all[network] = [2]end{a, b}
	}
	a, b := net.Pipe()
	all["no descriptor"] = [2]end{a, b}
	for _, p := range all {
		t.Cleanup(func() {
			p[0].Close()
			p[1].Close()
		})
	}
	return all
}

// What is written is read, however much and in whatever parts, by a reader that is
// faster or slower.
func TestBytesPass(t *testing.T) {
	for name, p := range pairs(t) {
		t.Run(name, func(t *testing.T) {
			random := rand.New(rand.NewPCG(1, 2))
			var want bytes.Buffer
			var parts [][]byte
			for _, n := range []int{0, 1, 100, 5000, 70_000, 1_000_000, 0, 3} {
				part := make([]byte, n)
				for i := range part {
					part[i] = byte(random.Uint32())
				}
				parts = append(parts, part)
				want.Write(part)
			}
			var writing sync.WaitGroup
			writing.Go(func() {
				w := New(p[0])
				for i, part := range parts {
					var n int
					var err error
					if i%2 == 0 {
						n, err = w.Write(part)
					} else {
						n, err = w.WriteTwo(part[:len(part)/3], part[len(part)/3:])
					}
					if n != len(part) || err != nil {
						t.Errorf("wrote %d of %d: %v", n, len(part), err)
					}
				}
				p[0].Close()
			})
			got, err := io.ReadAll(New(p[1]))
			writing.Wait()
			if err != nil || !bytes.Equal(got, want.Bytes()) {
				t.Errorf("%d bytes of %d, or others; %v", len(got), want.Len(), err)
			}
		})
	}
}

// The deadlines and the end of what a Stream is of are its own.
func TestEnds(t *testing.T) {
	for name, p := range pairs(t) {
		t.Run(name, func(t *testing.T) {
			r, w := New(p[1]), New(p[0])
			p[1].SetDeadline(time.Now().Add(10 * time.Millisecond))
			if n, err := r.Read(make([]byte, 1)); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("%d, %v", n, err)
			}
			p[0].SetDeadline(time.Now().Add(10 * time.Millisecond))
			for range 1000 { // until nothing more fits
				if n, err := w.WriteTwo(make([]byte, 100_000), make([]byte, 10)); err != nil {
					if n >= 100_010 || !errors.Is(err, os.ErrDeadlineExceeded) {
						t.Errorf("%d, %v", n, err)
					}
					break
				}
			}
			p[1].Close()
			if n, err := r.Read(make([]byte, 1)); n != 0 || err == nil || err == io.EOF {
				t.Errorf("reading what is closed: %d, %v", n, err)
			}
			p[0].SetDeadline(time.Time{})
			_, err := w.Write([]byte("x"))
			for range 10 { // TCP learns it late
				if err == nil {
					_, err = w.Write([]byte("x"))
				}
			}
			if err == nil || name == "pipe" && !errors.Is(err, syscall.EPIPE) {
				t.Errorf("writing to nobody: %v", err)
			}
		})
	}
}

func TestTheEndOfTheStream(t *testing.T) {
	for name, p := range pairs(t) {
		p[0].Close()
		if n, err := New(p[1]).Read(make([]byte, 1)); n != 0 || err != io.EOF {
			t.Errorf("%s: %d, %v", name, n, err)
		}
	}
}

func TestNoGarbage(t *testing.T) {
	for name, p := range pairs(t) {
		if name == "no descriptor" {
			continue
		}
		r, w := New(p[1]), New(p[0])
		message, buf := []byte("message"), make([]byte, 100)
		if n := testing.AllocsPerRun(100, func() {
			if _, err := w.WriteTwo(message, message); err != nil {
				t.Fatal(err)
			}
			for n := 0; n < 2*len(message); {
				k, err := r.Read(buf)
				if err != nil {
					t.Fatal(err)
				}
				n += k
			}
		}); n > 0 && r.in != nil {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func BenchmarkRoundTrip(b *testing.B) {
	for name, p := range pairs(b) {
		if name == "pipe" || name == "no descriptor" {
			continue
		}
		for _, way := range []string{"direct", "ordinary"} {
			b.Run(name+"/"+way, func(b *testing.B) {
				near, far := io.ReadWriter(p[0]), io.ReadWriter(p[1])
				if way == "direct" {
					near, far = New(near), New(far)
				}
				done := make(chan struct{})
				go func() {
					defer close(done)
					var buf [100]byte
					for range b.N {
						n, err := far.Read(buf[:])
						if err == nil {
							_, err = far.Write(buf[:n])
						}
						if err != nil {
							b.Error(err)
							return
						}
					}
				}()
				var buf [100]byte
				for range b.N {
					if _, err := near.Write([]byte("message")); err != nil {
						b.Fatal(err)
					}
					if _, err := near.Read(buf[:]); err != nil {
						b.Fatal(err)
					}
				}
				<-done
			})
		}
	}
}

// What was written before it was sent is seen, and the race detector knows.
func TestOrder(t *testing.T) {
	for name, p := range pairs(t) {
		var before int
		done := make(chan struct{})
		go func() {
			defer close(done)
			before = 1
			if _, err := New(p[0]).Write([]byte{1}); err != nil {
				t.Error(err)
			}
		}()
		if _, err := New(p[1]).Read(make([]byte, 1)); err != nil || before != 1 {
			t.Errorf("%s: %v, %d", name, err, before)
		}
		<-done
	}
}
