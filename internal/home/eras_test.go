package home

import (
	"fmt"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/berth-run/berth"
)

func TestLegacyServers(t *testing.T) {
	h := openTestHome(t)
	if _, known := h.LegacyServer("a"); known {
		t.Error("nothing is known")
	}
	if err := h.RememberLegacy("a", "x 1"); err != nil {
		t.Fatal(err)
	}
	if said, known := h.LegacyServer("a"); !known || said != "x 1" {
		t.Errorf("%q, %v", said, known)
	}
	if err := h.ForgetLegacy("a"); err != nil {
		t.Fatal(err)
	}
	if _, known := h.LegacyServer("a"); known {
		t.Error("it was to be forgotten")
	}
	for _, text := range []string{"", "{", "[]", "null", `{"a":1}`, `{"a":{"at":"9999-01-01T00:00:00Z"}}`} {
		if err := os.WriteFile(h.erasPath(), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, known := h.LegacyServer("a"); known {
			t.Errorf("%s was believed", text)
		}
		if err := h.RememberLegacy("b", ""); err != nil {
			t.Errorf("over %s: %v", text, err)
		}
		if _, known := h.LegacyServer("b"); !known {
			t.Errorf("over %s: not remembered", text)
		}
	}
}

func TestLegacyServersHaveABound(t *testing.T) {
	h := openTestHome(t)
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() {
			for j := range erasMost / 4 {
				if err := h.RememberLegacy(fmt.Sprintf("server %d.%d", i, j), ""); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if n := len(h.eras()); n != erasMost {
		t.Fatalf("%d are remembered", n)
	}
	for i := range 8 {
		if err := h.RememberLegacy(fmt.Sprint("more ", i), ""); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(h.eras()); n != erasMost {
		t.Errorf("%d are remembered", n)
	}
	if _, known := h.LegacyServer("more 7"); !known {
		t.Error("the last is not")
	}
}

func TestLegacyServersAreAskedAgain(t *testing.T) {
	h := openTestHome(t)
	synctest.Test(t, func(t *testing.T) {
		if err := h.RememberLegacy("a", ""); err != nil {
			t.Fatal(err)
		}
		time.Sleep(eraFor - time.Second)
		if _, known := h.LegacyServer("a"); !known {
			t.Error("too early")
		}
		time.Sleep(2 * time.Second)
		if _, known := h.LegacyServer("a"); known {
			t.Error("it may have changed")
		}
	})
}

func TestEraKey(t *testing.T) {
	a, b := NewServer("a", "npx", nil), NewServer("b", "npx", nil)
	spec := berth.ProcessSpec{Command: "npx", Args: []string{"-y", "x"}, Dir: "/", Env: map[string]string{"A": "1"}}
	other := berth.ProcessSpec{Command: "npx", Args: []string{"-y", "x"}}
	if a.EraKey(spec) != b.EraKey(other) {
		t.Error("the name and the environment make no other server")
	}
	other.Args = []string{"-y", "y"}
	if a.EraKey(spec) == b.EraKey(other) {
		t.Error("other arguments do")
	}
}
