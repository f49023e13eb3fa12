//go:build linux

package bench

import (
	"context"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/berth-run/berth/internal/released"
)

// BenchmarkLink: berth link of 25 clients, each with a settings file, and berth unlink
// of them, against a hello-world in Go.
func BenchmarkLink(b *testing.B) {
	const rounds = 15
	ids := []string{
		"amazon-q", "amp", "antigravity", "auggie", "codex", "continue", "copilot-cli", "crush", "cursor", "factory",
		"gemini-cli", "goose", "junie", "kilo-code", "kimi-cli", "kimi-code", "kiro", "lm-studio", "mistral-vibe", "opencode",
		"qoder", "qwen-code", "warp", "windsurf", "zed",
	}
	user := b.TempDir()
	bin, hello := released.Build(b), helloWorld(b)
	run := func(path string, args ...string) time.Duration {
		ctx, cancel := context.WithTimeout(b.Context(), time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, path, args...)
		cmd.Env = append(os.Environ(), "BERTH_HOME="+filepath.Join(user, "berth"), "HOME="+user, "USERPROFILE="+user, "XDG_CONFIG_HOME=", "BERTH_SECRET_BACKEND=file", "PATH=")
		begun := time.Now()
		if out, err := cmd.CombinedOutput(); err != nil {
			b.Fatalf("%s %v: %v\n%s", path, args, err, out)
		}
		return time.Since(begun)
	}
	link := append([]string{"link"}, ids...)
	// The files are there, and have something of their user's.
	run(bin, link...)
	run(bin, "unlink", "--all")
	for _, path := range []string{".cursor/mcp.json", ".gemini/settings.json", ".codex/config.toml", ".config/goose/config.yaml"} {
		text := map[string]string{".json": "{\n  // mine\n  \"mcpServers\": {\"x\": {\"command\": \"y\"}}\n}\n", ".toml": "model = \"x\" # mine\n", ".yaml": "# mine\nGOOSE_PROVIDER: x\n"}[filepath.Ext(path)]
		path = filepath.Join(user, filepath.FromSlash(path))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			b.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			b.Fatal(err)
		}
	}
	var linked, unlinked, base []time.Duration
	for range rounds {
		// Of a file that was written just now, Berth sees after two seconds what came of it.
		age(b, user)
		linked = append(linked, run(bin, link...))
		age(b, user)
		unlinked = append(unlinked, run(bin, "unlink", "--all"))
		base = append(base, run(hello))
	}
	b.ReportMetric(ratio(median(linked), median(base)), "link-ratio")
	b.ReportMetric(ratio(median(unlinked), median(base)), "unlink-ratio")
	b.ReportMetric(float64(median(linked).Microseconds())/1000, "link-ms")
	b.ReportMetric(0, "ns/op")
}

// age has the files of a directory be an hour old.
func age(b *testing.B, dir string) {
	then := time.Now().Add(-time.Hour)
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			err = os.Chtimes(path, then, then)
		}
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
}
