package shim

import "io"

// LongLine is the longest line that Read takes into memory if SpillTo was called,
// in bytes.
const LongLine = 1 << 20

// Spill takes a long line in pieces. Its writes do not fail.
type Spill interface {
	io.Writer
	// Finish returns what Read is to return for the line.
	Finish() []byte
	// Abort is called instead if the line has no end.
	Abort()
}

// SpillTo has lines of more than LongLine bytes go to what begin returns while
// they are read. It is called before the first Read.
func (a *Attachment) SpillTo(begin func() Spill) { a.spill = begin }
