package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// standIn makes the directory $STANDIN, which a script may put into its PATH: an npm
// that needs no registry and no node. What the real one does is tested in
// internal/catalog.
func standIn(env *testscript.Env) error {
	dir := filepath.Join(env.WorkDir, "standin")
	env.Setenv("STANDIN", dir)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(filepath.Join(dir, "docker"), []byte("#!/bin/sh\nexec testdocker \"$@\"\n"), 0o700),
		os.WriteFile(filepath.Join(dir, "npm"), []byte("#!/bin/sh\nexec testnpm \"$@\"\n"), 0o700),
		os.WriteFile(filepath.Join(dir, "node"), []byte("#!/bin/sh\nexit 1\n"), 0o700))
}

// testNPM is the stand-in: each package is of the version that is asked for, else 1.0.0,
// needs nothing, and is the test server. Its name may say otherwise: "missing" is not there, "scripted" has an
// install script. npm_config_standin_log names a file for what it was asked, and with what
// in its environment, npm_config_standin_integrity is the hash of what it installs.
func testNPM(args []string) int {
	if log := os.Getenv("npm_config_standin_log"); log != "" {
		f, err := os.OpenFile(log, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			panic(err)
		}
		fmt.Fprintln(f, "npm", args[0], strings.Join(os.Environ(), " "))
		f.Close()
	}
	write := func(path, text string, mode os.FileMode) {
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), mode)); err != nil {
			panic(err)
		}
	}
	switch args[0] {
	case "install":
		spec := args[slices.IndexFunc(args, func(a string) bool { return strings.HasPrefix(a, "--save-prefix") })+1]
		name, version := spec, "1.0.0"
		if i := strings.LastIndex(spec, "@"); i > 0 {
			name = spec[:i]
			if asked := spec[i+1:]; asked[0] >= '0' && asked[0] <= '9' {
				version = asked
			}
		}
		if name == "missing" {
			fmt.Fprintln(os.Stderr, "npm error code E404\nnpm error 404 Not Found - GET https://registry.invalid/missing")
			return 1
		}
		script := ""
		if name == "scripted" {
			script = `, "hasInstallScript": true`
		}
		write("package-lock.json", fmt.Sprintf(`{"lockfileVersion": 3, "packages": {"": {}, "node_modules/%s": {"version": "%s",
"resolved": "https://registry.invalid/%s.tgz", "integrity": "%s"%s}}}`, name, version, name,
			cmp.Or(os.Getenv("npm_config_standin_integrity"), "sha512-AAAA"), script), 0o600)
	case "ci":
		var manifest struct{ Dependencies map[string]string }
		doc, err := os.ReadFile("package.json")
		if err := errors.Join(err, json.Unmarshal(doc, &manifest)); err != nil {
			panic(err)
		}
		for name := range manifest.Dependencies {
			dir := filepath.Join("node_modules", filepath.FromSlash(name))
			write(filepath.Join(dir, "package.json"), `{"bin": "server"}`, 0o600)
			write(filepath.Join(dir, "server"), "#!/bin/sh\nexec testserver \"$@\"\n", 0o700)
		}
	}
	return 0
}
