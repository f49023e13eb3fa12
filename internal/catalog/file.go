package catalog

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/bundle"
)

// The kinds of what is not of a registry: one file, known by where it is and by its hash.
const (
	MCPB   Kind = "mcpb"   // a bundle
	Binary Kind = "binary" // a program, or an archive with one
)

// Dirname stands for where a bundle is unpacked, in what is run of it.
const Dirname = "${__dirname}"

// ErrHash: a file has another hash than it is to have.
var ErrHash = errors.New("the file has another hash than it must have")

// Downloaded says whether a kind is one of single files.
func (k Kind) Downloaded() bool { return k == MCPB || k == Binary }

// Staged is a file in a directory that nobody else uses, until it is closed.
type Staged struct {
	// From is where it was, SHA256 its hash and Size how many bytes it has.
	From, SHA256 string
	Size         int64

	path string
	done func()
}

// Close removes it.
func (f *Staged) Close() { f.done() }

// Open opens it for reading.
func (f *Staged) Open() (*os.File, error) { return os.Open(f.path) }

// Stage fetches a file, by https or from a path of this machine. Sum is the SHA-256 that
// it must have; "" if any may. The caller closes what is returned.
func (s *Store) Stage(ctx context.Context, from, sum string, o Options) (*Staged, error) {
	w, done, err := s.begin(ctx, &o)
	if err != nil {
		return nil, err
	}
	f, err := w.stage(ctx, from, sum)
	if err != nil {
		done()
		return nil, err
	}
	f.done = done
	return f, nil
}

// stage puts a file into the directory of the work.
func (w *work) stage(ctx context.Context, from, sum string) (f *Staged, err error) {
	var in io.ReadCloser
	var size int64
	if filepath.IsAbs(from) {
		in, size, err = openFile(from)
	} else if w.o.Get == nil {
		return nil, fmt.Errorf("%s: nothing can be downloaded here", from)
	} else {
		w.o.say("downloading %s", shownURL(from))
		in, size, err = w.o.Get(ctx, from)
	}
	if err != nil {
		return nil, err
	}
	defer in.Close()
	if size > bundle.MaxArchive {
		return nil, fmt.Errorf("%s has %d bytes, more than the %d that it may have", shownURL(from), size, int64(bundle.MaxArchive))
	}
	f = &Staged{From: from, path: filepath.Join(w.dir, "file")}
	out, err := os.OpenFile(f.path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	hash := sha256.New()
	to := io.MultiWriter(out, hash, &progress{say: func(n int64) {
		if size > 0 {
			w.o.show("downloading %s: %d of %d kB", path.Base(shownURL(from)), n>>10, size>>10)
		} else {
			w.o.show("downloading %s: %d kB", path.Base(shownURL(from)), n>>10)
		}
	}})
	f.Size, err = io.Copy(to, io.LimitReader(in, bundle.MaxArchive+1))
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case err != nil:
		return nil, berth.WithHint(fmt.Errorf("download %s: it was cut off after %d bytes: %w", shownURL(from), f.Size, err), "try again")
	case f.Size > bundle.MaxArchive:
		return nil, fmt.Errorf("%s has more than the %d bytes that it may have", shownURL(from), int64(bundle.MaxArchive))
	}
	f.SHA256 = hex.EncodeToString(hash.Sum(nil))
	if sum != "" && f.SHA256 != sum {
		return nil, berth.WithHint(fmt.Errorf("%w: %s has the SHA-256 %s, and must have %s", ErrHash, shownURL(from), f.SHA256, sum),
			"it was changed after its hash was written down, or on the way here: do not run it before you know which")
	}
	return f, nil
}

// openFile opens a file of this machine; a device or a pipe is none.
func openFile(path string) (io.ReadCloser, int64, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, 0, err
	}
	if !info.Mode().IsRegular() {
		return nil, 0, fmt.Errorf("%s is no file", path)
	}
	f, err := os.Open(path)
	return f, info.Size(), err
}

// shownURL is a URL without what can hold a secret.
func shownURL(from string) string {
	u, err := url.Parse(from)
	if err != nil || u.Scheme == "" {
		return from
	}
	u.User, u.RawQuery, u.Fragment = nil, "", ""
	return u.String()
}

// fileName is the last part of a URL or a path.
func fileName(from string) string { return path.Base(filepath.ToSlash(shownURL(from))) }

// progress says how many bytes went by, ten times a second at most.
type progress struct {
	say  func(n int64)
	n    int64
	last time.Time
}

func (p *progress) Write(b []byte) (int, error) {
	p.n += int64(len(b))
	if now := time.Now(); now.Sub(p.last) > 100*time.Millisecond {
		p.last = now
		p.say(p.n)
	}
	return len(b), nil
}

// fileLock is the lock of a file: its hash says all.
func fileLock(r Request) *Lock {
	sum := strings.TrimPrefix(r.Hashes[0], "sha256:")
	return &Lock{
		Format: 1, Kind: r.Kind, Package: shownURL(r.Package), Version: r.Version, Program: r.Program, For: runtime.GOOS + "-" + runtime.GOARCH, Tool: "berth",
		Tree: []Entry{{Name: fileName(r.Package), Version: r.Version, From: r.Package, Integrity: []string{"sha256:" + sum}}},
	}
}

// Place is the directory that a file will be unpacked in. Its request has a hash.
func (s *Store) Place(r Request) (string, error) {
	if !r.Kind.Downloaded() || len(r.Hashes) != 1 {
		return "", fmt.Errorf("%s: where it will be is not known", r)
	}
	return s.home.PackageDir(fileLock(r).ID())
}

// file fetches and unpacks single files.
type file struct{ *work }

var _ kind = (*file)(nil)

func (f *file) prepare(context.Context) error { return nil }

// resolve has nothing to ask: the request says which file it is.
func (f *file) resolve(_ context.Context, r Request) (*Lock, error) {
	if len(r.Hashes) != 1 {
		return nil, errors.New("nothing says which hash the file has")
	}
	return fileLock(r), nil
}

func (f *file) install(ctx context.Context, l *Lock) error {
	if len(l.Tree) != 1 || len(l.Tree[0].Integrity) != 1 {
		return fmt.Errorf("%w: it is not that of one file", ErrLock)
	}
	if own := runtime.GOOS + "-" + runtime.GOARCH; l.For != own {
		return fmt.Errorf("it was installed for %s, and this is %s: install it again", l.For, own)
	}
	from, sum := l.Tree[0].From, strings.TrimPrefix(l.Tree[0].Integrity[0], "sha256:")
	staged := f.o.Staged
	if staged == nil || staged.From != from || staged.SHA256 != sum {
		var err error
		if staged, err = f.stage(ctx, from, sum); err != nil {
			return err
		}
	}
	in, err := staged.Open()
	if err != nil {
		return err
	}
	defer in.Close()
	f.o.show("unpacking %s", l.Tree[0].Name)
	if err := unpack(in, staged.Size, f.tree, l.Tree[0].Name, l.Kind == MCPB); err != nil {
		return fmt.Errorf("%s: %w", l.Tree[0].Name, err)
	}
	return ctx.Err()
}

// unpack writes what a file has in it into a directory; a program that is in no archive
// is written as it is.
func unpack(in *os.File, size int64, dir, name string, isBundle bool) error {
	start := make([]byte, 4096)
	n, err := in.ReadAt(start, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	start = start[:n]
	limits := bundle.DefaultLimits()
	archived := true
	switch {
	case isBundle, bytes.HasPrefix(start, []byte("PK\x03\x04")):
		var b *bundle.Bundle
		if b, err = bundle.Open(in, size, limits); err == nil {
			err = b.Unpack(dir)
		}
	case bytes.HasPrefix(start, []byte("\x1f\x8b")):
		err = bundle.UnpackTar(in, size, dir, limits)
	default:
		archived = false
	}
	if archived {
		if _, there := os.Lstat(filepath.Join(dir, sumFile)); err == nil && there == nil {
			err = fmt.Errorf("it has a file %s, which is where Berth keeps the hashes of all others", sumFile)
		}
		return err
	}
	if err := checkProgram(start, runtime.GOOS, runtime.GOARCH); err != nil {
		return err
	}
	out, err := os.OpenFile(filepath.Join(dir, programFile(name)), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o700)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// programFile is the name of a program that is in no archive.
func programFile(name string) string {
	name = strings.Trim(unsafe().ReplaceAllString(strings.ToLower(name), "-"), "-.")
	switch {
	case name == "" || name == sumFile || len(name) > 100:
		name = "program"
	case runtime.GOOS == "windows" && filepath.Ext(name) != ".exe":
		name += ".exe"
	}
	return name
}

// launchFile finds what is run of a file that was unpacked in dir, which will be c.Dir.
func launchFile(c *Copy, dir, program string, look func(string) (string, error)) error {
	if c.Lock.Kind == Binary {
		found, err := findProgram(dir, program)
		if err != nil {
			return fmt.Errorf("%s: %w", c.Lock.Tree[0].Name, err)
		}
		c.Command, c.CommandPath = found, found
		return nil
	}
	if strings.Contains(program, Dirname) {
		own := filepath.Clean(filepath.FromSlash(strings.ReplaceAll(program, Dirname, dir)))
		rest, err := filepath.Rel(dir, own)
		if err != nil || !filepath.IsLocal(rest) {
			return fmt.Errorf("what the bundle runs is not in it: %s", program)
		}
		if err := executable(own); err != nil {
			return fmt.Errorf("what the bundle runs: %w", err)
		}
		c.Command, c.CommandPath = own, own
		return nil
	}
	found, err := look(program)
	for _, other := range map[string][]string{"python": {"python3"}, "python3": {"python"}}[program] {
		if err != nil {
			found, err = look(other)
		}
	}
	if err != nil {
		return berth.WithHint(fmt.Errorf("the bundle is run by %s, which is not in the PATH: %w", program, os.ErrNotExist), runtimeHint(program))
	}
	c.Command, c.CommandPath = program, found
	return nil
}

// runtimeHint says how to get what runs a bundle.
func runtimeHint(program string) string {
	switch program {
	case "node":
		return "install Node.js (https://nodejs.org, or nodejs of your system)"
	case "python", "python3":
		return "install Python 3 (https://www.python.org, or python3 of your system)"
	}
	return "install " + program
}

// Program unpacks the file to where nobody else looks, and returns the path in it of the
// program that is named, else of the only one.
func (f *Staged) Program(program string) (string, error) {
	dir := filepath.Join(filepath.Dir(f.path), "look")
	if err := errors.Join(os.RemoveAll(dir), os.Mkdir(dir, 0o700)); err != nil {
		return "", err
	}
	defer func() { _ = os.RemoveAll(dir) }() // else it goes with the rest
	in, err := f.Open()
	if err != nil {
		return "", err
	}
	defer in.Close()
	if err := unpack(in, f.Size, dir, fileName(f.From), false); err != nil {
		return "", err
	}
	found, err := findProgram(dir, program)
	if err != nil {
		return "", err
	}
	rest, err := filepath.Rel(dir, found)
	return filepath.ToSlash(rest), err
}
