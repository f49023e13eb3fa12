package home

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/direct"
	"github.com/berth-run/berth/internal/fail"
)

const (
	// auditMaxBytes is the size at which the trail goes on in a new file.
	auditMaxBytes = 64 << 20
	// auditLockWait bounds the wait for other writers. They hold the lock for
	// the time of a few system calls.
	auditLockWait = 10 * time.Second
	// auditEndBlock is read first from the trail's end: most records fit.
	auditEndBlock = 4 << 10
)

// Append adds a record to the audit trail and returns it as it was stored: with
// its time unless it has one, its number, and the hash of what was before it.
// When Append returns without an error the record is on the disk, and no crash
// can take it away. With an error it may be there or not.
//
// A rest of a write that a crash cut off is closed first, and a record of
// berth.ActionAuditRepaired says so. The error of a full disk is ENOSPC; then
// the trail is as it was before.
func (h *Home) Append(rec berth.Record) (berth.Record, error) {
	stored, err := h.AppendAll([]berth.Record{rec})
	if err != nil {
		return berth.Record{}, err
	}
	return stored[0], nil
}

// AppendAll adds the records in their order, for the price of one: all are
// written and synced together.
func (h *Home) AppendAll(recs []berth.Record) ([]berth.Record, error) {
	if err := h.canWrite(); err != nil {
		return nil, err
	}
	stored, err := h.trail().append(recs)
	if err != nil {
		return nil, h.writeError(fmt.Errorf("write the audit trail: %w", err))
	}
	return stored, nil
}

// AuditGap returns the record that goes before records which are appended later
// than they should have been, since the disk was full or the like.
func AuditGap(kept []berth.Record, why string) berth.Record {
	detail := fmt.Sprintf("records that could not be written in time: %d (%s)", len(kept), why)
	if len(kept) > 0 {
		const layout = time.RFC3339
		detail = fmt.Sprintf("%s; they are of %s to %s", detail,
			auditTime(kept[0]).UTC().Format(layout), auditTime(kept[len(kept)-1]).UTC().Format(layout))
	}
	return berth.Record{Action: berth.ActionAuditGap, Detail: detail}
}

// trail is the audit trail in a directory: audit.jsonl, and the files before it.
type trail struct {
	dir      string
	maxBytes int64
	readOnly bool
}

func (h *Home) trail() trail {
	return trail{dir: h.path(auditDir), maxBytes: auditMaxBytes, readOnly: h.readOnly}
}

func (t trail) lock(wait time.Duration) (*Lock, error) {
	ctx, cancel := context.WithTimeoutCause(context.Background(), wait,
		fmt.Errorf("another process has held it for %v", wait))
	defer cancel()
	return WaitLock(ctx, t.path("audit.lock"))
}

// append adds the records. Only the bookkeeping is done under the lock: the
// syncs of several writers run at the same time, so that the system can make
// one of them.
func (t trail) append(recs []berth.Record) ([]berth.Record, error) {
	for i, rec := range recs {
		if strings.TrimSpace(rec.Action) == "" {
			return nil, fmt.Errorf("record %d of %d has no action", i+1, len(recs))
		}
	}
	if len(recs) == 0 {
		return nil, nil
	}
	w, err := t.write(recs)
	if err != nil {
		return nil, err
	}
	defer w.close()
	fail.Point("home.audit.written")
	if err := w.end.file.Sync(); err != nil {
		return nil, err
	}
	fail.Point("home.audit.synced")
	// The records are safe. A head that cannot be written lags behind, as after
	// a crash here, and the next one makes up for it.
	_ = t.acknowledge(w.headFile, w.end.head())
	fail.Point("home.audit.acknowledged")
	return w.stored, nil
}

// auditWritten is what was written but not synced yet.
type auditWritten struct {
	end      auditEnd
	headFile *os.File
	stored   []berth.Record
}

func (w auditWritten) close() {
	w.end.file.Close()
	w.headFile.Close()
}

// write writes the records, and what has to be said before them, at once.
func (t trail) write(recs []berth.Record) (w auditWritten, err error) {
	lock, err := t.lock(auditLockWait)
	if err != nil {
		return w, err
	}
	defer lock.Unlock()
	var head auditHead
	if w.headFile, head, err = t.openHead(); err != nil {
		return w, err
	}
	if w.end, err = t.openEnd(head); err != nil {
		w.headFile.Close()
		return w, err
	}
	if w.stored, err = w.end.add(head, recs); err != nil {
		w.close()
	}
	return w, err
}

// auditEnd is the current file, open, and how the trail ends in it.
type auditEnd struct {
	file  *os.File
	quick *direct.File // of file, where much is written; nil elsewhere
	size  int64
	chain auditChain
}

// head is what there is to acknowledge.
func (e *auditEnd) head() auditHead {
	return auditHead{Seq: e.chain.seq, Hash: e.chain.sum, Size: e.size}
}

// add writes the records at the end, at once, and before them what is wrong with
// it. If it fails the end is as it was.
func (e *auditEnd) add(head auditHead, recs []berth.Record) ([]berth.Record, error) {
	b := auditBatch{chain: e.chain}
	if err := b.account(head); err != nil {
		return nil, err
	}
	for _, rec := range recs {
		if err := b.add(rec); err != nil {
			return nil, err
		}
	}
	fail.Point("home.audit.write")
	var w io.Writer = e.file
	if e.quick != nil {
		w = e.quick
	}
	n, err := w.Write(b.data)
	if err != nil {
		return nil, errors.Join(err, auditTakeBack(e.file, e.size, n))
	}
	e.chain, e.size = b.chain, e.size+int64(n)
	return b.stored[len(b.stored)-len(recs):], nil
}

// auditTakeBack removes the n bytes of a write that did not succeed, unless
// something was written after them: then they are left as a fragment.
func auditTakeBack(file *os.File, size int64, n int) error {
	info, err := file.Stat()
	if err != nil || n == 0 || info.Size() != size+int64(n) {
		return err
	}
	return file.Truncate(size)
}

// auditBatch builds what is written at once.
type auditBatch struct {
	chain  auditChain
	data   []byte
	stored []berth.Record
}

// account says what is found wrong with the end of the trail before anything
// is written after it, which would hide it.
func (b *auditBatch) account(head auditHead) error {
	c := b.chain
	// The numbers of records that are missing stay theirs, so that verify finds
	// the gap.
	b.chain.seq = max(c.seq, head.Seq)
	if c.open > 0 {
		b.data = append(b.data, '\n')
	}
	var what []string
	if c.open > 0 {
		what = append(what, fmt.Sprintf("closed an unfinished line of %d bytes", c.open))
	}
	if c.bad > 0 {
		what = append(what, fmt.Sprintf("lines that are no records: %d (%d bytes)", c.bad, c.badBytes))
	}
	if len(what) > 0 {
		if err := b.add(berth.Record{Action: berth.ActionAuditRepaired, Detail: strings.Join(what, "; ")}); err != nil {
			return err
		}
	}
	if head.Seq <= c.seq {
		return nil
	}
	return b.add(berth.Record{
		Action: berth.ActionAuditGap,
		Detail: fmt.Sprintf("the trail ended with record %d, but %d records were acknowledged", c.seq, head.Seq),
	})
}

func (b *auditBatch) add(rec berth.Record) error {
	now := time.Now()
	switch {
	case rec.Time.IsZero() && rec.TimestampEpochSecs != 0:
		rec.Time = time.Unix(rec.TimestampEpochSecs, 0)
	case rec.Time.IsZero(), rec.Time.Year() < 0, rec.Time.Year() > 9999: // JSON has no other years
		rec.Time = now
	}
	rec.Time = rec.Time.Round(0).UTC()
	if rec.TimestampEpochSecs == 0 {
		rec.TimestampEpochSecs = rec.Time.Unix()
	}
	rec.Seq, rec.Prev = b.chain.seq+1, b.chain.sum
	line, rec, err := auditEncode(rec)
	if err != nil {
		return err
	}
	b.data = append(b.data, line...)
	b.stored = append(b.stored, rec)
	b.chain.add(auditLine{finished: true, sum: auditSum(line[:len(line)-1]), rec: rec})
	return nil
}

// openEnd opens the current file for appending, and says how the trail ends.
// Where the file is to be continued in a new one it opens that.
func (t trail) openEnd(head auditHead) (auditEnd, error) {
	file, err := logOpenAppend(t.path(auditCurrent))
	if err != nil {
		return auditEnd{}, err
	}
	e := auditEnd{file: file}
	info, err := file.Stat()
	if err == nil {
		e.size = info.Size()
		e.chain, err = t.end(file, e.size, head, t.olderFiles)
	}
	if err != nil {
		file.Close()
		return auditEnd{}, err
	}
	// A file is left only with a numbered line at its end, which its name tells.
	if e.size >= t.maxBytes && e.chain.others == 0 && e.chain.open == 0 {
		if err := t.rotate(file, e.chain.seq); err != nil {
			return auditEnd{}, err
		}
		if e.file, err = logOpenAppend(t.path(auditCurrent)); err != nil {
			return auditEnd{}, err
		}
		e.size = 0
	}
	if e.size == 0 {
		if err := syncDir(t.dir); err != nil { // or a synced file may have no name
			e.file.Close()
			return auditEnd{}, err
		}
	}
	return e, nil
}

// end reads how the trail ends in the file, which has size bytes. As a rule that
// takes its last line only. The lines before are read as far back as the last
// numbered one, if need be on into older files.
func (t trail) end(file *os.File, size int64, head auditHead, older func() ([]string, error)) (auditChain, error) {
	if size == 0 {
		return t.endBefore(head, older)
	}
	buf := make([]byte, auditEndBlock)
	if chain, ok, err := auditLastLine(file, size, head, buf); ok || err != nil {
		return chain, err
	}
	for lines := 16; ; lines *= 16 {
		p := tailPart{file: file, size: size}
		var err error
		if _, buf, err = p.seek(size, lines+1, buf); err != nil {
			return auditChain{}, err
		}
		var chain auditChain
		if p.from == 0 {
			if chain, err = t.endBefore(head, older); err != nil {
				return chain, err
			}
		}
		numbered, err := chain.read(io.NewSectionReader(file, p.from, size-p.from), head)
		if err != nil || numbered || p.from == 0 {
			return chain, err
		}
	}
}

// auditLastLine reads how the trail ends from the last line alone, if that is a
// numbered one and not longer than buf.
func auditLastLine(file *os.File, size int64, head auditHead, buf []byte) (chain auditChain, ok bool, err error) {
	buf = buf[:min(size, int64(len(buf)))]
	if _, err := file.ReadAt(buf, size-int64(len(buf))); err != nil && err != io.EOF {
		return chain, false, err
	}
	line, ok := bytes.CutSuffix(buf, []byte("\n"))
	begin := bytes.LastIndexByte(line, '\n') + 1
	if !ok || begin == 0 && int64(len(buf)) < size {
		return chain, false, nil
	}
	line = line[begin:]
	l := auditLine{finished: true, sum: auditSum(line)}
	if head.Seq > 0 && l.sum == head.Hash {
		// The common case: it is the line that the head is about. To parse it would
		// cost a shim 17 KiB for good, for what encoding/json learns of the type.
		l.rec.Seq = head.Seq
	} else if l.rec, l.err = auditParse(line); !l.numbered() {
		return chain, false, nil
	}
	chain.addKnown(l, head)
	return chain, true, nil
}

// addKnown adds a line. Where the head knows the hash of it, that counts, and
// not what the line was changed to.
func (c *auditChain) addKnown(l auditLine, head auditHead) {
	if l.numbered() && l.rec.Seq == head.Seq {
		l.sum = head.Hash
	}
	c.add(l)
}

// read adds the lines of r, and says whether one has a number.
func (c *auditChain) read(r io.Reader, head auditHead) (numbered bool, err error) {
	for in := newAuditLines(r); ; {
		l, err := in.next()
		if err == io.EOF {
			return numbered, nil
		}
		if err != nil {
			return numbered, err
		}
		numbered = numbered || l.numbered()
		c.addKnown(l, head)
		if !l.finished {
			return numbered, nil
		}
	}
}

// endBefore reads how the trail ends in the newest of the older files.
func (t trail) endBefore(head auditHead, older func() ([]string, error)) (auditChain, error) {
	names, err := older()
	if err != nil || len(names) == 0 {
		return auditChain{}, err
	}
	last := len(names) - 1
	file, err := logOpenShared(t.path(names[last]))
	if err != nil {
		return auditChain{}, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return auditChain{}, err
	}
	return t.end(file, info.Size(), head, func() ([]string, error) { return names[:last], nil })
}
