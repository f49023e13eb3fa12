package sandbox

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// program adds what a program needs in order to run: itself, what interprets it, and
// the installation that it is part of. depth bounds what scripts may name.
func (b *builder) program(path string, depth int) {
	if depth > 4 || slices.Contains(b.seen, path) {
		return
	}
	b.seen = append(b.seen, path)
	real, err := b.resolve(path)
	if err != nil {
		b.warn("the program %s: %v", path, err)
		return
	}
	info, err := os.Stat(real)
	if err != nil || !info.Mode().IsRegular() || b.hidden(real) {
		b.warn("the program %s is not a file that can be executed under confinement", path)
		return
	}
	b.plan.Exec = append(b.plan.Exec, real)
	// A program in a virtual environment is a link to another installation, and both
	// are needed.
	b.installation(path, real)
	if path != real {
		b.installation(real, real)
	}
	head := readHead(real)
	switch {
	case bytes.HasPrefix(head, []byte("#!")):
		b.script(path, real, head, depth)
	case bytes.HasPrefix(head, []byte("\x7fELF")):
		if interp := elfInterpreter(head); interp != "" {
			b.program(interp, depth+1)
		}
	}
}

const headSize = 64 << 10

func readHead(path string) []byte {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	head, _ := io.ReadAll(io.LimitReader(f, headSize))
	return head
}

// script adds what interprets a script and, if that is a shell, the programs that the
// script names.
func (b *builder) script(path, real string, head []byte, depth int) {
	line, body, _ := bytes.Cut(head, []byte("\n"))
	words := strings.Fields(strings.TrimPrefix(string(line), "#!"))
	if len(words) == 0 {
		return
	}
	interpreter := words[0]
	b.program(interpreter, depth+1)
	if filepath.Base(interpreter) == "env" {
		name := afterEnv(words[1:])
		if name == "" {
			return
		}
		found, err := b.lookPath(name)
		if err != nil {
			b.warn("%s is run by %s, which is not there: %v", path, name, err)
			return
		}
		interpreter = found
		b.program(found, depth+1)
	}
	if isShell(interpreter) {
		b.shellScript(real, body, depth)
		return
	}
	b.packageOf(real)
}

// afterEnv returns the command of an env line: what is neither option nor assignment.
func afterEnv(words []string) string {
	for _, w := range words {
		if !strings.HasPrefix(w, "-") && !strings.Contains(w, "=") {
			return w
		}
	}
	return ""
}

func isShell(path string) bool {
	return slices.Contains([]string{"sh", "dash", "bash", "ash", "zsh", "ksh", "busybox"}, filepath.Base(path))
}

// shellScript adds what a shell script runs, as far as its words tell: each that is the
// name of a program, and the directories in which systems keep what is behind a
// script of that name.
func (b *builder) shellScript(real string, body []byte, depth int) {
	name := filepath.Base(real)
	for _, dir := range []string{"/usr/lib/", "/usr/lib64/", "/usr/libexec/", "/usr/share/"} {
		if dir, err := b.resolve(dir + name); err == nil && !b.coversHome(dir) {
			b.plan.Exec = append(b.plan.Exec, dir)
		}
	}
	for _, dir := range []string{"/etc/" + name, "/etc/" + name + ".d"} {
		if dir, err := b.resolve(dir); err == nil {
			b.plan.Read = append(b.plan.Read, dir)
			// Settings of a script are scripts.
			entries, _ := os.ReadDir(dir)
			for _, e := range entries {
				if e.Type().IsRegular() {
					body = append(slices.Clip(body), readHead(filepath.Join(dir, e.Name()))...)
				}
			}
		}
	}
	words := strings.FieldsFunc(string(body), func(r rune) bool {
		return !strings.ContainsRune("/._-+", r) && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
	})
	slices.Sort(words)
	for _, w := range slices.Compact(words) {
		if strings.HasPrefix(w, "-") || strings.HasPrefix(w, ".") || strings.Contains(w, "/") && !strings.HasPrefix(w, "/") {
			continue
		}
		if found, err := b.lookPath(w); err == nil {
			b.program(found, depth+1)
		}
	}
}

// installation adds the installation that a program is part of: what is beside its
// bin directory. One in a home directory is readable, its neighbours are not.
func (b *builder) installation(path, real string) {
	bin := filepath.Dir(path)
	switch filepath.Base(bin) {
	case "shims":
		b.shims(filepath.Dir(bin), path)
	case "bin":
		b.prefix(filepath.Dir(bin), real)
	}
}

// prefix adds the directory in which bin, lib and the like are.
func (b *builder) prefix(dir, real string) {
	resolved, err := b.resolve(dir)
	if err != nil || b.isSystem(resolved) || b.hidden(resolved) {
		return
	}
	if filepath.Base(resolved) == ".volta" {
		// Its node is a program that runs that of a version below tools.
		b.installed(filepath.Join(resolved, "bin"))
		b.installed(filepath.Join(resolved, "tools"))
		return
	}
	if b.shared(resolved) {
		// Such as ~/.local: what is beside its bin is all kinds of things, among
		// them the data of every program. Libraries are what it has for us.
		b.libraries(resolved)
		return
	}
	if !looksInstalled(resolved) {
		return
	}
	b.installed(resolved)
	if cfg, err := os.ReadFile(filepath.Join(resolved, "pyvenv.cfg")); err == nil {
		for line := range strings.Lines(string(cfg)) {
			key, value, _ := strings.Cut(line, "=")
			if home := strings.TrimSpace(value); strings.TrimSpace(key) == "home" && filepath.Base(home) == "bin" {
				b.prefix(filepath.Dir(home), real)
			}
		}
	}
}

func (b *builder) installed(dir string) {
	if resolved, err := b.resolve(dir); err == nil && !b.coversHome(resolved) && !b.hidden(resolved) {
		b.plan.Exec = append(b.plan.Exec, resolved)
	}
}

// libraries adds those of a directory that others use too.
func (b *builder) libraries(dir string) {
	found, _ := filepath.Glob(filepath.Join(dir, "lib", "python3*"))
	for _, lib := range append(found, filepath.Join(dir, "lib", "node_modules")) {
		b.installed(lib)
	}
}

// shims adds an installation whose programs are scripts that look for the right version
// of what they are named after, as those of pyenv and asdf are: it is needed whole, with
// the tools that such scripts use.
func (b *builder) shims(root, path string) {
	resolved, err := b.resolve(root)
	if err != nil || b.coversHome(resolved) || b.shared(resolved) || b.isSystem(resolved) {
		return
	}
	b.installed(resolved)
	for _, dir := range []string{"/usr/bin", "/bin"} {
		b.installed(dir)
	}
	b.warn("%s is a script that looks for the program to run, so all programs of the system may be executed; name the program itself to confine it more tightly", path)
}

// coversHome says whether who may see dir sees the home directories.
func (b *builder) coversHome(dir string) bool {
	return b.reveals(dir) || b.home != "" && within(b.home, dir) || dir == "/"
}

// shared says whether a directory is one in which all kinds of programs put things.
func (b *builder) shared(dir string) bool {
	if b.coversHome(dir) {
		return true
	}
	base := filepath.Base(dir)
	return b.home != "" && filepath.Dir(dir) == b.home && slices.Contains([]string{".local", ".cargo", ".config", ".cache", "go", "Library", "Applications"}, base)
}

// isSystem says whether a directory is one of the system's, of which readable has what
// programs need.
func (b *builder) isSystem(dir string) bool {
	return slices.Contains([]string{"/", "/usr", "/usr/local", "/opt", "/snap", "/opt/homebrew", "/System"}, dir)
}

// looksInstalled says whether a directory is the prefix of a runtime.
func looksInstalled(dir string) bool {
	for _, mark := range []string{"pyvenv.cfg", "lib/node_modules", "include/node", "lib/python3*", "lib/libpython*", "conda-meta", "lib/ruby", "lib/jvm", "lib/modules"} {
		if found, _ := filepath.Glob(filepath.Join(dir, mark)); len(found) > 0 {
			return true
		}
	}
	return false
}

// packageRun adds the package that an interpreter is told to run, by the first argument
// that is a file.
func (b *builder) packageRun(argv []string) {
	if len(argv) < 2 || !isInterpreter(b.facts.Path) {
		return
	}
	for i, arg := range argv[1:] {
		if strings.HasPrefix(arg, "-") {
			continue
		}
		// The value of an option: python's -c and -m, sh's -c, node's -e.
		if i > 0 && slices.Contains([]string{"-c", "-m", "-e", "-p", "--eval", "--print"}, argv[i]) {
			return
		}
		path := arg
		if !filepath.IsAbs(path) {
			path = filepath.Join(b.facts.Dir, path)
		}
		real, err := b.resolve(path)
		if err != nil {
			continue // the value of an option, or what the program will complain of
		}
		if info, err := os.Stat(real); err != nil || !info.Mode().IsRegular() {
			continue
		}
		if isShell(b.facts.Path) {
			b.program(path, 1)
		}
		b.packageOf(real)
		return
	}
}

func isInterpreter(path string) bool {
	base := filepath.Base(path)
	if strings.HasPrefix(base, "python") || strings.HasPrefix(base, "pypy") || isShell(path) {
		return true
	}
	return slices.Contains([]string{"node", "nodejs", "bun", "deno", "tsx", "ruby", "perl", "php", "lua", "java"}, base)
}

// packageOf adds the package that a file belongs to: all of the node_modules that it is
// in, since what it requires is there too, or the nearest directory that says that it
// is a package; otherwise the file alone.
func (b *builder) packageOf(real string) {
	if b.hidden(real) {
		return
	}
	if before, _, ok := strings.Cut(real, "/node_modules/"); ok {
		b.packageDir(before+"/node_modules", real)
		return
	}
	dir := filepath.Dir(real)
	for range 8 {
		if b.coversHome(dir) || b.isSystem(dir) || b.shared(dir) {
			break
		}
		for _, mark := range []string{"package.json", "pyproject.toml", "setup.py", "deno.json", "Gemfile", "composer.json"} {
			if _, err := os.Stat(filepath.Join(dir, mark)); err == nil {
				b.packageDir(dir, real)
				return
			}
		}
		dir = filepath.Dir(dir)
	}
	b.plan.Exec = append(b.plan.Exec, real)
}

func (b *builder) packageDir(dir, real string) {
	if b.coversHome(dir) || b.hidden(dir) {
		dir = real
	}
	b.plan.Exec = append(b.plan.Exec, dir)
}

// environment adds the files that variables name: certificates, and the places of
// libraries.
func (b *builder) environment() {
	for _, kv := range b.facts.Env {
		name, value, _ := strings.Cut(kv, "=")
		switch name {
		case "SSL_CERT_FILE", "SSL_CERT_DIR", "NODE_EXTRA_CA_CERTS", "REQUESTS_CA_BUNDLE", "PYTHONPATH", "NODE_PATH":
			for _, path := range filepath.SplitList(value) {
				real, err := b.resolve(path)
				if err == nil && !b.coversHome(real) && !b.hidden(real) && !within(real, "/proc") && !within(real, "/dev") {
					b.plan.Read = append(b.plan.Read, real)
				}
			}
		case "VIRTUAL_ENV":
			b.prefix(value, value)
		}
	}
}

// lookPath finds a command as the server will: in its PATH.
func (b *builder) lookPath(command string) (string, error) {
	if strings.Contains(command, "/") {
		if !filepath.IsAbs(command) {
			command = filepath.Join(b.facts.Dir, command)
		}
		return command, executable(command)
	}
	for _, kv := range slices.Backward(b.facts.Env) {
		list, ok := strings.CutPrefix(kv, "PATH=")
		if !ok {
			continue
		}
		for _, dir := range filepath.SplitList(list) {
			if path := filepath.Join(dir, command); filepath.IsAbs(dir) && executable(path) == nil {
				return path, nil
			}
		}
		break
	}
	return "", fmt.Errorf("%q is not in its PATH: %w", command, fs.ErrNotExist)
}

func executable(path string) error {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return err
	case !info.Mode().IsRegular() || info.Mode()&0o111 == 0:
		return fmt.Errorf("%s: %w", path, errors.ErrUnsupported)
	}
	return nil
}

// elfInterpreter returns the loader that an ELF program of 64 bits names.
func elfInterpreter(head []byte) string {
	const header, entry, interp = 64, 56, 3
	if len(head) < header || head[4] != 2 || head[5] != 1 {
		return ""
	}
	le := binary.LittleEndian
	offset, count := le.Uint64(head[32:]), le.Uint16(head[56:])
	for i := range uint64(count) {
		at := offset + i*entry
		if at > uint64(len(head))-entry {
			return ""
		}
		h := head[at:]
		if le.Uint32(h) != interp {
			continue
		}
		start, size := le.Uint64(h[8:]), le.Uint64(h[32:])
		if start > uint64(len(head)) || size > uint64(len(head))-start {
			return ""
		}
		text, _, _ := bytes.Cut(head[start:start+size], []byte{0})
		if filepath.IsAbs(string(text)) {
			return string(text)
		}
		return ""
	}
	return ""
}
