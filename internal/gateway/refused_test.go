package gateway

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/berth-run/berth"
)

// However many callers are refused, records are few, and say how many there were.
func TestRefusedCallersAreFewRecords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var (
			mu   sync.Mutex // the detector sees nothing else between a timer and who waits for it
			told []string
		)
		r := &refusedCallers{
			write: func(rec berth.Record) {
				mu.Lock()
				defer mu.Unlock()
				if rec.Action != berth.ActionCallerRefused || rec.Server != "" || rec.Call != nil {
					t.Errorf("on record: %+v", rec)
				}
				told = append(told, rec.Detail)
			},
			later: func(tell func()) { time.AfterFunc(refusedEvery, tell) },
		}
		list := func() []string {
			mu.Lock()
			defer mu.Unlock()
			return slices.Clone(told)
		}
		one := refusedCaller{why: refusedBad, from: "192.0.2.1"}
		r.note(one)
		if told := list(); len(told) != 1 || told[0] != "the token is not known, was revoked, or is none of Berth's, from 192.0.2.1" {
			t.Errorf("the first time it is on record: %q", told)
		}
		for range 9999 {
			r.note(one)
		}
		r.note(refusedCaller{why: refusedExpired, from: "192.0.2.1", name: "ide"})
		if told := list(); len(told) != 2 || told[1] != `the token of "ide" has expired, from 192.0.2.1` {
			t.Errorf("10,001 callers: %q", told)
		}
		for n := range 5000 {
			r.note(refusedCaller{why: refusedNone, from: fmt.Sprintf("192.0.2.%d", n)})
		}
		if told := list(); len(told) != refusedMost {
			t.Errorf("%d records of %d callers", len(told), refusedMost)
		}
		time.Sleep(refusedEvery + time.Second)
		synctest.Wait()
		all := list()
		rest := strings.Join(all[refusedMost:], "\n")
		if len(all) != refusedMost+2 || !strings.Contains(rest, "none of Berth's, from 192.0.2.1: 9999 more within 1m0s") ||
			!strings.Contains(rest, fmt.Sprintf("callers that are not told apart: %d within 1m0s", 5000-(refusedMost-2))) {
			t.Errorf("after that: %q", rest)
		}
		r.note(one) // a time begins anew
		if told := list(); len(told) != refusedMost+3 || told[len(told)-1] != told[0] {
			t.Errorf("later: %q", told[refusedMost+2:])
		}
		time.Sleep(refusedEvery + time.Second)
		synctest.Wait()
		if told := list(); len(told) != refusedMost+3 {
			t.Errorf("of one that came once there is another record: %q", told[refusedMost+3:])
		}
	})
}
