package shim

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"

	"github.com/berth-run/berth"
)

type testFrame struct {
	kind    byte
	payload []byte
}

// readFrames reads to the end, or to the first error.
func readFrames(r io.Reader) (frames []testFrame, err error) {
	fr := &frameReader{r: r}
	for {
		kind, payload, err := fr.next()
		if err != nil {
			return frames, err
		}
		frames = append(frames, testFrame{kind, bytes.Clone(payload)})
	}
}

func TestFramesRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var want []testFrame
		var wire []byte
		for range rapid.IntRange(0, 5).Draw(t, "frames") {
			f := testFrame{
				rapid.SampledFrom([]byte("CRSLNHx")).Draw(t, "kind"),
				rapid.SliceOfN(rapid.Byte(), 0, 100).Draw(t, "payload"),
			}
			want = append(want, f)
			wire = appendFrame(wire, f.kind, f.payload)
		}
		var r io.Reader = bytes.NewReader(wire)
		if rapid.Bool().Draw(t, "byte by byte") {
			r = iotest.OneByteReader(r)
		}
		got, err := readFrames(r)
		if err != io.EOF {
			t.Fatal(err)
		}
		if len(got) != len(want) {
			t.Fatalf("%d frames of %d", len(got), len(want))
		}
		for i := range want {
			if got[i].kind != want[i].kind || !bytes.Equal(got[i].payload, want[i].payload) {
				t.Fatalf("frame %d is %v, want %v", i, got[i], want[i])
			}
		}
		// Cut anywhere but between two frames, it is not our protocol.
		if len(wire) == 0 {
			return
		}
		cut := rapid.IntRange(0, len(wire)-1).Draw(t, "cut")
		whole := 0
		for rest := 0; whole < len(want); whole++ {
			if rest += frameHeader + len(want[whole].payload); rest > cut {
				break
			}
		}
		got, err = readFrames(bytes.NewReader(wire[:cut]))
		if len(got) != whole {
			t.Fatalf("cut at %d: %d frames, want %d", cut, len(got), whole)
		}
		between := 0
		for _, f := range got {
			between += frameHeader + len(f.payload)
		}
		if wantErr := cut != between; errors.Is(err, ErrProtocol) != wantErr || !wantErr && err != io.EOF {
			t.Fatalf("cut at %d: %v", cut, err)
		}
	})
}

func TestFrameOfTheLargestSize(t *testing.T) {
	whole := appendFrame(nil, frameLine, make([]byte, maxFrame))
	if got, err := readFrames(bytes.NewReader(whole)); err != io.EOF || len(got) != 1 || len(got[0].payload) != maxFrame {
		t.Errorf("%d frames, %v", len(got), err)
	}
	over := appendFrame(nil, frameLine, make([]byte, maxFrame+1))
	if got, err := readFrames(bytes.NewReader(over)); !errors.Is(err, ErrProtocol) || len(got) != 0 {
		t.Errorf("one byte more: %d frames, %v", len(got), err)
	}
	fr := &frameReader{r: bytes.NewReader([]byte("L\xff\xff\xff\xff"))}
	if _, _, err := fr.next(); !errors.Is(err, ErrProtocol) || cap(fr.buf) > readAhead {
		t.Errorf("4 GiB announced: %v, %d bytes set aside", err, cap(fr.buf))
	}
}

// The frames are a protocol between versions of the program: these bytes may
// not change.
func TestFramesOnTheWire(t *testing.T) {
	for _, tt := range []struct {
		name string
		got  []byte
		want string
	}{
		{"heartbeat", appendFrame(nil, frameHeartbeat, nil), "H\x00\x00\x00\x00"},
		{"line", append(appendLineHead(nil, 0x0102030405060708, flagLast, nil, 2), "{}"...),
			"L\x00\x00\x00\x0b\x01\x02\x03\x04\x05\x06\x07\x08\x01{}"},
		{"line with note", append(appendLineHead(nil, 1, flagLast|flagNote, []byte("abc"), 2), "{}"...),
			"L\x00\x00\x00\x12\x00\x00\x00\x00\x00\x00\x00\x01\x03\x00\x00\x00\x03abc{}"},
		{"abort", appendLineHead(nil, 1, flagLast|flagAbort, nil, 0),
			"L\x00\x00\x00\x09\x00\x00\x00\x00\x00\x00\x00\x01\x05"},
	} {
		if string(tt.got) != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, tt.got, tt.want)
		}
	}
}

func TestPiecesRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := piece{
			generation: rapid.Uint64().Draw(t, "generation"),
			flags:      rapid.SampledFrom([]byte{0, flagLast, flagNote, flagNote | flagLast, flagLast | flagAbort}).Draw(t, "flags"),
			data:       rapid.SliceOfN(rapid.Byte(), 0, 50).Draw(t, "data"),
		}
		if want.flags&flagNote != 0 {
			want.note = rapid.SliceOfN(rapid.Byte(), 0, 50).Draw(t, "note")
		}
		wire := append(appendLineHead(nil, want.generation, want.flags, want.note, len(want.data)), want.data...)
		frames, err := readFrames(bytes.NewReader(wire))
		if err != io.EOF || len(frames) != 1 || frames[0].kind != frameLine {
			t.Fatalf("%v, %v", frames, err)
		}
		got, err := parsePiece(frames[0].payload)
		if err != nil {
			t.Fatal(err)
		}
		if got.generation != want.generation || got.flags != want.flags || !bytes.Equal(got.data, want.data) ||
			!bytes.Equal(got.note, want.note) || (got.note != nil) != (want.flags&flagNote != 0) {
			t.Fatalf("%+v, want %+v", got, want)
		}
	})
}

func TestPiecesThatAreNone(t *testing.T) {
	note := func(n uint32, rest int) []byte {
		b := make([]byte, lineHeader+4+rest)
		b[8] = flagNote
		b[9], b[10], b[11], b[12] = byte(n>>24), byte(n>>16), byte(n>>8), byte(n)
		return b
	}
	for name, payload := range map[string][]byte{
		"empty":                nil,
		"short":                make([]byte, lineHeader-1),
		"note without length":  {8: flagNote, 11: 0},
		"note beyond the end":  note(3, 2),
		"note of 4 GiB":        note(1<<32-1, 2),
		"note beyond its most": note(MaxNote+1, MaxNote+1),
	} {
		if p, err := parsePiece(payload); !errors.Is(err, ErrProtocol) {
			t.Errorf("%s: %+v, %v", name, p, err)
		}
	}
	if p, err := parsePiece(note(MaxNote, MaxNote)); err != nil || len(p.note) != MaxNote || len(p.data) != 0 {
		t.Errorf("a note of the largest size: %v", err)
	}
	// A note that grows must not grow into the line.
	p, err := parsePiece(append(appendLineHead(nil, 1, flagNote, []byte("note"), 4), "line"...)[frameHeader:])
	if err != nil {
		t.Fatal(err)
	}
	if _ = append(p.note, "XXXX"...); string(p.data) != "line" {
		t.Errorf("the line became %q", p.data)
	}
}

func FuzzFrames(f *testing.F) {
	f.Add([]byte("H\x00\x00\x00\x00"))
	f.Add(append(appendLineHead(nil, 7, flagLast|flagNote, []byte("note"), 4), "line"...))
	f.Add([]byte("L\x00\x00\x00\x09\x00\x00\x00\x00\x00\x00\x00\x01\x02"))
	f.Add([]byte("C\x00\x10\x00\x00"))
	f.Add([]byte("C\x00\x10\x00\x01"))
	f.Add(appendFrame(appendFrame(nil, frameNote, encode(nil, &noteFrame{Generation: 1})), frameRequest, encode(nil, &request{Version: wireVersion, Op: opStop})))
	f.Fuzz(func(t *testing.T, wire []byte) {
		fr := &frameReader{r: bytes.NewReader(wire)}
		var again []byte
		for {
			kind, payload, err := fr.next()
			if cap(fr.buf) > frameHeader+maxFrame {
				t.Fatalf("%d bytes set aside", cap(fr.buf))
			}
			if err != nil {
				if err != io.EOF && !errors.Is(err, ErrProtocol) {
					t.Fatal(err)
				}
				if err == io.EOF && !bytes.Equal(again, wire) {
					t.Fatal("the frames are not what was sent")
				}
				break
			}
			again = appendFrame(again, kind, payload)
			p, err := parsePiece(payload)
			if err != nil {
				if !errors.Is(err, ErrProtocol) {
					t.Fatal(err)
				}
				continue
			}
			if b := append(appendLineHead(nil, p.generation, p.flags, p.note, len(p.data)), p.data...)[frameHeader:]; !bytes.Equal(b, payload) {
				t.Fatalf("the piece %+v is not what was sent", p)
			}
		}
	})
}

// Every error that callers branch on is still itself on the other side.
func TestErrorsSurviveTheSocket(t *testing.T) {
	all := sentinels()
	kinds := map[string]bool{}
	for i, s := range all {
		if kinds[s.kind] {
			t.Errorf("two errors are called %q", s.kind)
		}
		kinds[s.kind] = true
		for j, other := range all {
			// Otherwise the order would decide what it is.
			if i < j && errors.Is(s.err, other.err) {
				t.Logf("%q comes before %q, which it also is", s.kind, other.kind)
			}
			if i > j && errors.Is(s.err, other.err) {
				t.Errorf("%q is taken for %q", s.kind, other.kind)
			}
		}
		there := fmt.Errorf("start %q: %w", "github", s.err)
		here := overTheWire(t, there)
		if !errors.Is(here, s.err) || here.Error() != there.Error() {
			t.Errorf("%q arrived as %v", there, here)
		}
		for _, other := range all {
			if errors.Is(here, other.err) && !errors.Is(there, other.err) {
				t.Errorf("%q became %q", there, other.kind)
			}
		}
		var hinted *berth.Hinted
		if errors.As(here, &hinted) {
			t.Errorf("%q came with a hint", there)
		}
		here = overTheWire(t, fmt.Errorf("outside: %w", berth.WithHint(there, "try this")))
		if !errors.Is(here, s.err) || !errors.As(here, &hinted) || hinted.Hint != "try this" || here.Error() != "outside: "+there.Error() {
			t.Errorf("%q with a hint arrived as %#v", there, here)
		}
	}
}

func overTheWire(t *testing.T, err error) error {
	t.Helper()
	var b bytes.Buffer
	if err := send(&b, frameReply, &reply{Version: wireVersion, Error: toWire(err)}); err != nil {
		t.Fatal(err)
	}
	frames, end := readFrames(&b)
	if end != io.EOF || len(frames) != 1 || frames[0].kind != frameReply {
		t.Fatalf("%v, %v", frames, end)
	}
	var r reply
	if err := decode(frames[0].payload, &r); err != nil {
		t.Fatal(err)
	}
	return r.Error.err()
}

func TestErrorsOfTheSystemSurvive(t *testing.T) {
	for _, tt := range []struct{ there, here error }{
		{&fs.PathError{Op: "fork/exec", Path: "/nowhere", Err: syscall.ENOENT}, fs.ErrNotExist},
		{&fs.PathError{Op: "fork/exec", Path: "/etc", Err: syscall.EACCES}, fs.ErrPermission},
		{os.NewSyscallError("write", syscall.ENOSPC), syscall.ENOSPC},
		{fmt.Errorf("bad: %w", errors.ErrUnsupported), errors.ErrUnsupported},
	} {
		if here := overTheWire(t, tt.there); !errors.Is(here, tt.here) || here.Error() != tt.there.Error() {
			t.Errorf("%v arrived as %v", tt.there, here)
		}
	}
	if err := overTheWire(t, nil); err != nil {
		t.Errorf("no error arrived as %v", err)
	}
	// A kind that a later version invented is an error without a kind.
	if err := (&wireError{Kind: "invented", Message: "m"}).err(); err == nil || err.Error() != "m" {
		t.Errorf("%v", err)
	}
}

// countingWriter counts the writes.
type countingWriter struct{ writes, bytes int }

func (w *countingWriter) Write(p []byte) (int, error) {
	w.writes++
	w.bytes += len(p)
	return len(p), nil
}

func TestSendIsOneWriteOrNone(t *testing.T) {
	var w countingWriter
	if err := send(&w, frameReply, &reply{Note: make([]byte, 100)}); err != nil || w.writes != 1 {
		t.Errorf("%d writes, %v", w.writes, err)
	}
	w = countingWriter{}
	if err := send(&w, frameReply, &reply{Note: make([]byte, maxFrame)}); !errors.Is(err, ErrProtocol) || w.writes != 0 {
		t.Errorf("too large: %d writes, %v", w.writes, err)
	}
}

// What carries the largest note must still be a frame.
func TestTheLargestNoteFits(t *testing.T) {
	for _, v := range []message{
		&reply{Version: wireVersion, Note: make([]byte, MaxNote), Status: &berth.Status{Name: strings.Repeat("n", 64)}},
		&noteFrame{Generation: 1<<64 - 1, Note: make([]byte, MaxNote), Ready: &berth.MCPInfo{}},
	} {
		if err := send(io.Discard, frameReply, v); err != nil {
			t.Errorf("%T: %v", v, err)
		}
	}
	if n := lineHeader + 4 + MaxNote + pieceSize; n > maxFrame {
		t.Errorf("a piece with the largest note is a frame of %d bytes", n)
	}
}
