package egress

import "testing"

func TestCompleted(t *testing.T) {
	for name, want := range map[string]bool{
		"api.example.com.corp.test": true,
		"db.corp.test":              false, // a host of that domain, most likely
		"api.example.com":           false,
		"corp.test":                 false,
		"api.example.comcorp.test":  false,
	} {
		if got := completed(name, []string{"other.test", "corp.test"}); got != want {
			t.Errorf("%s: %v", name, got)
		}
	}
	r, err := ParseRules([]string{"network:*.example.com:443", "network:example.org:443"})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{
		"api.example.com.corp.test": true, "example.org.corp.test": true, "api.example.com": false, "example.net.corp.test": false,
	} {
		if got := r.searched(name); got != want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
