package catalog

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/berth-run/berth/internal/home"
)

// TestGoModule: a program of a module of proxy.golang.org is built, held to its hash, and built
// again from its lock.
func TestGoModule(t *testing.T) {
	if os.Getenv("BERTH_TEST_REGISTRIES") != "1" {
		t.Skip("needs BERTH_TEST_REGISTRIES=1, and proxy.golang.org and sum.golang.org")
	}
	need(t, "go")
	h := openHome(t)
	// What a user exempts from the database of checksums is compared all the same.
	environ := append(os.Environ(), "GOPRIVATE=*", "GONOSUMDB=*", "GOFLAGS=-mod=vendor")
	r := Request{Kind: Go, Package: "golang.org/x/example/hello", Args: []string{"-r"}}
	c, err := New(h).Fetch(t.Context(), r, options(t, environ), use(t, h, "hello"))
	if err != nil {
		t.Fatal(err)
	}
	sum := c.Lock.Pinned()
	if len(sum) != 1 || !strings.HasPrefix(sum[0], "h1:") || c.Lock.Tree[0].Name != "golang.org/x/example/hello" || c.Lock.Version == "" {
		t.Fatalf("its lock is %+v", c.Lock)
	}
	if c.Command != filepath.Join(c.Dir, "bin", "hello") || len(c.Args) != 0 {
		t.Errorf("it is run by %q %q", c.Command, c.Args)
	}
	if out, err := exec.Command(c.Command).Output(); err != nil || string(out) != "Hello, world!\n" {
		t.Errorf("it said %q, %v", out, err)
	}
	server := home.Server{Source: home.Source{Copy: c.ID, Digest: c.Lock.Digest()}}
	if err := os.RemoveAll(c.Dir); err != nil {
		t.Fatal(err)
	}
	if again, err := New(h).Restore(t.Context(), server, options(t, environ)); err != nil || !again.Fetched || !slices.Equal(again.Lock.Pinned(), sum) {
		t.Errorf("restored %+v, %v", again, err)
	}
	r.Hashes = []string{"h1:AAAA"}
	if _, err := New(h).Fetch(t.Context(), r, options(t, environ), nil); !errors.Is(err, ErrLock) {
		t.Errorf("another hash: %v", err)
	}
	r.Hashes, r.Package = nil, "golang.org/x/example/nothing"
	if _, err := New(h).Fetch(t.Context(), r, options(t, environ), nil); err == nil {
		t.Error("a package that is not there was fetched")
	}
}

// TestGoSettings: what the user's settings say is kept only where nothing hangs on it.
func TestGoSettings(t *testing.T) {
	env := goSettings{Proxy: "https://proxy.example.com", SumDB: "off", Modules: "/m"}.environ()
	for _, want := range []string{"GOPROXY=https://proxy.example.com", "GOSUMDB=sum.golang.org", "GOENV=off", "GOMODCACHE=/m", "CGO_ENABLED=0"} {
		if !slices.Contains(env, want) {
			t.Errorf("%s is not among %q", want, env)
		}
	}
	if env := (goSettings{SumDB: "sum.example.com"}).environ(); !slices.Contains(env, "GOSUMDB=sum.example.com") {
		t.Errorf("the user's database is not among %q", env)
	}
}
