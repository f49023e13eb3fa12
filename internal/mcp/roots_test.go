package mcp

import "testing"

func TestFileURI(t *testing.T) {
	for path, want := range map[string]string{
		"/srv/a b":   "file:///srv/a%20b",
		"/srv/ä#?%":  "file:///srv/%C3%A4%23%3F%25",
		"C:/Users/x": "file:///C:/Users/x",
		"/":          "file:///",
	} {
		if got := fileURI(path); got != want {
			t.Errorf("%s is %s, want %s", path, got, want)
		}
	}
}

func TestRootsAreDeclaredForAClientToo(t *testing.T) {
	for caps, want := range map[string]string{
		`{}`: `{"roots":{}}`,
		`{"roots":{"listChanged":true},"sampling":{}}`: `{"roots":{},"sampling":{}}`,
	} {
		if got := string(declareRoots([]byte(caps))); got != want {
			t.Errorf("%s becomes %s, want %s", caps, got, want)
		}
	}
}
