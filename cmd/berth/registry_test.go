package main

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestRegistry is the way of a server of a registry: copied, found, looked at, installed,
// updated; and what is said when the registry is down. What a registry may answer
// otherwise is tested in internal/registry.
func TestRegistry(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the npm of this test is a shell script")
	}
	var (
		mu      sync.Mutex // guards the fields below
		down    bool
		version = "1.0.0"
	)
	entry := func(name string) string {
		return fmt.Sprintf(`{"server":{"name":%q,"title":"Frobnicator","description":"It frobs \u001b[31mnicely","version":%q,
"packages":[{"registryType":"npm","identifier":"@someone/frob","version":%[2]q,"transport":{"type":"stdio"}}]},
"_meta":{"io.modelcontextprotocol.registry/official":{"status":"active","updatedAt":"2026-01-0%.1[2]sT00:00:00Z","isLatest":true}}}`, name, version)
	}
	source := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		switch {
		case down:
			w.WriteHeader(http.StatusForbidden)
		case r.URL.Path == "/v0.1/servers":
			fmt.Fprintf(w, `{"servers":[%s,7,%s],"metadata":{"count":3}}`, entry("io.github.someone/frob"), entry("com.example/frob"))
		case r.URL.EscapedPath() == "/v0.1/servers/com.example%2Fonline/versions/latest":
			fmt.Fprint(w, entry("com.example/online"))
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(source.Close)
	work := t.TempDir()
	if err := standIn(&testscript.Env{WorkDir: work}); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", filepath.Join(work, "standin")+string(filepath.ListSeparator)+os.Getenv("PATH"))
	b := newBench(t)
	if err := os.MkdirAll(b.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(b.dir, "berth.toml"), []byte("[registry]\nurl = \""+source.URL+"\"\ncache_ttl = \"1h\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	// try is a command, with what it says on both streams.
	try := func(code exitCode, wants []string, args ...string) {
		t.Helper()
		var said bytes.Buffer
		if got := run(t.Context(), append([]string{"--home", b.dir}, args...), strings.NewReader(""), &said, &said); got != int(code) {
			t.Errorf("%q: exit code %d, want %d\n%s", args, got, code, &said)
		}
		for _, want := range wants {
			not, without := strings.CutPrefix(want, "!")
			if strings.Contains(said.String(), not) == without {
				t.Errorf("%q: %q is not as it should be in\n%s", args, want, &said)
			}
		}
	}
	try(exitOK, []string{"no copy yet: berth search --sync", "nothing was found", "!frob "}, "search", "frobnicator")
	try(exitOK, []string{"registry: 2 servers of " + source.URL, "note: 1 entries of the registry could not be read"}, "search", "--sync")
	try(exitOK, []string{"io.github.someone/frob", "It frobs [31mnicely", "!\x1b", "as of less than a minute ago"}, "search", "frobnicatr")
	try(exitOK, []string{`"from": "registry"`, `"package": "@someone/frob"`}, "search", "frob", "--json")
	try(exitOK, []string{"from       the MCP registry, as its author published it", "may use    nothing"}, "info", "io.github.someone/frob")
	try(exitNoServer, []string{"hint: the registry has com.example/frob, io.github.someone/frob: say it whole"}, "install", "frob")
	try(exitOK, []string{"package    npm @someone/frob 1.0.0"}, "info", "com.example/online")
	try(exitNoServer, []string{"the registry has no com.example/none"}, "info", "com.example/none")
	try(exitOK, []string{"frob: added: ", "hash     none is known"}, "install", "io.github.someone/frob", "--yes")
	try(exitOK, []string{"1.0.0 is what its catalogue has"}, "update", "frob", "--yes")

	mu.Lock()
	version = "2.0.0"
	mu.Unlock()
	try(exitOK, []string{"io.github.someone/frob"}, "search", "--sync", "frob")
	try(exitOK, []string{"updated from 1.0.0 to 2.0.0"}, "update", "frob", "--yes", "--no-run")
	try(exitOK, []string{"back to 1.0.0"}, "rollback", "frob", "--yes")

	mu.Lock()
	down = true
	mu.Unlock()
	try(exitFailed, []string{"403", "io.github.someone/frob"}, "search", "--sync", "frob")
	try(exitFailed, []string{"403"}, "search", "--sync")
	try(exitOK, []string{"io.github.someone/frob"}, "search", "frob")
	try(exitFailed, []string{"403"}, "info", "com.example/online")
	source.Close()
	try(exitFailed, []string{source.URL, "refused", "hint: is there a network? what was copied before is used meanwhile", "io.github.someone/frob"}, "search", "--sync", "frob")
	// One that is old is said to be, and used.
	file := filepath.Join(b.dir, "registry", "servers")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	old := time.Now().Add(-50 * time.Hour).UTC().Format(time.RFC3339)
	if err := os.WriteFile(file, regexp.MustCompile(`"at":"[^"]*"`).ReplaceAll(text, []byte(`"at":"`+old+`"`)), 0o600); err != nil {
		t.Fatal(err)
	}
	try(exitOK, []string{"note: the copy of the registry is 2 days old: berth search --sync", "io.github.someone/frob"}, "search", "frob")
	try(exitOK, []string{"2 days old", "npm @someone/frob 2.0.0"}, "info", "io.github.someone/frob")
	// A copy that is damaged is said, and hides nothing.
	if err := os.WriteFile(file, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	try(exitOK, []string{"warning: the copy of the registry", "memory"}, "search", "memory")
	try(exitOK, nil, "remove", "frob", "--data")
}
