package home

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// shortDir is a directory whose path leaves room for a socket's, which that of
// t.TempDir may not.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "bt")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		t.Fatal(err)
	}
	if len(dir) > maxSocketPath-60 {
		t.Skipf("%s is too long for sockets", dir)
	}
	return dir
}

func openAt(t *testing.T, dir string) *Home {
	t.Helper()
	h, err := Open(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// bind proves that a path does for a socket.
func bind(t *testing.T, path string) {
	t.Helper()
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

func socketPaths(t *testing.T, h *Home, place func(string) (string, error)) string {
	t.Helper()
	path, err := place("s")
	if err != nil {
		t.Fatal(err)
	}
	read, err := h.ReadSocketPath("s")
	if err != nil || read != path {
		t.Fatalf("the shim binds %s, clients look at %s, %v", path, read, err)
	}
	bind(t, path)
	return path
}

func TestSocketInTheHome(t *testing.T) {
	h := openAt(t, shortDir(t))
	path := socketPaths(t, h, h.SocketPath)
	if path != filepath.Join(h.Dir(), "run", h.Key("s")) {
		t.Errorf("path %s", path)
	}
}

func TestSocketOfLongHome(t *testing.T) {
	t.Setenv("XDG_RUNTIME_DIR", "")
	t.Setenv("TMPDIR", shortDir(t))
	t.Setenv("TMP", os.Getenv("TMPDIR"))
	base := shortDir(t)
	// Around the limit, each length: the longest that goes in, the first that
	// does not.
	inside, outside := 0, 0
	for n := maxSocketPath - 4; n <= maxSocketPath+4; n++ {
		pad := n - len(filepath.Join(base, "x", "run", "0123456789abcdef")) + 1
		h := openAt(t, filepath.Join(base, strings.Repeat("x", pad)))
		own := filepath.Join(h.Dir(), "run", h.Key("s"))
		if len(own) != n {
			t.Fatalf("the test's path has %d bytes, not %d", len(own), n)
		}
		if path := socketPaths(t, h, h.SocketPath); path == own {
			inside++
		} else {
			outside++
			if again := socketPaths(t, h, h.SocketPath); again != path {
				t.Errorf("first %s, then %s", path, again)
			}
		}
	}
	if inside != 5 || outside != 4 {
		t.Errorf("%d inside, %d outside", inside, outside)
	}
	h := openAt(t, filepath.Join(base, strings.Repeat("y", 120), strings.Repeat("z", 120)))
	socketPaths(t, h, h.SocketPath)
}

// The filesystem of the home has no sockets: the shim says so by asking for
// another place, and its successor begins in the home again.
func TestFallbackSocket(t *testing.T) {
	t.Setenv("XDG_RUNTIME_DIR", "")
	t.Setenv("TMPDIR", shortDir(t))
	t.Setenv("TMP", os.Getenv("TMPDIR"))
	h := openAt(t, shortDir(t))
	own := socketPaths(t, h, h.SocketPath)
	elsewhere := socketPaths(t, h, h.FallbackSocket)
	if strings.HasPrefix(elsewhere, h.Dir()) || !strings.HasPrefix(elsewhere, os.Getenv("TMPDIR")) {
		t.Errorf("path %s", elsewhere)
	}
	other, err := h.FallbackSocket("other")
	if err != nil || filepath.Dir(other) != filepath.Dir(elsewhere) || other == elsewhere {
		t.Errorf("the other server's is %s, %v", other, err)
	}
	// Somebody cleans the directory for temporary files.
	if err := os.RemoveAll(filepath.Dir(elsewhere)); err != nil {
		t.Fatal(err)
	}
	if path, err := h.ReadSocketPath("s"); err != nil || path != elsewhere {
		t.Errorf("of a removed directory: %s, %v", path, err)
	}
	if again := socketPaths(t, h, h.FallbackSocket); again != elsewhere {
		t.Errorf("then %s, before %s", again, elsewhere)
	}
	if again := socketPaths(t, h, h.SocketPath); again != own {
		t.Errorf("the successor's is %s", again)
	}
}

func TestBadSocketAddress(t *testing.T) {
	h := openAt(t, shortDir(t))
	private := shortDir(t)
	for what, addr := range map[string]string{
		"empty":         "",
		"cut":           filepath.Join(private, h.Key("s")),
		"another's":     filepath.Join(private, h.Key("other")) + "\n",
		"relative":      filepath.Join("x", h.Key("s")) + "\n",
		"not a socket":  "/etc/passwd\n",
		"two lines":     filepath.Join(private, h.Key("s")) + "\n\n",
		"not directory": filepath.Join(h.Dir(), "locks", "probe", h.Key("s")) + "\n",
	} {
		if err := os.WriteFile(h.addressPath("s"), []byte(addr), 0o600); err != nil {
			t.Fatal(err)
		}
		if path, err := h.ReadSocketPath("s"); err == nil || !strings.Contains(err.Error(), "s.addr") {
			t.Errorf("%s: %q, %v", what, path, err)
		}
		// The shim is not stopped by it.
		if path, err := h.SocketPath("s"); err != nil {
			t.Errorf("%s: %q, %v", what, path, err)
		}
	}
}
