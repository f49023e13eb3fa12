package validate

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// lines are faults as a person reads them.
func lines(faults []Fault) string {
	var b strings.Builder
	for _, f := range faults {
		fmt.Fprintf(&b, "%d:%d %s %s: %s\n", f.Line, f.Column, f.Level, f.Field, f.Message)
	}
	return b.String()
}

// TestGolden: each document of testdata beside what is said of it. BERTH_TEST_UPDATE=1
// writes that down anew.
func TestGolden(t *testing.T) {
	docs, err := filepath.Glob("testdata/*.json")
	if err != nil || len(docs) < 4 {
		t.Fatal(docs, err)
	}
	for _, file := range docs {
		doc, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var got string
		if strings.Contains(file, "manifest") {
			var files []string
			if strings.Contains(file, "bundled") {
				files = []string{"manifest.json", "server/index.js"}
			}
			got = lines(Manifest(file, doc, files))
		} else {
			got = lines(ServerJSON(file, doc))
		}
		golden := strings.TrimSuffix(file, ".json") + ".txt"
		if os.Getenv("BERTH_TEST_UPDATE") != "" {
			if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		want, err := os.ReadFile(golden)
		if err != nil || got != string(want) {
			t.Errorf("%s: %v\ngot:\n%s\nwant:\n%s", file, err, got, want)
		}
	}
}

// TestPlaces: a fault of a document that does not parse has its place, too.
func TestPlaces(t *testing.T) {
	for doc, want := range map[string]string{
		"":                             "1:1 error : it is no JSON: it ends too early",
		"{\n \"name\": \"a/b\",\n}":    "3:1 error : it is no JSON",
		"{\"a\": [1, 2}":               "1:12 error : it is no JSON",
		"{} x":                         "1:4 error : something follows the end",
		"{\"name\": \"\xff\"}":         "1:11 error : it is not UTF-8",
		"[]":                           "1:1 error : it must be an object",
		"{\"name\":1,\n\"name\":\"\"}": "2:1 error name: it is there twice",
		strings.Repeat("[", 100):       "nested deeper than 64",
		strings.Repeat(" ", Most+1):    "more than 1048576",
	} {
		if got := lines(ServerJSON("f", []byte(doc))); !strings.Contains(got, want) {
			t.Errorf("%.40q: %s; want %s", doc, got, want)
		}
	}
}

func TestFaultsAreBounded(t *testing.T) {
	doc := `{"packages": [` + strings.Repeat(`1,`, 10_000) + `1]}`
	if got := ServerJSON("f", []byte(doc)); len(got) != maxFaults {
		t.Errorf("%d faults", len(got))
	}
}

func FuzzServerJSON(f *testing.F) { fuzz(f, func(doc []byte) []Fault { return ServerJSON("f", doc) }) }

func FuzzManifest(f *testing.F) {
	fuzz(f, func(doc []byte) []Fault { return Manifest("f", doc, []string{"a"}) })
}

// fuzz: whatever a document is, its faults have places within it, and there are not too many.
func fuzz(f *testing.F, look func(doc []byte) []Fault) {
	docs, err := filepath.Glob("testdata/*.json")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range docs {
		doc, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(doc)
	}
	f.Add([]byte(`{"packages":[{"transport":{"type":"sse","url":"http://{a}"}}],"remotes":{}}`))
	f.Fuzz(func(t *testing.T, doc []byte) {
		faults := look(doc)
		if len(faults) > maxFaults {
			t.Fatalf("%d faults", len(faults))
		}
		n := strings.Count(string(doc), "\n") + 1
		for _, fault := range faults {
			if fault.Line > n || fault.Message == "" || fault.Level != Error && fault.Level != Warning {
				t.Fatalf("%+v of %d lines", fault, n)
			}
		}
	})
}
