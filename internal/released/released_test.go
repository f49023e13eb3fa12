package released

import "testing"

func TestListensAt(t *testing.T) {
	for text, want := range map[string]string{
		"berth: listening on http://127.0.0.1:7077\n":                            "http://127.0.0.1:7077",
		"berth: keeping the servers\nberth: listening on http://[::1]:80/\nmore": "http://[::1]:80",
		"berth: listening on http://127.0.0.1:70":                                "", // the rest is to come
		"not berth: listening on http://127.0.0.1:7077\n":                        "",
	} {
		if got := listensAt([]byte(text)); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}
