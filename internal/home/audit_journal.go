package home

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"time"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/direct"
)

const (
	// journalSyncAfter is how long what was written waits for more before it is
	// synced: with the time that a sync takes, a tenth of a second.
	journalSyncAfter = 50 * time.Millisecond
	// journalKept bounds the records that wait for a disk that takes them.
	journalKept = 1000
	// journalRetry is how often they are tried again, all of them each time.
	journalRetry = time.Second
)

// AuditJournal appends to the audit trail for a process that has much to record. It
// differs from Append in two ways. The files stay open and the end of the trail
// is remembered, so that nothing is read while nobody else writes. And what is
// written is synced together with what follows: the end of any process loses
// none of it, a crash of the machine at most the last tenth of a second.
//
// Records that the disk does not take are kept and written later, after one that
// says so. Its methods may be called by several goroutines.
type AuditJournal struct {
	home  *Home
	trail trail
	lock  relock

	writing sync.Mutex // held while the trail is written; guards the fields below
	end     auditEnd   // as it was after the last write; no file before the first
	is      fs.FileInfo
	head    *os.File
	unsure  bool // whether it is so still
	kept    []berth.Record
	lost    int   // beyond what is kept
	why     error // the trail could not be written
	tried   time.Time
	closed  bool

	mu    sync.Mutex // guards the fields below
	batch *journalBatch
	round *journalRound // what is written now belongs to it

	work  chan struct{} // a token: something is to be synced
	hurry chan struct{} // a token: somebody waits for it
	quit  chan struct{}
	done  chan struct{}
}

// journalBatch is what goroutines that come together write at once.
type journalBatch struct {
	recs []berth.Record
	done bool // with err; guarded by AuditJournal.writing
	err  error
}

// journalRound is one sync.
type journalRound struct {
	done chan struct{}
	err  error // set before done is closed
}

// AuditJournal returns a journal of the home's audit trail, to be closed.
func (h *Home) AuditJournal() *AuditJournal { return newJournal(h, h.trail()) }

func newJournal(h *Home, t trail) *AuditJournal {
	j := &AuditJournal{
		home: h, trail: t, lock: relock{path: t.path("audit.lock")},
		round: &journalRound{done: make(chan struct{})},
		work:  make(chan struct{}, 1), hurry: make(chan struct{}, 1),
		quit: make(chan struct{}), done: make(chan struct{}),
	}
	go j.run()
	return j
}

// Append writes a record. It returns once the record is written, and does not
// wait until it is on the disk.
func (j *AuditJournal) Append(rec berth.Record) error {
	err := j.write(rec)
	j.sync(false)
	return err
}

// Commit writes a record and returns once it is on the disk.
func (j *AuditJournal) Commit(rec berth.Record) error {
	if err := j.write(rec); err != nil {
		return err
	}
	r := j.sync(true)
	select {
	case <-r.done:
		return j.fault(r.err)
	case <-j.done:
		return j.fault(os.ErrClosed)
	}
}

// Ready returns why the trail cannot be written, if that is so.
func (j *AuditJournal) Ready() error {
	j.writing.Lock()
	defer j.writing.Unlock()
	if j.why == nil {
		return nil
	}
	return j.fault(j.put(nil))
}

// Close writes down what is left to be, and ends the journal.
func (j *AuditJournal) Close() error {
	close(j.quit)
	<-j.done
	j.writing.Lock()
	defer j.writing.Unlock()
	j.closed = true
	err := j.why
	if j.end.file != nil {
		err = errors.Join(err, j.end.file.Close(), j.head.Close())
	}
	j.lock.close()
	return j.fault(err)
}

func (j *AuditJournal) fault(err error) error {
	if err == nil {
		return nil
	}
	return j.home.writeError(fmt.Errorf("write the audit trail: %w", err))
}

// write writes a record together with those of others who come meanwhile: the
// first who may write does so for all.
func (j *AuditJournal) write(rec berth.Record) error {
	if rec.Time.IsZero() {
		rec.Time = time.Now()
	}
	j.mu.Lock()
	b := j.batch
	if b == nil {
		b = &journalBatch{}
		j.batch = b
	}
	b.recs = append(b.recs, rec)
	j.mu.Unlock()

	j.writing.Lock()
	defer j.writing.Unlock()
	if !b.done {
		j.mu.Lock()
		j.batch = nil // who comes now is not in it
		j.mu.Unlock()
		b.err = j.put(b.recs)
		b.done = true
	}
	return j.fault(b.err)
}

// put writes records after those that are kept. The caller has j.writing.
func (j *AuditJournal) put(recs []berth.Record) error {
	if j.why == nil && len(recs) == 0 {
		return nil
	}
	err := j.why
	if err == nil || time.Since(j.tried) >= journalRetry {
		j.tried = time.Now()
		err = j.append(j.due(recs))
	}
	if err != nil {
		room := min(len(recs), journalKept-len(j.kept))
		j.kept = append(j.kept, recs[:room]...)
		j.lost += len(recs) - room
		j.why = err
		return err
	}
	j.kept, j.lost, j.why = nil, 0, nil
	return nil
}

// due is what there is to be written: first what is late.
func (j *AuditJournal) due(recs []berth.Record) []berth.Record {
	if len(j.kept) == 0 {
		return recs
	}
	why := j.why.Error()
	if j.lost > 0 {
		why = fmt.Sprintf("%s; records after them that are lost: %d", why, j.lost)
	}
	return append(append([]berth.Record{AuditGap(j.kept, why)}, j.kept...), recs...)
}

// append writes records under the lock of the trail.
func (j *AuditJournal) append(recs []berth.Record) error {
	if j.closed {
		return os.ErrClosed
	}
	if err := j.home.canWrite(); err != nil {
		return err
	}
	if err := j.lock.take(auditLockWait); err != nil {
		return err
	}
	defer j.lock.release()
	var (
		head auditHead // has nothing to say of an end that is ours
		err  error
	)
	if !j.same() {
		head, err = j.reopen()
	}
	if err == nil && len(recs) > 0 {
		_, err = j.end.add(head, recs)
	}
	j.unsure = err != nil
	return err
}

// same says whether the trail ends as it did after the last write here. A file
// that is full is left to reopen, so that it is not missed when another process
// has put it aside.
func (j *AuditJournal) same() bool {
	if j.unsure || j.end.file == nil || j.end.size >= j.trail.maxBytes {
		return false
	}
	size, ok := j.end.quick.InPlace()
	return ok && size == j.end.size
}

// reopen finds the end of the trail.
func (j *AuditJournal) reopen() (auditHead, error) {
	headFile, head, err := j.trail.openHead()
	if err != nil {
		return head, err
	}
	end, err := j.trail.openEnd(head)
	if err != nil {
		headFile.Close()
		return head, err
	}
	is, err := end.file.Stat()
	if err == nil {
		end.quick, err = direct.NewFile(end.file, j.trail.path(auditCurrent))
	}
	if err != nil {
		headFile.Close()
		end.file.Close()
		return head, err
	}
	switch {
	case j.end.file == nil:
	case os.SameFile(is, j.is):
		// Its descriptor stays the same: it may be being synced.
		end.file.Close()
		headFile.Close()
		end.file, end.quick, headFile = j.end.file, j.end.quick, j.head
	default:
		// Who puts a file aside syncs it; but this one may have been removed.
		_ = j.end.file.Sync()
		j.end.file.Close()
		j.head.Close()
	}
	j.end, j.is, j.head = end, is, headFile
	return head, nil
}

// sync has what is written be synced, in a hurry if somebody waits, and returns
// the round in which that happens.
func (j *AuditJournal) sync(hurry bool) *journalRound {
	j.mu.Lock()
	r := j.round
	j.mu.Unlock()
	token(j.work)
	if hurry {
		token(j.hurry)
	}
	return r
}

func token(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// run syncs, in a goroutine of its own.
func (j *AuditJournal) run() {
	defer close(j.done)
	wait := time.NewTimer(journalSyncAfter)
	wait.Stop()
	for {
		select {
		case <-j.quit:
			j.flush()
			return
		case <-j.work:
			wait.Reset(journalSyncAfter)
			select {
			case <-wait.C:
			case <-j.hurry:
			case <-j.quit:
			}
			wait.Stop()
		case <-wait.C: // a retry
		}
		if !j.flush() {
			wait.Reset(journalRetry)
		}
	}
}

// flush syncs what is written and says whether nothing is left to be written.
func (j *AuditJournal) flush() bool {
	j.mu.Lock()
	r := j.round
	j.round = &journalRound{done: make(chan struct{})}
	j.mu.Unlock()
	// Whoever belongs to that round has written.
	j.writing.Lock()
	if len(j.kept) > 0 {
		_ = j.put(nil) // j.why says it
	}
	file, headFile, head, clean := j.end.file, j.head, j.end.head(), len(j.kept) == 0
	j.writing.Unlock()
	if file != nil {
		// One that was closed meanwhile was synced before that.
		if err := file.Sync(); err != nil && !errors.Is(err, os.ErrClosed) {
			r.err = err
		} else if err == nil {
			_ = j.trail.acknowledge(headFile, head) // one that lags behind accuses nobody
		}
	}
	close(r.done)
	return clean
}
