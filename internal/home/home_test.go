package home

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/berth-run/berth"
)

func TestDefault(t *testing.T) {
	t.Setenv("HOME", "/home/someone")
	t.Setenv("USERPROFILE", "/home/someone")
	t.Setenv("BERTH_HOME", "")
	if dir, err := Default(); err != nil || dir != filepath.Join("/home/someone", ".berth") {
		t.Errorf("Default() = %q, %v", dir, err)
	}
	t.Setenv("BERTH_HOME", "rel/ative ~")
	if dir, err := Default(); err != nil || dir != "rel/ative ~" {
		t.Errorf("Default() = %q, %v: not verbatim", dir, err)
	}
	t.Setenv("BERTH_HOME", "")
	t.Setenv("HOME", "")
	t.Setenv("USERPROFILE", "")
	var hint *berth.Hinted
	if _, err := Default(); !errors.As(err, &hint) || !strings.Contains(hint.Hint, "BERTH_HOME") {
		t.Errorf("without a home directory: %v", err)
	}
}

func TestOpenCreatesPrivateHome(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	h, err := Open(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, sub := range append(subdirs(), ".") {
		info, err := os.Stat(filepath.Join(dir, sub))
		if err != nil || !info.IsDir() || onUnix && info.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v, %v", sub, info, err)
		}
	}
	want, err := filepath.EvalSymlinks(dir)
	if err != nil || h.Dir() != want {
		t.Errorf("Dir() = %q, want %q", h.Dir(), want)
	}
}

// Row S1: to ask after a server that never ran writes nothing.
func TestReadOnlyCreatesNothing(t *testing.T) {
	parent := t.TempDir()
	dir := filepath.Join(parent, "home")
	h, err := Open(dir, &Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, found, err := h.ReadState("s"); found || err != nil {
		t.Errorf("ReadState: %v, %v", found, err)
	}
	if _, err := h.ReadServer("s"); !errors.Is(err, berth.ErrNoServer) {
		t.Errorf("ReadServer: %v", err)
	}
	if names, _, err := h.Servers(); len(names) > 0 || err != nil {
		t.Errorf("Servers: %v, %v", names, err)
	}
	if names, err := h.States(); len(names) > 0 || err != nil {
		t.Errorf("States: %v, %v", names, err)
	}
	if _, _, err := h.ReadConfig(); err != nil {
		t.Errorf("ReadConfig: %v", err)
	}
	if _, _, err := h.ReadPermissions("s"); err != nil {
		t.Errorf("ReadPermissions: %v", err)
	}
	if _, err := h.ReadSocketPath("s"); err != nil {
		t.Errorf("ReadSocketPath: %v", err)
	}
	path, _ := h.ShimLock("s")
	if locked, err := Locked(path); locked || err != nil {
		t.Errorf("Locked: %v, %v", locked, err)
	}
	for what, err := range map[string]error{
		"WriteState":   h.WriteState("s", State{Status: "stopped"}),
		"RemoveState":  h.RemoveState("s"),
		"WriteServer":  h.WriteServer(NewServer("s", "true", nil), false),
		"RemoveServer": h.RemoveServer("s"),
		"SetConfig":    h.SetConfig("s", "k", "v"),
	} {
		if err == nil || !strings.Contains(err.Error(), "for reading only") {
			t.Errorf("%s: error %v", what, err)
		}
	}
	if entries, err := os.ReadDir(parent); err != nil || len(entries) > 0 {
		t.Errorf("there is %v, %v", entries, err)
	}
	// The same home has the same keys once it exists.
	before := h.Key("s")
	if h, err = Open(dir, nil); err != nil {
		t.Fatal(err)
	}
	if h.Key("s") != before {
		t.Error("the key changed when the home was created")
	}
}

func TestOpenIsAbsoluteAndCanonical(t *testing.T) {
	parent := t.TempDir()
	t.Chdir(parent)
	h, err := Open("rel", nil)
	if err != nil {
		t.Fatal(err)
	}
	if !filepath.IsAbs(h.Dir()) {
		t.Errorf("Dir() = %q", h.Dir())
	}
	if err := os.Symlink("rel", "link"); err != nil {
		t.Skip(err)
	}
	linked, err := Open("link", nil)
	if err != nil {
		t.Fatal(err)
	}
	if linked.Dir() != h.Dir() || linked.Key("s") != h.Key("s") {
		t.Errorf("%q and %q are the same home", linked.Dir(), h.Dir())
	}
}

func TestKeysDiffer(t *testing.T) {
	one, other := openTestHome(t), openTestHome(t)
	seen := map[string]bool{}
	for _, h := range []*Home{one, other} {
		for _, name := range []string{"a", "b", "ab"} {
			key := h.Key(name)
			if len(key) != 16 || strings.Trim(key, "0123456789abcdef") != "" || seen[key] {
				t.Errorf("%s %s: key %q", h.Dir(), name, key)
			}
			seen[key] = true
		}
	}
}

func TestOpenRefusesFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path, nil); err == nil {
		t.Error("a file was opened as a home")
	}
	if _, err := Open(path, &Options{ReadOnly: true}); !errors.Is(err, berth.ErrUnfitHome) {
		t.Errorf("for reading: %v", err)
	}
	if _, err := Open(filepath.Join(path, "below"), &Options{ReadOnly: true}); err == nil {
		t.Error("a directory below a file was opened")
	}
	if _, err := Open("", nil); err == nil {
		t.Error("no directory was opened")
	}
}

func TestNamesAreCheckedFirst(t *testing.T) {
	h := openTestHome(t)
	bad := []string{"", "..", "../policy", "a/b", `a\b`, "A", "a\n", "a\x00b", strings.Repeat("a", 300), "nul", "com1.x", ".x", "x.", "verify", "ä"}
	calls := map[string]func(string) error{
		"ReadState":       func(n string) error { _, _, err := h.ReadState(n); return err },
		"WriteState":      func(n string) error { return h.WriteState(n, State{Status: "stopped"}) },
		"SetAside":        func(n string) error { _, err := h.SetAside(n); return err },
		"RemoveState":     h.RemoveState,
		"StatePath":       func(n string) error { _, err := h.StatePath(n); return err },
		"ShimLock":        func(n string) error { _, err := h.ShimLock(n); return err },
		"TreeLock":        func(n string) error { _, err := h.TreeLock(n); return err },
		"ServerPath":      func(n string) error { _, err := h.ServerPath(n); return err },
		"ReadServer":      func(n string) error { _, err := h.ReadServer(n); return err },
		"WriteServer":     func(n string) error { return h.WriteServer(NewServer(n, "true", nil), true) },
		"UpdateServer":    func(n string) error { return h.UpdateServer(n, func(*Server) error { return nil }) },
		"RemoveServer":    h.RemoveServer,
		"SetConfig":       func(n string) error { return h.SetConfig(n, "k", "v") },
		"UnsetConfig":     func(n string) error { _, err := h.UnsetConfig(n, "k"); return err },
		"ReadPermissions": func(n string) error { _, _, err := h.ReadPermissions(n); return err },
		"SocketPath":      func(n string) error { _, err := h.SocketPath(n); return err },
		"FallbackSocket":  func(n string) error { _, err := h.FallbackSocket(n); return err },
		"ReadSocketPath":  func(n string) error { _, err := h.ReadSocketPath(n); return err },
	}
	for _, name := range bad {
		for call, f := range calls {
			if err := f(name); !errors.Is(err, berth.ErrInvalidName) {
				t.Errorf("%s(%q): %v", call, name, err)
			}
		}
	}
	if err := filepath.WalkDir(h.Dir(), func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && d.Name() != "probe" {
			t.Errorf("%s was made", path)
		}
		return err
	}); err != nil {
		t.Error(err)
	}
}

// Files that a user puts beside the servers' are told of, not taken for servers.
func TestStrays(t *testing.T) {
	h := openTestHome(t)
	for _, name := range []string{"good.toml", "Bad Name.toml", ".hidden.toml", ".tmp-good.toml-123", "good.toml.bad-2026", "notes.txt"} {
		if err := os.WriteFile(h.path(serversDir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(h.path(serversDir, "dir.toml"), 0o700); err != nil {
		t.Fatal(err)
	}
	names, strays, err := h.Servers()
	if err != nil || len(names) != 1 || names[0] != "good" || len(strays) != 1 || filepath.Base(strays[0]) != "Bad Name.toml" {
		t.Errorf("names %q, strays %q, %v", names, strays, err)
	}
}

func TestNetworkHomeNeedsTheUsersWord(t *testing.T) {
	t.Setenv("BERTH_ALLOW_NETWORK_HOME", "")
	var hint *berth.Hinted
	err := checkNetwork("/x", "nfs")
	if !errors.Is(err, berth.ErrUnfitHome) || !errors.As(err, &hint) || !strings.Contains(hint.Hint, "BERTH_ALLOW_NETWORK_HOME=1") {
		t.Errorf("error %v", err)
	}
	if err := checkNetwork("/x", ""); err != nil {
		t.Errorf("a local one: %v", err)
	}
	t.Setenv("BERTH_ALLOW_NETWORK_HOME", "1")
	if err := checkNetwork("/x", "nfs"); err != nil {
		t.Errorf("allowed: %v", err)
	}
}

func BenchmarkOpen(b *testing.B) {
	dir := b.TempDir()
	if _, err := Open(dir, nil); err != nil {
		b.Fatal(err)
	}
	for _, o := range []Options{{}, {ReadOnly: true}} {
		b.Run(map[bool]string{false: "write", true: "read"}[o.ReadOnly], func(b *testing.B) {
			for b.Loop() {
				if _, err := Open(dir, &o); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
