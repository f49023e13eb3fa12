package main

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestImportGitHub: what a repository's files name is installed if it is published, and
// says that it is of that repository. GitHub and npm's registry are stand-ins that answer
// as their APIs are documented to.
func TestImportGitHub(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the npm of this test is a shell script")
	}
	sha := strings.Repeat("c", 40)
	files := map[string]string{
		"o/good/package.json":    `{"name": "good", "version": "2.0.0", "bin": "server"}`,
		"o/theirs/package.json":  `{"name": "good", "version": "1.0.0", "bin": "server"}`,
		"o/missing/package.json": `{"name": "nowhere", "version": "1.0.0", "bin": "server"}`,
		"o/own/package.json":     `{"name": "own", "private": true, "bin": "server"}`,
		"o/said/server.json": `{"name": "io.github.o/said", "version": "1.0.0", "packages": [{"registryType": "npm", "identifier": "good", "version": "1.0.0",
			"transport": {"type": "stdio"}}]}`,
	}
	source := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path := strings.TrimPrefix(r.URL.Path, "/repos/")
		repo, file, isFile := strings.Cut(path, "/contents/")
		switch {
		case r.Header.Get("Authorization") != "Bearer ghp_sesame":
			w.Header().Set("X-RateLimit-Remaining", "0")
			w.WriteHeader(http.StatusForbidden)
		case strings.HasSuffix(path, "/commits/HEAD") && !strings.HasPrefix(path, "o/none/"):
			fmt.Fprint(w, sha)
		case isFile && r.URL.Query().Get("ref") == sha && files[repo+"/"+file] != "":
			fmt.Fprint(w, files[repo+"/"+file])
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(source.Close)
	registry := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/good/latest" || r.URL.Path == "/good/1.0.0" {
			fmt.Fprint(w, `{"name": "good", "version": "1.0.0", "repository": {"type": "git", "url": "git+https://github.com/o/good.git"}}`)
			return
		}
		http.NotFound(w, r)
	}))
	t.Cleanup(registry.Close)
	work := t.TempDir()
	if err := standIn(&testscript.Env{WorkDir: work}); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", filepath.Join(work, "standin")+string(filepath.ListSeparator)+os.Getenv("PATH"))
	t.Setenv("GITHUB_API_URL", source.URL)
	t.Setenv("npm_config_registry", registry.URL)
	t.Setenv("GITHUB_TOKEN", "")
	t.Setenv("GH_TOKEN", "")
	b := newBench(t)
	try := func(code exitCode, wants []string, args ...string) {
		t.Helper()
		var said bytes.Buffer
		if got := run(t.Context(), append([]string{"--home", b.dir, "import-github"}, args...), strings.NewReader(""), &said, &said); got != int(code) {
			t.Errorf("%q: exit code %d, want %d\n%s", args, got, code, &said)
		}
		for _, want := range wants {
			not, without := strings.CutPrefix(want, "!")
			if strings.Contains(said.String(), not) == without {
				t.Errorf("%q: %q is not as it should be in\n%s", args, want, &said)
			}
		}
	}
	try(exitUsage, []string{"is no repository on GitHub", "hint: write OWNER/REPO"}, "good")
	try(exitFailed, []string{"GitHub answers no more for now", "hint: a token in GITHUB_TOKEN"}, "o/good")
	t.Setenv("GITHUB_TOKEN", "ghp_sesame")
	try(exitFailed, []string{"GitHub has no HEAD of o/none", "!sesame"}, "o/none")
	try(exitFailed, []string{"o/empty has none of server.json"}, "o/empty")
	try(exitFailed, []string{"not published (private)", "hint: clone it"}, "o/own")
	try(exitFailed, []string{"nowhere is not published on npm"}, "o/missing", "--yes")
	try(exitFailed, []string{"good on npm is of git+https://github.com/o/good.git, not of o/theirs", "hint: if that is what you want: berth install npm:good"}, "o/theirs", "--yes")
	try(exitFailed, []string{"not of o/said"}, "o/said", "--yes")
	try(exitUsage, []string{"o/good at cccccccccccc: package.json", "good 2.0.0 is not published yet: 1.0.0 is the newest that is", "package  npm good 1.0.0", "hint: --yes says yes"}, "https://github.com/o/good")
	try(exitOK, []string{"mine: added: ", "!sesame"}, "o/good", "--as", "mine", "--yes", "--no-run")
	doc, err := os.ReadFile(filepath.Join(b.dir, "servers", "mine.toml"))
	if err != nil || !strings.Contains(string(doc), `repository = "https://github.com/o/good"`) {
		t.Errorf("%s, %v", doc, err)
	}
}
