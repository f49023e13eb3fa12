package remote

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"sync"

	"github.com/berth-run/berth/internal/jsonrpc"
	"github.com/berth-run/berth/internal/spool"
)

// output writes lines, each whole.
type output struct {
	files *spool.Store // nil: all is in memory

	mu   sync.Mutex // guards the fields below
	w    io.Writer
	said bool
}

// line writes a message as one line; what it stands for, if it is an outline.
func (o *output) line(line []byte) error {
	if o.files != nil && o.files.Marked(line) {
		return o.long(line)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.said = true
	_, err := o.w.Write(append(oneLine(line), '\n'))
	return err
}

func (o *output) long(line []byte) error {
	defer o.files.Release(line)
	parts, err := o.files.Parts(line)
	if err != nil {
		return err
	}
	defer parts.Close()
	o.mu.Lock()
	defer o.mu.Unlock()
	o.said = true
	if _, err := parts.WriteLine(o.w); err != nil {
		return err
	}
	_, err = o.w.Write([]byte{'\n'})
	return err
}

// lastWord says why this is the end, to whom has heard nothing else.
func (o *output) lastWord(why error) {
	if o.mu.Lock(); o.said {
		o.mu.Unlock()
		return
	}
	o.mu.Unlock()
	params, err := jsonrpc.Edit([]byte(`{"level":"error","logger":"berth remote"}`), jsonrpc.Member{Name: "data", Value: jsonrpc.StringID(why.Error())})
	if err != nil {
		return
	}
	if line, err := jsonrpc.NewNotification("notifications/message", params); err == nil {
		_ = o.line(line) // it ends anyway
	}
}

// oneLine puts blanks for the line breaks of a message, which only stand between
// its tokens. The result may share its memory.
func oneLine(line []byte) []byte {
	if !bytes.ContainsAny(line, "\r\n") {
		return line
	}
	line = slices.Clone(line)
	for i, c := range line {
		if c == '\r' || c == '\n' {
			line[i] = ' '
		}
	}
	return line
}

// inMemory is how much of one message is kept in memory.
const inMemory = 1 << 20

// errTooLong: a message is longer than any that is passed on.
var errTooLong = errors.New("the server's message is longer than 128 MiB")

// piecemeal takes one message of the server's in pieces: the first of it in memory,
// what is longer to a file.
type piecemeal struct {
	files *spool.Store
	buf   []byte
	long  *spool.Spill
	n     int
}

func (p *piecemeal) Write(b []byte) (int, error) {
	if p.n += len(b); p.n > jsonrpc.MaxLine {
		p.forget()
		return 0, errTooLong
	}
	switch {
	case p.long != nil:
		return p.long.Write(b)
	case p.files == nil, len(p.buf)+len(b) <= inMemory:
		p.buf = append(p.buf, b...)
		return len(b), nil
	}
	p.long = p.files.Begin()
	_, _ = p.long.Write(p.buf)
	p.buf = nil
	return p.long.Write(b)
}

// take returns the message, or its outline, and begins the next.
func (p *piecemeal) take() ([]byte, error) {
	line, long := p.buf, p.long
	*p = piecemeal{files: p.files}
	if long != nil {
		return long.Finish()
	}
	return line, nil
}

// forget drops what there is of a message.
func (p *piecemeal) forget() {
	if p.long != nil {
		p.long.Abort()
	}
	*p = piecemeal{files: p.files}
}
