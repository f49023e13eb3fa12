package shim

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/berth-run/berth"
)

// disk is an audit trail on a disk that may be full.
type disk struct {
	mu      sync.Mutex // guards the fields below
	records []berth.Record
	full    error
	tries   int
	told    int
}

func (d *disk) append(records []berth.Record) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.tries++
	if d.full != nil {
		return d.full
	}
	d.records = append(d.records, records...)
	return nil
}

func (d *disk) tell() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.told++
}

func (d *disk) fill(full error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.full = full
}

// counts returns how often it was tried and told, and forgets it.
func (d *disk) counts() (tries, told int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	tries, told = d.tries, d.told
	d.tries, d.told = 0, 0
	return tries, told
}

// details are the records in words: their detail, or "gap".
func (d *disk) details() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var words []string
	for _, r := range d.records {
		if r.Action == berth.ActionAuditGap {
			words = append(words, "gap")
		} else {
			words = append(words, r.Detail)
		}
	}
	return strings.Join(words, " ")
}

func numbered(n ...int) []berth.Record {
	var records []berth.Record
	for _, i := range n {
		records = append(records, berth.Record{Server: "github", Action: berth.ActionStart, Detail: fmt.Sprint(i)})
	}
	return records
}

// scribeTo runs a scribe for the length of a synctest bubble.
func scribeTo(t *testing.T, d *disk) *scribe {
	s := newScribe(d.append, d.tell)
	go s.run()
	t.Cleanup(s.close)
	return s
}

// answers is what done is called with.
type answers struct {
	mu  sync.Mutex // guards all
	all []error
}

func (a *answers) done(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.all = append(a.all, err)
}

// got returns the answers since the last call.
func (a *answers) got() []error {
	a.mu.Lock()
	defer a.mu.Unlock()
	all := a.all
	a.all = nil
	return all
}

func TestScribeWritesInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d disk
		var a answers
		s := scribeTo(t, &d)
		if !s.idle() {
			t.Error("new, and not idle")
		}
		s.write(nil, false, a.done)
		if !s.idle() {
			t.Error("nothing to write, and not idle")
		}
		s.write(numbered(1, 2), true, a.done)
		s.write(numbered(3), false, a.done)
		s.write(nil, true, a.done)
		if s.idle() {
			t.Error("idle before anything is written")
		}
		synctest.Wait()
		if d.details() != "1 2 3" {
			t.Errorf("written %q", d.details())
		}
		if got := a.got(); len(got) != 2 || got[0] != nil || got[1] != nil {
			t.Errorf("answers %v, want two", got)
		}
		if _, told := d.counts(); !s.idle() || told == 0 {
			t.Errorf("idle %v, told %d times", s.idle(), told)
		}
		s.write(numbered(4), true, nil)
		s.write(nil, true, nil) // nobody to answer
		synctest.Wait()
		if d.details() != "1 2 3 4" || !s.idle() {
			t.Errorf("written %q, idle %v", d.details(), s.idle())
		}
	})
}

// The answer comes while the scribe still counts as busy: whoever sees it idle
// finds no answer outstanding.
func TestScribeAnswersBeforeItIsIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d disk
		s := scribeTo(t, &d)
		idle := make(chan bool, 1)
		s.write(numbered(1), true, func(error) { idle <- s.idle() })
		if <-idle {
			t.Error("idle before the answer")
		}
	})
}

func TestScribeKeepsWhatTheDiskWouldNotTake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		full := errors.New("no space left on device")
		var d disk
		var a answers
		d.fill(full)
		s := scribeTo(t, &d)
		s.write(numbered(1, 2), true, a.done)
		synctest.Wait()
		s.write(numbered(3), true, a.done)
		synctest.Wait()
		s.write(numbered(4), false, nil)
		synctest.Wait()
		if got := a.got(); len(got) != 2 || got[0] != full || got[1] != full {
			t.Errorf("answers %v, want two that say why", got)
		}
		if _, told := d.counts(); s.idle() || told > 0 || d.details() != "" {
			t.Errorf("idle %v, told %d times, %q written", s.idle(), told, d.details())
		}
		time.Sleep(retryEvery * 10)
		synctest.Wait()
		if tries, _ := d.counts(); tries != 10 {
			t.Errorf("%d tries in the time of 10", tries)
		}
		d.fill(nil)
		time.Sleep(retryEvery)
		synctest.Wait()
		if d.details() != "gap 1 2 3 4" {
			t.Fatalf("written %q", d.details())
		}
		gap := d.records[0]
		if gap.Server != "github" || gap.TimestampEpochSecs != time.Now().Unix() || gap.Detail != "4 records written late: no space left on device" {
			t.Errorf("the gap is %+v", gap)
		}
		if _, told := d.counts(); !s.idle() || told == 0 || len(a.got()) != 0 {
			t.Errorf("idle %v, told %d times, or answered again", s.idle(), told)
		}
		time.Sleep(time.Hour)
		s.write(numbered(5), true, a.done)
		synctest.Wait()
		if tries, _ := d.counts(); d.details() != "gap 1 2 3 4 5" || tries != 1 {
			t.Errorf("then %q in %d tries", d.details(), tries)
		}
		if got := a.got(); len(got) != 1 || got[0] != nil {
			t.Errorf("answers %v", got)
		}
	})
}

// What is written next takes the backlog along: nobody waits for the timer.
func TestScribeMakesUpWithTheNextRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d disk
		var a answers
		d.fill(errors.New("full"))
		s := scribeTo(t, &d)
		s.write(numbered(1), false, nil)
		synctest.Wait()
		d.fill(nil)
		s.write(numbered(2), true, a.done)
		synctest.Wait()
		if got := a.got(); d.details() != "gap 1 2" || len(got) != 1 || got[0] != nil || !s.idle() {
			t.Errorf("%q, %v, idle %v", d.details(), got, s.idle())
		}
	})
}

// Any story: the disk fails and recovers, records come at any time. In the end
// every record is there once and in order, every wanted answer came once, and
// said the truth at its time.
func TestScribeInAnyStory(t *testing.T) {
	for seed := range uint64(50) {
		synctest.Test(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 0))
			var d disk
			var a answers
			s := scribeTo(t, &d)
			next, owed := 0, 0 // records written; those that the disk does not have
			var full error
			for range 100 {
				var want []error // the answers of this step
				switch r.IntN(5) {
				case 0:
					full = nil
					d.fill(full)
				case 1:
					full = fmt.Errorf("full at %d", next)
					d.fill(full)
				case 2:
					time.Sleep(time.Duration(r.IntN(8)) * time.Second)
				default:
					var records []berth.Record
					for range r.IntN(3) {
						records = append(records, numbered(next)...)
						next++
					}
					answer := r.IntN(2) == 0
					if answer && owed+len(records) > 0 {
						want = append(want, full)
					} else if answer {
						want = append(want, nil) // nothing is missing
					}
					s.write(records, answer, a.done)
				}
				synctest.Wait()
				owed = next - len(strings.Fields(strings.ReplaceAll(d.details(), "gap", "")))
				if s.idle() != (owed == 0) {
					t.Fatalf("seed %d: idle %v, and %d records are not on the disk", seed, s.idle(), owed)
				}
				if got := a.got(); !slices.Equal(got, want) {
					t.Fatalf("seed %d: answers %v, want %v", seed, got, want)
				}
			}
			d.fill(nil)
			d.counts()
			time.Sleep(retryEvery)
			synctest.Wait()
			if _, told := d.counts(); !s.idle() || owed > 0 && told == 0 {
				t.Errorf("seed %d: at the end idle %v, told %d times", seed, s.idle(), told)
			}
			got := strings.Fields(strings.ReplaceAll(d.details(), "gap", ""))
			for i, n := range got {
				if n != fmt.Sprint(i) {
					t.Fatalf("seed %d: record %d is %s", seed, i, n)
				}
			}
			if len(got) != next {
				t.Errorf("seed %d: %d records of %d", seed, len(got), next)
			}
		})
	}
}

// Writers never wait for the disk.
func TestScribeWriteDoesNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := make(chan struct{})
		var d disk
		s := newScribe(func(records []berth.Record) error {
			<-slow
			return d.append(records)
		}, func() {})
		go s.run()
		defer s.close()
		for i := range 10 {
			s.write(numbered(i), false, nil)
			synctest.Wait()
		}
		if s.idle() || d.details() != "" {
			t.Errorf("idle %v, %q", s.idle(), d.details())
		}
		close(slow)
		synctest.Wait()
		if d.details() != "0 1 2 3 4 5 6 7 8 9" || !s.idle() {
			t.Errorf("%q, idle %v", d.details(), s.idle())
		}
	})
}
