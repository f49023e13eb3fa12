package shim

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/berth-run/berth"
)

// scribe appends audit records in a goroutine of its own, in order, so that an
// fsync never delays a restart. What the disk would not take is kept and tried
// again.
type scribe struct {
	append func([]berth.Record) error
	wake   chan struct{}
	quit   chan struct{}
	tell   func() // called whenever the scribe has become idle

	outstanding atomic.Int64 // records that are not on the disk yet

	mu   sync.Mutex // guards jobs
	jobs []scribeJob

	backlog []berth.Record // of the goroutine; oldest first
	failure error          // why there is a backlog
}

type scribeJob struct {
	records []berth.Record
	done    func(error) // may be nil
}

// retryEvery is how often a backlog, or a state that could not be written, is
// tried again.
const retryEvery = 5 * time.Second

func newScribe(appendAll func([]berth.Record) error, tell func()) *scribe {
	return &scribe{append: appendAll, tell: tell, wake: make(chan struct{}, 1), quit: make(chan struct{})}
}

// write queues records. If want is set, done is called once they are on the
// disk or could not be put there; otherwise never.
func (s *scribe) write(records []berth.Record, want bool, done func(error)) {
	if !want {
		done = nil
	}
	if len(records) == 0 && done == nil {
		return
	}
	s.outstanding.Add(int64(len(records)) + 1) // the job itself counts until it was answered
	s.mu.Lock()
	s.jobs = append(s.jobs, scribeJob{records, done})
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// idle says whether every record is on the disk.
func (s *scribe) idle() bool { return s.outstanding.Load() == 0 }

// run is the goroutine; close ends it.
func (s *scribe) run() {
	retry := time.NewTimer(time.Hour)
	retry.Stop()
	for {
		select {
		case <-s.quit:
			return
		case <-s.wake:
		case <-retry.C:
		}
		s.mu.Lock()
		jobs := s.jobs
		s.jobs = nil
		s.mu.Unlock()
		if len(jobs) == 0 {
			jobs = []scribeJob{{}} // a retry
		}
		for _, j := range jobs {
			err := s.put(j.records)
			if j.done != nil {
				j.done(err)
			}
			if j.done != nil || len(j.records) > 0 {
				s.outstanding.Add(-1)
			}
		}
		if len(s.backlog) > 0 {
			retry.Reset(retryEvery)
		}
		if s.idle() {
			s.tell()
		}
	}
}

// put writes the records after whatever is owed from before.
func (s *scribe) put(records []berth.Record) error {
	all := records
	if len(s.backlog) > 0 {
		gap := berth.Record{
			TimestampEpochSecs: time.Now().Unix(),
			Server:             s.backlog[0].Server,
			Action:             berth.ActionAuditGap,
			Detail:             fmt.Sprintf("%d records written late: %v", len(s.backlog), s.failure),
		}
		all = append(append([]berth.Record{gap}, s.backlog...), records...)
	}
	if len(all) == 0 {
		return nil
	}
	if err := s.append(all); err != nil {
		s.backlog = append(s.backlog, records...)
		s.failure = err
		return err
	}
	s.outstanding.Add(-int64(len(s.backlog) + len(records)))
	s.backlog, s.failure = nil, nil
	return nil
}

func (s *scribe) close() { close(s.quit) }
