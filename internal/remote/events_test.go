package remote

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

func parse(r io.Reader, size int) (list []event, err error) {
	e := events{r: bufio.NewReaderSize(r, size)}
	err = e.each(func(ev event) error {
		list = append(list, ev)
		return nil
	})
	return list, err
}

// TestEvents: the rules of HTML, section 9.2.6, whatever the pieces are that a
// stream comes in.
func TestEvents(t *testing.T) {
	for stream, want := range map[string]string{
		"data: a\n\n":                                 "||a|0",
		"\xef\xbb\xbfdata: a\n\n":                     "||a|0",
		"data:a\r\rdata:b\r\n\r\n":                    "||a|0 ||b|0",
		"data\ndata\n\n":                              "||\n|0",
		"data:  a\ndata: b\n\n":                       "|| a\nb|0",
		": comment\n\nevent: x\ndata: a\nid: 1\n\n":   "x|1|a|0",
		"id: 1\n\ndata: a\n\nid\ndata: b\n\n":         "|1||0 |1|a|0 ||b|0",
		"retry: 20\n\nretry: x\ndata:\n\n":            "|||20 |||0",
		"retry: 9999999999\nretry: -1\ndata: a\n\n":   "||a|0",
		"retry: 999999999\ndata: a\n\n":               "||a|300000",
		"data: a\n":                                   "",
		"data: a":                                     "",
		"event: x\n\ndata: a\n\n":                     "||a|0",
		"foo: bar\nDATA: x\ndata: a\n\n":              "||a|0",
		"id: a\x00b\ndata: a\n\n":                     "||a|0",
		"data: " + strings.Repeat("x", 5000) + "\n\n": "||" + strings.Repeat("x", 5000) + "|0",
	} {
		for i, r := range []io.Reader{strings.NewReader(stream), iotest.OneByteReader(strings.NewReader(stream))} {
			list, err := parse(r, 16)
			var texts []string
			for _, ev := range list {
				texts = append(texts, fmt.Sprintf("%s|%s|%s|%d", ev.name, ev.id, ev.data, ev.retry/time.Millisecond))
			}
			if got := strings.Join(texts, " "); got != want || !errors.Is(err, io.EOF) {
				t.Errorf("%d: %q: got %q, want %q, %v", i, stream, got, want, err)
			}
		}
	}
	if _, err := parse(strings.NewReader("id: "+strings.Repeat("x", fieldMost+1)+"\n\n"), 16); !errors.Is(err, errField) {
		t.Errorf("%v", err)
	}
	if _, err := parse(strings.NewReader(strings.Repeat("x", fieldMost+1)), 16); !errors.Is(err, errField) {
		t.Errorf("%v", err)
	}
}

// FuzzEvents: what comes out does not depend on the pieces that a stream comes in,
// and is what a reader of whole lines finds.
func FuzzEvents(f *testing.F) {
	for _, s := range []string{"data: a\n\n", "id: 1\r\nevent: x\rdata: y\n\r\n", "\xef\xbb\xbfretry: 5\n\n", ":\n\ndata\n\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, stream string) {
		if len(stream) > fieldMost {
			return
		}
		one, err1 := parse(strings.NewReader(stream), 4<<10)
		two, err2 := parse(iotest.OneByteReader(strings.NewReader(stream)), 16)
		if fmt.Sprint(one, err1) != fmt.Sprint(two, err2) {
			t.Fatalf("%v, %v\n%v, %v", one, err1, two, err2)
		}
		if want := simple(stream); fmt.Sprintf("%q", data(one)) != fmt.Sprintf("%q", want) {
			t.Fatalf("got %q, want %q", data(one), want)
		}
	})
}

// data is what events hold, of those that have any.
func data(list []event) (all []string) {
	for _, ev := range list {
		if len(ev.data) > 0 {
			all = append(all, string(ev.data))
		}
	}
	return all
}

// simple is the data of each event that has some, by the rules as they are written.
func simple(stream string) (all []string) {
	stream = strings.TrimPrefix(stream, "\xef\xbb\xbf")
	stream = strings.ReplaceAll(strings.ReplaceAll(stream, "\r\n", "\n"), "\r", "\n")
	lines := strings.Split(stream, "\n")
	var data []string
	for _, line := range lines[:len(lines)-1] {
		name, value, _ := strings.Cut(line, ":")
		switch {
		case line == "":
			if text := strings.Join(data, "\n"); text != "" {
				all = append(all, text)
			}
			data = nil
		case name == "data":
			data = append(data, strings.TrimPrefix(value, " "))
		}
	}
	return all
}
