package shim

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"syscall"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/home"
)

// The shim's protocol, version 2. A frame is one byte of kind, four bytes of
// length (big endian) and that many bytes:
//
//	C  client → shim  a request; the first frame of a connection
//	R  shim → client  the answer to it
//	S  shim → client  the server's status changed (watch, attach)
//	L  both ways      a piece of one line of the server's stdin or stdout
//	N  client → shim  the attacher's note alone
//	H  client → shim  the attacher lives
//
// A line travels as one or more L frames: eight bytes of generation, one byte
// of flags, then, if flagNote is set, four bytes of length and the note, then
// bytes of the line without its newline. The others carry messages, in the form
// that coder has. Frames never exceed maxFrame.
const (
	wireVersion = 2
	// confinedVersion is that of what only a shim can take which knows how to confine:
	// an older one would overlook it, and start the server as if nothing were said.
	confinedVersion = 3

	frameRequest   = 'C'
	frameReply     = 'R'
	frameStatus    = 'S'
	frameLine      = 'L'
	frameNote      = 'N'
	frameHeartbeat = 'H'

	flagLast  = 1 << 0 // the line ends here
	flagNote  = 1 << 1 // a note comes before the bytes; in a first piece only
	flagAbort = 1 << 2 // forget the pieces of this line: it was too long

	frameHeader = 5
	lineHeader  = 9
	// maxFrame bounds what a peer makes the other buffer.
	maxFrame = 1 << 20
	// pieceSize is the most bytes of a line that one frame carries: a frame fits
	// into a buffer.
	pieceSize = bufferSize - frameHeader - lineHeader
	// MaxNote bounds a note, in bytes.
	MaxNote = 512 << 10
	// MaxLine bounds a line in either direction, in bytes.
	MaxLine = 128 << 20
)

// ErrProtocol reports bytes that are not the shim's protocol.
var ErrProtocol = errors.New("not the shim's protocol")

// appendFrame appends a whole frame to b.
func appendFrame(b []byte, kind byte, payload []byte) []byte {
	b = append(b, kind)
	b = binary.BigEndian.AppendUint32(b, uint32(len(payload)))
	return append(b, payload...)
}

// appendLineHead appends the head of an L frame whose data, n bytes, follows.
func appendLineHead(b []byte, generation uint64, flags byte, note []byte, n int) []byte {
	size := lineHeader + n
	if flags&flagNote != 0 {
		size += 4 + len(note)
	}
	b = append(b, frameLine)
	b = binary.BigEndian.AppendUint32(b, uint32(size))
	b = binary.BigEndian.AppendUint64(b, generation)
	b = append(b, flags)
	if flags&flagNote != 0 {
		b = binary.BigEndian.AppendUint32(b, uint32(len(note)))
		b = append(b, note...)
	}
	return b
}

// piece is one decoded L frame; its slices alias the frame's payload.
type piece struct {
	generation uint64
	flags      byte
	note       []byte
	data       []byte
}

func parsePiece(payload []byte) (piece, error) {
	if len(payload) < lineHeader {
		return piece{}, fmt.Errorf("%w: a line frame of %d bytes", ErrProtocol, len(payload))
	}
	p := piece{
		generation: binary.BigEndian.Uint64(payload),
		flags:      payload[8],
		data:       payload[lineHeader:],
	}
	if p.flags&flagNote != 0 {
		if len(p.data) < 4 {
			return piece{}, fmt.Errorf("%w: a note without its length", ErrProtocol)
		}
		n := binary.BigEndian.Uint32(p.data)
		p.data = p.data[4:]
		if n > MaxNote || int(n) > len(p.data) {
			return piece{}, fmt.Errorf("%w: a note of %d bytes", ErrProtocol, n)
		}
		p.note, p.data = p.data[:n:n], p.data[n:]
	}
	return p, nil
}

// frameReader reads frames into a buffer that it keeps, as many at once as there
// are.
type frameReader struct {
	r       io.Reader
	buf     []byte
	from    int      // what was read ahead begins here
	buffers *buffers // where it borrows; nil: it makes its own
	lent    *buffer  // what buf is part of
}

// readAhead is how much is read at once without a buffer to borrow, in bytes.
const readAhead = 4 << 10

// next returns the next frame; its payload is valid until the call after. io.EOF
// means that the peer ended the stream between two frames. After an error of the
// reader that passes, such as a deadline, the next call goes on.
func (f *frameReader) next() (byte, []byte, error) {
	head, err := f.ahead(frameHeader)
	if err != nil {
		return 0, nil, err
	}
	n := binary.BigEndian.Uint32(head[1:])
	if n > maxFrame {
		return 0, nil, fmt.Errorf("%w: a frame of %d bytes", ErrProtocol, n)
	}
	frame, err := f.ahead(frameHeader + int(n))
	if err != nil {
		return 0, nil, err
	}
	f.from += len(frame)
	return frame[0], frame[frameHeader:], nil
}

// ahead returns the next n bytes without stepping over them.
func (f *frameReader) ahead(n int) ([]byte, error) {
	if f.from == len(f.buf) {
		f.from, f.buf = 0, f.buf[:0]
	}
	if f.from+n > cap(f.buf) {
		f.makeRoom(n)
	}
	for len(f.buf)-f.from < n {
		k, err := f.r.Read(f.buf[len(f.buf):cap(f.buf)])
		f.buf = f.buf[:len(f.buf)+k]
		switch {
		case k > 0:
		case err == io.EOF && len(f.buf) > f.from:
			return nil, fmt.Errorf("%w: a frame cut short", ErrProtocol)
		case err != nil:
			return nil, err
		}
	}
	return f.buf[f.from : f.from+n : f.from+n], nil
}

// makeRoom has the buffer hold n bytes from where it is read.
func (f *frameReader) makeRoom(n int) {
	rest, lent, old := f.buf[f.from:], f.lent, cap(f.buf)
	switch {
	case n <= old && f.from > 0:
		f.buf = f.buf[:old]
	case f.buffers != nil && n <= bufferSize:
		f.lent = f.buffers.get()
		f.buf = f.lent[:]
	default:
		f.lent, f.buf = nil, make([]byte, max(n, readAhead))
	}
	f.buf = f.buf[:copy(f.buf, rest)]
	f.from = 0
	if lent != f.lent {
		f.buffers.put(lent)
	}
}

// free gives the buffer back.
func (f *frameReader) free() {
	f.buffers.put(f.lent)
	f.lent, f.buf, f.from = nil, nil, 0
}

// request is what a client asks of a shim.
type request struct {
	Version int
	Op      string
	// Spec and Environ replace the shim's own (start, restart).
	Spec    *berth.ProcessSpec
	Environ []string
	// Steal takes the attachment from a holder that shows no life.
	Steal bool
	// Generation is the one that the request is about (renew, rest): another is
	// left alone.
	Generation uint64
	// Executable is the binary to become (upgrade).
	Executable string
	// Reason is why the server is stopped, for the audit trail (rest).
	Reason string
}

// The operations.
const (
	opStatus  = "status"
	opWatch   = "watch"
	opStart   = "start"
	opStop    = "stop"
	opRestart = "restart"
	opRenew   = "renew"
	opAttach  = "attach"
	opUpgrade = "upgrade"
	opRest    = "rest"
)

// reply answers a request, and the greeting of a launch.
type reply struct {
	Version int
	Error   *wireError
	Status  *berth.Status
	Outcome int
	// Busy: another shim of this server holds the lock (launch only).
	Busy bool
	// Failure belongs to a watch; see statusFrame.
	Failure *wireError
	// Epoch and Note belong to an attachment.
	Epoch uint64
	Note  []byte
}

// statusFrame is the payload of an S frame.
type statusFrame struct {
	berth.Status
	// Failure is why the server could not be started, if it is down for that.
	Failure *wireError
}

// noteFrame is the payload of an N frame.
type noteFrame struct {
	Generation uint64
	Note       []byte
	// Ready is what the handshake told; it makes the phase "ready".
	Ready *berth.MCPInfo
}

// wireError carries an error across the socket with the sentinel that callers
// branch on.
type wireError struct {
	Kind string
	// Also are further kinds that it is of.
	Also    []string
	Message string
	Hint    string
}

// kindReplace is the kind of ErrReplace.
const kindReplace = "replace"

// tooOld says whether a shim that knew no such kind says that it is too old for the
// request: one of a release before the kind was made.
func (w *wireError) tooOld() bool {
	return w != nil && w.Kind == "" && strings.HasPrefix(w.Message, "this shim speaks version ")
}

// sentinels are the errors that survive the socket, most specific first.
func sentinels() []struct {
	kind string
	err  error
} {
	return []struct {
		kind string
		err  error
	}{
		{kindReplace, ErrReplace},
		{"denied", berth.ErrDenied},
		{"unenforced", berth.ErrUnenforced},
		{"invalid-spec", berth.ErrInvalidSpec},
		{"bad-state", berth.ErrBadState},
		{"bad-config", berth.ErrBadConfig},
		{"not-running", berth.ErrNotRunning},
		{"held", berth.ErrHeld},
		{"escaped", berth.ErrEscaped},
		{"unfit-home", berth.ErrUnfitHome},
		{"no-space", syscall.ENOSPC},
		{"read-only", syscall.EROFS},
		{"not-executable", syscall.ENOEXEC},
		{"not-a-directory", syscall.ENOTDIR},
		{"too-long", syscall.E2BIG},
		{"name-too-long", syscall.ENAMETOOLONG},
		{"not-exist", fs.ErrNotExist},
		{"permission", fs.ErrPermission},
		{"unsupported", errors.ErrUnsupported},
	}
}

func toWire(err error) *wireError {
	if err == nil {
		return nil
	}
	w := &wireError{Message: err.Error()}
	var hinted *berth.Hinted
	if errors.As(err, &hinted) {
		w.Hint = hinted.Hint
	}
	for _, s := range sentinels() {
		if errors.Is(err, s.err) {
			if w.Kind == "" {
				w.Kind = s.kind
			} else {
				w.Also = append(w.Also, s.kind)
			}
		}
	}
	return w
}

// otherFailure is the kind of an error that callers do not branch on.
const otherFailure = "other"

// failureKind is what a state file says of an error; "" of none.
func failureKind(err error) string {
	if err == nil {
		return ""
	}
	if kind := toWire(err).Kind; kind != "" {
		return kind
	}
	return otherFailure
}

// Failure is the error with which a server could not be started, by its state;
// nil if it went down for another reason.
func Failure(st home.State) error {
	if st.Failure == "" {
		return nil
	}
	return (&wireError{Kind: st.Failure, Message: st.Reason}).err()
}

func (w *wireError) err() error {
	if w == nil {
		return nil
	}
	var kinds []error
	for _, s := range sentinels() {
		if s.kind == w.Kind || slices.Contains(w.Also, s.kind) {
			kinds = append(kinds, s.err)
		}
	}
	var err error = &remoteError{message: w.Message, kind: errors.Join(kinds...)}
	if w.Hint != "" {
		err = berth.WithHint(err, w.Hint)
	}
	return err
}

// remoteError is an error that happened in the shim.
type remoteError struct {
	message string
	kind    error
}

func (e *remoteError) Error() string { return e.message }
func (e *remoteError) Unwrap() error { return e.kind }

// send writes one frame with a message in one write.
func send(w io.Writer, kind byte, m message) error {
	b, err := frame(kind, m)
	if err != nil {
		return err
	}
	_, err = w.Write(b)
	return err
}

// frame is a whole frame with a message.
func frame(kind byte, m message) ([]byte, error) {
	b := encode(appendFrame(nil, kind, nil), m)
	n := len(b) - frameHeader
	if n > maxFrame {
		return nil, fmt.Errorf("%w: a frame of %d bytes", ErrProtocol, n)
	}
	binary.BigEndian.PutUint32(b[1:], uint32(n))
	return b, nil
}
