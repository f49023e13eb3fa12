package home

import (
	"errors"
	"os"
	"sync"
	"testing"
)

// TestCA: a home has one CA, whoever asks first; what is left of one is not made good
// by another, which no client trusts.
func TestCA(t *testing.T) {
	dir := t.TempDir()
	made := make(chan string, 8)
	var all sync.WaitGroup
	for _, name := range []string{"a", "b", "c", "d"} {
		all.Go(func() {
			cert, key, err := openAt(t, dir).CA(func() ([]byte, []byte, error) {
				made <- name
				return []byte(name), []byte(name + " key"), nil
			})
			if err != nil || string(key) != string(cert)+" key" {
				t.Errorf("%s of %s: %v", key, cert, err)
			}
		})
	}
	all.Wait()
	if len(made) != 1 {
		t.Errorf("%d were made", len(made))
	}
	h := openAt(t, dir)
	for _, path := range []string{h.CAPath(), h.CAKeyPath()} {
		if info, err := os.Stat(path); err != nil || onUnix && info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", path, info, err)
		}
	}
	never := func() ([]byte, []byte, error) { return nil, nil, errors.New("another is made") }
	if cert, _, err := h.CA(never); err != nil || string(cert) != <-made {
		t.Errorf("later: %s, %v", cert, err)
	}
	if err := os.Remove(h.CAKeyPath()); err != nil {
		t.Fatal(err)
	}
	if cert, _, err := h.CA(func() ([]byte, []byte, error) { return []byte("x"), []byte("y"), nil }); err == nil {
		t.Errorf("without its key: %s", cert)
	}
}
