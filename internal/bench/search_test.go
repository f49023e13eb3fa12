//go:build linux

package bench

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/berth-run/berth/internal/released"
)

// published serves a registry of n servers, whose descriptions are as long as those of
// the official one (some 90 bytes), and whose documents have a package and two variables.
func published(b *testing.B, n int) *httptest.Server {
	words := strings.Fields("server tools for the a of and to with your data search files github database manage access model context protocol api query read write documents memory browser automation cloud analytics issues calendar email payments maps weather finance security logs")
	word := func(i, k int) string { return words[(i*7919+k*104729+i/len(words)*k)%len(words)] }
	entry := func(i int) string {
		var about []string
		for k := range 14 {
			about = append(about, word(i, k))
		}
		return fmt.Sprintf(`{"server":{"name":"io.github.user%d/%s-%s-%d","title":"%s %s","description":"%s","version":"1.0.%d",
"repository":{"url":"https://github.com/user%[1]d/server-%[4]d","source":"github"},
"packages":[{"registryType":"npm","identifier":"@user%[1]d/server-%[4]d","version":"1.0.%[8]d","transport":{"type":"stdio"},
"environmentVariables":[{"name":"API_KEY","description":"the key of your account","isRequired":true,"isSecret":true},{"name":"REGION","description":"where","default":"eu"}]}]},
"_meta":{"io.modelcontextprotocol.registry/official":{"status":"active","updatedAt":"2026-01-01T00:00:00Z","isLatest":true}}}`,
			i%4999, word(i, 1), word(i, 2), i, word(i, 1), word(i, 3), strings.Join(about, " "), i%90)
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		from, _ := strconv.Atoi(r.URL.Query().Get("cursor"))
		to := min(from+100, n)
		list := make([]json.RawMessage, 0, to-from)
		for i := from; i < to; i++ {
			list = append(list, json.RawMessage(entry(i)))
		}
		next := ""
		if to < n {
			next = strconv.Itoa(to)
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"servers": list, "metadata": map[string]any{"nextCursor": next, "count": len(list)}})
	}))
	b.Cleanup(s.Close)
	return s
}

// hello builds a hello-world in Go.
func hello(b *testing.B) string {
	b.Helper()
	path := filepath.Join(b.TempDir(), "hello")
	source := path + ".go"
	if err := os.WriteFile(source, []byte("package main\n\nimport \"fmt\"\n\nfunc main() { fmt.Println(\"hello\") }\n"), 0o600); err != nil {
		b.Fatal(err)
	}
	if out, err := exec.Command("go", "build", "-o", path, source).CombinedOutput(); err != nil {
		b.Fatalf("build hello: %v\n%s", err, out)
	}
	return path
}

// BenchmarkSearch: `berth search` of 20,000 servers of a registry and those of the
// catalogue, a process for each search, against a hello-world in Go.
func BenchmarkSearch(b *testing.B) {
	const rounds, servers = 40, 20_000
	bin, base := released.Build(b), hello(b)
	dir := filepath.Join(b.TempDir(), "home")
	source := published(b, servers)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "berth.toml"), fmt.Appendf(nil, "[registry]\nurl = %q\n", source.URL), 0o600); err != nil {
		b.Fatal(err)
	}
	most := int64(0)
	run := func(path string, args ...string) time.Duration {
		cmd := exec.Command(path, args...)
		cmd.Env = append(os.Environ(), "BERTH_HOME="+dir)
		begun := time.Now()
		out, err := cmd.Output()
		took := time.Since(begun)
		if err != nil || len(out) == 0 && args[len(args)-1] != "--sync" {
			b.Fatalf("%s %v: %v, %d bytes", path, args, err, len(out))
		}
		if path == bin {
			most = max(most, cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss)
		}
		return took
	}
	b.ReportMetric(run(bin, "search", "--sync").Seconds(), "s-sync")
	b.ReportMetric(float64(most)/1024, "MiB-sync")
	most = 0
	queries := map[string][]string{"one": {"github"}, "three": {"browser", "automation", "tools"}, "mistyped": {"datbaase"}}
	took := map[string][]time.Duration{}
	for range rounds {
		took["hello"] = append(took["hello"], run(base))
		for _, name := range []string{"one", "three", "mistyped"} {
			took[name] = append(took[name], run(bin, append([]string{"search"}, queries[name]...)...))
		}
	}
	for _, name := range []string{"one", "three", "mistyped"} {
		b.ReportMetric(ratio(median(took[name]), median(took["hello"])), name+"-ratio")
	}
	b.ReportMetric(float64(median(took["one"]).Microseconds())/1e3, "ms-one")
	b.ReportMetric(float64(median(took["hello"]).Microseconds())/1e3, "ms-hello")
	b.ReportMetric(float64(most)/1024, "MiB")
	b.ReportMetric(0, "ns/op")
}
