package catalog

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/berth-run/berth/internal/lazy"
)

// launchers is the directory of a copy in which the programs of its package are.
// Those that pip and uv write name their interpreter by a path of the directory
// in which the copy was made.
const launchers = "bin"

// launchPython finds the program of a Python package. It is run by the copy's own
// interpreter, or is machine code.
func launchPython(c *Copy, dir, program string) error {
	if program == "" {
		program = c.Lock.Package
	}
	python := pythonOf(filepath.Join(dir, "venv"))
	if file := filepath.Join(dir, launchers, program); isFile(file) {
		c.Command, c.CommandPath, c.Args = python, python, []string{file}
		return nil
	}
	file := filepath.Join(filepath.Dir(python), program)
	if first, err := firstLine(file); err == nil && first == "machine code" {
		c.Command, c.CommandPath = file, file
		return nil
	}
	entries, err := os.ReadDir(filepath.Join(dir, launchers))
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	var have []string
	for _, e := range entries {
		have = append(have, e.Name())
	}
	return noProgram(c.Lock.Package, program, have, "uvx --from "+c.Lock.Package+" PROGRAM")
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// normal is the form in which names of Python packages are compared.
func normal(name string) string {
	return strings.ToLower(separators().ReplaceAllString(name, "-"))
}

var (
	separators = lazy.Regexp(`[-_.]+`)
	entryPoint = lazy.Regexp(`^([A-Za-z_][\w.]*)\s*:\s*([A-Za-z_]\w*)((?:\.\w+)*)\s*(?:\[.*\])?$`)
)

func sitePackages(dir string) (string, error) {
	for _, pattern := range []string{"lib/python3*/site-packages", "Lib/site-packages", "lib/pypy3*/site-packages"} {
		found, err := filepath.Glob(filepath.Join(dir, "venv", filepath.FromSlash(pattern)))
		if err == nil && len(found) == 1 {
			return found[0], nil
		}
	}
	return "", fmt.Errorf("the Python environment %s has no site-packages", dir)
}

// consoleScripts reads which programs a package has, by name.
func consoleScripts(site, name string) (map[string]string, error) {
	infos, err := filepath.Glob(filepath.Join(site, "*.dist-info"))
	if err != nil {
		return nil, err
	}
	for _, info := range infos {
		base, _, _ := strings.Cut(strings.TrimSuffix(filepath.Base(info), ".dist-info"), "-")
		if normal(base) != normal(name) {
			continue
		}
		doc, err := os.ReadFile(filepath.Join(info, "entry_points.txt"))
		if os.IsNotExist(err) {
			return nil, nil
		}
		return parseEntryPoints(string(doc)), err
	}
	return nil, fmt.Errorf("%s was not installed", name)
}

// parseEntryPoints reads the section of an entry_points.txt that is about programs.
func parseEntryPoints(doc string) map[string]string {
	scripts := map[string]string{}
	section := ""
	for line := range strings.Lines(doc) {
		line = strings.TrimSpace(line)
		switch {
		case line == "" || line[0] == '#' || line[0] == ';':
		case line[0] == '[' && line[len(line)-1] == ']':
			section = strings.TrimSpace(line[1 : len(line)-1])
		case section == "console_scripts":
			if name, target, ok := strings.Cut(line, "="); ok {
				scripts[strings.TrimSpace(name)] = strings.TrimSpace(target)
			}
		}
	}
	return scripts
}

// writeLaunchers writes the programs of a package into its copy.
func writeLaunchers(dir, name string) error {
	site, err := sitePackages(dir)
	if err != nil {
		return err
	}
	scripts, err := consoleScripts(site, name)
	if err != nil || len(scripts) == 0 {
		return err
	}
	if err := os.MkdirAll(filepath.Join(dir, launchers), 0o700); err != nil {
		return err
	}
	for _, program := range slices.Sorted(maps.Keys(scripts)) {
		text, ok := launcher(scripts[program])
		if !ok || !programName().MatchString(program) {
			continue // not one that an installer would make a program of
		}
		if err := os.WriteFile(filepath.Join(dir, launchers, program), []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// launcher is a program that calls what an entry point names. A process that
// multiprocessing makes reads it again, and must not call it.
func launcher(target string) (string, bool) {
	m := entryPoint().FindStringSubmatch(target)
	if m == nil {
		return "", false
	}
	return fmt.Sprintf("import sys\nfrom %s import %s\nif __name__ == \"__main__\":\n    sys.exit(%s%s())\n", m[1], m[2], m[2], m[3]), true
}
