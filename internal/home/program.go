package home

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// program finds the files and directories that belong to the server itself: its
// command, and where this is an interpreter, the script that it is given with the
// package around it. Never a user's directory of all sorts: of a script that lies
// in one, it is the script alone.
func (s *Server) program(userHome string) []string {
	var found []string
	command := s.Settings.CommandPath
	if command == "" && filepath.IsAbs(s.Runtime.Command) {
		command = s.Runtime.Command
	}
	if command != "" {
		found = append(found, command)
		if dir := packageOf(command, userHome, s.homeDir()); dir != "" {
			found = append(found, dir)
		}
	}
	if script := s.script(command); script != "" {
		found = append(found, script)
		if dir := packageOf(script, userHome, s.homeDir()); dir != "" {
			found = append(found, dir)
		}
	}
	return slices.Compact(found)
}

// script is the program that an interpreter is given: its first argument that is a
// file and no flag.
func (s *Server) script(command string) string {
	if command == "" {
		command = s.Runtime.Command
	}
	name := strings.TrimSuffix(filepath.Base(command), ".exe")
	name = strings.TrimRight(name, "0123456789.") // python3.12
	if !slices.Contains([]string{"node", "nodejs", "deno", "bun", "python", "pypy", "ruby", "perl", "php", "sh", "bash", "dash", "java", "uv", "tsx"}, name) {
		return ""
	}
	for _, arg := range s.Runtime.Args {
		if strings.HasPrefix(arg, "-") {
			continue
		}
		if !filepath.IsAbs(arg) {
			if s.Settings.Cwd == "" {
				continue
			}
			arg = filepath.Join(s.Settings.Cwd, arg)
		}
		if info, err := os.Stat(arg); err == nil && !info.IsDir() {
			return filepath.Clean(arg)
		}
	}
	return ""
}

// packageMarks are what a package's directory has.
func packageMarks() []string {
	return []string{"package.json", "deno.json", "pyproject.toml", "setup.py", "requirements.txt", "pyvenv.cfg", "Gemfile", "go.mod", "Cargo.toml"}
}

// packageOf is the directory of the package that a file is part of: the nearest one
// above it that has a package's marks; "" if there is none. Neither the user's home
// directory nor one above it is a package, whatever is in it, nor what holds or is in
// Berth's own.
func packageOf(file, userHome, berthHome string) string {
	if real, err := filepath.EvalSymlinks(file); err == nil {
		file = real
	}
	for dir := filepath.Dir(file); ; dir = filepath.Dir(dir) {
		if dir == filepath.Dir(dir) || inside(userHome, dir) || inside(berthHome, dir) {
			return ""
		}
		for _, mark := range packageMarks() {
			if info, err := os.Lstat(filepath.Join(dir, mark)); err == nil && info.Mode().IsRegular() {
				return dir
			}
		}
	}
}

// without leaves out the paths that are in dir, and lead nowhere else.
func without(paths []string, dir string) []string {
	real := func(path string) string {
		if to, err := filepath.EvalSymlinks(path); err == nil {
			return to
		}
		return path
	}
	return slices.DeleteFunc(paths, func(path string) bool { return inside(path, dir) && inside(real(path), real(dir)) })
}

// inside reports whether a path is dir or in it.
func inside(name, dir string) bool {
	if name == "" {
		return false
	}
	rel, err := filepath.Rel(dir, name)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator))
}
