package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/home"
	"github.com/rogpeppe/go-internal/testscript"
)

// killedEntry is a server.json of a version.
const killedEntry = `{"name": "io.github.someone/sample", "version": "%[1]s", "packages": [
 {"registryType": "npm", "identifier": "@someone/sample", "version": "%[1]s", "transport": {"type": "stdio"},
  "environmentVariables": [{"name": "TOKEN", "isRequired": true, "isSecret": true}, {"name": "LEVEL", "value": "%[1]s"}]}]}`

// TestKilledInstall: who installs or updates a server may be killed at any moment. There
// is the old one or the new one, whole and with its secret, or none if there was none.
func TestKilledInstall(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the npm of this test is a shell script")
	}
	rounds := 30
	if testing.Short() {
		rounds = 6
	}
	if n, err := strconv.Atoi(os.Getenv("BERTH_FETCH_KILLS")); err == nil {
		rounds = n
	}
	work := t.TempDir()
	env := &testscript.Env{WorkDir: work}
	if err := standIn(env); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", filepath.Join(work, "standin")+string(filepath.ListSeparator)+os.Getenv("PATH"))
	t.Setenv("MADE_UP_TOKEN", "a-token-that-is-made-up")
	entry := filepath.Join(work, "server.json")
	write := func(version string) {
		if err := os.WriteFile(entry, fmt.Appendf(nil, killedEntry, version), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	command := func(dir string, args ...string) *exec.Cmd {
		return exec.Command("berth", append([]string{"--home", dir}, args...)...)
	}
	install := []string{"install", entry, "--yes", "--no-run", "--as", "sample", "--secret", "TOKEN=env:MADE_UP_TOKEN"}
	update := []string{"update", "sample", "--yes", "--no-run"}
	done := func(dir string, args ...string) time.Duration {
		t.Helper()
		begun := time.Now()
		if out, err := command(dir, args...).CombinedOutput(); err != nil {
			t.Fatalf("%q: %v\n%s", args, err, out)
		}
		return time.Since(begun)
	}
	dir := filepath.Join(work, "home")
	write("1.0.0")
	done(dir, install...)
	write("1.1.0")
	whole := done(dir, update...)
	h, err := home.Open(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	killed, came := 0, 0
	for round := range rounds {
		before, err := h.ReadServer("sample")
		args, want := update, fmt.Sprintf("%d.0.0", round+2)
		write(want)
		if err != nil {
			args = install
		}
		cmd := command(dir, args...)
		var said bytes.Buffer
		cmd.Stderr = &said
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		at := time.Duration(rand.Int64N(int64(whole)))
		kill := time.AfterFunc(at, func() { _ = cmd.Process.Kill() })
		err = cmd.Wait()
		kill.Stop()
		switch {
		case err == nil:
		case cmd.ProcessState.ExitCode() == -1:
			killed++
		default:
			t.Fatalf("%q: %v\n%s", args, err, &said)
		}
		now, err := h.ReadServer("sample")
		if err != nil {
			if args[0] == "update" {
				t.Fatalf("killed after %v of %v, the server that was updated: %v", at, whole, err)
			}
			continue
		}
		if now.Info.Version == want {
			came++
		} else if now.Info.Version != before.Info.Version {
			t.Fatalf("killed after %v of %v: it is of version %s, which is neither %s nor %s", at, whole, now.Info.Version, before.Info.Version, want)
		}
		if now.Env["LEVEL"] != now.Info.Version || now.Source.Version != now.Info.Version || !strings.Contains(now.Source.Declaration, `"version":"`+now.Info.Version+`"`) {
			t.Fatalf("killed after %v of %v: half of %s: %+v", at, whole, now.Info.Version, now)
		}
		if _, err := os.Stat(now.Settings.CommandPath); err != nil {
			t.Fatalf("killed after %v of %v: its program: %v", at, whole, err)
		}
		if round%5 == 4 { // its copy is whole, its secret is there; then none is there
			done(dir, "fetch", "sample")
			var out bytes.Buffer
			list := command(dir, "secret", "list", "sample")
			list.Stdout = &out
			if err := list.Run(); err != nil || !strings.Contains(out.String(), "sample/TOKEN") || strings.Contains(out.String(), "missing") {
				t.Fatalf("its secret: %v, %s", err, &out)
			}
			done(dir, "remove", "sample", "--purge", "--data")
		}
	}
	t.Logf("%d of %d were killed, %d of them or of the others did what they were to", killed, rounds, came)
	if killed == 0 {
		t.Error("none was killed")
	}
	if _, err := h.ReadServer("sample"); err != nil {
		done(dir, install...)
	}
	write("999.0.0")
	done(dir, update...)
	done(dir, "rollback", "sample", "--yes")
	done(dir, "remove", "sample", "--purge", "--data")
	if err := endAll(dir); err != nil {
		t.Error(err)
	}
	// An npm whose parent was killed goes on for a moment; the next prune takes what it left,
	// but for a file that was to take the place of another: that may be somebody's for an hour.
	deadline := time.Now().Add(time.Minute)
	for {
		done(dir, "add", "last", "--no-run", "--", "npx", "@someone/last")
		done(dir, "remove", "last", "--data")
		entries, err := os.ReadDir(filepath.Join(dir, "packages"))
		if err != nil {
			t.Fatal(err)
		}
		entries = slices.DeleteFunc(entries, func(e os.DirEntry) bool { return strings.HasPrefix(e.Name(), ".tmp-") })
		if len(entries) == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("left: %v", entries)
		}
	}
	if _, err := h.ReadServer("sample"); err == nil || h.RemoveServer("sample") == nil {
		t.Errorf("it is still there: %v", berth.ErrExists)
	}
}
