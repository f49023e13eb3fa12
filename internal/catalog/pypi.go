package catalog

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/berth-run/berth/internal/lazy"
)

// pypi fetches packages of a Python index into an environment of their own: by uv
// where there is one, else by pip.
type pypi struct {
	*work
	uv     string
	python string
	pip    []string // the command, but for what it is to do
}

func (p *pypi) prepare(ctx context.Context) error {
	if uv, err := p.look("uv"); err == nil {
		p.uv = uv
		_, err := p.run(ctx, p.dir, p.seen, uv, "venv", "--quiet", "--no-project", p.venv())
		return err
	}
	const hint = "install uv (https://docs.astral.sh/uv), or Python 3 with its modules venv and pip"
	var err error
	if p.python, err = p.look("python3"); err != nil {
		if p.python, err = p.look("python"); err != nil {
			return missing("uv or python3", hint)
		}
	}
	if _, err := p.run(ctx, p.dir, p.seen, p.python, "-m", "venv", "--without-pip", p.venv()); err != nil {
		return fmt.Errorf("make a Python environment: %w", err)
	}
	p.pip = []string{p.python, "-m", "pip"}
	if p.tryPip(ctx) == nil {
		return nil
	}
	// Python brings a pip for environments, where its venv is whole.
	own := filepath.Join(p.dir, "pip")
	if _, err := p.run(ctx, p.dir, p.seen, p.python, "-m", "venv", own); err != nil {
		return missing("pip, of "+p.python+",", hint)
	}
	p.pip = []string{pythonOf(own), "-m", "pip"}
	if err := p.tryPip(ctx); err != nil {
		return missing("pip 22.3 or newer, of "+p.python+",", hint)
	}
	return nil
}

func (p *pypi) tryPip(ctx context.Context) error {
	_, err := p.run(ctx, p.dir, nil, p.pip[0], append(p.pip[1:], "--python", pythonOf(p.venv()), "--version")...)
	return err
}

func (p *pypi) venv() string { return filepath.Join(p.tree, "venv") }

func (p *pypi) seen(line string) { p.o.show("%s", line) }

func pythonOf(venv string) string {
	if runtime.GOOS == "windows" {
		return filepath.Join(venv, "Scripts", "python.exe")
	}
	return filepath.Join(venv, "bin", "python")
}

// platform is what the choice of files depends on.
func (p *pypi) platform(ctx context.Context) (string, error) {
	out, err := p.run(ctx, p.dir, nil, pythonOf(p.venv()), "-I", "-S", "-c",
		"import sys, sysconfig; print(sys.implementation.cache_tag + '-' + sysconfig.get_platform())")
	return strings.TrimSpace(string(out)), err
}

// binaryOnly has nothing be built: that would run the package's own code.
func (p *pypi) binaryOnly() []string {
	args := []string{"--only-binary", ":all:"}
	for _, name := range p.o.AllowScripts {
		args = append(args, "--no-binary", name)
	}
	return args
}

func (p *pypi) resolve(ctx context.Context, r Request) (*Lock, error) {
	l := &Lock{Package: r.Package, Extras: r.Extras}
	var err error
	if l.For, err = p.platform(ctx); err != nil {
		return nil, err
	}
	if p.uv != "" {
		l.Tool = "uv"
		err = p.resolveUV(ctx, r, l)
	} else {
		l.Tool = "pip"
		err = p.resolvePip(ctx, r, l)
	}
	if err != nil {
		return nil, err
	}
	for _, e := range l.Tree {
		if normal(e.Name) == normal(r.Package) {
			l.Version = e.Version
		}
	}
	if l.Version == "" {
		return nil, fmt.Errorf("%s resolved no package %s", l.Tool, r.Package)
	}
	return l, nil
}

// resolvePip asks pip what it would install, and writes it down as requirements.
func (p *pypi) resolvePip(ctx context.Context, r Request, l *Lock) error {
	report := filepath.Join(p.dir, "report.json")
	args := append(p.pip[1:], "--python", pythonOf(p.venv()), "install", "--dry-run", "--ignore-installed",
		"--disable-pip-version-check", "--no-input", "--progress-bar", "off", "--report", report)
	if _, err := p.run(ctx, p.dir, p.seen, p.pip[0], append(append(args, p.binaryOnly()...), wanted(r)...)...); err != nil {
		return err
	}
	doc, err := os.ReadFile(report)
	if err != nil {
		return err
	}
	l.Tree, err = pipTree(doc)
	l.Native = requirements(l.Tree)
	return err
}

// wanted is what is resolved together.
func wanted(r Request) []string {
	if r.With == "" {
		return []string{r.String()}
	}
	return []string{r.String(), r.With}
}

// pipTree reads pip's installation report.
func pipTree(doc []byte) ([]Entry, error) {
	var report struct {
		Install []struct {
			Info struct {
				URL     string `json:"url"`
				Archive struct {
					Hash   string            `json:"hash"`
					Hashes map[string]string `json:"hashes"`
				} `json:"archive_info"`
			} `json:"download_info"`
			Metadata struct {
				Name    string `json:"name"`
				Version string `json:"version"`
			} `json:"metadata"`
		} `json:"install"`
	}
	if err := json.Unmarshal(doc, &report); err != nil {
		return nil, fmt.Errorf("the report of pip: %v", err)
	}
	var tree []Entry
	for _, i := range report.Install {
		sha, ok := i.Info.Archive.Hashes["sha256"]
		if !ok {
			_, sha, ok = strings.Cut(i.Info.Archive.Hash, "sha256=")
		}
		if !ok || !sha256Hex().MatchString(sha) {
			return nil, fmt.Errorf("%s %s has no hash that can be relied on", i.Metadata.Name, i.Metadata.Version)
		}
		if !pypiSpec().MatchString(i.Metadata.Name+"=="+i.Metadata.Version) || strings.Contains(i.Metadata.Name, "[") {
			return nil, fmt.Errorf("%q %q is no package's name and version", i.Metadata.Name, i.Metadata.Version)
		}
		tree = append(tree, Entry{
			Name: i.Metadata.Name, Version: i.Metadata.Version, From: withoutUser(i.Info.URL),
			Integrity: []string{"sha256:" + sha}, Script: !strings.HasSuffix(i.Info.URL, ".whl"),
		})
	}
	sortTree(tree)
	return tree, nil
}

var sha256Hex = lazy.Regexp(`^[0-9a-f]{64}$`)

func sortTree(tree []Entry) {
	slices.SortFunc(tree, func(a, b Entry) int { return strings.Compare(normal(a.Name), normal(b.Name)) })
}

// requirements is the form of a tree that pip and uv install from.
func requirements(tree []Entry) string {
	var b strings.Builder
	for _, e := range tree {
		fmt.Fprintf(&b, "%s==%s", e.Name, e.Version)
		for _, h := range e.Integrity {
			fmt.Fprintf(&b, " --hash=%s", h)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// resolveUV has uv write requirements with hashes.
func (p *pypi) resolveUV(ctx context.Context, r Request, l *Lock) error {
	in := filepath.Join(p.dir, "requirements.in")
	if err := os.WriteFile(in, []byte(strings.Join(wanted(r), "\n")+"\n"), 0o600); err != nil {
		return err
	}
	args := append([]string{"pip", "compile", "--python", pythonOf(p.venv()), "--generate-hashes", "--no-header", "--no-annotate",
		"--emit-index-annotation", "--no-emit-index-url", "--no-progress"}, p.binaryOnly()...)
	out, err := p.run(ctx, p.dir, p.seen, p.uv, append(args, in)...)
	if err != nil {
		return err
	}
	l.Tree, err = uvTree(string(out))
	l.Native = requirements(l.Tree)
	return err
}

// uvTree reads what uv pip compile writes.
func uvTree(doc string) ([]Entry, error) {
	var tree []Entry
	for line := range strings.Lines(doc) {
		line = strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(line), `\`))
		hash, isHash := strings.CutPrefix(line, "--hash=")
		from, isFrom := strings.CutPrefix(line, "# from ")
		switch {
		case line == "" || strings.HasPrefix(line, "#") && !isFrom:
		case (isHash || isFrom) && len(tree) == 0:
			return nil, fmt.Errorf("uv: %q belongs to no package", line)
		case isHash:
			if sha, ok := strings.CutPrefix(hash, "sha256:"); !ok || !sha256Hex().MatchString(sha) {
				return nil, fmt.Errorf("uv: %q is no hash that can be relied on", hash)
			}
			e := &tree[len(tree)-1]
			e.Integrity = append(e.Integrity, hash)
		case isFrom:
			tree[len(tree)-1].From = withoutUser(from)
		default:
			name, version, ok := strings.Cut(line, "==")
			if !ok || !pypiSpec().MatchString(line) || strings.ContainsAny(line, "[,") {
				return nil, fmt.Errorf("uv: %q is no package of an index", line)
			}
			tree = append(tree, Entry{Name: name, Version: version})
		}
	}
	for _, e := range tree {
		if len(e.Integrity) == 0 {
			return nil, fmt.Errorf("uv: %s has no hash", e.Name)
		}
	}
	sortTree(tree)
	return tree, nil
}

func (p *pypi) install(ctx context.Context, l *Lock) error {
	platform, err := p.platform(ctx)
	if err != nil {
		return err
	}
	if platform != l.For {
		return fmt.Errorf("it was resolved for %s, and this is %s: add the server again", l.For, platform)
	}
	if l.Native != requirements(l.Tree) {
		return fmt.Errorf("%w: its tree is not that of its requirements", ErrLock)
	}
	list := filepath.Join(p.tree, "requirements.txt")
	if err := os.WriteFile(list, []byte(l.Native), 0o600); err != nil {
		return err
	}
	line := func(text string) {
		if strings.Contains(text, "Downloading") || strings.Contains(text, "Installing") {
			p.seen(text)
		}
	}
	common := append([]string{"--no-deps", "--require-hashes"}, p.binaryOnly()...)
	if p.uv != "" {
		// Copied: what a server does to its copy is not done to uv's cache.
		args := append([]string{"pip", "install", "--python", pythonOf(p.venv()), "--link-mode", "copy", "--no-progress"}, common...)
		_, err = p.run(ctx, p.dir, line, p.uv, append(args, "-r", list)...)
	} else {
		args := append(p.pip[1:], "--python", pythonOf(p.venv()), "install", "--no-compile", "--disable-pip-version-check",
			"--no-input", "--no-warn-script-location", "--progress-bar", "off")
		_, err = p.run(ctx, p.dir, line, p.pip[0], append(append(args, common...), "-r", list)...)
	}
	if err != nil {
		return err
	}
	if err := writeLaunchers(p.tree, l.Package); err != nil {
		return err
	}
	// Python would do it at the first start, where it may write. Without its module
	// site, nothing that was just installed is run. What does not compile is of a
	// package for other versions of Python, too.
	p.o.show("compiling %s %s", l.Package, l.Version)
	if site, err := sitePackages(p.tree); err == nil {
		_, _ = p.run(ctx, p.dir, nil, pythonOf(p.venv()), "-I", "-S", "-m", "compileall", "-q", site)
	}
	return ctx.Err()
}
