package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/berth-run/berth/internal/listing"
	"github.com/rogpeppe/go-internal/testscript"
	"github.com/spf13/cobra"
)

// TestReadme runs the console blocks of README.md that are marked as runnable,
// each as a script: lines with a "$" are commands, which must succeed. Other
// lines are what they print, as a pattern of which "…" stands for anything.
// npm is a stand-in here, so nothing comes from a registry, and what it installs is
// the test server.
func TestReadme(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the npm of this test is a shell script")
	}
	text, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)<!-- runnable -->\n```console\n(.*?)```").FindAllStringSubmatch(string(text), -1)
	if len(blocks) == 0 {
		t.Fatal("README.md has no console block that is marked as runnable")
	}
	const shown = "@modelcontextprotocol/server-everything" // by its hash in Berth's own catalogue
	entry, known, err := listing.OfPackage(listing.NPM, shown)
	if err != nil || !known || len(entry.Hashes) == 0 {
		t.Fatalf("%s is not in the catalogue: %v", shown, err)
	}
	var files []string
	for i, b := range blocks {
		script, err := scriptOf(b[1])
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), fmt.Sprintf("readme%d.txtar", i+1))
		if err := os.WriteFile(file, []byte(script), 0o600); err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	setup := func(env *testscript.Env) error {
		if err := setUp(env); err != nil {
			return err
		}
		env.Setenv("PATH", env.Getenv("STANDIN")+string(filepath.ListSeparator)+env.Getenv("PATH"))
		env.Setenv("npm_config_standin_integrity", entry.Hashes[0])
		return nil
	}
	testscript.Run(t, testscript.Params{Files: files, Setup: setup, Condition: scriptCondition, RequireExplicitExec: true})
}

// scriptOf makes a script of a console block.
func scriptOf(block string) (string, error) {
	var b strings.Builder
	for line := range strings.Lines(block) {
		line = strings.TrimRight(line, "\n")
		command, ok := strings.CutPrefix(line, "$ ")
		switch {
		case line == "":
		case !ok:
			pattern := strings.ReplaceAll(regexp.QuoteMeta(line), "…", ".*")
			fmt.Fprintf(&b, "stdout '^%s$'\n", strings.ReplaceAll(pattern, "'", "''"))
		case strings.HasPrefix(command, "go build "):
			// The program is there already.
		case strings.HasPrefix(command, "./berth "):
			command, _, _ = strings.Cut(command, " #")
			fmt.Fprintf(&b, "exec %s\n", strings.TrimPrefix(command, "./"))
		default:
			return "", fmt.Errorf("README.md: %q is no command of berth's", command)
		}
	}
	return b.String(), nil
}

// TestExamples: the examples of every command's help are commands that exist,
// with flags that exist and arguments that it takes.
func TestExamples(t *testing.T) {
	a := newApp(strings.NewReader(""), new(strings.Builder), new(strings.Builder))
	n := 0
	for _, cmd := range allCommands(newRoot(a)) {
		if cmd.Hidden {
			continue
		}
		if cmd.Example == "" || cmd.Long == "" || cmd.Short == "" {
			t.Errorf("%s lacks help", cmd.CommandPath())
		}
		for line := range strings.Lines(cmd.Example) {
			line = strings.TrimSpace(line)
			if _, after, ok := strings.Cut(line, "| "); ok {
				line = after
			}
			line, _, _ = strings.Cut(line, " > ")
			words := strings.Fields(line)
			if len(words) < 2 || words[0] != "berth" {
				t.Errorf("%s: the example %q does not call berth", cmd.CommandPath(), line)
				continue
			}
			n++
			// Flags of one example must not be seen by the next.
			found, rest, err := newRoot(a).Find(words[1:])
			if err == nil {
				err = found.ParseFlags(rest)
			}
			if err == nil {
				err = found.ValidateArgs(found.Flags().Args())
			}
			if err != nil {
				t.Errorf("%s: the example %q: %v", cmd.CommandPath(), line, err)
			}
		}
	}
	if n < 20 {
		t.Errorf("only %d examples were found", n)
	}
}

func allCommands(root *cobra.Command) []*cobra.Command {
	all := []*cobra.Command{root}
	for _, c := range root.Commands() {
		all = append(all, allCommands(c)...)
	}
	return all
}
