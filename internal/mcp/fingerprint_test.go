package mcp

import "testing"

func TestFingerprint(t *testing.T) {
	const one = `{"protocolVersion":"2025-11-25","capabilities":{"tools":{"listChanged":true},"logging":{}},"serverInfo":{"name":"x","version":"1"},"instructions":"be kind"}`
	for _, c := range []struct {
		what, other string
		same        bool
	}{
		{"itself", one, true},
		{"order and spacing", `{"instructions": "be kind", "serverInfo":{"version":"1","name":"x"}, "capabilities":{"logging":{}, "tools":{"listChanged":true}},"protocolVersion":"2025-11-25"}`, true},
		{"revision, name and what is unknown", `{"protocolVersion":"2025-06-18","capabilities":{"tools":{"listChanged":true},"logging":{}},"serverInfo":{"name":"y","version":"1"},"instructions":"be kind","x":1}`, true},
		{"a capability", `{"capabilities":{"tools":{"listChanged":false},"logging":{}},"serverInfo":{"name":"x","version":"1"},"instructions":"be kind"}`, false},
		{"a large number", `{"capabilities":{"tools":{"listChanged":true},"logging":{},"x":9007199254740993},"serverInfo":{"name":"x","version":"1"},"instructions":"be kind"}`, false},
		{"the version", `{"capabilities":{"tools":{"listChanged":true},"logging":{}},"serverInfo":{"name":"x","version":"2"},"instructions":"be kind"}`, false},
		{"the instructions", `{"capabilities":{"tools":{"listChanged":true},"logging":{}},"serverInfo":{"name":"x","version":"1"}}`, false},
	} {
		if got := Fingerprint([]byte(one)) == Fingerprint([]byte(c.other)); got != c.same {
			t.Errorf("%s: same is %v", c.what, got)
		}
	}
	with := func(n string) string { return Fingerprint([]byte(`{"capabilities":{"x":` + n + `}}`)) }
	if with("9007199254740993") == with("9007199254740992") {
		t.Error("large numbers are not told apart")
	}
}
