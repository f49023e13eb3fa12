package find

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestSplit(t *testing.T) {
	for text, want := range map[string]string{
		"":                         "",
		"read_file":                "read file",
		"browser-take-screenshot":  "browser take screenshot",
		"maxResults":               "max results",
		"HTTPServer":               "http server",
		"getURLOfPage":             "get url of page",
		"OAuth2Token":              "o auth2token",
		"base64":                   "base64",
		"2020_12":                  "2020 12",
		"don't stop. Now!":         "dont stop now",
		"a/b.c:d,e":                "a b c d e",
		"'quoted'":                 "quoted",
		"Über große ÄPFEL":         "über große äpfel",
		"日本語":                      "日本語",
		"\x00\xff":                 "",
		"ls -la":                   "ls la",
		"https://example.com/a-b?": "https example com a b",
	} {
		if got := strings.Join(split(text), " "); got != want {
			t.Errorf("%q: %q, not %q", text, got, want)
		}
	}
}

// Forms of a word have one stem, and other words another.
func TestStem(t *testing.T) {
	for _, forms := range []string{
		"file files", "directory directories", "navigate navigates navigated navigating navigation", "create created creating creation",
		"run running runs", "press presses pressed pressing", "stop stopped", "box boxes", "read reading reads", "entity entities",
		"delete deleted deleting deletion", "address addresses", "select selection selected", "call calls called calling",
		"class classes", "list listed", "need needed", "feed feeds",
	} {
		words := strings.Fields(forms)
		for _, w := range words[1:] {
			if stem(w) != stem(words[0]) {
				t.Errorf("%s is %s, %s is %s", words[0], stem(words[0]), w, stem(w))
			}
		}
	}
	for _, pair := range []string{"file fill", "read ready", "thing thin", "status state", "use user", "string strip", "bed bing", "image imagine"} {
		a, b, _ := strings.Cut(pair, " ")
		if stem(a) == stem(b) {
			t.Errorf("%s and %s are both %s", a, b, stem(a))
		}
	}
}

func TestWordsLeaveOutWhatSaysNothing(t *testing.T) {
	if got := words("Please show me what is in the files"); !slices.Equal(got, []string{"show", stem("file")}) {
		t.Error(got)
	}
}

// One letter more, less or other, or two that changed places, is close; by the
// definition, computed here in another way.
func TestCloseToProperty(t *testing.T) {
	word := rapid.StringMatching(`[abc]{0,5}`)
	edits := func(w string) map[string]bool {
		near := map[string]bool{w: true}
		for i := 0; i <= len(w); i++ {
			for _, c := range "abc" {
				near[w[:i]+string(c)+w[i:]] = true
				if i < len(w) {
					near[w[:i]+string(c)+w[i+1:]] = true
				}
			}
			if i < len(w) {
				near[w[:i]+w[i+1:]] = true
			}
			if i+1 < len(w) {
				near[w[:i]+w[i+1:i+2]+w[i:i+1]+w[i+2:]] = true
			}
		}
		return near
	}
	rapid.Check(t, func(t *rapid.T) {
		a, b := word.Draw(t, "a"), word.Draw(t, "b")
		if got := closeTo(a, b); got != edits(a)[b] || got != closeTo(b, a) {
			t.Fatalf("%q and %q: %v", a, b, got)
		}
	})
}

// Each line of the thesaurus has two words at least that are not one.
func TestThesaurus(t *testing.T) {
	for word, others := range thesaurus() {
		if word == "" || len(others) == 0 || slices.Contains(others, word) || word != stem(word) && stem(word) == "" {
			t.Errorf("%q: %q", word, others)
		}
	}
}
