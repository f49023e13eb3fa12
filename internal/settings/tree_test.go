package settings

import "testing"

// TestSameBut: documents that differ in more than the entry are told from those that
// do not. Set and Remove write nothing that this refuses.
func TestSameBut(t *testing.T) {
	for _, c := range []struct {
		f    Format
		a, b string
		same bool
	}{
		{JSON, `{"m": {"x": 1}}`, `{"m": {"berth": {}, "x": 1}}`, true},
		{JSON, `{}`, `{"m": {"berth": {}}}`, true},
		{JSON, `{"m": {}}`, `{"m": {"berth": {}}}`, true},
		{JSON, ``, `{"m": {"berth": {}}}`, true},
		{JSON, `{"m": {"x": 1}}`, `{"m": {"berth": {}, "x": 2}}`, false},
		{JSON, `{"m": {"x": 1}}`, `{"m": {"berth": {}, "x": "1"}}`, false},
		{JSON, `{"m": {"x": 1, "y": 1}}`, `{"m": {"berth": {}, "y": 1, "x": 1}}`, false},
		{JSON, `{"m": {"x": 1}}`, `{"m": {"berth": {}}, "x": 1}`, false},
		{JSON, `{"a": [], "m": {}}`, `{"a": {}, "m": {"berth": {}}}`, false},
		{JSON, `{"a": null}`, `{"a": {}, "m": {"berth": {}}}`, false},
		{TOML, "m.x = 1\n", "m.x = 1\n[m.berth]\na = 1\n", true},
		{TOML, "m.x = 1\n", "m.x = 1.0\n[m.berth]\na = 1\n", false},
		{TOML, "t = nan\n", "t = nan\n[m.berth]\n", true},
		{YAML, "m:\n", "m:\n  berth: {}\n", true},
		{YAML, "m: {x: a}\n", "m:\n  berth: {}\n  x: \"a\"\n", true},
		{YAML, "m: {x: 1}\n", "m:\n  berth: {}\n  x: \"1\"\n", false},
		{YAML, "x: &a 1\ny: *a\n", "x: &a 1\ny: 1\nm: {berth: {}}\n", false},
	} {
		a, err := parse(c.f, []byte(c.a))
		if err != nil {
			t.Fatal(err)
		}
		b, err := parse(c.f, []byte(c.b))
		if err != nil {
			t.Fatal(err)
		}
		if got := sameBut(a, b, Place{Path: []string{"m", "berth"}}); got != c.same {
			t.Errorf("%s %q and %q: %v", c.f, c.a, c.b, got)
		}
	}
}
