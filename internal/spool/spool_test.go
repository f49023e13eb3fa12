package spool

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func scratchIn(t *testing.T) func() (*os.File, error) {
	dir := t.TempDir()
	return func() (*os.File, error) {
		f, err := os.CreateTemp(dir, "")
		if err == nil {
			t.Cleanup(func() { f.Close() })
		}
		return f, err
	}
}

// spilled has a message go to the store in pieces.
func spilled(s *Store, message string) ([]byte, error) {
	l := s.Begin()
	for rest := message; rest != ""; {
		n := min(len(rest), 10_000)
		_, _ = l.Write([]byte(rest[:n]))
		rest = rest[n:]
	}
	return l.Finish()
}

func TestMessageComesBack(t *testing.T) {
	s := New(1<<30, scratchIn(t))
	text := strings.Repeat("much ", 100_000)
	message := `{"result":{"a":"` + text + `",` + "\r" + ` "b":["` + text + `",` + "\r" + `1]},"jsonrpc":"2.0","id":9}`
	line, err := spilled(s, message)
	if err != nil || len(line) > 1000 || !s.Marked(line) || s.Size(line) != int64(len(message)) || s.Used() != int64(len(message)) {
		t.Fatalf("%v: %d bytes, of %d in files", err, len(line), s.Used())
	}
	p, err := s.Parts(line)
	if err != nil {
		t.Fatal(err)
	}
	var exact, one bytes.Buffer
	if _, err := p.WriteTo(&exact); err != nil || exact.String() != message {
		t.Errorf("%v: another message", err)
	}
	if _, err := p.WriteLine(&one); err != nil || one.String() != strings.ReplaceAll(message, "\r", " ") {
		t.Errorf("%v: another line", err)
	}
	s.Release(line)
	if s.Used() == 0 || s.Any() {
		t.Error("the file is gone while it is being written, or is still found")
	}
	p.Close()
	if s.Used() != 0 {
		t.Errorf("%d bytes are kept", s.Used())
	}
	if _, err := s.Parts(line); !errors.Is(err, ErrGone) {
		t.Errorf("after the release: %v", err)
	}
}

// Of what is not kept the caller learns what it was.
func TestFullStoreSaysWhatItLost(t *testing.T) {
	s := New(100_000, scratchIn(t))
	line, err := spilled(s, `{"result":{"a":"`+strings.Repeat("x", 200_000)+`"},"jsonrpc":"2.0","id":9}`)
	if !errors.Is(err, ErrFull) || !bytes.HasSuffix(line, []byte(`,"jsonrpc":"2.0","id":9}`)) || s.Used() != 0 {
		t.Errorf("%q, %v, %d bytes are kept", line, err, s.Used())
	}
}

// What has no outline is the message itself.
func TestNoOutline(t *testing.T) {
	s := New(1<<30, scratchIn(t))
	batch := `[{"jsonrpc":"2.0","id":9,"result":{"a":"` + strings.Repeat("x", 200_000) + `"}}]`
	line, err := spilled(s, batch)
	if err != nil || string(line) != batch || s.Used() != 0 {
		t.Errorf("%.100q, %v, %d bytes are kept", line, err, s.Used())
	}
}

// What nobody comes for is not kept for ever.
func TestStoreForgets(t *testing.T) {
	open := scratchIn(t)
	synctest.Test(t, func(t *testing.T) {
		s := New(1<<30, open)
		defer s.Close()
		line, err := spilled(s, `{"result":{"a":"`+strings.Repeat("x", 200_000)+`"},"jsonrpc":"2.0","id":9}`)
		if err != nil || s.Used() == 0 {
			t.Fatal(err, s.Used())
		}
		time.Sleep(2 * keptFor) // in the bubble
		synctest.Wait()
		if s.Used() != 0 || s.Marked(line) {
			t.Errorf("%d bytes are kept", s.Used())
		}
	})
}

func TestQueueIsInOrderAndBounded(t *testing.T) {
	s := New(1<<30, scratchIn(t))
	q := s.NewQueue(1000, 50_000)
	n := 0
	for {
		err := q.Put(fmt.Appendf(nil, "%d %s", n, strings.Repeat("z", 200)))
		if errors.Is(err, ErrFull) {
			break
		}
		if err != nil || n > 1000 {
			t.Fatal(n, err)
		}
		n++
	}
	if q.inMem > 1000 || s.Used() == 0 {
		t.Errorf("%d bytes in memory, %d in files", q.inMem, s.Used())
	}
	for i := range n {
		line, ok, err := q.Take()
		if err != nil || !ok || !bytes.HasPrefix(line, fmt.Appendf(nil, "%d ", i)) {
			t.Fatalf("%d: %q, %v, %v", i, line, ok, err)
		}
	}
	if _, ok, _ := q.Take(); ok || s.Used() != 0 {
		t.Errorf("more comes, or %d bytes are kept", s.Used())
	}
}

// What is dropped from a shelf is let go of by and by, and the rest stays readable.
func TestShelfLetsGo(t *testing.T) {
	s := New(1<<30, scratchIn(t))
	shelf := s.NewShelf()
	var places []*Place
	text := strings.Repeat("z", 100_000)
	for i := range 200 {
		p, err := shelf.Put(fmt.Appendf(nil, "%d %s", i, text))
		if err != nil {
			t.Fatal(err)
		}
		if places = append(places, p); len(places) > 20 {
			places[0].Drop()
			places = places[1:]
		}
	}
	if most := int64(20*len(text) + 2*shelfMost); s.Used() > most {
		t.Errorf("%d bytes are kept, more than %d", s.Used(), most)
	}
	for i, p := range places {
		line, err := p.Read()
		if err != nil || string(line) != fmt.Sprintf("%d %s", 180+i, text) || p.Size() != len(line) {
			t.Errorf("%d: %.20q %v", i, line, err)
		}
		p.Drop()
	}
	shelf.Rest()
	if s.Used() != 0 {
		t.Errorf("%d bytes are kept", s.Used())
	}
	if _, err := New(10, scratchIn(t)).NewShelf().Put([]byte("much too long")); !errors.Is(err, ErrFull) {
		t.Errorf("beyond the bound: %v", err)
	}
}
