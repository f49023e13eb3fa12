package catalog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/home"
)

// Options are the options of Fetch and Restore.
type Options struct {
	// Environ is the caller's environment, Path the PATH to find npm, node, uv and
	// python in.
	Environ []string
	Path    string
	// Look finds a command in that PATH.
	Look func(name string) (string, error)
	// AllowScripts are packages that may run what they want to when they are
	// installed.
	AllowScripts []string
	// Get opens what is at a URL, and says how many bytes it has if that is known.
	Get func(ctx context.Context, url string) (io.ReadCloser, int64, error)
	// Staged is the file that is to be unpacked, if it is there already.
	Staged *Staged
	// Say is told each step in a line, Show how far it is, again and again.
	Say, Show func(text string)
}

func (o *Options) say(format string, args ...any) {
	if o.Say != nil {
		o.Say(fmt.Sprintf(format, args...))
	}
}

func (o *Options) show(format string, args ...any) {
	if o.Show != nil {
		o.Show(fmt.Sprintf(format, args...))
	}
}

// Copy is a package in the home, and how its program is run.
type Copy struct {
	ID, Dir string
	Lock    *Lock
	// Command is the program, CommandPath where it is.
	Command, CommandPath string
	Args                 []string
	// Fetched: it was not there already.
	Fetched bool
}

// Scripted are the packages of the copy that wanted to run something when they
// were installed, and did not.
func (c *Copy) Scripted() []string { return c.Lock.scripted() }

// Store is the packages of a home.
type Store struct{ home *home.Home }

// New returns the packages of a home.
func New(h *home.Home) *Store { return &Store{h} }

// kind resolves and installs packages of one kind into work.tree.
type kind interface {
	// prepare finds what is needed, or says what to install.
	prepare(ctx context.Context) error
	resolve(ctx context.Context, r Request) (*Lock, error)
	install(ctx context.Context, l *Lock) error
}

// work is a directory that nobody else uses.
type work struct {
	tools
	o    *Options
	dir  string
	tree string
}

func (w *work) kind(k Kind) kind {
	switch k {
	case PyPI:
		return &pypi{work: w}
	case MCPB, Binary:
		return &file{work: w}
	case Go:
		return &goModule{work: w}
	case OCI:
		return &image{work: w}
	}
	return &npm{work: w}
}

// Fetch resolves a package, fetches it unless the home has the same copy, and calls
// use with it, which writes down that it is used: until then nobody removes it.
func (s *Store) Fetch(ctx context.Context, r Request, o Options, use func(*Copy) error) (*Copy, error) {
	w, done, err := s.begin(ctx, &o)
	if err != nil {
		return nil, err
	}
	defer done()
	k := w.kind(r.Kind)
	if err := k.prepare(ctx); err != nil {
		return nil, err
	}
	if len(r.Locks) > 0 {
		l, err := locked(ctx, k, r)
		if err != nil {
			return nil, err
		}
		o.AllowScripts = l.Scripts
		l.At = time.Now().UTC().Truncate(time.Second)
		return s.provide(ctx, w, k, l, r.Program, use)
	}
	if !r.Kind.Downloaded() {
		o.say("resolving %s", r)
	}
	l, err := k.resolve(ctx, r)
	if err != nil {
		return nil, explain(fmt.Errorf("resolve %s: %w", r, err))
	}
	l.Format, l.Kind, l.At = 1, r.Kind, time.Now().UTC().Truncate(time.Second)
	if err := l.pin(r.Hashes); err != nil {
		return nil, err
	}
	l.Scripts = slices.Clone(o.AllowScripts)
	slices.Sort(l.Scripts)
	for _, name := range l.Scripts {
		if !slices.ContainsFunc(l.Tree, func(e Entry) bool { return e.Name == name }) {
			return nil, fmt.Errorf("%w: %s has no package %q whose scripts could be allowed", berth.ErrInvalidSpec, r, name)
		}
	}
	return s.provide(ctx, w, k, l, r.Program, use)
}

// provide makes the copy of a lock, or finds it, and has it used.
func (s *Store) provide(ctx context.Context, w *work, k kind, l *Lock, program string, use func(*Copy) error) (*Copy, error) {
	id := l.ID()
	dir, err := s.home.PackageDir(id)
	if err != nil {
		return nil, err
	}
	// Who wants the same copy waits, and then has it.
	stripe := id[len(id)-1:]
	one, err := home.WaitLock(ctx, s.home.RunLock("package-"+stripe))
	if err != nil {
		return nil, err
	}
	defer func() { _ = one.Unlock() }()
	c := &Copy{ID: id, Dir: dir, Lock: l}
	kept, err := s.lock(id)
	if err == nil && verify(dir, kept.Files) == nil {
		c.Lock = kept
	} else {
		if err := s.make(ctx, w, k, l); err != nil {
			return nil, err
		}
		c.Fetched = true
	}
	if c.Fetched {
		err = launch(c, w.tree, program, w.look)
	} else {
		err = launch(c, dir, program, w.look)
	}
	if err != nil {
		return nil, err
	}
	c.Args = relocate(c.Args, w.tree, dir)
	c.Command = relocate([]string{c.Command}, w.tree, dir)[0]
	c.CommandPath = relocate([]string{c.CommandPath}, w.tree, dir)[0]
	all, err := s.all(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { _ = all.Unlock() }()
	if c.Fetched {
		if err := s.put(w, c); err != nil {
			return nil, err
		}
	} else if _, err := os.Stat(dir); err != nil {
		return nil, fmt.Errorf("the copy of %s was removed in this moment: %w", l.Package, err)
	}
	if use == nil {
		return c, nil
	}
	return c, use(c)
}

// relocate says what is in one directory by its name in another.
func relocate(words []string, from, to string) []string {
	out := slices.Clone(words)
	for i, w := range out {
		if rest, ok := strings.CutPrefix(w, from); ok && (rest == "" || os.IsPathSeparator(rest[0])) {
			out[i] = to + rest
		}
	}
	return out
}

// make installs what a lock says into the directory of the work.
func (s *Store) make(ctx context.Context, w *work, k kind, l *Lock) error {
	n := 0
	for _, e := range l.Tree {
		if len(e.Integrity) > 0 {
			n++
		}
	}
	if !l.Kind.Downloaded() {
		w.o.say("fetching %s %s: %d packages, each by its hash", l.Package, l.Version, n)
	}
	if err := k.install(ctx, l); err != nil {
		return explain(fmt.Errorf("fetch %s %s: %w", l.Package, l.Version, err))
	}
	list, err := sum(w.tree)
	if err != nil {
		return fmt.Errorf("fetch %s: %w", l.Package, err)
	}
	if err := os.WriteFile(filepath.Join(w.tree, sumFile), []byte(list), 0o600); err != nil {
		return err
	}
	l.Files = hashOf([]byte(list))
	return settle(w.tree)
}

// put gives a copy that was made its name: first its lock, then it.
func (s *Store) put(w *work, c *Copy) error {
	data, err := c.Lock.encode()
	if err != nil {
		return err
	}
	if _, err := os.Lstat(c.Dir); err == nil {
		if err := os.Rename(c.Dir, filepath.Join(w.dir, "old")); err != nil {
			return fmt.Errorf("set the damaged copy aside: %w", err)
		}
	}
	if err := s.home.WritePackage(c.ID, data); err != nil {
		return err
	}
	if err := os.Rename(w.tree, c.Dir); err != nil {
		return fmt.Errorf("keep the copy of %s: %w", c.Lock.Package, err)
	}
	return settle(filepath.Dir(c.Dir))
}

// lock reads the lock of a copy.
func (s *Store) lock(id string) (*Lock, error) {
	data, err := s.home.ReadPackage(id)
	if err != nil {
		return nil, err
	}
	return parseLock(id, data)
}

// Read returns the lock of a server's copy, which must be the one that the server
// was added with.
func (s *Store) Read(server home.Server) (*Lock, error) {
	l, err := s.lock(server.Source.Copy)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("the lock of its package is gone: %w", err)
	}
	if err == nil && l.Digest() != server.Source.Digest {
		err = fmt.Errorf("%w: the server was added with another", ErrLock)
	}
	return l, err
}

// Restore compares a server's copy with its lock, and fetches it again, from the
// same lock, if it is damaged or gone. It says whether it did.
func (s *Store) Restore(ctx context.Context, server home.Server, o Options) (*Copy, error) {
	l, err := s.Read(server)
	if err != nil {
		return nil, berth.WithHint(err, "add the server again: berth add --replace")
	}
	if dir, err := s.home.PackageDir(server.Source.Copy); err == nil && verify(dir, l.Files) == nil {
		return &Copy{ID: server.Source.Copy, Dir: dir, Lock: l}, nil
	}
	o.AllowScripts = l.Scripts
	w, done, err := s.begin(ctx, &o)
	if err != nil {
		return nil, err
	}
	defer done()
	k := w.kind(l.Kind)
	if err := k.prepare(ctx); err != nil {
		return nil, err
	}
	again := *l
	again.At = time.Now().UTC().Truncate(time.Second)
	return s.provide(ctx, w, k, &again, again.Program, nil)
}

// all is the lock under which copies come, go and begin to be used.
func (s *Store) all(ctx context.Context) (*home.Lock, error) {
	return home.WaitLock(ctx, s.home.RunLock("packages"))
}

// Hold calls change while no copy comes or goes: it may have a server be run from
// another one that is there.
func (s *Store) Hold(ctx context.Context, change func() error) error {
	all, err := s.all(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = all.Unlock() }()
	return change()
}

const (
	workPrefix = ".work-"
	workLock   = "lock"
)

// begin makes a directory to work in. done removes it.
func (s *Store) begin(ctx context.Context, o *Options) (w *work, done func(), err error) {
	base := s.home.PackagesDir()
	if err := os.MkdirAll(base, 0o700); err != nil {
		return nil, nil, fmt.Errorf("make room for packages: %w", err)
	}
	all, err := s.all(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = all.Unlock() }()
	s.sweep()
	dir, err := os.MkdirTemp(base, workPrefix)
	if err != nil {
		return nil, nil, fmt.Errorf("make room for packages: %w", err)
	}
	held, err := home.TryLock(filepath.Join(dir, workLock))
	if err == nil {
		err = os.Mkdir(filepath.Join(dir, "tree"), 0o700)
	}
	if err != nil {
		_ = os.RemoveAll(dir)
		return nil, nil, err
	}
	w = &work{o: o, dir: dir, tree: filepath.Join(dir, "tree")}
	w.tools = tools{env: toolEnv(o.Environ, o.Path), look: o.Look, held: held.File()}
	return w, func() {
		_ = held.Unlock()
		_ = os.RemoveAll(dir) // what is left is swept
	}, nil
}

// sweep removes the directories that killed processes worked in. Their locks are
// in them: a name is never used again, so nobody can have "the" lock of another.
func (s *Store) sweep() {
	entries, err := os.ReadDir(s.home.PackagesDir())
	if err != nil {
		return
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), workPrefix) {
			continue
		}
		dir := filepath.Join(s.home.PackagesDir(), e.Name())
		l, err := home.TryLock(filepath.Join(dir, workLock))
		if err != nil {
			continue // somebody works there
		}
		_ = l.Unlock()
		_ = os.RemoveAll(dir)
	}
}

// Prune removes the copies that no server's file and no state names, and returns
// them. One that has files which were not fetched is kept, and named.
func (s *Store) Prune(ctx context.Context) (removed, kept []string, err error) {
	base := s.home.PackagesDir()
	if _, err := os.Stat(base); errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	all, err := s.all(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = all.Unlock() }()
	s.sweep()
	entries, err := os.ReadDir(base)
	if err != nil {
		return nil, nil, err
	}
	for _, e := range entries {
		id, isLock := strings.CutSuffix(e.Name(), ".json")
		if home.CheckPackageID(id) != nil || e.IsDir() == isLock {
			continue
		}
		used, err := s.home.PackageUsed(id)
		if err != nil {
			return removed, kept, err
		}
		if used {
			continue
		}
		dir := filepath.Join(base, id)
		if !isLock {
			more, err := additions(dir)
			if err != nil {
				return removed, kept, err
			}
			if len(more) > 0 {
				kept = append(kept, filepath.Join(dir, more[0]))
				continue
			}
			if err := s.discard(dir); err != nil {
				return removed, kept, err
			}
			removed = append(removed, id)
		}
		if _, err := os.Lstat(dir); errors.Is(err, fs.ErrNotExist) {
			if err := s.home.RemovePackage(id); err != nil {
				return removed, kept, err
			}
		}
	}
	return removed, kept, nil
}

// discard removes a copy: first its name, so that nobody finds a part of it.
func (s *Store) discard(dir string) error {
	trash, err := os.MkdirTemp(s.home.PackagesDir(), workPrefix)
	if err != nil {
		return err
	}
	if err := os.Rename(dir, filepath.Join(trash, "old")); err != nil {
		return err
	}
	return os.RemoveAll(trash)
}

// explain adds to an error of a tool what the user can do about it.
func explain(err error) error {
	var t *toolError
	if !errors.As(err, &t) {
		return err
	}
	switch {
	case t.says("EINTEGRITY", "HASHES FROM THE REQUIREMENTS FILE", "Hash mismatch"):
		return berth.WithHint(err, "what the registry gave is not what the lock says: somebody changed it on the way, or there")
	case t.says("ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED", "ECONNRESET", "ETIMEDOUT", "ENETUNREACH", "Failed to establish a new connection", "error sending request", "dns error"):
		return berth.WithHint(err, "the registry was not reached: try again with a network; --no-fetch leaves it to the package runner, at each start")
	case t.says("E404", "ETARGET"):
		return berth.WithHint(err, "check the name and the version")
	case t.says("No matching distribution", "was not found in the package registry", "no versions of", "has no usable wheels"):
		return berth.WithHint(err, "check the name and the version; a package without wheels is built by running its own code, which --allow-scripts PACKAGE allows")
	}
	return err
}
