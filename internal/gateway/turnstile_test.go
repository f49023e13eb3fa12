package gateway

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestTurnstileOrder: together or alone, in the order of arrival.
func TestTurnstileOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var (
			ts  turnstile
			mu  sync.Mutex
			log []string
		)
		leaves := map[string]func(){}
		cancels := map[string]context.CancelFunc{}
		note := func(format string, args ...any) {
			mu.Lock()
			defer mu.Unlock()
			log = append(log, fmt.Sprintf(format, args...))
		}
		come := func(name string) {
			ctx, cancel := context.WithCancel(t.Context())
			cancels[name] = cancel
			go func() {
				leave, err := ts.enter(ctx, strings.HasPrefix(name, "A"))
				if err != nil {
					note("%s gives up", name)
					return
				}
				mu.Lock()
				leaves[name] = leave
				mu.Unlock()
				note("%s is in", name)
			}()
			synctest.Wait()
		}
		leave := func(name string) {
			mu.Lock()
			out := leaves[name]
			mu.Unlock()
			out()
			out() // a second time does nothing
			synctest.Wait()
		}
		expect := func(want string) {
			t.Helper()
			mu.Lock()
			defer mu.Unlock()
			slices.Sort(log) // who is let in together says so in any order
			if got := strings.Join(log, ", "); got != want {
				t.Fatalf("got %q, want %q", got, want)
			}
			log = nil
		}
		come("1")
		come("2")
		come("A3") // waits for both
		come("4")  // may not overtake it
		come("A5")
		come("6")
		expect("1 is in, 2 is in")
		leave("1")
		expect("")
		leave("2")
		expect("A3 is in")
		cancels["A5"]()
		synctest.Wait()
		expect("A5 gives up")
		leave("A3")
		expect("4 is in, 6 is in")
		come("A7")
		come("8")
		come("9")
		cancels["A7"]() // those behind it need wait no longer
		synctest.Wait()
		mu.Lock()
		if len(log) != 3 || log[0] != "8 is in" && log[0] != "A7 gives up" {
			t.Errorf("after a cancellation: %q", log)
		}
		log = nil
		mu.Unlock()
		for _, name := range []string{"4", "6", "8", "9"} {
			leave(name)
		}
		come("A10")
		expect("A10 is in")
		leave("A10")
	})
}

// TestTurnstileIsFull: no more than so many wait.
func TestTurnstileIsFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ts turnstile
		leave, err := ts.enter(t.Context(), true)
		if err != nil {
			t.Fatal(err)
		}
		var in sync.WaitGroup
		for range queueMost {
			in.Go(func() {
				leave, err := ts.enter(t.Context(), false)
				if err != nil {
					t.Error(err)
					return
				}
				leave()
			})
		}
		synctest.Wait()
		if _, err := ts.enter(t.Context(), false); !errors.Is(err, errBusy) {
			t.Errorf("one too many: %v", err)
		}
		leave()
		in.Wait()
		leave, err = ts.enter(t.Context(), true)
		if err != nil {
			t.Fatal(err)
		}
		leave()
	})
}

// TestTurnstileHolds: whatever happens in whatever order, who is alone is alone,
// and everyone who stays gets in.
func TestTurnstileHolds(t *testing.T) {
	for seed := range uint64(50) {
		synctest.Test(t, func(t *testing.T) {
			var (
				ts        turnstile
				mu        sync.Mutex
				in, alone int
				all       sync.WaitGroup
			)
			rng := rand.New(rand.NewPCG(seed, 1))
			for range 200 {
				isAlone, stays, after, patient := rng.IntN(4) == 0, rng.IntN(20), rng.IntN(100), rng.IntN(3) > 0
				all.Go(func() {
					time.Sleep(time.Duration(after) * time.Millisecond)
					ctx, cancel := context.WithTimeout(t.Context(), time.Duration(1+stays)*time.Millisecond)
					if patient {
						ctx = t.Context()
					}
					defer cancel()
					leave, err := ts.enter(ctx, isAlone)
					if err != nil {
						if patient {
							t.Errorf("one that stays: %v", err)
						}
						return
					}
					mu.Lock()
					in++
					if isAlone {
						alone++
					}
					if alone > 1 || alone == 1 && in > 1 {
						t.Errorf("%d are in, of which %d alone", in, alone)
					}
					mu.Unlock()
					time.Sleep(time.Duration(stays) * time.Millisecond)
					mu.Lock()
					in--
					if isAlone {
						alone--
					}
					mu.Unlock()
					leave()
				})
			}
			all.Wait()
			if ts.in != 0 || ts.alone || len(ts.queue) != 0 {
				t.Errorf("seed %d leaves %d in, alone %t, %d in the queue", seed, ts.in, ts.alone, len(ts.queue))
			}
		})
	}
}
