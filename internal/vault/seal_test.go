package vault_test

import (
	"bytes"
	"context"
	"testing"

	"github.com/berth-run/berth/internal/home"
	"github.com/berth-run/berth/internal/vault"
)

func TestSeal(t *testing.T) {
	t.Setenv("BERTH_ALLOW_NETWORK_HOME", "1")
	open := func() *vault.Vault {
		h, err := home.Open(t.TempDir(), nil)
		if err != nil {
			t.Fatal(err)
		}
		v, err := vault.Open(h, &vault.Options{Place: vault.PlaceFile})
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	v, plain := open(), bytes.Repeat([]byte("settings "), 1<<14)
	if _, err := v.Unseal(plain); err == nil {
		t.Error("something was opened without a key")
	}
	sealed, err := v.Seal(context.Background(), plain)
	if err != nil || bytes.Contains(sealed, []byte("settings")) {
		t.Fatal("it is not sealed", err)
	}
	if got, err := v.Unseal(sealed); err != nil || !bytes.Equal(got, plain) {
		t.Error("it is another", err)
	}
	// With the same key the store works as ever.
	if err := v.Set(context.Background(), "k", []byte("v")); err != nil {
		t.Error(err)
	}
	if got, err := v.Get("k"); err != nil || string(got) != "v" {
		t.Error(got, err)
	}
	if got, err := v.Unseal(sealed); err != nil || !bytes.Equal(got, plain) {
		t.Error("it does not open any more", err)
	}
	sealed[len(sealed)-1] ^= 1
	if _, err := v.Unseal(sealed); err == nil {
		t.Error("a changed one opens")
	}
	other := open()
	if _, err := other.Seal(context.Background(), plain); err != nil {
		t.Fatal(err)
	}
	if _, err := other.Unseal(sealed); err == nil {
		t.Error("it opens with another's key")
	}
}
