package shim

import (
	"bytes"
	"fmt"
	"io"
	"os"
)

// assembly collects the pieces of one line from the attacher: in buffers while
// they are few, in an unlinked file beyond that.
type assembly struct {
	buffers *buffers
	scratch func() (*os.File, error)

	generation uint64
	note       []byte
	kept       []keptPiece // before the last one, unless they are in file
	last       []byte      // as it was given to add
	file       *os.File
	size       int64
	newline    [1]byte
}

type keptPiece struct {
	data   []byte
	buffer *buffer // nil if it did not fit into one
}

// assemblyKept is how many pieces are kept before they go to a file.
const assemblyKept = 3

// add takes a piece. The last one is not copied: it has to stay as it is until
// the line is written.
func (in *assembly) add(p piece) error {
	if p.note != nil {
		in.note = append([]byte(nil), p.note...)
	}
	in.generation = p.generation
	if in.size += int64(len(p.data)); in.size > MaxLine {
		return fmt.Errorf("%w: a line of more than %d bytes", ErrProtocol, MaxLine)
	}
	if p.flags&flagLast != 0 {
		in.last = p.data
		return nil
	}
	if in.file == nil && len(in.kept) < assemblyKept {
		in.keep(p.data)
		return nil
	}
	if err := in.spill(); err != nil {
		return err
	}
	_, err := in.file.Write(p.data)
	return err
}

func (in *assembly) keep(data []byte) {
	if len(data) > bufferSize {
		in.kept = append(in.kept, keptPiece{bytes.Clone(data), nil})
		return
	}
	b := in.buffers.get()
	in.kept = append(in.kept, keptPiece{b[:copy(b[:], data)], b})
}

// spill moves what is kept to a file.
func (in *assembly) spill() error {
	if in.file != nil {
		return nil
	}
	f, err := in.scratch()
	if err != nil {
		return err
	}
	in.file = f
	for _, k := range in.kept {
		if _, err := f.Write(k.data); err != nil {
			return err
		}
	}
	in.release()
	return nil
}

func (in *assembly) release() {
	for _, k := range in.kept {
		in.buffers.put(k.buffer)
	}
	in.kept = in.kept[:0]
}

// WriteTo writes the whole line with its newline.
func (in *assembly) WriteTo(w io.Writer) (int64, error) {
	for _, k := range in.kept {
		if _, err := w.Write(k.data); err != nil {
			return 0, err
		}
	}
	if in.file != nil {
		if _, err := in.file.Seek(0, io.SeekStart); err != nil {
			return 0, err
		}
		buf := in.buffers.get()
		_, err := io.CopyBuffer(writerOnly{w}, readerOnly{in.file}, buf[:])
		in.buffers.put(buf)
		if err != nil {
			return 0, err
		}
	}
	if err := in.writeEnd(w); err != nil {
		return 0, err
	}
	return in.size + 1, nil
}

// writeEnd writes the last piece and the newline, if possible in one call of the
// system.
func (in *assembly) writeEnd(w io.Writer) error {
	in.newline[0] = '\n'
	if w, ok := w.(stdinPipe); ok {
		_, err := w.WriteTwo(in.last, in.newline[:])
		return err
	}
	if _, err := w.Write(in.last); err != nil {
		return err
	}
	_, err := w.Write(in.newline[:])
	return err
}

// reset forgets the line.
func (in *assembly) reset() {
	if in.file != nil {
		in.file.Close()
	}
	in.release()
	*in = assembly{buffers: in.buffers, scratch: in.scratch, kept: in.kept}
}

// readerOnly hides WriteTo and writerOnly hides ReadFrom, which would try splice
// and sendfile on pairs of descriptors where the kernel refuses them.
type (
	readerOnly struct{ io.Reader }
	writerOnly struct{ io.Writer }
)
