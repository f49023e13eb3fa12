package home

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/berth-run/berth"
)

func newToken(t *testing.T, h *Home, token berth.Token) string {
	t.Helper()
	text, err := h.CreateToken(token)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// TestTokens: a token is known until it is revoked or has expired, at once, and is
// nowhere in the home.
func TestTokens(t *testing.T) {
	h := openAt(t, t.TempDir())
	book := h.TokenBook()
	if _, err := book.Find(SumOf("")); !errors.Is(err, ErrNoToken) {
		t.Errorf("without a file: %v", err)
	}
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	ide := newToken(t, h, berth.Token{Name: "ide", Profile: "work", Created: at})
	old := newToken(t, h, berth.Token{Name: "old", Created: at, Expires: at.Add(time.Hour)})
	cli := newToken(t, h, berth.Token{Name: "cli", Created: at, Expires: time.Now().Add(time.Hour)})
	for _, c := range []struct {
		what, text, name string
		err              error
	}{
		{"a token", ide, "ide", nil},
		{"one that expires later", cli, "cli", nil},
		{"one that has expired", old, "old", ErrTokenExpired},
		{"none", "", "", ErrNoToken},
		{"a prefix", ide[:len(ide)-1], "", ErrNoToken},
		{"more", ide + "a", "", ErrNoToken},
		{"in capitals", strings.ToUpper(ide), "", ErrNoToken},
		{"a name", "ide", "", ErrNoToken},
	} {
		got, err := book.Find(SumOf(c.text))
		if got.Name != c.name || !errors.Is(err, c.err) {
			t.Errorf("%s is known as %q, %v", c.what, got.Name, err)
		}
	}
	if len(ide) != TokenLength || !strings.HasPrefix(ide, TokenPrefix) || ide == cli {
		t.Errorf("tokens are %q, %q", ide, cli)
	}
	info, err := os.Stat(h.tokensPath())
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(h.tokensPath())
	if err != nil {
		t.Fatal(err)
	}
	if onUnix && info.Mode().Perm() != 0o600 || strings.Contains(string(data), ide[len(TokenPrefix):]) {
		t.Errorf("%v: %s", info.Mode(), data)
	}
	if all, err := h.Tokens(); err != nil || fmt.Sprint(all) != fmt.Sprint([]berth.Token{
		{Name: "cli", Created: at, Expires: all[0].Expires}, {Name: "ide", Profile: "work", Created: at}, {Name: "old", Created: at, Expires: at.Add(time.Hour)},
	}) {
		t.Errorf("the list is %v, %v", all, err)
	}

	if _, err := h.CreateToken(berth.Token{Name: "ide"}); err == nil {
		t.Error("a second token of one client")
	}
	if again := newToken(t, h, berth.Token{Name: "old"}); again == old {
		t.Error("the same token again")
	}
	if err := h.RevokeToken("ide"); err != nil {
		t.Fatal(err)
	}
	if _, err := book.Find(SumOf(ide)); !errors.Is(err, ErrNoToken) {
		t.Errorf("a token that was revoked: %v", err)
	}
	if err := h.RevokeToken("ide"); !errors.Is(err, ErrNoToken) {
		t.Errorf("revoked again: %v", err)
	}
	for _, name := range []string{"", "a b", "Ide", "../x", strings.Repeat("a", 65)} {
		if _, err := h.CreateToken(berth.Token{Name: name}); !errors.Is(err, berth.ErrInvalidName) {
			t.Errorf("a client %q: %v", name, err)
		}
		if _, err := h.CreateToken(berth.Token{Name: "x", Profile: name}); name != "" && !errors.Is(err, berth.ErrInvalidName) {
			t.Errorf("a profile %q: %v", name, err)
		}
	}
}

// TestTokensOfOthers: changes at the same time are all made, and each is seen.
func TestTokensOfOthers(t *testing.T) {
	h := openAt(t, t.TempDir())
	book := h.TokenBook()
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			name := fmt.Sprint("c", i)
			text, err := h.CreateToken(berth.Token{Name: name})
			if err != nil {
				t.Error(err)
				return
			}
			if got, err := book.Find(SumOf(text)); err != nil || got.Name != name {
				t.Errorf("the token of %s is that of %q: %v", name, got.Name, err)
			}
			if i%2 == 0 {
				return
			}
			if err := h.RevokeToken(name); err != nil {
				t.Error(err)
			}
			if _, err := book.Find(SumOf(text)); !errors.Is(err, ErrNoToken) {
				t.Errorf("the token of %s, which was revoked: %v", name, err)
			}
		})
	}
	all.Wait()
	if list, err := h.Tokens(); err != nil || len(list) != 4 {
		t.Errorf("%v, %v", list, err)
	}
}

// TestTokensDamaged: a file that is not in order lets nobody in, and is left to its
// user.
func TestTokensDamaged(t *testing.T) {
	h := openAt(t, t.TempDir())
	book := h.TokenBook()
	text := newToken(t, h, berth.Token{Name: "ide"})
	good, err := os.ReadFile(h.tokensPath())
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{
		"", "{", "null null", string(good[:len(good)/2]), `{"tokens":[{"name":"ide"}]}`, `{"tokens":[{"name":"A B","sha256":"` + strings.Repeat("00", 32) + `"}]}`,
		`{"tokens":[{"name":"ide","profile":"..","sha256":"` + strings.Repeat("00", 32) + `"}]}`, strings.Repeat(" ", tokensBytes) + string(good),
	} {
		if err := os.WriteFile(h.tokensPath(), []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := book.Find(SumOf(text)); !errors.Is(err, berth.ErrBadState) || !strings.Contains(err.Error(), "tokens.json") {
			t.Errorf("%.40q: %v", bad, err)
		}
		if _, err := h.CreateToken(berth.Token{Name: "other"}); !errors.Is(err, berth.ErrBadState) {
			t.Errorf("%.40q is written over: %v", bad, err)
		}
	}
	if err := os.WriteFile(h.tokensPath(), good, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := book.Find(SumOf(text)); err != nil {
		t.Error(err)
	}
	if err := os.Remove(h.tokensPath()); err != nil {
		t.Fatal(err)
	}
	if _, err := book.Find(SumOf(text)); !errors.Is(err, ErrNoToken) {
		t.Errorf("without the file: %v", err)
	}
}
