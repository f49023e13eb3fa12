package catalog

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/berth-run/berth/internal/home"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv("BERTH_TEST_FETCH_INTO"); dir != "" {
		os.Exit(fetchChild(dir))
	}
	os.Exit(m.Run())
}

// fetchChild is a process that is killed while it fetches a package and adds a
// server of it.
func fetchChild(dir string) int {
	h, err := home.Open(dir, nil)
	if err != nil {
		panic(err)
	}
	r, _, err := Parse([]string{"npx", "@test/hello"})
	if err != nil {
		panic(err)
	}
	_, err = New(h).Fetch(context.Background(), r, Options{Environ: os.Environ(), Look: exec.LookPath}, use(nil, h, "hello"))
	if err != nil {
		panic(err)
	}
	return 0
}

// TestKilledFetch: whoever fetches may be killed at any moment. There is a whole
// copy and a server that is run from it, or there is none of it; and the next fetch
// works, and leaves nothing behind.
func TestKilledFetch(t *testing.T) {
	need(t, "npm", "node")
	rounds := 12
	if testing.Short() {
		rounds = 3
	}
	if n, err := strconv.Atoi(os.Getenv("BERTH_FETCH_KILLS")); err == nil {
		rounds = n
	}
	r := newRegistry(t)
	publishHello(t, r, filepath.Join(t.TempDir(), "ran"))
	environ := r.environ(t)
	child := func(dir string) *exec.Cmd {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(environ, "BERTH_TEST_FETCH_INTO="+dir, "BERTH_ALLOW_NETWORK_HOME=1")
		return cmd
	}
	begun := time.Now()
	if out, err := child(filepath.Join(t.TempDir(), "first")).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	whole := time.Since(begun)

	h := openHome(t)
	s := New(h)
	added, killed := 0, 0
	for round := range rounds {
		// The end, where copies get their names, is tried as often as all before it.
		at := time.Duration(rand.Int64N(int64(whole)))
		if round%2 == 1 {
			at = whole - time.Duration(rand.Int64N(int64(whole/5)))
		}
		cmd := child(h.Dir())
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		kill := time.AfterFunc(at, func() { _ = cmd.Process.Kill() })
		err := cmd.Wait()
		kill.Stop()
		if err != nil {
			killed++
		}
		for _, id := range copies(t, h) {
			l, err := s.lock(id)
			if err != nil {
				t.Fatalf("killed after %v of %v: a copy without its lock: %v", at, whole, err)
			}
			if err := verify(filepath.Join(h.PackagesDir(), id), l.Files); err != nil {
				t.Fatalf("killed after %v of %v: %v", at, whole, err)
			}
		}
		server, err := h.ReadServer("hello")
		if err == nil {
			added++
			c, err := s.Restore(t.Context(), server, Options{Look: func(string) (string, error) { return "", exec.ErrNotFound }})
			if err != nil || c.Fetched {
				t.Fatalf("killed after %v of %v: the server's copy: %v", at, whole, err)
			}
			if err := h.RemoveServer("hello"); err != nil {
				t.Fatal(err)
			}
		}
		if round%3 == 2 {
			if _, _, err := s.Prune(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Logf("%d of %d were killed, %d had added the server", killed, rounds, added)
	if killed == 0 {
		t.Error("none was killed")
	}
	o := options(t, environ)
	if _, err := s.Fetch(t.Context(), parsed(t, "npx", "@test/hello"), o, use(t, h, "hello")); err != nil {
		t.Fatal(err)
	}
	// An npm whose parent was killed goes on for a moment, where nobody looks.
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for _, name := range left(t, h) {
		l, err := home.WaitLock(ctx, filepath.Join(h.PackagesDir(), name, workLock))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		if err == nil {
			_ = l.Unlock()
		}
	}
	if _, _, err := s.Prune(t.Context()); err != nil || len(left(t, h)) > 0 || len(copies(t, h)) != 1 {
		t.Errorf("left %q, copies %q, %v", left(t, h), copies(t, h), err)
	}
	if entries, err := os.ReadDir(h.PackagesDir()); err != nil || len(entries) != 2 {
		t.Errorf("%v, %v", strings.Join(copies(t, h), " "), err)
	}
}
