package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/listing"
)

// published is a server as the registry has it.
type published struct {
	doc, status, updated string
}

// source is a registry as its OpenAPI says: GET /v0.1/servers with cursor, limit,
// version, updated_since and include_deleted, and /v0.1/servers/{name}/versions/latest.
type source struct {
	*httptest.Server

	mu       sync.Mutex // guards the fields below
	servers  map[string]published
	raw      []string // entries as they are, on the first page
	etag     string
	requests []url.Values
	fault    func(n int, w http.ResponseWriter, r *http.Request) bool // of the nth request; true: it was answered
}

func newSource(t testing.TB) *source {
	s := &source{servers: map[string]published{}}
	s.Server = httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(s.Close)
	return s
}

func (s *source) put(name, updated string) {
	s.servers[name] = published{doc(name, "a server of "+name), statusActive, updated}
}

func doc(name, about string) string {
	n, _ := json.Marshal(name)
	text, _ := json.Marshal(about)
	return fmt.Sprintf(`{"name":%s,"description":%s,"version":"1.0.0","packages":[{"registryType":"npm","identifier":"x","version":"1.0.0","transport":{"type":"stdio"}}]}`, n, text)
}

func (p published) entry() string {
	return fmt.Sprintf(`{"server":%s,"_meta":{"io.modelcontextprotocol.registry/official":{"status":%q,"statusMessage":"moved","updatedAt":%q,"isLatest":true}}}`, p.doc, p.status, p.updated)
}

func (s *source) serve(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := r.URL.Query()
	s.requests = append(s.requests, q)
	if s.fault != nil && s.fault(len(s.requests), w, r) {
		return
	}
	if rest, one := strings.CutPrefix(r.URL.EscapedPath(), "/v0.1/servers/"); one {
		name, err := url.PathUnescape(strings.TrimSuffix(rest, "/versions/latest"))
		p, found := s.servers[name]
		if err != nil || !found {
			http.Error(w, `{"title":"Not Found","status":404,"detail":"Server not found"}`, http.StatusNotFound)
			return
		}
		fmt.Fprint(w, p.entry())
		return
	}
	if r.URL.Path != "/v0.1/servers" {
		http.NotFound(w, r)
		return
	}
	limit, err := strconv.Atoi(q.Get("limit"))
	if err != nil || limit < 1 || limit > 100 || q.Get("version") != "latest" {
		http.Error(w, "{}", http.StatusUnprocessableEntity)
		return
	}
	names := slices.Sorted(maps.Keys(s.servers))
	from := 0
	if cursor := q.Get("cursor"); cursor != "" {
		name, ok := strings.CutSuffix(cursor, ":1.0.0")
		i, found := slices.BinarySearch(names, name)
		if !ok || !found {
			http.Error(w, `{"detail":"invalid cursor"}`, http.StatusBadRequest)
			return
		}
		from = i + 1
	} else if s.etag != "" {
		w.Header().Set("ETag", s.etag)
		if r.Header.Get("If-None-Match") == s.etag {
			w.WriteHeader(http.StatusNotModified)
			return
		}
	}
	var b strings.Builder
	b.WriteString(`{"servers":[`)
	n := 0
	add := func(entry string) {
		if n > 0 {
			b.WriteByte(',')
		}
		b.WriteString(entry)
		n++
	}
	if from == 0 {
		for _, raw := range s.raw {
			add(raw)
		}
	}
	next := ""
	for i := from; i < len(names); i++ {
		p := s.servers[names[i]]
		if since := q.Get("updated_since"); since != "" && p.updated <= since || p.status == statusDeleted && q.Get("include_deleted") != "true" {
			continue
		}
		if n >= limit {
			break
		}
		add(p.entry())
		next = names[i] + ":1.0.0"
	}
	if n < limit {
		next = ""
	}
	cursor, _ := json.Marshal(next)
	fmt.Fprintf(w, `%s],"metadata":{"nextCursor":%s,"count":%d}}`, b.String(), cursor, n)
}

func client(s *source) *Client {
	return &Client{Base: s.URL, HTTP: s.Client(), UserAgent: "test", Wait: func(context.Context, time.Duration) error { return nil }}
}

// pulled has a client pull.
func pulled(t testing.TB, c *Client, before *Copy) (*Copy, error) {
	t.Helper()
	spool, err := os.Create(filepath.Join(t.TempDir(), "spool"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { spool.Close() })
	return c.Pull(t.Context(), before, spool, nil)
}

// kept writes a copy and opens it.
func kept(t testing.TB, c *Copy) *Copy {
	t.Helper()
	path := filepath.Join(t.TempDir(), "servers")
	f, err := os.Create(path)
	if err == nil {
		err = errors.Join(c.Save(f), f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	opened, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = opened.Close() })
	return opened
}

func names(t *testing.T, c *Copy) []string {
	t.Helper()
	if c.records != nil {
		return slices.Sorted(maps.Keys(c.records))
	}
	all, err := c.all()
	if err != nil {
		t.Fatal(err)
	}
	return slices.Sorted(maps.Keys(all))
}

// found are the names of the servers that answer a query.
func found(c *Copy, query string) (names []string) {
	hits, _ := listing.Search(query, 10, c)
	for _, h := range hits {
		names = append(names, h.Entry.Name)
	}
	return names
}

// TestPull: all pages come, and later what was changed, published and deleted since.
func TestPull(t *testing.T) {
	s := newSource(t)
	for i := range 250 {
		s.put(fmt.Sprintf("io.github.someone/server-%03d", i), "2026-01-01T00:00:00Z")
	}
	c := client(s)
	first, err := pulled(t, c, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := len(names(t, first)); got != 250 || len(s.requests) != 3 {
		t.Errorf("%d servers in %d requests", got, len(s.requests))
	}
	old := kept(t, first)
	if old.Count != 250 || old.Newest != "2026-01-01T00:00:00Z" {
		t.Errorf("%+v", old)
	}
	s.put("io.github.someone/new", "2026-02-01T00:00:00Z")
	s.servers["io.github.someone/server-007"] = published{doc("io.github.someone/server-007", "changed"), "deprecated", "2026-02-02T00:00:00Z"}
	s.servers["io.github.someone/server-008"] = published{doc("io.github.someone/server-008", "gone"), statusDeleted, "2026-02-03T00:00:00Z"}
	s.requests = nil
	second, err := pulled(t, c, old)
	if err != nil {
		t.Fatal(err)
	}
	now := kept(t, second)
	if got := names(t, now); len(got) != 250 || slices.Contains(got, "io.github.someone/server-008") || !slices.Contains(got, "io.github.someone/new") {
		t.Errorf("%d servers after the delta", len(got))
	}
	if q := s.requests[0]; q.Get("updated_since") != "2026-01-01T00:00:00Z" || now.Newest != "2026-02-03T00:00:00Z" {
		t.Errorf("asked for %v, newest %s", q, now.Newest)
	}
	entries, _, err := now.Lookup("io.github.someone/server-007")
	if len(entries) == 0 {
		t.Fatalf("a server that was changed is gone: %v", err)
	}
	if err != nil || entries[0].About != "changed" || entries[0].Status != "deprecated: moved" || entries[0].From != listing.FromRegistry {
		t.Errorf("%+v, %v", entries, err)
	}
	if entries, near, err := now.Lookup("new"); len(entries) > 0 || err != nil || !slices.Equal(near, []string{"io.github.someone/new"}) {
		t.Errorf("%v, %v, %v", entries, near, err)
	}
	if got := found(now, "new"); !slices.Equal(got, []string{"io.github.someone/new"}) {
		t.Errorf("found %v", got)
	}

	// Nothing is new, by the ETag.
	s.etag = `"one"`
	third, err := pulled(t, c, now)
	if err != nil {
		t.Fatal(err)
	}
	s.requests = nil
	fourth, err := pulled(t, c, kept(t, third))
	if err != nil || len(s.requests) != 1 || len(names(t, fourth)) != 250 || fourth.ETag != `"one"` {
		t.Errorf("%d requests, %v", len(s.requests), err)
	}
	// Of another registry nothing is taken over.
	old.URL = "https://other.example"
	s.requests, s.etag = nil, ""
	if _, err := pulled(t, c, old); err != nil || s.requests[0].Get("updated_since") != "" {
		t.Errorf("%v, %v", s.requests, err)
	}
}

// TestFaults: what goes away by itself is tried again; what does not is an error, and
// nothing is half taken.
func TestFaults(t *testing.T) {
	status := func(code int, header ...string) func(http.ResponseWriter) {
		return func(w http.ResponseWriter) {
			if len(header) > 0 {
				w.Header().Set(header[0], header[1])
			}
			w.WriteHeader(code)
		}
	}
	cutOff := func(w http.ResponseWriter) {
		w.Header().Set("Content-Length", "100000")
		fmt.Fprint(w, `{"servers":[`)
	}
	text := func(body string) func(http.ResponseWriter) {
		return func(w http.ResponseWriter) { fmt.Fprint(w, body) }
	}
	for _, f := range []struct {
		name string
		at   []int // which requests fail
		how  func(http.ResponseWriter)
		want string // of the error; "" is none
	}{
		{"429", []int{1, 3}, status(429, "Retry-After", "7"), ""},
		{"500", []int{2}, status(500), ""},
		{"503 for ever", []int{1, 2, 3, 4}, status(503), "503"},
		{"cut", []int{2}, cutOff, ""},
		{"cut for ever", []int{2, 3, 4, 5}, cutOff, "broke off"},
		{"no JSON", []int{1, 2, 3, 4}, text("<html>"), "no page"},
		{"no list", []int{1}, text(`{"x":1}`), "no list of servers"},
		{"a bad cursor once", []int{2}, status(400), ""},
		{"a bad cursor twice", []int{2, 4}, status(400), "cursor"},
		{"forbidden", []int{1}, status(403), "403"},
		{"a circle", []int{1, 2, 3}, text(`{"servers":[],"metadata":{"nextCursor":"x"}}`), "circle"},
	} {
		t.Run(f.name, func(t *testing.T) {
			s := newSource(t)
			for i := range 150 {
				s.put(fmt.Sprintf("a.b/s%03d", i), "2026-01-01T00:00:00Z")
			}
			s.fault = func(n int, w http.ResponseWriter, _ *http.Request) bool {
				if !slices.Contains(f.at, n) {
					return false
				}
				f.how(w)
				return true
			}
			c := client(s)
			var waits []time.Duration
			c.Wait = func(_ context.Context, d time.Duration) error {
				waits = append(waits, d)
				return nil
			}
			got, err := pulled(t, c, nil)
			switch {
			case f.want == "" && (err != nil || len(names(t, got)) != 150):
				t.Errorf("%v", err)
			case f.want != "" && (err == nil || !strings.Contains(err.Error(), f.want) || got != nil):
				t.Errorf("%v, want %q", err, f.want)
			}
			if f.name == "429" && (len(waits) == 0 || waits[0] != 7*time.Second) {
				t.Errorf("waited %v", waits)
			}
		})
	}
	s := newSource(t)
	s.Close()
	if _, err := pulled(t, client(s), nil); err == nil {
		t.Error("a registry that is down answered")
	}
}

// TestHostile: entries that are bad are counted and hide no others; what texts hold is
// nothing to a terminal or a path.
func TestHostile(t *testing.T) {
	s := newSource(t)
	for i := range 120 {
		s.put(fmt.Sprintf("a.b/good-%03d", i), "2026-01-01T00:00:00Z")
	}
	wrap := func(doc string) string { return published{doc, statusActive, "2026-01-01T00:00:00Z"}.entry() }
	s.raw = []string{
		`7`, `null`, `{}`, `{"server":7}`, `{"server":{"name":7}}`, `[]`,
		wrap(`{"name":"../../etc/passwd","description":"x"}`), wrap(`{"name":"a/b/c"}`), wrap(`{"name":"a/.."}`), wrap(`{"name":"noslash"}`),
		wrap(`{"name":"a/\u001b[2Jx"}`), wrap(`{"name":"a/b\nc"}`), wrap(`{"name":"` + strings.Repeat("x", 300) + `/y"}`),
		wrap(`{"name":"a.b/big","description":"` + strings.Repeat("y", 1<<20) + `"}`),
		wrap(doc("a.b/loud", "\x1b[31mred\x07\u202eevil\nline\ttab\u009b2J")),
		wrap(`{"name":"a.b/empty"}`),
		`{"server":` + doc("a.b/time", "x") + `,"_meta":{"io.modelcontextprotocol.registry/official":{"status":"active","updatedAt":"9999 or so"}}}`,
		`{"server":` + doc("a.b/old", "x") + `,"_meta":{"io.modelcontextprotocol.registry/official":{"isLatest":false}}}`,
	}
	got, err := pulled(t, client(s), nil)
	if err != nil {
		t.Fatal(err)
	}
	c := kept(t, got)
	list := names(t, c)
	if c.Count != 123 || c.Bad != 15 || !slices.Contains(list, "a.b/loud") || slices.Contains(list, "a.b/old") || c.Newest != "2026-01-01T00:00:00Z" {
		t.Errorf("%d servers, %d bad, newest %s", c.Count, c.Bad, c.Newest)
	}
	if strings.ContainsAny(c.index, "\x1b\x07\u202e\u009b") {
		t.Error("the index has what does something to a terminal")
	}
	if entries, _, err := c.Lookup("a.b/loud"); err != nil || len(entries) == 0 || entries[0].About != "[31mred evil line tab 2J" {
		t.Errorf("%+v, %v", entries, err)
	}
	if entries, _, err := c.Lookup("a.b/empty"); err == nil {
		t.Errorf("a server without packages has entries: %v", entries)
	}
	// It takes no other's place among what is found.
	if hits, n := c.Find(listing.NewQuery("b"), 200); len(hits) != 122 || n != 123 {
		t.Errorf("%d of %d", len(hits), n)
	}
}

// TestGet asks for one server by name.
func TestGet(t *testing.T) {
	s := newSource(t)
	s.put("a.b/one", "2026-01-01T00:00:00Z")
	s.servers["a.b/gone"] = published{doc("a.b/gone", "x"), statusDeleted, ""}
	s.servers["a.b/other"] = published{doc("a.b/one", "x"), statusActive, ""}
	c := client(s)
	raw, status, err := c.Get(t.Context(), "a.b/one")
	if err != nil || status != "" || !strings.Contains(string(raw), "a.b/one") {
		t.Errorf("%s, %q, %v", raw, status, err)
	}
	for _, name := range []string{"a.b/none", "a.b/gone"} {
		if _, _, err := c.Get(t.Context(), name); !errors.Is(err, berth.ErrNoServer) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, _, err := c.Get(t.Context(), "a.b/other"); err == nil || errors.Is(err, berth.ErrNoServer) {
		t.Errorf("another server than was asked for: %v", err)
	}
}

// TestNames: a name is as it was published, whatever of it is searched.
func TestNames(t *testing.T) {
	s := newSource(t)
	all := []string{"io.github.someone/plain", "io.github.Some-One/Server_X", "COM.example/Server", "com.example/io.github.x", "com.example/server"}
	for _, name := range all {
		s.put(name, "2026-01-01T00:00:00Z")
	}
	got, err := pulled(t, client(s), nil)
	if err != nil {
		t.Fatal(err)
	}
	c := kept(t, got)
	if list := names(t, c); !slices.Equal(list, slices.Sorted(slices.Values(all))) {
		t.Errorf("%q", list)
	}
	for _, name := range all {
		entries, _, err := c.Lookup(name)
		if err != nil || len(entries) != 1 || entries[0].Name != name {
			t.Errorf("%s: %v, %v", name, entries, err)
		}
		if got := found(c, name); len(got) == 0 || got[0] != name && !strings.EqualFold(got[0], name) {
			t.Errorf("%s finds %q", name, got)
		}
	}
	// A part of a word is found, also after digits; a word that is nowhere is not.
	s.put("a.b/4shadowing-9", "2026-01-01T00:00:00Z")
	if got, err = pulled(t, client(s), nil); err != nil {
		t.Fatal(err)
	}
	parts := kept(t, got)
	for _, query := range []string{"hadow", "shadowing", "4shadow", "9", "shadowing-9"} {
		if hits, _ := parts.Find(listing.NewQuery(query), 1); len(hits) != 1 || hits[0].Entry.Name != "a.b/4shadowing-9" {
			t.Errorf("%q: %v", query, hits)
		}
	}
	if !parts.lacks("shadowings") || parts.lacks("io") || parts.lacks("hadow") {
		t.Error("the vocabulary is not that of the index")
	}
	// A delta goes on from what was kept.
	again, err := pulled(t, client(s), c)
	if err != nil {
		t.Fatal(err)
	}
	if list := names(t, kept(t, again)); !slices.Equal(list, slices.Sorted(slices.Values(all))) {
		t.Errorf("%q", list)
	}
}

// TestCursorExpires: a registry that forgets its cursors in the middle of a delta is asked
// from the beginning again; what came already does not come twice, and tombstones hold.
func TestCursorExpires(t *testing.T) {
	s := newSource(t)
	for i := range 350 {
		s.put(fmt.Sprintf("a.b/s%03d", i), "2026-01-01T00:00:00Z")
	}
	first, err := pulled(t, client(s), nil)
	if err != nil {
		t.Fatal(err)
	}
	old := kept(t, first)
	for i := range 350 {
		s.put(fmt.Sprintf("a.b/s%03d", i), "2026-02-01T00:00:00Z")
	}
	s.servers["a.b/s001"] = published{doc("a.b/s001", "x"), statusDeleted, "2026-02-02T00:00:00Z"}
	s.requests = nil
	s.fault = func(n int, w http.ResponseWriter, _ *http.Request) bool {
		if n == 3 {
			http.Error(w, `{"title":"Bad Request","status":400,"detail":"Invalid cursor"}`, http.StatusBadRequest)
		}
		return n == 3
	}
	second, err := pulled(t, client(s), old)
	if err != nil {
		t.Fatal(err)
	}
	now := kept(t, second)
	if list := names(t, now); len(list) != 349 || slices.Contains(list, "a.b/s001") || now.Newest != "2026-02-02T00:00:00Z" || len(s.requests) != 7 {
		t.Errorf("%d servers after %d requests, newest %s", len(list), len(s.requests), now.Newest)
	}
}

// TestChangedMeanwhile: what is published on a page that came already, while others come,
// is in the next delta, though what was seen is younger.
func TestChangedMeanwhile(t *testing.T) {
	s := newSource(t)
	for i := range 150 {
		s.put(fmt.Sprintf("a.b/s%03d", i), "2026-01-01T00:00:00Z")
	}
	s.fault = func(n int, _ http.ResponseWriter, _ *http.Request) bool {
		if n == 2 {
			s.put("a.b/s000-new", time.Now().UTC().Format(time.RFC3339Nano))
			s.put("a.b/s149", time.Now().Add(time.Millisecond).UTC().Format(time.RFC3339Nano))
			s.put("a.b/s148", "9999-01-01T00:00:00Z")
		}
		return false
	}
	first, err := pulled(t, client(s), nil)
	if err != nil {
		t.Fatal(err)
	}
	if list := names(t, first); slices.Contains(list, "a.b/s000-new") {
		t.Fatal("the page came too late for this test")
	}
	second, err := pulled(t, client(s), kept(t, first))
	if err != nil {
		t.Fatal(err)
	}
	if list := names(t, second); !slices.Contains(list, "a.b/s000-new") {
		t.Errorf("what changed while the pages came is missing; newest is %s", first.Newest)
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for text, want := range map[string]time.Duration{
		"": time.Second, "7": 7 * time.Second, "0": time.Second, "-3": time.Second, "3600": time.Minute, "9223372036854775807": time.Minute,
		"soon": time.Second, "Fri, 02 Jan 2026 03:04:25 GMT": 20 * time.Second, "Fri, 02 Jan 2026 03:00:00 GMT": time.Second,
		"Sat, 02 Jan 2027 03:00:00 GMT": time.Minute,
	} {
		if got := retryAfter(text, now); got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
}

// FuzzOpen: whatever the file of a copy holds, it is read or refused.
func FuzzOpen(f *testing.F) {
	text := doc("a.b/c", "x")
	r, err := newRecord(json.RawMessage(text), "", "")
	if err != nil {
		f.Fatal(err)
	}
	r.docs, r.length = strings.NewReader(text), int64(len(text))
	var data bytes.Buffer
	if err := (&Copy{URL: "https://x.example", records: map[string]record{r.name: r}}).Save(&data); err != nil {
		f.Fatal(err)
	}
	f.Add(data.Bytes())
	f.Add([]byte("{\"format\":2,\"index\":9}\na/b\t\t\t1\t2\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(t.TempDir(), "servers")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := Open(path)
		if err != nil {
			return
		}
		defer c.Close()
		found(c, "a")
		found(c, "mistyped")
		_, _, _ = c.Lookup("a/b")
		_, _ = c.all()
	})
}
