package repotest

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
)

// TestDocsAreShort: a document that nobody reads protects nobody.
func TestDocsAreShort(t *testing.T) {
	for file, most := range map[string]int{
		"README.md":       150,
		"AGENTS.md":       80,
		"CONTRIBUTING.md": 80,
	} {
		if n := strings.Count(read(t, file), "\n"); n >= most {
			t.Errorf("%s has %d lines, %d are too many", file, n, most)
		}
	}
}

// TestReadmeBeginsWithTheTwoCommands that a newcomer needs.
func TestReadmeBeginsWithTheTwoCommands(t *testing.T) {
	_, block, _ := strings.Cut(read(t, "README.md"), "\n```console\n")
	block, _, _ = strings.Cut(block, "\n```\n")
	var commands []string
	for line := range strings.Lines(block) {
		if c, ok := strings.CutPrefix(strings.TrimSpace(line), "$ "); ok {
			c, _, _ = strings.Cut(c, "#")
			commands = append(commands, strings.TrimSpace(c))
		}
	}
	if got, want := strings.Join(commands, "; "), "go run ./cmd/berth up --demo; go test ./..."; got != want {
		t.Errorf("the first console block of README.md runs %q, not %q", got, want)
	}
}

// TestDocsPointSomewhere: every relative link leads to a file of the repository
// and, with #, to a heading of it; every path in backquotes exists.
func TestDocsPointSomewhere(t *testing.T) {
	exists := func(file string) bool {
		_, err := os.Stat(filepath.Join(root(t), filepath.FromSlash(file)))
		return err == nil
	}
	headings := func(file string) []string { return headingsOf(read(t, file)) }
	for _, file := range files(t, ".md") {
		report(t, docFaults(file, read(t, file), exists, headings))
	}
}

var (
	fenced   = regexp.MustCompile("(?ms)^```.*?^```$")
	span     = regexp.MustCompile("`([^`\n]+)`")
	link     = regexp.MustCompile(`\]\(([^()\s]+)\)`)
	heading  = regexp.MustCompile(`(?m)^#+ +(.+)$`)
	repoPath = regexp.MustCompile(`^(\.ci|cmd|docs|internal|supervisor|tools)(/[A-Za-z0-9_.-]+)*/?$`)
)

func docFaults(file, text string, exists func(string) bool, headings func(string) []string) []string {
	var faults []string
	prose := fenced.ReplaceAllString(text, "")
	for _, m := range link.FindAllStringSubmatch(prose, -1) {
		if strings.Contains(m[1], ":") {
			continue // another site's
		}
		to, anchor, _ := strings.Cut(m[1], "#")
		target := file
		if to != "" {
			target = path.Join(path.Dir(file), to)
		}
		if !exists(target) {
			faults = append(faults, fmt.Sprintf("%s links to %s, which does not exist", file, target))
			continue
		}
		if anchor != "" && !slices.Contains(headings(target), anchor) {
			faults = append(faults, fmt.Sprintf("%s links to #%s of %s, which has no such heading", file, anchor, target))
		}
	}
	for _, code := range codeSpans(prose) {
		if repoPath.MatchString(code) && !exists(strings.TrimSuffix(code, "/")) {
			faults = append(faults, fmt.Sprintf("%s names %s, which does not exist", file, code))
		}
	}
	return faults
}

// codeSpans returns what stands in backquotes in running text.
func codeSpans(text string) []string {
	var spans []string
	for _, m := range span.FindAllStringSubmatch(fenced.ReplaceAllString(text, ""), -1) {
		spans = append(spans, m[1])
	}
	return spans
}

// headingsOf returns the anchors of a document's headings, as code hosts make
// them: lower case, spaces to hyphens, punctuation dropped.
func headingsOf(text string) []string {
	var anchors []string
	for _, m := range heading.FindAllStringSubmatch(fenced.ReplaceAllString(text, ""), -1) {
		anchors = append(anchors, strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-', r == '_', unicode.IsLetter(r), unicode.IsDigit(r):
				return unicode.ToLower(r)
			}
			return -1
		}, m[1]))
	}
	return anchors
}

func TestDocFaultsAreFound(t *testing.T) {
	exists := func(file string) bool { return file == "docs/a.md" || file == "internal/x" }
	headings := func(string) []string { return headingsOf("# One thing: `or` two\n") }
	for text, want := range map[string]string{
		"see [a](a.md), [h](a.md#one-thing-or-two), [o](https://example.org/x) and `internal/x`": "",
		"see [b](b.md)":                         "docs/a.md links to docs/b.md, which does not exist",
		"see [b](#two)":                         "docs/a.md links to #two of docs/a.md, which has no such heading",
		"see `internal/y`":                      "docs/a.md names internal/y, which does not exist",
		"```\n[b](b.md) `internal/y`\n```\nend": "",
	} {
		if got := strings.Join(docFaults("docs/a.md", text, exists, headings), "; "); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}

// TestNamedTestsAreThere: a page that names a test as the proof of something is wrong
// once the test has another name.
func TestNamedTestsAreThere(t *testing.T) {
	tests := map[string]bool{}
	for _, file := range files(t, ".go") {
		for _, m := range regexp.MustCompile(`(?m)^func (Test[A-Z]\w*)\(`).FindAllStringSubmatch(read(t, file), -1) {
			tests[m[1]] = true
		}
	}
	named := 0
	for _, file := range files(t, ".md") {
		for _, m := range regexp.MustCompile("`(Test[A-Z]\\w*)`").FindAllStringSubmatch(read(t, file), -1) {
			named++
			if !tests[m[1]] {
				t.Errorf("%s names %s, which is no test", file, m[1])
			}
		}
	}
	if named == 0 {
		t.Error("no page names a test")
	}
}
