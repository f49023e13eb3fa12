package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/berth-run/berth/internal/bridge"
	"github.com/berth-run/berth/internal/jsonrpc"
	"pgregory.net/rapid"
)

func callerOf(principal, client string) *caller {
	return &caller{Caller: Caller{Principal: principal}, session: &session{key: client}}
}

// pass enters the gate in a goroutine, notes its name once it is in, and leaves
// when it is told to.
type pass struct {
	name  string
	out   chan struct{}
	ended chan error
}

func (g *gate) pass(ctx context.Context, by *caller, set Settings, name string, in *[]string) *pass {
	p := &pass{name, make(chan struct{}), make(chan error, 1)}
	go func() {
		leave, err := g.enter(ctx, by, set)
		if err == nil {
			*in = append(*in, name)
			<-p.out
			leave()
		}
		p.ended <- err
	}()
	synctest.Wait() // one goroutine at a time
	return p
}

func (p *pass) leave() {
	close(p.out)
	synctest.Wait()
}

// Who waits comes in by turns: one of each principal, and one of each client of
// a principal, however many each sends.
func TestGateIsFair(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g gate
		var in []string
		set := Settings{Calls: 1}
		first := g.pass(t.Context(), callerOf("p", "a"), set, "p.a.0", &in)
		var all []*pass
		for n := range 3 {
			all = append(all, g.pass(t.Context(), callerOf("p", "a"), set, fmt.Sprint("p.a.", n+1), &in))
		}
		for n := range 2 {
			all = append(all, g.pass(t.Context(), callerOf("p", "b"), set, fmt.Sprint("p.b.", n+1), &in))
		}
		// Another principal has a place of its own.
		other := g.pass(t.Context(), callerOf("q", "a"), set, "q.a.0", &in)
		all = append(all, g.pass(t.Context(), callerOf("q", "a"), set, "q.a.1", &in))
		if want := "p.a.0 q.a.0"; strings.Join(in, " ") != want {
			t.Fatalf("in are %v, want %s", in, want)
		}
		other.leave()
		first.leave()
		for len(in) < 9 {
			before := len(in)
			for _, p := range all {
				if p.name == in[before-1] {
					p.leave()
				}
			}
			if len(in) == before {
				break
			}
		}
		var p []string
		for _, name := range in {
			if name[0] == 'p' {
				p = append(p, name)
			}
		}
		if want := "p.a.0 p.a.1 p.b.1 p.a.2 p.b.2 p.a.3"; strings.Join(p, " ") != want || !slices.Contains(in, "q.a.1") {
			t.Errorf("they came in as %v", in)
		}
		for _, p := range all {
			if p.name == "q.a.1" {
				p.leave()
			}
		}
	})
}

// The whole of a server is shared by the principals in turns, too.
func TestGateOfAllPrincipals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g gate
		var in []string
		set := Settings{Calls: serverMost}
		full := make([]*pass, serverMost)
		for i := range full {
			full[i] = g.pass(t.Context(), callerOf("p", "a"), set, "p", &in)
		}
		in = nil
		more := []*pass{
			g.pass(t.Context(), callerOf("q", "a"), set, "q1", &in), g.pass(t.Context(), callerOf("q", "a"), set, "q2", &in),
			g.pass(t.Context(), callerOf("r", "a"), set, "r1", &in),
		}
		if len(in) > 0 {
			t.Errorf("%v came in", in)
		}
		for i := range full {
			full[i].leave()
			if want := []string{"q1", "r1", "q2"}[:min(i+1, 3)]; !slices.Equal(in, want) {
				t.Fatalf("after %d have left, in are %v, want %v", i+1, in, want)
			}
		}
		for _, p := range more {
			p.leave()
		}
	})
}

// One that gives up waiting makes room for others, and takes no place with it.
func TestGateGiveUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g gate
		var in []string
		set := Settings{Calls: 1}
		first := g.pass(t.Context(), callerOf("p", "a"), set, "1", &in)
		ctx, cancel := context.WithCancelCause(t.Context())
		second := g.pass(ctx, callerOf("p", "b"), set, "2", &in)
		third := g.pass(t.Context(), callerOf("p", "a"), set, "3", &in)
		cancel(errCancelled)
		if err := <-second.ended; !errors.Is(err, errCancelled) {
			t.Errorf("%v", err)
		}
		first.leave()
		third.leave()
		if got := strings.Join(in, " "); got != "1 3" {
			t.Errorf("in were %s", got)
		}
		if g.in != 0 || len(g.waiting) != 0 {
			t.Errorf("left are %d, and %d wait", g.in, len(g.waiting))
		}
	})
}

func TestGateQueueIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g gate
		var in []string
		set := Settings{Calls: 1}
		ctx, cancel := context.WithCancel(t.Context())
		all := []*pass{g.pass(ctx, callerOf("p", "a"), set, "", &in)}
		for range laneMost {
			all = append(all, g.pass(ctx, callerOf("p", "a"), set, "", &in))
		}
		var busy *busyError
		if _, err := g.enter(ctx, callerOf("p", "a"), set); !errors.As(err, &busy) || !errors.Is(err, errBusy) || busy.after <= 0 {
			t.Errorf("one more: %v", err)
		}
		other := g.pass(ctx, callerOf("p", "b"), set, "other", &in) // has a queue of its own
		cancel()
		for _, p := range all[1:] {
			<-p.ended
		}
		<-other.ended
		all[0].leave()
	})
}

// A rate lets a second's worth in at once, and then as many as it says.
func TestGateRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g gate
		set := Settings{Rate: 4}
		by := callerOf("p", "a")
		through := func() (n int) {
			for {
				leave, err := g.enter(t.Context(), by, set)
				if err != nil {
					var busy *busyError
					if !errors.As(err, &busy) || busy.after <= 0 || busy.after.Seconds() > 1/set.Rate {
						t.Fatalf("%+v", err)
					}
					return n
				}
				leave()
				n++
			}
		}
		if n := through(); n != 4 {
			t.Errorf("at once %d came through", n)
		}
		time.Sleep(500 * time.Millisecond)
		if n := through(); n != 2 {
			t.Errorf("after half a second %d came through", n)
		}
		time.Sleep(time.Hour)
		if n := through(); n != 4 {
			t.Errorf("after an hour %d came through", n)
		}
		if leave, err := g.enter(t.Context(), callerOf("q", "a"), set); err != nil {
			t.Errorf("another principal: %v", err)
		} else {
			leave()
		}
		time.Sleep(time.Hour)
		set.Rate = 0.5
		if n := through(); n != 1 {
			t.Errorf("of one in two seconds %d came through at once", n)
		}
	})
}

// Whatever comes, waits, gives up and leaves: bounds hold, nobody waits while
// there is room, and at the end nothing is left.
func TestGateProperty(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		synctest.Test(t, func(*testing.T) {
			var g gate
			var in []string
			set := Settings{Calls: rapid.IntRange(1, 3).Draw(rt, "calls")}
			type one struct {
				*pass
				principal string
				cancel    context.CancelFunc
			}
			var all []one
			is := func(p one) (inside, ended bool) {
				select {
				case err := <-p.ended:
					p.ended <- err
					return false, true
				default:
				}
				return slices.Contains(in, p.name), false
			}
			for n := range rapid.IntRange(1, 40).Draw(rt, "steps") {
				switch {
				case len(all) == 0 || rapid.IntRange(0, 2).Draw(rt, "step") > 0:
					principal := rapid.SampledFrom([]string{"p", "q"}).Draw(rt, "principal")
					ctx, cancel := context.WithCancel(context.Background())
					by := callerOf(principal, rapid.SampledFrom([]string{"a", "b", "c"}).Draw(rt, "client"))
					all = append(all, one{g.pass(ctx, by, set, fmt.Sprint(n), &in), principal, cancel})
				default:
					i := rapid.IntRange(0, len(all)-1).Draw(rt, "which")
					if inside, ended := is(all[i]); inside {
						all[i].leave()
						all = slices.Delete(all, i, i+1)
					} else if !ended {
						all[i].cancel()
						synctest.Wait()
						all = slices.Delete(all, i, i+1)
					}
				}
				for _, principal := range []string{"p", "q"} {
					inside, waits := 0, 0
					for _, p := range all {
						if p.principal == principal {
							if in, _ := is(p); in {
								inside++
							} else {
								waits++
							}
						}
					}
					if inside > set.Calls || waits > 0 && inside < set.Calls {
						rt.Fatalf("of %s %d are in and %d wait, %d may be in", principal, inside, waits, set.Calls)
					}
				}
			}
			for len(all) > 0 {
				p := all[0]
				all = all[1:]
				p.cancel()
				p.leave()
			}
			if g.in != 0 || len(g.waiting) != 0 {
				rt.Fatalf("left are %d, and %d wait", g.in, len(g.waiting))
			}
		})
	})
}

func TestRetryAfter(t *testing.T) {
	for after, want := range map[time.Duration]string{time.Millisecond: "1", time.Second: "1", 1001 * time.Millisecond: "2", time.Minute: "60"} {
		e := (&busyError{"x", after}).reply()
		line, err := jsonrpc.NewError([]byte("1"), e)
		if err != nil {
			t.Fatal(err)
		}
		m, err := jsonrpc.Parse(line)
		if err != nil {
			t.Fatal(err)
		}
		if got := retryAfter(jsonrpc.DecodeError(m.Error)); got != want {
			t.Errorf("%v: got %q, want %q", after, got, want)
		}
	}
	for _, e := range []jsonrpc.Error{
		{Code: codeBusy}, {Code: codeBusy, Data: json.RawMessage(`{"retryAfterMs":"x"}`)}, {Code: codeBusy, Data: json.RawMessage(`[]`)},
		{Code: -32603, Data: json.RawMessage(`{"retryAfterMs":1}`)},
	} {
		if got := retryAfter(&e); got != "" {
			t.Errorf("%+v: got %q", e, got)
		}
	}
}

// The streams that a session keeps for a client that comes back are so many at
// most; one that is being answered is kept.
func TestKeptStreamsAreCounted(t *testing.T) {
	s := newSession(&server{g: &Gateway{life: "l"}}, Caller{Principal: "p"}, "2025-11-25", bridge.Client{})
	inUse := s.newStream()
	for range 3 * streamsMost {
		s.newStream().finish()
		s.newGeneralStream().read()()
	}
	if n := len(s.streams); n < streamsMost || n > streamsMost+3 || s.streams[inUse.number] == nil {
		t.Errorf("%d streams are kept", n)
	}
}
