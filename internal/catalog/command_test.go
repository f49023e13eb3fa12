package catalog

import (
	"reflect"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	npm := func(name, version, program string, args ...string) Request {
		return Request{Kind: NPM, Package: name, Version: version, Program: program, Args: args}
	}
	pypi := func(name, version, program string, args ...string) Request {
		return Request{Kind: PyPI, Package: name, Version: version, Program: program, Args: args}
	}
	for line, want := range map[string]Request{
		"npx pkg":                       npm("pkg", "", ""),
		"npx -y @a/b@1.2.3 x -y":        npm("@a/b", "1.2.3", "", "x", "-y"),
		"npx --yes pkg@latest":          npm("pkg", "latest", ""),
		"npx -y -- pkg -- x":            npm("pkg", "", "", "--", "x"),
		"npx -p pkg@^2 prog -p x":       npm("pkg", "^2", "prog", "-p", "x"),
		"npx --package=@a/b -y prog":    npm("@a/b", "", "prog"),
		"npm exec -y -- @a/b --flag":    npm("@a/b", "", "", "--flag"),
		"npm x @a/b -- --flag":          npm("@a/b", "", "", "--flag"),
		"npm exec @a/b word":            npm("@a/b", "", "", "word"),
		"npm exec --package=p -- q --r": npm("p", "", "q", "--r"),
		"uvx mcp-server-time":           pypi("mcp-server-time", "", "mcp-server-time"),
		"uvx mcp-server-time@1.0 --tz":  pypi("mcp-server-time", "==1.0", "mcp-server-time", "--tz"),
		"uvx mcp-server-time@latest":    pypi("mcp-server-time", "", "mcp-server-time"),
		"uvx --from pkg>=1,<2 prog x":   pypi("pkg", ">=1,<2", "prog", "x"),
		"uv tool run --from=pkg prog":   pypi("pkg", "", "prog"),
		"pipx run pkg==2 x":             pypi("pkg", "==2", "pkg", "x"),
		"pipx run --spec pkg prog -x":   pypi("pkg", "", "prog", "-x"),
	} {
		got, is, err := Parse(strings.Fields(line))
		if len(got.Args) == 0 {
			got.Args = nil
		}
		if err != nil || !is || !reflect.DeepEqual(got, want) {
			t.Errorf("%s:\n got %+v, %v, %v\nwant %+v", line, got, is, err, want)
		}
	}
	if got, _, err := Parse([]string{"uvx", "--from", "pkg", "--with", "mcp < 2", "prog"}); err != nil || got.With != "mcp<2" || got.Package != "pkg" {
		t.Errorf("with: %+v, %v", got, err)
	}
	got, _, err := Parse([]string{"uvx", "--from", "pkg[a,b] >= 1", "prog"})
	if err != nil || got.Extras != "a,b" || got.String() != "pkg[a,b]>=1" {
		t.Errorf("extras: %+v, %v", got, err)
	}
	for _, line := range []string{
		"npx", "npx -y", "npx -c 'x'", "npx --no-install pkg", "npx --registry=x pkg", "npx -p a -p b c", "npx -p",
		"npx ./dir", "npx ../x", "npx /abs", "npx user/repo", "npx github:a/b", "npx git+https://x/y", "npx https://x/y.tgz",
		"npx pkg@npm:other", "npx pkg@file:x", "npx -p=pkg x", "npx -p pkg ../x", "npm exec pkg --flag", "npm exec",
		"uvx", "uvx --python 3.12 x", "uvx --with ./a b", "uvx --with a --with b c", "uvx --with --from b", "uvx --from git+https://x y", "uvx --from ./x y", "uvx x==1", "uvx x@../y",
		"uvx --from a ../b", "pipx run https://x", "pipx run --python 3 x", "pipx run",
	} {
		if got, is, err := Parse(strings.Fields(line)); !is || err == nil {
			t.Errorf("%s is taken for %+v, %v", line, got, is)
		}
	}
	for _, line := range []string{"", "node x.js", "/usr/bin/npx x", "npm start", "uv run x", "uv", "pipx install x", "bunx x", "uv tool install x"} {
		if _, is, err := Parse(strings.Fields(line)); is || err != nil {
			t.Errorf("%q is a package runner: %v", line, err)
		}
	}
}

// FuzzParse: what is taken can be given to npm and pip: it is no option, no path
// and no URL.
func FuzzParse(f *testing.F) {
	for _, line := range []string{"npx -y @a/b@1 x", "uvx --from pkg[a]>=1 prog", "npm exec -- x", "pipx run x"} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		r, is, err := Parse(strings.Fields(line))
		if !is || err != nil {
			return
		}
		spec := r.String()
		if spec == "" || strings.HasPrefix(spec, "-") || strings.HasPrefix(spec, ".") || strings.Contains(spec, ":") ||
			strings.Contains(spec, "..") && strings.Contains(spec, "/..") || strings.Count(spec, "/") > strings.Count(r.Package, "/") ||
			strings.HasPrefix(r.Program, "-") || strings.Contains(r.Program, "/") {
			t.Errorf("%q became %+v", line, r)
		}
	})
}

func TestUVTree(t *testing.T) {
	sha := strings.Repeat("a", 64)
	for doc, ok := range map[string]bool{
		"a==1 \\\n    --hash=sha256:" + sha + " \\\n    --hash=sha256:" + sha + "\n    # from https://u:p@x/simple\n": true,
		"a==1\n":                               false,
		"a @ https://x --hash=sha256:" + sha:   false,
		"--hash=sha256:" + sha:                 false,
		"a==1\n--hash=md5:" + sha:              false,
		"-e ./x\n--hash=sha256:" + sha:         false,
		"a[b]==1\n--hash=sha256:" + sha + "\n": false,
	} {
		tree, err := uvTree(doc)
		if (err == nil) != ok {
			t.Errorf("%q: %+v, %v", doc, tree, err)
		}
		if ok && (len(tree) != 1 || len(tree[0].Integrity) != 2 || tree[0].From != "https://x/simple") {
			t.Errorf("%q: %+v", doc, tree)
		}
	}
}

func TestNPMTree(t *testing.T) {
	entry := func(fields string) []byte {
		return []byte(`{"lockfileVersion":3,"packages":{"":{},"node_modules/a":{"version":"1",` + fields + `}}}`)
	}
	const good = `"resolved":"https://x/a.tgz","integrity":"sha512-AA=="`
	if tree, err := npmTree(entry(good)); err != nil || len(tree) != 1 {
		t.Errorf("%+v, %v", tree, err)
	}
	for _, fields := range []string{
		`"resolved":"https://x/a.tgz"`, `"resolved":"https://x/a.tgz","integrity":"sha1-AA=="`,
		`"resolved":"https://x/a.tgz","integrity":"sha512-AA== sha1-AA=="`, `"integrity":"sha512-AA=="`,
		`"resolved":"git+ssh://x/a","integrity":"sha512-AA=="`, `"resolved":"file:../a","integrity":"sha512-AA=="`, good + `,"link":true`,
	} {
		if tree, err := npmTree(entry(fields)); err == nil {
			t.Errorf("%s is taken: %+v", fields, tree)
		}
	}
}

func TestNodeLine(t *testing.T) {
	for line, want := range map[string]string{
		"#!/usr/bin/env node": "yes ", "#!/usr/bin/node --x": "yes --x", "#!/usr/bin/env -S node --no-warnings": "yes --no-warnings",
		"#!/bin/sh": "no", "#!/usr/bin/env bash": "no", "machine code": "no", "": "no", "#!/usr/bin/env -S node --x='a b'": "no",
	} {
		got := "no"
		if options, ok := nodeLine(line); ok {
			got = "yes " + strings.Join(options, " ")
		}
		if got != want {
			t.Errorf("%q: %s", line, got)
		}
	}
}
