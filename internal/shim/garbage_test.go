//go:build !race

// The race detector allocates where the program does not.

package shim

import (
	"io"
	"testing"
)

// again reads the same bytes over and over.
type again struct {
	data []byte
	at   int
}

func (a *again) Read(p []byte) (int, error) {
	n := copy(p, a.data[a.at:])
	a.at = (a.at + n) % len(a.data)
	return n, nil
}

// once is a server's output that pauses after one read.
type once struct {
	io.Reader
	read bool
}

func (o *once) Read(p []byte) (int, error) {
	if o.read = !o.read; !o.read {
		return 0, io.EOF
	}
	return o.Reader.Read(p)
}

// TestLinesLeaveNoGarbage: a shim that passes lines on and allocates nothing for
// them stays as small as it was.
func TestLinesLeaveNoGarbage(t *testing.T) {
	line := []byte(`{"jsonrpc":"2.0","id":1,"method":"ping"}` + "\n")
	var b buffers
	frames := &frameReader{r: &again{data: append(appendLineHead(nil, 1, flagLast, nil, len(line)), line...)}, buffers: &b}
	in := assembly{buffers: &b, scratch: noScratch}
	var stdin slowStdin
	out := newSpool(0, noScratch, &b)
	r := &relay{stdin: &stdin, log: io.Discard, counts: &counts{}, buffers: &b}
	r.to.Store(&attachment{conn: &fakeConn{}, out: out})
	stdout := &once{Reader: &again{data: line}}
	taken := b.get()
	allocations := testing.AllocsPerRun(100, func() {
		_, payload, err := frames.next()
		if err != nil {
			t.Fatal(err)
		}
		p, err := parsePiece(payload)
		if err != nil {
			t.Fatal(err)
		}
		if err := in.add(p); err != nil {
			t.Fatal(err)
		}
		if err := r.send(&in); err != nil {
			t.Fatal(err)
		}
		stdin.got = stdin.got[:0]
		in.reset()
		if err := r.pump(stdout); err != nil {
			t.Fatal(err)
		}
		if n, err := out.next(taken[:]); n != frameHeader+lineHeader+len(line)-1 || err != nil {
			t.Fatal(n, err)
		}
	})
	if allocations >= 1 {
		t.Errorf("a line there and back allocates %v times", allocations)
	}
}
