package gateway

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestInbox(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newInbox(nil)
		for i := range 3 {
			b.put(event{line: []byte(strconv.Itoa(i))})
		}
		for i := range 3 {
			if e, err := b.take(t.Context()); err != nil || string(e.line) != strconv.Itoa(i) {
				t.Errorf("event %d is %q, %v", i, e.line, err)
			}
		}
		if b.bytes != 0 {
			t.Errorf("it is empty and has %d bytes", b.bytes)
		}
		timer := time.After(time.Second)
		if e, ok, err := b.takeUntil(t.Context(), timer); ok || err != nil {
			t.Errorf("nothing is %q, %v", e.line, err)
		}
		why := errors.New("enough")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second, func() { cancel(why) })
		if _, err := b.take(ctx); err != why {
			t.Errorf("the end of the context is %v", err)
		}
		// What is there is taken first.
		b.put(event{line: []byte("x")})
		if e, err := b.take(ctx); err != nil || string(e.line) != "x" {
			t.Errorf("got %q, %v", e.line, err)
		}
	})
}

// TestInboxOverflows: a call fails whose client reads nothing, whatever of it is
// still to come; a single message may be of any size.
func TestInboxOverflows(t *testing.T) {
	const note = `{"jsonrpc":"2.0","method":"n","params":{"a":"%s"}}`
	huge := fmt.Appendf(nil, note, strings.Repeat("x", slowMost-len(note)+2))
	b := newInbox(nil)
	b.put(event{line: huge})
	b.put(event{line: huge})
	for range 2 {
		if e, err := b.take(t.Context()); err != nil || e.err != nil || len(e.line) != len(huge) {
			t.Fatalf("two messages of %d bytes: %v %v", len(huge), err, e.err)
		}
	}
	b.put(event{line: huge})
	b.put(event{line: []byte("one more")})
	b.put(event{line: []byte("too much")})
	b.put(event{line: []byte("and more")})
	if e, err := b.take(t.Context()); err != nil || !errors.Is(e.err, errSlowClient) {
		t.Fatalf("an overflow is %v, %v", e.err, err)
	}
	if e, ok := b.poll(); ok {
		t.Fatalf("after an overflow comes %q", e.line)
	}
}
