package secret

import (
	"errors"
	"strings"
	"testing"

	"github.com/berth-run/berth"
)

func TestParseRef(t *testing.T) {
	for _, value := range []string{"secret://github/token", "secret://a.b-c/API_KEY", "secret://x/a.b-C_1"} {
		ref, err := ParseRef(value)
		if err != nil || ref.String() != value || !IsRef(value) {
			t.Errorf("%s: %v, %v", value, ref, err)
		}
	}
	if ref, _ := ParseRef("secret://github/token"); ref != (Ref{Server: "github", Key: "token"}) {
		t.Errorf("got %+v", ref)
	}
	for _, value := range []string{
		"", "token", "secret:/github/token", "SECRET://github/token", " secret://github/token",
		"secret://", "secret://github", "secret://github/", "secret:///token", "secret://GitHub/token", "secret://../token",
		"secret://github/a/b", "secret://github/a b", "secret://github/a\n", "secret://user:hunter2@host/x", "secret://github/" + strings.Repeat("k", 129),
	} {
		ref, err := ParseRef(value)
		if !errors.Is(err, berth.ErrBadConfig) {
			t.Errorf("%q: %v, %v", value, ref, err)
			continue
		}
		if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("the error quotes the value: %v", err)
		}
		if h := new(berth.Hinted); !errors.As(err, &h) {
			t.Errorf("%q: no hint", value)
		}
	}
}

// FuzzParseRef: what is a reference is written as it was read, and an error about what
// is none says nothing of it.
func FuzzParseRef(f *testing.F) {
	for _, seed := range []string{"secret://a/b", "secret://", "secret://a", "secret://a/b/c", "secret://A/b", "secret://a/..", "secret://../b", "hunter2-hunter2", "secret://a/b\n", "secret://a/\x00"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		ref, err := ParseRef(value)
		if err == nil {
			if ref.String() != value || !IsRef(value) {
				t.Errorf("%q is read as %q", value, ref)
			}
			if berth.CheckName(ref.Server) != nil || ref.Key == "" || strings.ContainsAny(ref.Key, "/\\\x00\n ") {
				t.Errorf("%q is taken for a reference", value)
			}
			return
		}
		if !errors.Is(err, berth.ErrBadConfig) {
			t.Errorf("%q: %v is of another kind", value, err)
		}
		if len(value) >= 20 && strings.Contains(err.Error(), value) {
			t.Errorf("the error quotes %q", value)
		}
	})
}
