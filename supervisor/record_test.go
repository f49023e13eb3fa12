//go:build unix

package supervisor_test

import (
	"io/fs"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/supervisor"
)

func TestU1_BlankActionIsInvalid(t *testing.T) {
	w := newWorld(t)
	before := w.snapshot()
	for _, action := range []string{"", " ", "\t\n", "\u00a0"} {
		_, err := w.m.Record(w.ctx, berth.Record{Server: "a", Action: action})
		is(t, err, fs.ErrInvalid, "the action is blank")
	}
	for _, name := range []string{"", "A", "../policy", "a\n", strings.Repeat("x", 300)} {
		_, err := w.m.Record(w.ctx, berth.Record{Server: name, Action: "approved"})
		is(t, err, berth.ErrInvalidName)
	}
	w.unchanged(before)
}

// A record of the caller's own is one like Berth's: what is not known is left
// out, and what is, is there.
func TestU1_RecordsOfTheCallersOwn(t *testing.T) {
	w := newWorld(t)
	st := w.start("a", idle())
	at := time.Date(2026, 1, 2, 3, 4, 5, 678, time.UTC)
	code := 7
	given := []berth.Record{
		{Server: "a", Action: "approved"},
		{Server: "a", Action: "approved", Args: []string{}},
		{Server: "never-ran", Action: "tool-call", PID: st.PID, Command: "cat", Args: []string{"", "two words\n\xff"}, Time: at,
			Code: &code, Signal: "SIGX", DurationMillis: 12, Detail: `"quoted"`},
	}
	begin := time.Now()
	var returned []berth.Record
	for _, r := range given {
		got, err := w.m.Record(w.ctx, r)
		if err != nil {
			t.Fatal(err)
		}
		returned = append(returned, got)
	}
	all := w.records("")
	equal(t, "records", len(all), 1+len(given))
	for i, r := range all[1:] {
		equal(t, "number", r.Seq, uint64(i+2))
		if !reflect.DeepEqual(r.Record, normal(returned[i])) {
			t.Errorf("returned was %+v, on the disk is %+v", returned[i], r.Record)
		}
		if r.Server != given[i].Server || r.Action != given[i].Action || r.Prev == "" {
			t.Errorf("record %+v", r.Record)
		}
	}
	for _, r := range all[1:3] {
		for _, key := range []string{"args", "pid", "command", "code", "signal", "durationMs", "detail"} {
			if _, there := r.keys[key]; there {
				t.Errorf("%s is not left out: %v", key, r.keys)
			}
		}
		if r.Time.Before(begin.Add(-time.Second)) || r.Time.After(time.Now()) || r.TimestampEpochSecs != r.Time.Unix() {
			t.Errorf("its time is %v, %d", r.Time, r.TimestampEpochSecs)
		}
	}
	last := all[3]
	if !last.Time.Equal(at) || last.TimestampEpochSecs != at.Unix() || last.PID != st.PID || *last.Code != 7 || last.Detail != `"quoted"` ||
		!reflect.DeepEqual(last.Args, []string{"", "two words\n\\xff"}) {
		t.Errorf("record: %+v", last.Record)
	}
}

// normal is the record as it reads once it was written.
func normal(r berth.Record) berth.Record {
	if len(r.Args) == 0 {
		r.Args = nil
	}
	return r
}

// A home that is only read takes no records.
func TestU1_ReadOnly(t *testing.T) {
	w := newWorld(t)
	before := w.snapshot()
	m, err := supervisor.Open(&supervisor.Options{Home: w.dir, ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Record(w.ctx, berth.Record{Server: "a", Action: "approved"}); err == nil || !strings.Contains(err.Error(), "reading only") {
		t.Errorf("the error is %v", err)
	}
	w.unchanged(before)
}
