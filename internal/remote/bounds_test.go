package remote

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/berth-run/berth/internal/jsonrpc"
	"github.com/berth-run/berth/internal/spool"
)

// TestSlow: a server that takes a request and says nothing is not waited for
// longer than the request may.
func TestSlow(t *testing.T) {
	release := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer s.Close()
	defer close(release)
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	r := &remote{url: u, client: s.Client(), ctx: t.Context()}
	_, err = r.do(t.Context(), wish{method: http.MethodPost, url: u, body: []byte("{}"), timeout: 50 * time.Millisecond})
	var failed *sendError
	if !errors.As(err, &failed) || !errors.Is(err, errSlow) || !failed.sent || err.Error() != "it does not answer in time" {
		t.Errorf("%v", err)
	}
}

// TestOversize: what is longer than any message is an error, and leaves nothing in
// files.
func TestOversize(t *testing.T) {
	dir := t.TempDir()
	files := spool.New(filesMost, func() (*os.File, error) { return os.CreateTemp(dir, "") })
	defer files.Close()
	p := piecemeal{files: files}
	if _, err := p.Write([]byte(`{"x":"` + strings.Repeat("x", 2*inMemory))); err != nil || files.Used() == 0 || p.buf != nil {
		t.Fatalf("%v, %d bytes in files, %d in memory", err, files.Used(), len(p.buf))
	}
	p.n = jsonrpc.MaxLine - 1 // as if so much had been read
	if _, err := p.Write([]byte("xx")); !errors.Is(err, errTooLong) || files.Used() != 0 {
		t.Errorf("%v, %d bytes in files", err, files.Used())
	}
	// The next message begins anew.
	if _, err := p.Write([]byte("{}")); err != nil {
		t.Error(err)
	}
	if line, err := p.take(); string(line) != "{}" || err != nil {
		t.Errorf("%q, %v", line, err)
	}
}

// TestPace: never before the server wants, and not all at once.
func TestPace(t *testing.T) {
	p := pace{base: 3 * time.Second}
	for i, least := range []time.Duration{3, 6, 12, 24, 30, 30} {
		least *= time.Second
		if d := p.next(); d < least || d > least+least/5 {
			t.Errorf("attempt %d after %v", i, d)
		}
	}
	p = pace{base: retryMost, tries: 20}
	if d := p.next(); d < retryMost {
		t.Errorf("%v is before the server wants", d)
	}
}
