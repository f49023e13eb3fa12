//go:build !race

// With the race detector it takes ten times as long, and there is one goroutine.

package registry

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/berth-run/berth/internal/listing"
)

// TestMany: a hundred thousand servers are copied and searched.
func TestMany(t *testing.T) {
	s := newSource(t)
	page := func(w http.ResponseWriter, from int) {
		var b strings.Builder
		for i := from; i < from+100; i++ {
			if i > from {
				b.WriteByte(',')
			}
			fmt.Fprintf(&b, `{"server":{"name":"io.github.user%d/server-%d","description":"server number %d","version":"1"}}`, i%977, i, i)
		}
		next := ""
		if from+100 < 100_000 {
			next = strconv.Itoa(from + 100)
		}
		fmt.Fprintf(w, `{"servers":[%s],"metadata":{"nextCursor":%q}}`, b.String(), next)
	}
	s.fault = func(_ int, w http.ResponseWriter, r *http.Request) bool {
		from, _ := strconv.Atoi(r.URL.Query().Get("cursor"))
		page(w, from)
		return true
	}
	got, err := client(s).Pull(t.Context(), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	c := kept(t, got)
	if c.Count != 100_000 {
		t.Errorf("%d servers", c.Count)
	}
	hits := c.Search(listing.NewQuery("number 54321"))
	if len(hits) != 1 || hits[0].Name != "io.github.user586/server-54321" {
		t.Errorf("%v", hits)
	}
}
