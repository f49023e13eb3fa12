package catalog

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/berth-run/berth"
)

// launch finds out how the program of the copy in dir is run.
func launch(c *Copy, dir, program string, look func(string) (string, error)) error {
	switch c.Lock.Kind {
	case PyPI:
		return launchPython(c, dir, program)
	case MCPB, Binary:
		return launchFile(c, dir, program, look)
	case Go:
		return launchGo(c, dir)
	case OCI:
		return launchImage(c, look)
	}
	file, err := npmProgram(dir, c.Lock.Package, program)
	if err != nil {
		return err
	}
	first, err := firstLine(file)
	if err != nil {
		return fmt.Errorf("the program of %s: %w", c.Lock.Package, err)
	}
	options, isNode := nodeLine(first)
	if !isNode && !(first == "" && slices.Contains([]string{".js", ".mjs", ".cjs"}, filepath.Ext(file))) {
		// Another interpreter's, or machine code: the system knows.
		c.Command, c.CommandPath = file, file
		return nil
	}
	node, err := look("node")
	if err != nil {
		return missing("node", "install Node.js (https://nodejs.org)")
	}
	c.Command, c.CommandPath, c.Args = "node", node, append(options, file)
	return nil
}

// npmProgram returns the file of a program of a package, by the rules of npx: the
// only one, else the one that is named as the package is.
func npmProgram(dir, name, program string) (string, error) {
	root := filepath.Join(dir, "node_modules", filepath.FromSlash(name))
	doc, err := os.ReadFile(filepath.Join(root, "package.json"))
	if err != nil {
		return "", err
	}
	var manifest struct {
		Bin json.RawMessage `json:"bin"`
	}
	if err := json.Unmarshal(doc, &manifest); err != nil {
		return "", fmt.Errorf("package.json of %s: %v", name, err)
	}
	short := path.Base(name)
	bins := map[string]string{}
	var one string
	if json.Unmarshal(manifest.Bin, &one) == nil && one != "" {
		bins[short] = one
	} else if len(manifest.Bin) > 0 {
		if err := json.Unmarshal(manifest.Bin, &bins); err != nil {
			return "", fmt.Errorf("package.json of %s: bin: %v", name, err)
		}
	}
	if program == "" {
		program = short
		files := slices.Sorted(maps.Values(bins))
		if files = slices.Compact(files); len(files) == 1 {
			for program = range bins {
			}
		}
	}
	file, ok := bins[program]
	if !ok {
		return "", noProgram(name, program, slices.Sorted(maps.Keys(bins)), "npx -p "+name+" PROGRAM")
	}
	if !filepath.IsLocal(filepath.FromSlash(file)) {
		return "", fmt.Errorf("package.json of %s: its program %q lies outside of it", name, file)
	}
	return filepath.Join(root, filepath.FromSlash(file)), nil
}

func noProgram(name, program string, have []string, how string) error {
	if len(have) == 0 {
		return fmt.Errorf("%s has no program", name)
	}
	return berth.WithHint(fmt.Errorf("%s has no program %s", name, program), "it has "+strings.Join(have, ", ")+": "+how)
}

// firstLine returns the first line of a script, "" for what is none.
func firstLine(file string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	line, err := bufio.NewReader(io.LimitReader(f, 512)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	if strings.HasPrefix(line, "\x7fELF") {
		return "machine code", nil
	}
	if !strings.HasPrefix(line, "#!") {
		return "", nil
	}
	return strings.TrimSpace(line), nil
}

// nodeLine says whether a first line means node, and with which options.
func nodeLine(line string) (options []string, ok bool) {
	words := strings.Fields(strings.TrimPrefix(line, "#!"))
	if len(words) == 0 {
		return nil, false
	}
	if path.Base(words[0]) == "env" {
		words = words[1:]
		if len(words) > 0 && words[0] == "-S" {
			words = words[1:]
		}
	}
	if len(words) == 0 || path.Base(words[0]) != "node" || strings.ContainsAny(line, `"'\$`) {
		return nil, false
	}
	return words[1:], true
}
