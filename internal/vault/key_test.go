package vault_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/home"
	"github.com/berth-run/berth/internal/vault"
)

// ring is a keyring in memory.
type ring struct {
	items map[string]string
	down  error
}

func (r *ring) Available() error { return r.down }

func (r *ring) Get(account string) (string, error) {
	if r.down != nil {
		return "", r.down
	}
	value, ok := r.items[account]
	if !ok {
		return "", errors.New("not in the keyring")
	}
	return value, nil
}

func (r *ring) Set(account, value string) error {
	if r.down != nil {
		return r.down
	}
	r.items[account] = value
	return nil
}

func (r *ring) Delete(account string) error {
	delete(r.items, account)
	return r.down
}

func openWith(t *testing.T, dir string, o *vault.Options) *vault.Vault {
	t.Helper()
	h, err := home.Open(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	v, err := vault.Open(h, o)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// TestPlaces: the key goes where it is to be, moves, stays the same, and is in no file
// that a copy of the home would give away.
func TestPlaces(t *testing.T) {
	var (
		dir   = t.TempDir()
		keys  = &ring{items: map[string]string{}}
		asked = 0
		o     = vault.Options{Keyring: keys, Passphrase: func(bool) (string, error) { asked++; return "a phrase", nil }}
	)
	files := func() string {
		var names []string
		entries, _ := os.ReadDir(filepath.Join(dir, "credentials"))
		for _, e := range entries {
			names = append(names, e.Name())
			data, err := os.ReadFile(filepath.Join(dir, "credentials", e.Name()))
			if err != nil {
				t.Fatal(err)
			}
			if e.Name() != "identity.txt" && bytes.Contains(data, []byte("AGE-SECRET-KEY")) {
				t.Errorf("%s has the key", e.Name())
			}
		}
		return strings.Join(names, " ")
	}
	check := func(want string) {
		t.Helper()
		if got := files(); got != want+" vault.age" {
			t.Errorf("the files are %s", got)
		}
		if got, err := openWith(t, dir, &o).Get("a"); err != nil || string(got) != "x" {
			t.Errorf("got %q, %v", got, err)
		}
	}
	if err := openWith(t, dir, &o).Set(t.Context(), "a", []byte("x")); err != nil {
		t.Fatal(err)
	}
	check("identity.keyring")
	for _, step := range []struct {
		to   vault.Place
		file string
	}{
		{vault.PlacePassphrase, "identity.age"}, {vault.PlaceFile, "identity.txt"}, {vault.PlaceFile, "identity.txt"},
		{vault.PlaceKeyring, "identity.keyring"},
	} {
		if err := openWith(t, dir, &o).Move(t.Context(), step.to); err != nil {
			t.Fatal(err)
		}
		check(step.file)
		if n := len(keys.items); (n == 1) != (step.to == vault.PlaceKeyring) {
			t.Errorf("moved to the %s, the keyring has %d items", step.to, n)
		}
	}
	if asked == 0 {
		t.Error("nobody asked for the passphrase")
	}
	// Where it is not to be, it is not taken from.
	if _, err := openWith(t, dir, &vault.Options{Place: vault.PlaceFile, Keyring: keys}).Get("a"); !errors.Is(err, berth.ErrBadConfig) {
		t.Errorf("a key in another place: %v", err)
	}
	// A keyring that is not there any more is an error, and no reason for a new key.
	keys.down = errors.New("it is locked")
	v := openWith(t, dir, &o)
	if err := v.Set(t.Context(), "b", []byte("y")); err == nil || !strings.Contains(err.Error(), "it is locked") {
		t.Errorf("a keyring that is locked: %v", err)
	}
	if got := files(); got != "identity.keyring vault.age" {
		t.Errorf("the files are %s", got)
	}
	// A move that fails leaves the key where it was.
	keys.down = nil
	o.Passphrase = nil
	if err := openWith(t, dir, &o).Move(t.Context(), vault.PlacePassphrase); err == nil {
		t.Error("moved to a passphrase that nobody knows")
	}
	check("identity.keyring")
}

// TestNoKeyring: without a keyring that works the key is in a file, unless the user
// wants it in a keyring.
func TestNoKeyring(t *testing.T) {
	keys := &ring{items: map[string]string{}, down: errors.New("no bus")}
	dir := t.TempDir()
	if err := openWith(t, dir, &vault.Options{Keyring: keys, Place: vault.PlaceKeyring}).Set(t.Context(), "a", nil); err == nil {
		t.Error("kept a key in a keyring that there is not")
	}
	v := openWith(t, dir, &vault.Options{Keyring: keys})
	if place, there, err := v.Place(); err != nil || there || place != vault.PlaceFile {
		t.Errorf("place %q, %v, %v", place, there, err)
	}
	if err := v.Set(t.Context(), "a", []byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "credentials", "identity.txt")); errors.Is(err, fs.ErrNotExist) {
		t.Error("there is no file with the key")
	}
	h, err := home.Open(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := vault.Open(h, &vault.Options{Place: "nonsense"}); !errors.Is(err, berth.ErrBadConfig) {
		t.Errorf("a place that is none: %v", err)
	}
}
