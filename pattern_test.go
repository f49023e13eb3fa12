package berth

import (
	"errors"
	"strings"
	"testing"
)

func TestCheckToolPattern(t *testing.T) {
	for _, good := range []string{
		"search", "get_*", "*", "?", "[a-z]*", "files/read_*", "*/write", "@read-only", "@destructive",
		"files/@read-only", "[@]x", "a/b/c", `a\*`, "über", "a@b",
	} {
		if err := CheckToolPattern(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for bad, why := range map[string]string{
		"": "empty", "/": "empty", "a/": "empty", "/a": "empty", "[": "closed", "a/[": "closed", "[/a": "closed", `a\`: "closed",
		"a[b-": "closed", "@": "not known", "@readonly": "not known", "@Read-Only": "not known", "a/@x": "not known",
		"@read-only/x": "servers", " a": "space", "a ": "space",
		strings.Repeat("x", 100) + "[": "closed",
	} {
		err := CheckToolPattern(bad)
		if !errors.Is(err, ErrBadConfig) {
			t.Errorf("%q: %v", bad, err)
			continue
		}
		if !strings.Contains(err.Error(), why) || len(err.Error()) > 200 {
			t.Errorf("%q: %v, which does not say %q", bad, err, why)
		}
	}
}
