package bundle

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path"
	"strings"
	"unicode"
	"unicode/utf8"
)

// ErrUnsafe: an archive has something in it that no honest one has.
var ErrUnsafe = errors.New("the archive is not safe to unpack")

// Limits bound what is unpacked of one archive.
type Limits struct {
	// Files is how many entries it may have, Directory how many bytes the list of them.
	Files     int
	Directory int64
	// File and Total are how many bytes one file and all may have once unpacked, and
	// Ratio how many times as many as the archive has, beyond Slack bytes.
	File, Total, Ratio, Slack int64
	// Name is how long a name may be, in bytes, and Depth how many parts it may have.
	Name, Depth int
}

// DefaultLimits are wide enough for a bundle that has all of its packages in it.
func DefaultLimits() Limits {
	return Limits{Files: 100_000, Directory: 64 << 20, File: 1 << 30, Total: 2 << 30, Ratio: 100, Slack: 64 << 20, Name: 1024, Depth: 64}
}

// MaxArchive is how many bytes an archive may have.
const MaxArchive = 512 << 20

func unsafef(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrUnsafe, fmt.Sprintf(format, args...))
}

// parts cuts the name of an entry at its slashes, and refuses one that could mean
// something else to any system.
func parts(name string, l Limits) ([]string, error) {
	switch {
	case len(name) > l.Name:
		return nil, unsafef("the name %.60q… has %d bytes", name, len(name))
	case !utf8.ValidString(name):
		return nil, unsafef("the name %.120q is not UTF-8", name)
	case strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return nil, unsafef("the name %.120q has control characters", name)
	case strings.ContainsAny(name, `\`):
		return nil, unsafef("the name %.120q has a backslash", name)
	case strings.ContainsRune(name, ':'):
		return nil, unsafef("the name %.120q has a colon, as drives have", name)
	case strings.HasPrefix(name, "/"):
		return nil, unsafef("the name %.120q is absolute", name)
	}
	list := strings.Split(strings.TrimSuffix(strings.TrimPrefix(name, "./"), "/"), "/")
	if len(list) > l.Depth {
		return nil, unsafef("the name %.120q has %d parts", name, len(list))
	}
	for _, part := range list {
		switch {
		case part == "..":
			return nil, unsafef("the name %.120q leads out of it", name)
		case part == "" || part == ".":
			return nil, unsafef("the name %.120q has a part that is empty or a dot", name)
		case len(part) > 255:
			return nil, unsafef("the name %.120q… has a part of %d bytes", name, len(part))
		case strings.HasSuffix(part, ".") || strings.HasSuffix(part, " ") || device(part):
			return nil, unsafef("the name %.120q means something else on Windows", name)
		}
	}
	return list, nil
}

// device says whether Windows has a device of that name, with whatever after a dot.
func device(part string) bool {
	base, _, _ := strings.Cut(strings.ToLower(part), ".")
	switch base = strings.TrimRight(base, " "); base {
	case "con", "prn", "aux", "nul", "conin$", "conout$":
		return true
	}
	number := strings.TrimPrefix(strings.TrimPrefix(base, "com"), "lpt")
	return len(base) > 3 && len(base)-len(number) == 3 && strings.Contains("0123456789¹²³", number)
}

// fold is the same for names that some system takes for the same.
func fold(name string) string {
	return strings.Map(func(r rune) rune {
		least := r
		for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
			least = min(least, f)
		}
		return least
	}, name)
}

// item is an entry of an archive, of any format.
type item struct {
	name string
	mode fs.FileMode // the type and the permissions
	// link is where a symbolic link leads; read opens a file.
	link func() (string, error)
	read func() (io.ReadCloser, error)
}

// tree is a directory that is unpacked into.
type tree struct {
	root   *os.Root
	limits Limits
	most   int64 // bytes that may still be written
	count  int
	// seen are the names that were taken, folded: what was written, and whether it is
	// a directory.
	seen  map[string]taken
	links []link
}

type taken struct {
	name string
	dir  bool
	own  bool // an entry of its own, and not only the directory of another
}

type link struct{ name, to string }

// newTree opens a directory that is empty, for an archive of so many bytes.
func newTree(dir string, packed int64, l Limits) (*tree, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	most := l.Total
	if packed < math.MaxInt64/l.Ratio {
		most = min(most, packed*l.Ratio+l.Slack)
	}
	return &tree{root: root, limits: l, most: most, seen: map[string]taken{}}, nil
}

// add writes an entry. Links are made by finish, so that nothing is written by way of one.
func (t *tree) add(i item) error {
	if t.count++; t.count > t.limits.Files {
		return unsafef("it has more than %d entries", t.limits.Files)
	}
	if i.mode.IsDir() && (i.name == "./" || i.name == ".") {
		return nil
	}
	list, err := parts(i.name, t.limits)
	if err != nil {
		return err
	}
	for n := 1; n < len(list); n++ {
		if err := t.take(path.Join(list[:n]...), true, false); err != nil {
			return err
		}
	}
	name := path.Join(list...)
	if err := t.take(name, i.mode.IsDir(), true); err != nil {
		return err
	}
	switch {
	case i.mode.IsDir():
		return nil
	case i.mode&fs.ModeSymlink != 0:
		to, err := i.link()
		if err != nil {
			return fmt.Errorf("read the link %q: %w", name, err)
		}
		if err := t.checkLink(name, to); err != nil {
			return err
		}
		t.links = append(t.links, link{name, to})
		return nil
	case !i.mode.IsRegular():
		return unsafef("%q is neither a file nor a directory nor a symbolic link", name)
	}
	return t.write(name, i)
}

// take reserves a name, and makes the directory if it is one.
func (t *tree) take(name string, dir, own bool) error {
	key := fold(name)
	before, there := t.seen[key]
	switch {
	case there && before.name != name:
		return unsafef("%q and %q are one name where case does not count", before.name, name)
	case there && (before.dir != dir || own && before.own):
		return unsafef("%q is there twice", name)
	case there:
		before.own = before.own || own
		t.seen[key] = before
		return nil
	}
	t.seen[key] = taken{name, dir, own}
	if !dir {
		return nil
	}
	return t.root.Mkdir(name, 0o700)
}

// write writes a file. Its owner may always read and write it, and nobody else write.
func (t *tree) write(name string, i item) (err error) {
	r, err := i.read()
	if err != nil {
		return fmt.Errorf("read %q: %w", name, err)
	}
	defer r.Close()
	f, err := t.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	most := min(t.most, t.limits.File)
	n, err := io.Copy(f, io.LimitReader(r, most+1))
	if err != nil {
		return fmt.Errorf("read %q: %w", name, err)
	}
	if n > most {
		return unsafef("%q, or all of it, is larger than it may be once unpacked", name)
	}
	t.most -= n
	return f.Chmod(i.mode.Perm()&0o755 | 0o600)
}

// checkLink refuses a link that leads out, or might by way of another link.
func (t *tree) checkLink(name, to string) error {
	if to == "" || len(to) > t.limits.Name || strings.HasPrefix(to, "/") || strings.ContainsAny(to, "\\:\x00") || !utf8.ValidString(to) {
		return unsafef("the link %q leads to %.120q", name, to)
	}
	up, down := 0, false
	for part := range strings.SplitSeq(to, "/") {
		switch {
		case part == ".." && down:
			return unsafef("the link %q leads to %.120q, which goes down and up again", name, to)
		case part == "..":
			up++
		case part != "" && part != ".":
			down = true
		}
	}
	if up > strings.Count(name, "/") {
		return unsafef("the link %q leads to %.120q, which is outside", name, to)
	}
	return nil
}

// finish makes the links, now that nothing is written any more, and looks where they lead.
func (t *tree) finish() error {
	defer t.root.Close()
	for _, l := range t.links {
		if err := t.root.Symlink(l.to, l.name); err != nil {
			return err
		}
	}
	for _, l := range t.links {
		if _, err := t.root.Stat(l.name); err != nil {
			return unsafef("the link %q leads to %.120q: %v", l.name, l.to, err)
		}
	}
	return nil
}
