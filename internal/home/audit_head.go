package home

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"strconv"
)

// auditHead names the last record that was acknowledged. The trail alone cannot
// show that its end is missing.
type auditHead struct {
	Seq  uint64
	Hash string // of its line
	Size int64  // of the file, its newline included
}

// auditSlot is the size of one of the two lines in the head file, which is
// "seq hash size check" and spaces. The older of the two is overwritten: one
// that a crash tears, or that is read meanwhile, is told by its check sum, and
// the other still holds. Unlike a new file and a rename this takes no room on a
// full disk, and nothing more from the disk than the trail does.
const auditSlot = 256

// slot returns the line of the head.
func (h auditHead) slot() []byte {
	line := make([]byte, 0, auditSlot)
	line = strconv.AppendUint(line, h.Seq, 10)
	line = append(append(line, ' '), h.Hash...)
	line = strconv.AppendInt(append(line, ' '), h.Size, 10)
	check := auditSum(line)[:16]
	line = append(append(line, ' '), check...)
	for len(line) < auditSlot-1 {
		line = append(line, ' ')
	}
	return append(line, '\n')
}

// auditParseSlot returns the head in a line of the head file, if it is one.
func auditParseSlot(line []byte) (h auditHead, ok bool) {
	fields := bytes.Fields(line)
	if len(fields) != 4 {
		return h, false
	}
	seq, err := strconv.ParseUint(string(fields[0]), 10, 64)
	size, err2 := strconv.ParseInt(string(fields[2]), 10, 64)
	h = auditHead{Seq: seq, Hash: string(fields[1]), Size: size}
	return h, err == nil && err2 == nil && bytes.Equal(h.slot(), line)
}

// auditReadHead returns the head in an open head file, and the place that the
// next one goes to. It returns the zero head if there is none.
func auditReadHead(f *os.File) (head auditHead, next int64, err error) {
	var data [2 * auditSlot]byte
	n, err := f.ReadAt(data[:], 0)
	if err != nil && err != io.EOF {
		return head, 0, err
	}
	for at := 0; at+auditSlot <= n; at += auditSlot {
		if h, ok := auditParseSlot(data[at : at+auditSlot]); ok && h.Seq > head.Seq {
			head, next = h, int64(auditSlot-at) // the other one
		}
	}
	return head, next, nil
}

// openHead opens the head file and reads it. The caller has the lock.
func (t trail) openHead() (*os.File, auditHead, error) {
	f, err := os.OpenFile(t.path("head"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, auditHead{}, err
	}
	head, _, err := auditReadHead(f)
	if err != nil {
		f.Close()
		return nil, auditHead{}, err
	}
	return f, head, nil
}

// head returns the head, for a reader.
func (t trail) head() (auditHead, error) {
	f, err := logOpenShared(t.path("head"))
	if errors.Is(err, fs.ErrNotExist) {
		return auditHead{}, nil
	}
	if err != nil {
		return auditHead{}, err
	}
	defer f.Close()
	head, _, err := auditReadHead(f)
	return head, err
}

// acknowledge brings the head forward, unless another writer was faster. It is
// not synced: the trail is, and a head that lags behind after a power cut
// accuses nobody.
func (t trail) acknowledge(f *os.File, head auditHead) error {
	lock, err := t.lock(auditLockWait)
	if err != nil {
		return err
	}
	defer lock.Unlock()
	have, at, err := auditReadHead(f)
	if err != nil || have.Seq >= head.Seq {
		return err
	}
	_, err = f.WriteAt(head.slot(), at)
	return err
}
