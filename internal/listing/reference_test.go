package listing

import (
	"errors"
	"strings"
	"testing"
)

func TestParseReference(t *testing.T) {
	hash := "sha256:" + strings.Repeat("0a", 32)
	for _, c := range []struct {
		text string
		want Reference
	}{
		{"npm:server", Reference{Kind: NPM, Package: "server"}},
		{"npm:@a/b@1.2.3-rc.1", Reference{Kind: NPM, Package: "@a/b", Version: "1.2.3-rc.1"}},
		{"npm:b@latest", Reference{Kind: NPM, Package: "b"}},
		{"@a/b", Reference{Kind: NPM, Package: "@a/b"}},
		{"@a/b@2.0.0", Reference{Kind: NPM, Package: "@a/b", Version: "2.0.0"}},
		{"pypi:mcp-server-time", Reference{Kind: PyPI, Package: "mcp-server-time"}},
		{"pypi:x==1.0", Reference{Kind: PyPI, Package: "x", Version: "1.0"}},
		{"pypi:x@1.0", Reference{Kind: PyPI, Package: "x", Version: "1.0"}},
		{"oci:alpine", Reference{Kind: OCI, Package: "docker.io/library/alpine"}},
		{"oci:mcp/time:1.2", Reference{Kind: OCI, Package: "docker.io/mcp/time", Version: "1.2"}},
		{"oci:localhost:5000/x", Reference{Kind: OCI, Package: "localhost:5000/x"}},
		{"oci:ghcr.io/a/b:v1@" + hash, Reference{Kind: OCI, Package: "ghcr.io/a/b", Version: "v1", Digest: hash}},
		{"go:github.com/a/b/cmd/c@v1.2.3", Reference{Kind: Go, Package: "github.com/a/b/cmd/c", Version: "v1.2.3"}},
		{"go:github.com/a/b@latest", Reference{Kind: Go, Package: "github.com/a/b"}},
		{"https://mcp.example.com/mcp?x=1", Reference{Remote: "https://mcp.example.com/mcp?x=1"}},
		{"https://example.com/a/server.json", Reference{Document: "https://example.com/a/server.json"}},
		{"https://www.npmjs.com/package/@a/b", Reference{Kind: NPM, Package: "@a/b"}},
		{"https://npmjs.com/package/b/v/1.2.3?activeTab=readme", Reference{Kind: NPM, Package: "b", Version: "1.2.3"}},
		{"https://pypi.org/project/x/", Reference{Kind: PyPI, Package: "x"}},
		{"https://pypi.org/project/x/1.0/#files", Reference{Kind: PyPI, Package: "x", Version: "1.0"}},
		{"https://hub.docker.com/r/mcp/time/tags", Reference{Kind: OCI, Package: "docker.io/mcp/time"}},
		{"https://hub.docker.com/_/alpine", Reference{Kind: OCI, Package: "docker.io/library/alpine"}},
		{"https://pkg.go.dev/github.com/a/b@v1.0.0", Reference{Kind: Go, Package: "github.com/a/b", Version: "v1.0.0"}},
		{"server.json", Reference{File: "server.json"}},
		{"./dir", Reference{File: "./dir"}},
		{"/a dir/server.json", Reference{File: "/a dir/server.json"}},
		{`C:\a\server.json`, Reference{File: `C:\a\server.json`}},
	} {
		got, direct, err := ParseReference(c.text)
		if err != nil || !direct || got != c.want {
			t.Errorf("%s is %+v, %t, %v; want %+v", c.text, got, direct, err, c.want)
		}
	}
	for _, name := range []string{"github", "io.github.someone/server", "a.b_c-d", "npm", "mcp/time"} {
		if r, direct, err := ParseReference(name); direct || err != nil {
			t.Errorf("%s is %+v, %v, and not a name of a catalogue", name, r, err)
		}
	}
	// What a text could be is said, and what it is not is never guessed.
	for text, hint := range map[string]string{
		"server@1.2.3":                      "npm:server@1.2.3, pypi:server@1.2.3",
		"server==1.2.3":                     "pypi:server==1.2.3",
		"ghcr.io/a/b:v1":                    "oci:ghcr.io/a/b:v1",
		"github.com/a/b/cmd":                "oci:github.com/a/b/cmd, go:github.com/a/b/cmd",
		"docker:alpine":                     "oci:docker:alpine",
		"docker://alpine":                   "a server is one of: NAME",
		"ftp://example.com/server":          "a server is one of: NAME",
		"npm:a/b/c":                         "write npm:NAME",
		"npm:x@^1":                          "leave it out for the newest",
		"npm:x@":                            "write npm:NAME",
		"pypi:x[extra]":                     "write pypi:NAME",
		"pypi:x>=1":                         "write pypi:NAME",
		"oci:UPPER":                         "write oci:IMAGE",
		"oci:x@sha256:12":                   "write oci:IMAGE",
		"go:server":                         "write go:PACKAGE",
		"go:github.com/a/../b":              "write go:PACKAGE",
		"go:github.com/a/b@main":            "write go:PACKAGE@v1.2.3",
		"https://www.npmjs.com/~someone":    "such a page is https://www.npmjs.com/package/NAME",
		"https://pypi.org/user/x":           "such a page is https://pypi.org/project/NAME",
		"https://hub.docker.com/u/mcp":      "such a page is https://hub.docker.com/r/",
		"https://www.npmjs.com/package/A/B": "write npm:NAME",
	} {
		r, _, err := ParseReference(text)
		var form *FormError
		if !errors.As(err, &form) || !strings.Contains(form.Hint, hint) {
			t.Errorf("%s is %+v, %v; want a hint with %q, have %+v", text, r, err, hint, form)
		}
	}
	for _, text := range []string{"", "a b", "a\x1bb", "http://example.com/server.json", strings.Repeat("a", 3000)} {
		if r, _, err := ParseReference(text); err == nil {
			t.Errorf("%.40q is %+v", text, r)
		}
	}
}

func FuzzParseReference(f *testing.F) {
	for _, seed := range []string{"npm:@a/b@1", "pypi:x==1.0", "oci:ghcr.io/a/b:v1", "go:a.b/c@v1.2.3", "https://npmjs.com/package/x/v/1", "./x", "x@1", `C:\x`, "a/b", "go:0.0/0..", "oci:000..00/00"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, direct, err := ParseReference(text)
		if err != nil {
			return
		}
		ways := 0
		for _, is := range []bool{r.Kind != "", r.Remote != "", r.Document != "", r.File != ""} {
			if is {
				ways++
			}
		}
		if direct != (ways == 1) || !direct && (ways != 0 || !entryName(text)) {
			t.Fatalf("%q is %+v, %t", text, r, direct)
		}
		if strings.HasPrefix(r.Package, "-") || strings.Contains(r.Package, "..") && r.Kind != NPM || strings.ContainsAny(r.Package+r.Version+r.Digest, " \n\x00$;|&") {
			t.Fatalf("%q is the package %q %q", text, r.Package, r.Version)
		}
	})
}
