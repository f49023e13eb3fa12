package sandbox

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	berth "github.com/berth-run/berth"
)

// Compile decides what a server may touch. It looks at the file system, and changes
// nothing. A path that is granted and not there is a warning in the plan; what cannot
// be granted is an error that wraps berth.ErrInvalidSpec.
func Compile(c berth.Confinement, f Facts) (Plan, error) {
	b := builder{facts: f, plan: Plan{
		Net: NetNone, Dir: f.Dir, Ports: f.Ports, Proxy: f.Proxy, Namespaces: f.Namespaces, Test: f.Test,
		Links: map[string]string{}, Gaps: map[string]string{},
	}}
	if f.BerthHome != "" {
		// Before it is made it has no links.
		if b.secret, _ = b.resolve(f.BerthHome); b.secret == "" {
			b.secret = filepath.Clean(f.BerthHome)
		}
		b.plan.Hide = []string{b.secret}
		if b.plan.Test.Read == "" {
			b.plan.Test.Read = firstFile(b.secret)
		}
	}
	if f.Home != "" {
		if b.home, _ = b.resolve(f.Home); b.home == "/" {
			b.home = "" // of a user that has none
		}
	}
	if err := b.own(c); err != nil {
		return Plan{}, err
	}
	b.system()
	b.program(f.Path, 0)
	b.packageRun(f.Argv)
	b.environment()
	if err := b.grants(c.Allow); err != nil {
		return Plan{}, err
	}
	b.scratch()
	b.network()
	b.unixSockets()
	b.plan.Learn = b.facts.Learn
	return b.finish(), nil
}

// builder is a plan in the making.
type builder struct {
	facts Facts
	plan  Plan
	// home is the user's home directory, secret Berth's, both without links.
	home, secret string
	// mine are the server's own directories, which may be in secret.
	mine []string
	// readDirs says that a directory of the user's is granted for reading alone.
	readDirs bool
	// seen are the programs whose needs are known.
	seen []string
}

func (b *builder) warn(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if !slices.Contains(b.plan.Warnings, text) {
		b.plan.Warnings = append(b.plan.Warnings, text)
	}
}

func refuse(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{berth.ErrInvalidSpec}, args...)...)
}

// own adds the directories of the server itself.
func (b *builder) own(c berth.Confinement) error {
	for _, path := range c.Program {
		real, err := b.resolve(path)
		if err != nil {
			b.warn("%s, of the server's package, is not there: %v", path, err)
			continue
		}
		if b.reveals(real) {
			return refuse("%s cannot be the directory of a package: Berth's own files are in it", path)
		}
		b.mine = append(b.mine, real)
		b.plan.Exec = append(b.plan.Exec, real)
	}
	if c.Data != "" {
		real, err := b.resolve(c.Data)
		if err != nil {
			return fmt.Errorf("the data directory: %w", err)
		}
		if b.reveals(real) {
			return refuse("%s cannot be a server's data directory: Berth's own files are in it", c.Data)
		}
		b.mine = append(b.mine, real)
		b.plan.Write = append(b.plan.Write, real)
	}
	return nil
}

// reveals says whether who may see path sees Berth's files.
func (b *builder) reveals(path string) bool { return b.secret != "" && within(b.secret, path) }

// canHide says whether a directory can be taken out of one that is granted.
func (b *builder) canHide() bool { return b.facts.Namespaces.Mount || carves }

// hidden says whether path is one of Berth's files that the server does not own.
func (b *builder) hidden(path string) bool {
	if b.secret == "" || !within(path, b.secret) {
		return false
	}
	return !slices.ContainsFunc(b.mine, func(dir string) bool { return within(path, dir) })
}

// system adds what every program needs of the system, leaving out the home directories
// should they be below that.
func (b *builder) system() {
	for _, path := range readable() {
		if real, err := b.resolve(path); err == nil {
			b.spare(real, func(p string) { b.plan.Read = append(b.plan.Read, p) })
		}
	}
}

// spare calls add with path, or, where a home directory is below it, with all that is
// in it and does not lead there.
func (b *builder) spare(path string, add func(string)) {
	leads := func(p string) bool {
		return b.home != "" && within(b.home, p) || b.secret != "" && within(b.secret, p)
	}
	inside := b.home != "" && within(path, b.home) && !b.underOwn(path) || b.hidden(path)
	switch {
	case inside:
	case !leads(path):
		add(path)
	default:
		entries, _ := os.ReadDir(path)
		for _, e := range entries {
			if e.Type()&fs.ModeSymlink == 0 {
				b.spare(filepath.Join(path, e.Name()), add)
			}
		}
	}
}

func (b *builder) underOwn(path string) bool {
	return slices.ContainsFunc(b.mine, func(dir string) bool { return within(path, dir) })
}

// grants adds what the permissions say.
func (b *builder) grants(allow []string) error {
	for _, permission := range allow {
		kind, value, ok := strings.Cut(permission, ":")
		if !ok || value == "" {
			return refuse("the permission %q is not KIND:WHAT", permission)
		}
		var err error
		switch kind {
		case "env":
		case "network":
			if value == "*" || value == "*:*" {
				b.plan.Net = NetOpen
			} else if b.plan.Net == NetNone {
				b.plan.Net = NetNames
			}
		case "exec":
			err = b.grantProgram(value)
		case "filesystem":
			err = b.grantFiles(permission, value)
		default:
			err = refuse("the permission %q is of no kind that there is", permission)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (b *builder) grantProgram(command string) error {
	if command == "*" {
		b.plan.AllPrograms = true
		return nil
	}
	path, err := b.lookPath(b.expandHome(command))
	if err != nil {
		b.warn("exec:%s: there is no such program now: %v", command, err)
		return nil
	}
	b.program(path, 0)
	return nil
}

func (b *builder) grantFiles(permission, value string) error {
	if value == "*" {
		b.plan.AllFiles = true
		return b.grantRoot(true)
	}
	access, path, ok := strings.Cut(value, ":")
	if !ok || access != "read" && access != "write" {
		return refuse("the permission %q is neither filesystem:read:PATH nor filesystem:write:PATH", permission)
	}
	path = b.expandHome(path)
	if !filepath.IsAbs(path) {
		return refuse("the path in %q is not a full path", permission)
	}
	real, err := b.resolve(path)
	if errors.Is(err, fs.ErrNotExist) {
		b.warn("%s: there is no such file now, so nothing is allowed by it", permission)
		return nil
	} else if err != nil {
		b.warn("%s: %v", permission, err)
		return nil
	}
	if b.hidden(real) {
		return refuse("%q would show the server Berth's own files, which no permission does", permission)
	}
	if within(real, "/proc") || within(real, "/dev") {
		return refuse("%q would show the server other processes or devices, which no permission does", permission)
	}
	if real == "/" {
		return b.grantRoot(access == "write")
	}
	if b.reveals(real) && !b.canHide() {
		return berth.WithHint(
			refuse("%q covers Berth's own files in %s, and this system has nothing to hide them by", permission, b.secret),
			"name the directories that are needed")
	}
	return b.grantPath(permission, real, access == "write")
}

func (b *builder) grantPath(permission, real string, write bool) error {
	info, err := os.Stat(real)
	switch {
	case err != nil:
		b.warn("%s: %v", permission, err)
	case info.Mode()&fs.ModeSocket != 0 && write:
		b.plan.Sockets = append(b.plan.Sockets, real)
	case info.Mode()&fs.ModeSocket != 0:
		b.warn("%s: a socket is connected to, not read; write filesystem:write:%s", permission, real)
	case info.Mode()&(fs.ModeDevice|fs.ModeCharDevice) != 0:
		return refuse("%q is a device, which no permission allows", permission)
	case write:
		b.plan.Write = append(b.plan.Write, real)
	default:
		b.plan.Read = append(b.plan.Read, real)
		b.readDirs = b.readDirs || info.IsDir()
	}
	return nil
}

// grantRoot adds all files but those of devices and processes. Where there is nothing to
// hide Berth's own by, that is said.
func (b *builder) grantRoot(write bool) error {
	if b.secret != "" && !b.canHide() {
		if !b.plan.AllFiles {
			return berth.WithHint(
				refuse("all files include Berth's own in %s, and this system has nothing to hide them by", b.secret),
				"name the directories that are needed, or allow filesystem:*")
		}
		gap := "Berth's own files, which filesystem:* includes where there is no mount namespace"
		b.plan.Gaps[berth.GuaranteeFSRead], b.plan.Gaps[berth.GuaranteeFSWrite] = gap, gap
		b.plan.Hide = nil
	}
	if b.plan.AllFiles && b.canHide() {
		return nil // they are shown as they are
	}
	entries, err := os.ReadDir("/")
	if err != nil {
		return fmt.Errorf("look at /: %w", err)
	}
	for _, e := range entries {
		path := "/" + e.Name()
		if path == "/proc" || path == "/dev" {
			continue
		}
		real, err := b.resolve(path)
		if err != nil {
			continue
		}
		if write {
			b.plan.Write = append(b.plan.Write, real)
		} else {
			b.plan.Read = append(b.plan.Read, real)
			b.readDirs = true
		}
	}
	return nil
}

func (b *builder) expandHome(path string) string {
	if path == "~" {
		return b.facts.Home
	}
	if rest, ok := strings.CutPrefix(path, "~/"); ok && b.facts.Home != "" {
		return filepath.Join(b.facts.Home, rest)
	}
	return path
}

// scratch adds the directory for temporary files.
func (b *builder) scratch() {
	if b.facts.Namespaces.Mount || b.facts.Tmp == "" {
		return
	}
	if real, err := b.resolve(b.facts.Tmp); err == nil {
		b.plan.Tmp = real
	} else {
		b.warn("the directory for temporary files: %v", err)
	}
}

// network decides how what is allowed of the network is kept.
func (b *builder) network() {
	if b.plan.Net == NetOpen {
		b.plan.Namespaces.Net = false
		return
	}
	if b.plan.Namespaces.Net || b.plan.Proxy != 0 {
		return
	}
	b.plan.Notify = b.plan.Net == NetNames && b.facts.Notify
	if b.plan.Net == NetNames && !b.plan.Notify {
		b.warn("hosts that are allowed cannot be reached here: there is neither a network namespace nor a filter that can ask")
	}
	if len(b.plan.Ports) > 0 {
		b.plan.Gaps[berth.GuaranteeEgress] = "whoever can reach the port that it listens on can be told anything"
	}
}

// unixSockets decides whether the server may make Unix sockets: only where none is in
// sight that it must not connect to, or Landlock keeps it from those.
func (b *builder) unixSockets() {
	granted := len(b.plan.Sockets) > 0
	switch {
	case b.facts.Landlock >= landlockUnixSockets || carves:
		b.plan.UnixSockets = true
	case b.facts.Namespaces.Mount:
		b.plan.UnixSockets = granted || !b.readDirs
		if granted && b.readDirs {
			b.plan.Gaps[berth.GuaranteeUnixSockets] = "sockets in directories that it may read"
		}
	default:
		b.plan.UnixSockets = granted
		if granted {
			b.plan.Gaps[berth.GuaranteeUnixSockets] = "every socket that this user may connect to, since one is allowed"
		}
	}
}

// landlockUnixSockets is the version of Landlock that knows of Unix sockets.
const landlockUnixSockets = 9

// finish puts the plan in order: each path once, and no link that is not needed.
func (b *builder) finish() Plan {
	p := &b.plan
	for _, list := range []*[]string{&p.Read, &p.Exec, &p.Write, &p.Sockets, &p.Hide} {
		slices.Sort(*list)
		*list = slices.Compact(*list)
	}
	// What may be executed may be read.
	p.Read = slices.DeleteFunc(p.Read, func(path string) bool { return slices.Contains(p.Exec, path) })
	// What is allowed is no test of what is not.
	canRead := slices.Concat(p.Read, p.Exec, p.Write)
	if p.shows(p.Test.Read, canRead) {
		p.Test.Read = ""
	}
	if p.shows(p.Test.Unix, slices.Concat(p.Sockets, p.Write)) {
		p.Test.Unix = ""
	}
	return *p
}

// shows says whether a path is in one of a list that nothing hides.
func (p *Plan) shows(path string, list []string) bool {
	longest := func(list []string) int {
		n := -1
		for _, dir := range list {
			if within(path, dir) {
				n = max(n, len(dir))
			}
		}
		return n
	}
	shown := longest(list)
	if p.AllFiles {
		shown = max(shown, 0)
	}
	return shown >= 0 && shown >= longest(p.Hide)
}

// Environ are variables that the server must have for the plan to work.
func (p *Plan) Environ() []string {
	switch {
	case p.Namespaces.Mount && !p.AllFiles:
		return []string{"TMPDIR=/tmp"}
	case p.Tmp != "":
		return []string{"TMPDIR=" + p.Tmp}
	}
	return nil
}

// resolve returns a path without symbolic links, and puts down those that it found.
func (b *builder) resolve(path string) (string, error) {
	if !filepath.IsAbs(path) {
		return "", fmt.Errorf("%q: %w: not a full path", path, fs.ErrInvalid)
	}
	rest := strings.Split(strings.Trim(filepath.Clean(path), "/"), "/")
	at := "/"
	for hops := 0; len(rest) > 0; {
		next := filepath.Join(at, rest[0])
		rest = rest[1:]
		info, err := os.Lstat(next)
		if err != nil {
			return "", err
		}
		if info.Mode()&fs.ModeSymlink == 0 {
			at = next
			continue
		}
		if hops++; hops > 40 {
			return "", fmt.Errorf("%s: too many symbolic links", path)
		}
		target, err := os.Readlink(next)
		if err != nil {
			return "", err
		}
		b.plan.Links[next] = target
		if filepath.IsAbs(target) {
			at = "/"
		}
		// Clean would take a ".." back before the link before it is followed.
		var parts []string
		for part := range strings.SplitSeq(target, "/") {
			if part != "" && part != "." {
				parts = append(parts, part)
			}
		}
		rest = append(parts, rest...)
	}
	return at, nil
}

// firstFile returns a file in a directory, for trying to read it.
func firstFile(dir string) string {
	for _, name := range []string{"audit/audit.jsonl", "policy.toml", "berth.toml", "tokens.json"} {
		if info, err := os.Stat(filepath.Join(dir, name)); err == nil && info.Mode().IsRegular() {
			return filepath.Join(dir, name)
		}
	}
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if e.Type().IsRegular() {
			return filepath.Join(dir, e.Name())
		}
	}
	return ""
}

// within says whether path is dir or below it.
func within(path, dir string) bool {
	return path == dir || dir == "/" || strings.HasPrefix(path, dir+"/")
}
