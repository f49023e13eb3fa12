package vault_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/home"
	"github.com/berth-run/berth/internal/vault"
)

func open(t testing.TB, dir string) (*vault.Vault, *home.Home) {
	t.Helper()
	h, err := home.Open(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	v, err := vault.Open(h, nil)
	if err != nil {
		t.Fatal(err)
	}
	return v, h
}

func TestVault(t *testing.T) {
	v, h := open(t, t.TempDir())
	if _, err := v.Get("a"); !errors.Is(err, vault.ErrNotFound) {
		t.Errorf("a key of an empty store: %v", err)
	}
	if _, err := os.Stat(h.CredentialPath("vault.age")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("reading made a file: %v", err)
	}
	const canary = "canary-8f2e"
	for _, key := range []string{"oauth/b", "oauth/a", "other"} {
		if err := v.Set(t.Context(), key, []byte(canary+key)); err != nil {
			t.Fatal(err)
		}
	}
	again, _ := open(t, h.Dir())
	if got, err := again.Get("oauth/b"); err != nil || string(got) != canary+"oauth/b" {
		t.Errorf("got %q, %v", got, err)
	}
	if keys, err := again.List("oauth/"); err != nil || !slices.Equal(keys, []string{"oauth/a", "oauth/b"}) {
		t.Errorf("listed %q, %v", keys, err)
	}
	for _, name := range []string{"vault.age", "identity.txt"} {
		data, err := os.ReadFile(h.CredentialPath(name))
		if err != nil || bytes.Contains(data, []byte("canary")) || bytes.Contains(data, []byte("oauth/")) {
			t.Errorf("%s is readable: %q, %v", name, data, err)
		}
		info, err := os.Stat(h.CredentialPath(name))
		if err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
			t.Errorf("%s: mode %v, %v", name, info.Mode(), err)
		}
	}
	if err := v.Delete(t.Context(), "oauth/a", "never"); err != nil {
		t.Error(err)
	}
	if _, err := again.Get("oauth/a"); !errors.Is(err, vault.ErrNotFound) {
		t.Errorf("what was deleted: %v", err)
	}
	for _, key := range []string{"", "a\nb", strings.Repeat("k", 2049)} {
		if v.Set(t.Context(), key, nil) == nil {
			t.Errorf("%.20q passes for a key", key)
		}
	}
	if v.Set(t.Context(), "big", make([]byte, 64<<10+1)) == nil {
		t.Error("a value of more than 64 KiB is kept")
	}
}

// What does not open is an error that names the file, and stays as it is.
func TestBadFilesLoseNothing(t *testing.T) {
	foreign, other := open(t, t.TempDir())
	if err := foreign.Set(t.Context(), "a", []byte("x")); err != nil {
		t.Fatal(err)
	}
	read := func(h *home.Home, name string) []byte {
		data, err := os.ReadFile(h.CredentialPath(name))
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	theirs := read(other, "vault.age")
	for _, c := range []struct {
		name, file string
		damage     func(whole []byte) []byte // nil: removed
		say        string
	}{
		{"garbage", "vault.age", func([]byte) []byte { return []byte("garbage") }, "not a file of age"},
		{"empty", "vault.age", func([]byte) []byte { return []byte{} }, "not a file of age"},
		{"cut off", "vault.age", func(b []byte) []byte { return b[:len(b)-1] }, "changed or cut off"},
		{"edited", "vault.age", func(b []byte) []byte { b[len(b)-20] ^= 1; return b }, "changed or cut off"},
		{"another home's", "vault.age", func([]byte) []byte { return theirs }, "not encrypted for the key in "},
		{"a key that is none", "identity.txt", func([]byte) []byte { return []byte("AGE-SECRET-KEY-1SECRETCANARY\n") }, "holds no X25519 identity"},
		{"another home's key", "identity.txt", func([]byte) []byte { return read(other, "identity.txt") }, "not encrypted for the key in "},
		{"no key", "identity.txt", nil, "it is not there"},
	} {
		t.Run(c.name, func(t *testing.T) {
			v, h := open(t, t.TempDir())
			if err := v.Set(t.Context(), "a", []byte("x")); err != nil {
				t.Fatal(err)
			}
			path := h.CredentialPath(c.file)
			var want []byte
			if c.damage == nil {
				os.Remove(path)
			} else {
				want = c.damage(read(h, c.file))
				if err := os.WriteFile(path, want, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			_, getErr := v.Get("a")
			for _, err := range []error{getErr, v.Set(t.Context(), "b", nil), v.Delete(t.Context(), "a")} {
				if !errors.Is(err, berth.ErrBadConfig) || !strings.Contains(err.Error(), c.say) || !strings.Contains(err.Error(), filepath.Dir(path)) || strings.Contains(err.Error(), "CANARY") {
					t.Errorf("got %v, not one that says %q", err, c.say)
				}
			}
			if got, err := os.ReadFile(path); c.damage != nil && (err != nil || !bytes.Equal(got, want)) || c.damage == nil && err == nil {
				t.Errorf("the file was touched: %v", err)
			}
		})
	}
}

func TestOpenToOthersIsRefused(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("a mode says nothing on Windows")
	}
	v, h := open(t, t.TempDir())
	if err := v.Set(t.Context(), "a", []byte("x")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"vault.age", "identity.txt"} {
		if err := os.Chmod(h.CredentialPath(name), 0o640); err != nil {
			t.Fatal(err)
		}
		if _, err := v.Get("a"); err == nil || !strings.Contains(err.Error(), name+" may be read by other users (mode 0640)") {
			t.Errorf("%s: %v", name, err)
		}
		if err := os.Chmod(h.CredentialPath(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// What another one changed is seen at once, also by who has read before and does
// not open the file each time.
func TestChangesAreSeen(t *testing.T) {
	v, h := open(t, t.TempDir())
	other, _ := open(t, h.Dir())
	for i := range 40 {
		want := fmt.Sprint("value ", i%10) // of one length
		if err := v.Set(t.Context(), "a", []byte(want)); err != nil {
			t.Fatal(err)
		}
		if i%10 == 0 {
			// One that is settled is not opened again.
			old := time.Now().Add(-time.Hour)
			if err := os.Chtimes(h.CredentialPath("vault.age"), old, old); err != nil {
				t.Fatal(err)
			}
		}
		for range 2 {
			got, err := other.Get("a")
			if err != nil || string(got) != want {
				t.Fatalf("got %q, %v, not %q", got, err, want)
			}
			clear(got) // it is the caller's
		}
	}
}

// Processes that change the store at the same time lose nothing of each other's.
func TestWritersOfSeveralProcesses(t *testing.T) {
	const writers, writes = 4, 8
	if dir := os.Getenv("VAULT_TEST_HOME"); dir != "" {
		v, _ := open(t, dir)
		for i := range writes {
			if err := v.Set(t.Context(), fmt.Sprintf("%s/%d", os.Getenv("VAULT_TEST_WHO"), i), []byte("x")); err != nil {
				t.Fatal(err)
			}
		}
		return
	}
	dir := t.TempDir()
	var cmds []*exec.Cmd
	for i := range writers {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestWritersOfSeveralProcesses$")
		cmd.Env = append(os.Environ(), "VAULT_TEST_HOME="+dir, fmt.Sprintf("VAULT_TEST_WHO=%d", i))
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		cmds = append(cmds, cmd)
	}
	for _, cmd := range cmds {
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	}
	v, _ := open(t, dir)
	if keys, err := v.List(""); err != nil || len(keys) != writers*writes {
		t.Errorf("%d keys of %d, %v", len(keys), writers*writes, err)
	}
}

func BenchmarkGet(b *testing.B) {
	dir := b.TempDir()
	v, _ := open(b, dir)
	if err := v.Set(b.Context(), "a", []byte(strings.Repeat("x", 2000))); err != nil {
		b.Fatal(err)
	}
	old := time.Now().Add(-time.Hour) // settled
	if err := os.Chtimes(filepath.Join(dir, "credentials", "vault.age"), old, old); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := v.Get("a"); err != nil {
			b.Fatal(err)
		}
	}
}

// The reference's key was computed from the path of the home, and its file could
// be read by all.
func TestFault15KeyIsDrawnAtRandom(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "home")
	var keys [2][]byte
	for i := range keys {
		v, h := open(t, dir)
		if err := v.Set(t.Context(), "a", []byte("x")); err != nil {
			t.Fatal(err)
		}
		var err error
		if keys[i], err = os.ReadFile(h.CredentialPath("identity.txt")); err != nil {
			t.Fatal(err)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
	}
	if bytes.Equal(keys[0], keys[1]) {
		t.Error("two stores at one path have the same key")
	}
}
