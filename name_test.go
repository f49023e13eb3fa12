package berth

import (
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestCheckName(t *testing.T) {
	for _, name := range []string{
		"a", "0", "everything", "a.b", "a..b", "a-", "a_", "server-filesystem_2", "9lives", "a.con", "console", "com", "com10",
		"coma", "nulls", "xcon", "lpt", "con-x", "con_x", "verified", "verify.x", "exports", "importer", strings.Repeat("x", MaxNameLength),
	} {
		if err := CheckName(name); err != nil {
			t.Error(err)
		}
	}
	const (
		begin   = "must begin with a letter a-z or a digit"
		letters = "only a-z, 0-9, '.', '_' and '-' are allowed"
		dot     = "must not end in a dot"
		device  = "is the name of a Windows device"
		word    = "is a word of the command line"
	)
	for name, why := range map[string]string{
		"": "it is empty",
		// Paths.
		".": begin, "..": begin, "../policy": begin, "/etc/passwd": begin, "a/b": letters, "a/../../b": letters, `a\b`: letters,
		`..\policy`: begin, "c:": letters, "c:x": letters, "a//": letters, "a/.": letters, "~": begin, "~root": begin, "%2e%2e": begin, "a%2fb": letters,
		// What the eye or a shell takes for something else.
		"A": begin, "aB": letters, " a": begin, "a ": letters, "a\n": letters, "\na": begin, "a\nb": letters, "a\rb": letters, "a\x00": letters,
		"a\x00.toml": letters, "a\x1b[2J": letters, "-a": begin, "--help": begin, "_a": begin, ".a": begin, "a*": letters, "a?": letters,
		"a$b": letters, "a;b": letters, "a'b": letters, `a"b`: letters, "a=b": letters, "a b": letters, "a\tb": letters, "a,b": letters,
		// What is not ASCII, and what only looks as if it were.
		"ä": begin, "aä": letters, "а": begin, "a\u200b": letters, "a\u0301": letters, "a\xff": letters, "\xff": begin, "ａ": begin, "a․b": letters, "a∕b": letters,
		// What Windows opens as something else.
		"a.": dot, "a..": dot, "con": device, "nul": device, "aux": device, "prn": device, "com0": device, "com1": device, "lpt9": device,
		"con.toml": device, "nul.tar.gz": device, "com1.x": device, "con.": dot,
		"verify": word, "export": word, "import": word,
		strings.Repeat("x", MaxNameLength+1): "it has 65 bytes, at most 64 are allowed",
		strings.Repeat("x", 300):             "it has 300 bytes, at most 64 are allowed",
		strings.Repeat("../", 100):           "it has 300 bytes, at most 64 are allowed",
	} {
		err := CheckName(name)
		if !errors.Is(err, ErrInvalidName) {
			t.Errorf("%q: the error is %v", name, err)
			continue
		}
		text := err.Error()
		if !strings.HasPrefix(text, "invalid server name \"") || !strings.HasSuffix(text, why) {
			t.Errorf("%q: the error %q does not say that it %s", name, text, why)
		}
		if strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }) || len(text) > 400 {
			t.Errorf("%q: the error is not one short line: %q", name, text)
		}
	}
}

// FuzzCheckName holds CheckName against its own words, written another way, and
// against what it is for: a file of that name is where it should be.
func FuzzCheckName(f *testing.F) {
	for _, name := range []string{"", "a", "a~1", "a~", "a.b", "..", "../x", "a/b", "con", "com1.x", "verify", "a.", "A", "a\n", "\xff", strings.Repeat("x", 65)} {
		f.Add(name)
	}
	shape := regexp.MustCompile(`\A[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9_-])?\z`)
	device := regexp.MustCompile(`\A(con|prn|aux|nul|com[0-9]|lpt[0-9])(\.|\z)`)
	tag := regexp.MustCompile(`\A[a-z0-9]{1,16}\z`)
	f.Fuzz(func(t *testing.T, name string) {
		err := CheckName(name)
		if server, of, further := strings.Cut(name, "~"); (CheckInstance(name) == nil) != (CheckName(server) == nil && (!further || tag.MatchString(of))) || ServerOf(name) != server {
			t.Fatalf("%q as an instance: %v", name, CheckInstance(name))
		}
		good := shape.MatchString(name) && !device.MatchString(name) && !slices.Contains([]string{"verify", "export", "import"}, name)
		if good != (err == nil) {
			t.Fatalf("%q: %v", name, err)
		}
		if err != nil {
			if !errors.Is(err, ErrInvalidName) || len(err.Error()) > 400 || strings.Contains(err.Error(), "\n") {
				t.Fatalf("%q: %q", name, err)
			}
			return
		}
		for _, suffix := range []string{"", "~1.toml", ".toml", ".log", ".log.1", ".shim"} {
			if path := filepath.Join("dir", name+suffix); filepath.Dir(path) != "dir" || filepath.Base(path) != name+suffix || !filepath.IsLocal(name+suffix) {
				t.Fatalf("%q leaves its directory: %s", name, path)
			}
		}
	})
}

func TestCheckInstance(t *testing.T) {
	for name, server := range map[string]string{"a": "a", "a~1": "a", "a.b~x9": "a.b", "a~" + strings.Repeat("z", MaxInstanceTag): "a"} {
		if err := CheckInstance(name); err != nil || ServerOf(name) != server {
			t.Errorf("%q: %v, it belongs to %q", name, err, ServerOf(name))
		}
		if tag, ok := strings.CutPrefix(name, server+"~"); ok {
			if got := InstanceName(server, tag); got != name {
				t.Errorf("%q and %q make %q", server, tag, got)
			}
			if CheckName(name) == nil {
				t.Errorf("a user may call a server %q", name)
			}
		}
	}
	for _, name := range []string{
		"", "~", "~1", "a~", "a~A", "a~b~c", "a~~", "a~1\n", "a~../b", "a~.", "a~é", "A~1", "../x~1", "con~1", "verify~1", "a.~1",
		"a~" + strings.Repeat("z", MaxInstanceTag+1), strings.Repeat("x", MaxNameLength+1) + "~1", strings.Repeat("a~", 1000),
	} {
		if err := CheckInstance(name); !errors.Is(err, ErrInvalidName) || len(err.Error()) > 400 {
			t.Errorf("%.100q: %.500v", name, err)
		}
	}
}

func TestQuoteShort(t *testing.T) {
	for s, want := range map[string]string{
		"":                        `""`,
		"a\nb":                    `"a\nb"`,
		strings.Repeat("x", 40):   `"` + strings.Repeat("x", 40) + `"`,
		strings.Repeat("x", 41):   `"` + strings.Repeat("x", 40) + `"…`,
		strings.Repeat("x", 1e6):  `"` + strings.Repeat("x", 40) + `"…`,
		strings.Repeat("ä", 30):   `"` + strings.Repeat("ä", 20) + `"…`,
		strings.Repeat("€", 30):   `"` + strings.Repeat("€", 13) + `"…`,
		strings.Repeat("\xff", 9): `"` + strings.Repeat(`\xff`, 9) + `"`,
	} {
		if got := quoteShort(s); got != want {
			t.Errorf("%.50q: got %s, want %s", s, got, want)
		}
	}
}

func ExampleCheckName() {
	fmt.Println(CheckName("everything"))
	fmt.Println(CheckName("../policy"))
	// Output:
	// <nil>
	// invalid server name "../policy": it must begin with a letter a-z or a digit
}
