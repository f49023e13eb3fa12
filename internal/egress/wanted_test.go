package egress

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// TestWanted: a name that was looked up is told of once, and not at all if the
// connection that followed was.
func TestWanted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told []string
		w := newWanted(time.Second, func(name string) { told = append(told, name) })
		w.add("lookup.example")
		w.add("lookup.example")
		w.add("connect.example")
		w.reach("connect.example")
		w.add("connect.example") // its addresses of the other kind
		w.reach("unasked.example")
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if !slices.Equal(told, []string{"lookup.example"}) {
			t.Errorf("told of %q", told)
		}
		told = nil
		w.add("connect.example") // this time it does not
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if !slices.Equal(told, []string{"connect.example"}) {
			t.Errorf("told of %q", told)
		}
		told = nil
		for i := range mostWanted + 1 {
			w.add(fmt.Sprintf("n%d.example", i))
		}
		if len(told) != 1 || len(w.names) != mostWanted {
			t.Errorf("told of %q, %d are waited for", told, len(w.names))
		}
		w.close()
		w.add("late.example")
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if len(told) != 1 {
			t.Errorf("told of %q after the end", told)
		}
	})
}
