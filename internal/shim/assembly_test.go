package shim

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"testing"

	"pgregory.net/rapid"
)

// A line in any pieces, with a note or without, reaches the server whole; a few
// pieces wait in memory, and more in a file that is gone afterwards.
func TestAssemblyOfAnyPieces(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		var wire bytes.Buffer
		var b buffers
		frames := &frameReader{r: &wire, buffers: &b}
		in := assembly{buffers: &b, scratch: scratchIn(dir)}
		for range rapid.IntRange(1, 3).Draw(t, "lines") {
			var want, note []byte
			n := rapid.IntRange(1, 2*assemblyKept).Draw(t, "pieces")
			for i := range n {
				size := rapid.SampledFrom([]int{0, 1, 100, pieceSize - 1, pieceSize, 2 * bufferSize}).Draw(t, "size")
				data := noise(r, size)
				var flags byte
				if i == 0 && rapid.Bool().Draw(t, "note") {
					flags, note = flagNote, noise(r, rapid.SampledFrom([]int{0, 1, bufferSize}).Draw(t, "note size"))
				}
				if i == n-1 {
					flags |= flagLast
				}
				want = append(want, data...)
				wire.Write(append(appendLineHead(nil, 7, flags, note, size), data...))
			}
			for i := range n {
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
				if last, spilled := i == n-1, in.file != nil; !last && spilled != (i >= assemblyKept) {
					t.Fatalf("after piece %d there is a file: %v", i, spilled)
				}
			}
			var got bytes.Buffer
			if k, err := in.WriteTo(&got); k != int64(got.Len()) || err != nil {
				t.Fatalf("%d of %d, %v", k, got.Len(), err)
			}
			if !bytes.Equal(got.Bytes(), append(want, '\n')) || !bytes.Equal(in.note, note) || in.generation != 7 {
				t.Fatalf("%d bytes of %d, or others; a note of %d, want %d", got.Len(), len(want)+1, len(in.note), len(note))
			}
			in.reset()
			if in.file != nil || len(in.kept) != 0 || in.size != 0 || in.note != nil {
				t.Fatalf("it remembers %+v", in)
			}
		}
	})
}

func TestAssemblyRefusesALineThatIsTooLong(t *testing.T) {
	in := assembly{scratch: noScratch, size: MaxLine}
	if err := in.add(piece{data: []byte("x"), flags: flagLast}); err == nil {
		t.Error("no error")
	}
}

// FuzzAssembly: whatever frames come, each line is the bytes that were put into
// its pieces, in memory or in a file; frames of other kinds between them take
// nothing away.
func FuzzAssembly(f *testing.F) {
	wire := func(pieces ...piece) (b []byte) {
		for _, p := range pieces {
			b = append(appendLineHead(b, p.generation, p.flags, p.note, len(p.data)), p.data...)
		}
		return b
	}
	f.Add(wire(piece{flags: flagLast, data: []byte("line")}, piece{flags: flagLast | flagNote, note: []byte("n"), data: []byte("other")}), uint8(1))
	f.Add(wire(piece{data: bytes.Repeat([]byte("x"), 1000)}, piece{data: []byte("y")}, piece{flags: flagLast}, piece{flags: flagNote, note: []byte{}}), uint8(9))
	f.Add(append(wire(piece{data: []byte("cut")}), appendFrame(nil, frameNote, bytes.Repeat([]byte("note"), 100))...), uint8(5))
	f.Add([]byte("L\x00\x00\x00\x09\x00\x00\x00\x00\x00\x00\x00\x01\x02"), uint8(0))
	dir := f.TempDir()
	scratch := func() (*os.File, error) {
		file, err := os.CreateTemp(dir, "scratch")
		if err == nil {
			err = os.Remove(file.Name())
		}
		return file, err
	}
	f.Fuzz(func(t *testing.T, wire []byte, times uint8) {
		var b buffers
		frames := &frameReader{r: bytes.NewReader(bytes.Repeat(wire, 1+int(times)%16)), buffers: &b}
		in := assembly{buffers: &b, scratch: scratch}
		defer in.reset()
		var note, line []byte
		for {
			kind, payload, err := frames.next()
			if err != nil {
				return
			}
			if kind != frameLine {
				continue
			}
			p, err := parsePiece(payload)
			if err != nil {
				return
			}
			line = append(line, p.data...)
			if p.note != nil {
				note = append([]byte{}, p.note...)
			}
			generation, last := p.generation, p.flags&flagLast != 0
			if err := in.add(p); err != nil {
				t.Fatal(err)
			}
			if !last {
				continue
			}
			var got bytes.Buffer
			n, err := in.WriteTo(&got)
			if err != nil || n != int64(got.Len()) || !bytes.Equal(got.Bytes(), append(line, '\n')) || !bytes.Equal(in.note, note) || in.generation != generation {
				t.Fatalf("%v: a line of %d bytes with the note %q came as %d bytes (%d) with %q", err, len(line), note, got.Len(), n, in.note)
			}
			in.reset()
			note, line = nil, nil
		}
	})
}

// A line that a file cannot take is refused, not sent in part.
func TestAssemblyWithoutAScratchFile(t *testing.T) {
	none := errors.New("no scratch file")
	for what, scratch := range map[string]func() (*os.File, error){
		"none": func() (*os.File, error) { return nil, none },
		"one that takes nothing": func() (*os.File, error) {
			file, err := os.Open(os.DevNull) // for reading
			return file, err
		},
	} {
		var b buffers
		in := assembly{buffers: &b, scratch: scratch}
		var err error
		pieces := 0
		for ; err == nil && pieces < 10; pieces++ {
			err = in.add(piece{data: []byte("x")})
		}
		if err == nil || pieces != assemblyKept+1 {
			t.Errorf("%s: piece %d: %v", what, pieces, err)
		}
		in.reset()
	}
}
