package jsonrpc

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
)

const testMark = "mark-of-a-hole-"

func markOf(i int) []byte { return fmt.Appendf(nil, `"%s%d"`, testMark, i) }

// outlined outlines a line that comes in pieces of that size, and fills the
// outline again.
func outlined(line []byte, piece int) (short, filled []byte, err error) {
	o := NewOutline(markOf)
	for rest := line; len(rest) > 0; {
		n := min(piece, len(rest))
		_, _ = o.Write(rest[:n])
		rest = rest[n:]
	}
	short, holes, err := o.Finish()
	filled = short
	for i, h := range holes {
		filled = bytes.Replace(filled, markOf(i), line[h.From:h.To], 1)
	}
	return short, filled, err
}

func TestOutlineKeepsWhatIsShort(t *testing.T) {
	long := strings.Repeat("x\\\"y", 100_000)
	for _, c := range []struct{ line, want string }{
		{`{"result":{"content":"` + long + `","isError":true},"jsonrpc":"2.0","id":7}`,
			`{"result":{"content":"mark-of-a-hole-0","isError":true},"jsonrpc":"2.0","id":7}`},
		{`{"resu\u006ct":{"a":1,"content":[{"x":"` + long + `"}, 2 ] ,"b":{"c":"` + long + `"}}, "id":"z","jsonrpc":"2.0"}`,
			`{"resu\u006ct":{"a":1,"content":"mark-of-a-hole-0" ,"b":"mark-of-a-hole-1"}, "id":"z","jsonrpc":"2.0"}`},
		{`{"jsonrpc":"2.0","id":1,"error":{"code":-3,"message":"no","data":["` + long + `"]}}`,
			`{"jsonrpc":"2.0","id":1,"error":{"code":-3,"message":"no","data":"mark-of-a-hole-0"}}`},
		{`{"jsonrpc":"2.0","id":1,"result":["` + long + `"]}`, `{"jsonrpc":"2.0","id":1,"result":"mark-of-a-hole-0"}`},
		{`{"jsonrpc":"2.0","id":1,"other":{"a":"` + long + `"},"result":{}}`, `{"jsonrpc":"2.0","id":1,"other":"mark-of-a-hole-0","result":{}}`},
		{`{"jsonrpc":"2.0","id":1,"result":{"n":` + strings.Repeat("9", 10_000) + `}}`, `{"jsonrpc":"2.0","id":1,"result":{"n":"mark-of-a-hole-0"}}`},
	} {
		for _, piece := range []int{1, 7, 4096, 1 << 20} {
			short, filled, err := outlined([]byte(c.line), piece)
			if err != nil || string(short) != c.want || string(filled) != c.line {
				t.Fatalf("in pieces of %d: %v\n%.300s\nwant\n%s", piece, err, short, c.want)
			}
		}
	}
}

// However a line is made, what is held of it is bounded.
func TestOutlineIsBounded(t *testing.T) {
	for name, line := range map[string]string{
		"members": `{"jsonrpc":"2.0","id":1,"result":{` + strings.Repeat(`"a":1,`, OutlineMost) + `"b":2}}`,
		"blanks":  `{"jsonrpc":"2.0",` + strings.Repeat(" ", 2*OutlineMost) + `"id":1,"result":{}}`,
		"a key":   `{"jsonrpc":"2.0","` + strings.Repeat("k", 2*OutlineMost) + `":3,"id":1,"result":{}}`,
	} {
		o := NewOutline(markOf)
		for i := range len(line) {
			_, _ = o.Write([]byte{line[i]})
		}
		if short, _, err := o.Finish(); !errors.Is(err, ErrOutline) || len(short) > OutlineMost+8 {
			t.Errorf("%s: %d bytes, %v", name, len(short), err)
		}
	}
	deep := `{"jsonrpc":"2.0","id":1,"result":` + strings.Repeat("[", MaxDepth) + strings.Repeat("]", MaxDepth) + `}`
	if _, _, err := outlined([]byte(deep), 100); !errors.Is(err, ErrInvalid) {
		t.Errorf("nested too deep: %v", err)
	}
}

// An outline is of exactly those lines that Parse's scanner takes, and filled it
// is the line.
func FuzzOutline(f *testing.F) {
	for _, line := range []string{
		`{"jsonrpc":"2.0","id":1,"result":{"a":[1,2.5e-3,-0,true,false,null,"\u00e9\n"]}}`,
		`{"a":{},"b":[],"c":{"d":[[]]}}`, `{"a":01}`, `{"a":-}`, `{"a":1.}`, `{"a":1e}`, `{"a":tru}`, `{"a" 1}`, `{,}`, `{"a":1,}`, `[1]`, `{} x`, `{"a":"\x"}`,
		`{"result":{"long":"` + strings.Repeat("z", 5000) + `"}}`, `{"a":[1,]}`, `{"a":1]`, `{"a`, `{}`, ` { } `,
	} {
		f.Add([]byte(line), uint8(3))
	}
	f.Fuzz(func(t *testing.T, line []byte, piece uint8) {
		if bytes.Contains(line, []byte(testMark)) {
			return
		}
		short, filled, err := outlined(line, int(piece)+1)
		if errors.Is(err, ErrOutline) {
			return
		}
		s := scanner{b: line}
		s.blanks()
		want := s.peek() == '{' && s.value() == nil
		if s.blanks(); s.i < len(line) {
			want = false
		}
		if (err == nil) != want {
			t.Fatalf("%q: %v, but the scanner says %v", line, err, want)
		}
		if err == nil && !bytes.Equal(filled, line) {
			t.Fatalf("%q becomes %q and that %q", line, short, filled)
		}
	})
}
