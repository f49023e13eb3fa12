package shim

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"testing"

	"github.com/berth-run/berth"
)

// FuzzReply: a client makes something of whatever a shim says, and an error
// that came over the socket can go over another.
func FuzzReply(f *testing.F) {
	for _, r := range []reply{
		{}, {Version: 1, Busy: true, Outcome: 2}, {Status: &berth.Status{Name: "a", PID: 1}},
		{Error: toWire(berth.WithHint(fmt.Errorf("x: %w: %w", berth.ErrDenied, os.ErrNotExist), "hint"))},
		{Error: &wireError{Kind: "no such kind", Also: []string{"", "denied"}}, Failure: toWire(errors.New("f")), Epoch: 3, Note: []byte("n")},
	} {
		f.Add(encode(nil, &r))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		var r reply
		if decode(payload, &r) != nil {
			return
		}
		r.status()
		var s statusFrame
		_ = decode(payload, &s)
		for _, w := range []*wireError{r.Error, r.Failure, s.Failure} {
			err := w.err()
			if (err == nil) != (w == nil) {
				t.Fatalf("%+v is the error %v", w, err)
			}
			if w == nil {
				continue
			}
			again := toWire(err)
			if again.Message != w.Message || again.Hint != w.Hint {
				t.Fatalf("%+v became %+v", w, again)
			}
			if twice := toWire(again.err()); !reflect.DeepEqual(twice, again) {
				t.Fatalf("%+v became %+v", again, twice)
			}
		}
	})
}
