package catalog

import (
	"bytes"
	"encoding/json"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestSharedNPM: what one home resolved is installed in another, by the same hashes, though
// the registry has newer by then; a lock that was edited is not.
func TestSharedNPM(t *testing.T) {
	need(t, "npm", "node")
	r := newRegistry(t)
	publishHello(t, r, filepath.Join(t.TempDir(), "ran"))
	first := openHome(t)
	request := parsed(t, "npx", "-y", "@test/hello")
	c, err := New(first).Fetch(t.Context(), request, options(t, r.environ(t)), use(t, first, "hello"))
	if err != nil {
		t.Fatal(err)
	}
	doc, err := c.Lock.Share()
	if err != nil || !bytes.Contains(doc, []byte(`"packageLock":{`)) {
		t.Fatalf("it is not for people to read: %s, %v", doc, err)
	}
	// As it is in a file that is indented.
	var indented bytes.Buffer
	if err := json.Indent(&indented, doc, "    ", "  "); err != nil {
		t.Fatal(err)
	}
	l, err := ParseShared(indented.Bytes())
	if err != nil || l.Digest() != c.Lock.Digest() {
		t.Fatalf("%v", err)
	}
	r.publish(t, map[string]string{
		"package.json": `{"name":"@test/hello","version":"1.3.0","bin":{"hello":"cli.js"}}`,
		"cli.js":       "#!/usr/bin/env node\nconsole.log('newer')\n",
	})
	second := openHome(t)
	request.Locks = []*Lock{l}
	c2, err := New(second).Fetch(t.Context(), request, options(t, r.environ(t)), use(t, second, "hello"))
	if err != nil || c2.Lock.Digest() != c.Lock.Digest() || c2.Lock.Version != "1.2.3" {
		t.Fatalf("%+v, %v", c2, err)
	}
	if out := printed(t, c2, "x"); out != "hello world x\n" {
		t.Error(out)
	}
	other := request
	other.Package = "who"
	if _, err := New(second).Fetch(t.Context(), other, options(t, r.environ(t)), nil); !errors.Is(err, ErrLock) {
		t.Errorf("the lock of another package: %v", err)
	}
	// An edit that keeps it whole and another that does not.
	for _, edit := range [][2]string{
		{`"version":"2.1.0"`, `"version":"2.0.9"`}, {`"digest":"sha256:`, `"digest":"sha256:0`}, {`"kind":"npm"`, `"kind":"oci"`},
		{`"package":"@test/hello"`, `"package":"../hello"`}, {`"version":"1.2.3"`, `"version":"file:x"`}, {`"for"`, `"four"`}, {`"sha512-`, `"sha1-`},
		{`"tree":[`, `"scripts":["nobody"],"tree":[`},
	} {
		changed := bytes.Replace(doc, []byte(edit[0]), []byte(edit[1]), 1)
		if _, err := ParseShared(changed); !errors.Is(err, ErrLock) || bytes.Equal(changed, doc) {
			t.Errorf("%s: %v", edit[1], err)
		}
	}
}

func pypiLock() *Lock {
	l := &Lock{
		Format: 1, Kind: PyPI, Package: "mcp-thing", Version: "1.0", For: "cpython-311-linux-x86_64",
		Tree: []Entry{{Name: "mcp_thing", Version: "1.0", From: "https://files.example/x.whl", Integrity: []string{"sha256:" + strings.Repeat("a", 64)}}},
	}
	l.Native = requirements(l.Tree)
	return l
}

// TestSharedPyPI: requirements follow from the tree, and are of one system.
func TestSharedPyPI(t *testing.T) {
	l := pypiLock()
	doc, err := l.Share()
	if err != nil || bytes.Contains(doc, []byte("native")) {
		t.Fatalf("%s, %v", doc, err)
	}
	back, err := ParseShared(doc)
	if err != nil || back.Native != l.Native || back.Digest() != l.Digest() {
		t.Fatalf("%+v, %v", back, err)
	}
	if back.On("cpython-312-macosx").For != l.For {
		t.Error("a lock of PyPI is for one system")
	}
	if hosts := back.Hosts(); !slices.Equal(hosts, []string{"files.example"}) {
		t.Error(hosts)
	}
	for _, edit := range [][2]string{{"sha256:aaa", "md5:aaa"}, {"mcp_thing", "-r /etc/passwd"}, {`"1.0"`, `"1.0 --pre"`}} {
		if _, err := ParseShared(bytes.ReplaceAll(doc, []byte(edit[0]), []byte(edit[1]))); !errors.Is(err, ErrLock) {
			t.Errorf("%s: %v", edit[1], err)
		}
	}
}

// FuzzParseShared: what is read is shared as what it was.
func FuzzParseShared(f *testing.F) {
	doc, err := pypiLock().Share()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(doc)
	f.Fuzz(func(t *testing.T, doc []byte) {
		l, err := ParseShared(doc)
		if err != nil {
			if !errors.Is(err, ErrLock) {
				t.Fatal(err)
			}
			return
		}
		again, err := l.Share()
		if err != nil {
			t.Fatal(err)
		}
		if back, err := ParseShared(again); err != nil || back.Digest() != l.Digest() {
			t.Errorf("%q: %v", again, err)
		}
	})
}
