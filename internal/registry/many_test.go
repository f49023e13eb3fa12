//go:build !race

// With the race detector it takes ten times as long, and there is one goroutine.

package registry

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/berth-run/berth/internal/listing"
)

// TestMany: a hundred thousand servers are copied and searched, in little memory.
func TestMany(t *testing.T) {
	s := newSource(t)
	filler := strings.Repeat("x", 300)
	page := func(w http.ResponseWriter, from int) {
		var b strings.Builder
		for i := from; i < from+100; i++ {
			if i > from {
				b.WriteByte(',')
			}
			fmt.Fprintf(&b, `{"server":{"name":"io.github.user%d/server-%d","description":"server number %d","version":"1","packages":[{"registryType":"npm","identifier":"x","version":"1.0.0","transport":{"type":"stdio"}}],"_meta":{"x":%q}}}`, i%977, i, i, filler)
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
	runtime.GC()
	before := inUse()
	var most uint64
	c := client(s)
	c.Wait = nil
	spool, err := os.Create(filepath.Join(t.TempDir(), "spool"))
	if err != nil {
		t.Fatal(err)
	}
	defer spool.Close()
	begun := time.Now()
	got, err := c.Pull(t.Context(), nil, spool, func(n int) {
		if n%10_000 == 0 {
			most = max(most, inUse()-before)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	pulling := time.Since(begun)
	begun = time.Now()
	opened := kept(t, got)
	saving := time.Since(begun)
	if opened.Count != 100_000 {
		t.Errorf("%d servers", opened.Count)
	}
	for query, want := range map[string]string{"number 54321": "io.github.user586/server-54321", "nubmer 54321": "io.github.user586/server-54321"} {
		begun = time.Now()
		hits, n := listing.Search(query, 10, opened)
		t.Logf("%q: %v", query, time.Since(begun))
		if n != 1 || hits[0].Entry.Name != want {
			t.Errorf("%q: %v", query, hits)
		}
	}
	info, err := spool.Stat()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("pulled in %v, saved in %v, %d MB of heap at most, %d MB of documents, an index of %d MB", pulling, saving, most>>20, info.Size()>>20, opened.Index>>20)
	if most > 100<<20 {
		t.Errorf("it took %d MB of memory", most>>20)
	}
	if info.Size() < 40<<20 {
		t.Errorf("only %d MB of documents", info.Size()>>20)
	}
}

func inUse() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
