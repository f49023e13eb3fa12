package catalog

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/berth-run/berth"
)

// goModule builds programs of Go modules, by the go command that is there. Which modules
// went into a program, and the hash of each, is in the program itself: its lock is made
// of that, and whoever builds it again must get the same.
type goModule struct {
	*work
	path string
	// settings are what the go command was told, besides the environment of tools.
	settings goSettings
	built    string // by resolve
}

// goSettings are those of the user's that are kept.
type goSettings struct {
	Proxy   string `json:"GOPROXY"`
	SumDB   string `json:"GOSUMDB"`
	Version string `json:"GOVERSION"`
	Modules string `json:"GOMODCACHE"`
	Cache   string `json:"GOCACHE"`
}

func (g *goModule) prepare(ctx context.Context) error {
	path, err := g.look("go")
	if err != nil {
		return missing("go", "install Go (https://go.dev/dl, or golang-go of your system): the program is built here")
	}
	g.path = path
	out, err := g.run(ctx, g.dir, nil, path, "env", "-json", "GOPROXY", "GOSUMDB", "GOVERSION", "GOMODCACHE", "GOCACHE")
	if err != nil {
		return err
	}
	if err := json.Unmarshal(out, &g.settings); err != nil {
		return fmt.Errorf("go env: %v", err)
	}
	g.env = append(g.env, g.settings.environ()...)
	return nil
}

// environ holds whatever the user's settings say: each module is compared with the
// database of checksums, also one that the user's settings call private (no module is
// called berth.invalid), no C compiler is run, and nothing of the program depends on
// where it is built.
func (s goSettings) environ() []string {
	if s.SumDB == "off" {
		s.SumDB = ""
	}
	env := []string{
		"GOENV=off", "GOFLAGS=-mod=mod -trimpath -buildvcs=false", "GOWORK=off", "GO111MODULE=on", "CGO_ENABLED=0",
		"GOPRIVATE=", "GONOPROXY=berth.invalid", "GONOSUMDB=berth.invalid", "GOINSECURE=", "GOOS=" + runtime.GOOS, "GOARCH=" + runtime.GOARCH,
		"GOSUMDB=" + cmp.Or(s.SumDB, "sum.golang.org"),
	}
	for _, kv := range []struct{ key, value string }{{"GOPROXY", s.Proxy}, {"GOMODCACHE", s.Modules}, {"GOCACHE", s.Cache}} {
		if kv.value != "" {
			env = append(env, kv.key+"="+kv.value)
		}
	}
	return env
}

// build installs a program into bin, and returns its path.
func (g *goModule) build(ctx context.Context, pkg, version, bin string) (string, error) {
	what := pkg + "@" + cmp.Or(version, "latest")
	got := 0
	line := func(text string) {
		if strings.HasPrefix(text, "go: downloading ") {
			got++
			g.o.show("building %s: %d modules fetched", what, got)
		}
	}
	was := g.env
	g.env = append(slices.Clone(was), "GOBIN="+bin)
	_, err := g.run(ctx, g.dir, line, g.path, "install", "--", what)
	g.env = was
	if err != nil {
		return "", err
	}
	files, err := os.ReadDir(bin)
	if err != nil {
		return "", fmt.Errorf("the program of %s: %w", pkg, err)
	}
	if len(files) != 1 {
		return "", fmt.Errorf("%s has no program", pkg)
	}
	return filepath.Join(bin, files[0].Name()), nil
}

func (g *goModule) resolve(ctx context.Context, r Request) (*Lock, error) {
	file, err := g.build(ctx, r.Package, r.Version, filepath.Join(g.dir, "bin"))
	if err != nil {
		return nil, err
	}
	g.built = file
	return g.read(ctx, file, r.Package)
}

// read makes the lock of a program, of what the go command says is in it: package
// debug/buildinfo would cost each shim what package debug/dwarf initialises.
func (g *goModule) read(ctx context.Context, file, pkg string) (*Lock, error) {
	out, err := g.run(ctx, g.dir, nil, g.path, "version", "-m", file)
	if err != nil {
		return nil, fmt.Errorf("the program of %s: %w", pkg, err)
	}
	info, err := parseGo(string(out), file)
	if err != nil {
		return nil, fmt.Errorf("the program of %s: %w", pkg, err)
	}
	l := &Lock{Package: pkg, Version: info.Main.Version, For: runtime.GOOS + "-" + runtime.GOARCH + "-" + info.GoVersion, Tool: "go " + info.GoVersion}
	if info.Path != pkg {
		return nil, fmt.Errorf("the program is of %s, and not of %s", info.Path, pkg)
	}
	for _, m := range append([]*debug.Module{&info.Main}, info.Deps...) {
		if m.Replace != nil {
			return nil, fmt.Errorf("%s is replaced by %s: no database of checksums has that", m.Path, m.Replace.Path)
		}
		if !strings.HasPrefix(m.Sum, "h1:") {
			return nil, fmt.Errorf("%s %s has no hash that can be relied on, but %q", m.Path, m.Version, m.Sum)
		}
		l.Tree = append(l.Tree, Entry{Name: m.Path, Version: m.Version, Integrity: []string{m.Sum}})
	}
	return l, nil
}

// parseGo reads what `go version -m` prints of a file: its name and the version of Go,
// then each line of its build information behind a tab.
func parseGo(text, file string) (*debug.BuildInfo, error) {
	head, rest, _ := strings.Cut(text, "\n")
	version, ok := strings.CutPrefix(strings.TrimSpace(head), file+": ")
	if !ok {
		return nil, errors.New("go version says nothing of it")
	}
	info, err := debug.ParseBuildInfo(strings.ReplaceAll("\n"+rest, "\n\t", "\n")[1:])
	if err != nil {
		return nil, err
	}
	info.GoVersion = version
	return info, nil
}

func (g *goModule) install(ctx context.Context, l *Lock) error {
	file := g.built
	if file == "" { // of a lock that there is
		var err error
		if file, err = g.build(ctx, l.Package, l.Version, filepath.Join(g.dir, "bin")); err != nil {
			return err
		}
		now, err := g.read(ctx, file, l.Package)
		if err != nil {
			return err
		}
		if !slices.EqualFunc(now.Tree, l.Tree, sameEntry) {
			return fmt.Errorf("%w: what is built of it now is of other modules", ErrLock)
		}
	}
	bin := filepath.Join(g.tree, "bin")
	return errors.Join(os.Mkdir(bin, 0o700), os.Rename(file, filepath.Join(bin, filepath.Base(file))))
}

// launchGo: the program is the only one.
func launchGo(c *Copy, dir string) error {
	files, err := os.ReadDir(filepath.Join(dir, "bin"))
	if err != nil || len(files) != 1 {
		return errors.Join(berth.WithHint(fmt.Errorf("the copy of %s has no program", c.Lock.Package), "berth fetch NAME builds it again"), err)
	}
	c.Command = filepath.Join(dir, "bin", files[0].Name())
	c.CommandPath = c.Command
	return nil
}
