// Package link puts Berth into the settings of AI clients and takes it out again.
//
// What it has written, and where, is in the home's links.json, never in a client's
// file: members that they do not know break some clients. An entry that a user wrote
// or has edited since is left alone, unless the caller says otherwise. Files are as
// they were before, encrypted, in the home's originals.
//
//	book := link.Open(home, vault)
//	out, err := book.Put(ctx, target, entry, nil)
//	out, err = book.Take(ctx, record, false)
package link

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/settings"
)

// Files is where links are written down; internal/home has it.
type Files interface {
	LinksPath() string
	LockLinks(ctx context.Context) (unlock func() error, err error)
	ReadLinks() ([]byte, error)
	WriteLinks(data []byte) error
	ReadOriginal(name string) ([]byte, error)
	WriteOriginal(name string, data []byte) error
	RemoveOriginal(name string) error
}

// Sealer encrypts originals; internal/vault has it.
type Sealer interface {
	Seal(ctx context.Context, plain []byte) ([]byte, error)
	Unseal(sealed []byte) ([]byte, error)
}

// Target is where an entry is to be.
type Target struct {
	Client string          `json:"client"`
	Scope  string          `json:"scope"`
	File   string          `json:"file"`
	Format settings.Format `json:"format"`
	Path   []string        `json:"path"`
	ID     string          `json:"id,omitempty"`
}

func (t Target) place() settings.Place { return settings.Place{Path: t.Path, ID: t.ID} }

// Name is the name of the entry.
func (t Target) Name() string { return t.Path[len(t.Path)-1] }

// same says whether two are the same entry of the same file.
func (t Target) same(o Target) bool {
	return t.File == o.File && slices.Equal(t.Path, o.Path) && t.ID == o.ID
}

// Record is what Berth has written.
type Record struct {
	Target
	Mark settings.Mark `json:"mark"`
	// Created says that there was no file before.
	Created bool      `json:"created,omitempty"`
	At      time.Time `json:"at"`
	// Original names the file as it was before, if it is kept.
	Original string `json:"original,omitempty"`
	// Program is the program that the entry runs, for who checks it later.
	Program string `json:"program,omitempty"`
	// Replaced names the file as it was with the entry that this one was put in the
	// place of, and After is the hash of what was made of that.
	Replaced string `json:"replaced,omitempty"`
	After    string `json:"after,omitempty"`
}

// State is what has become of an entry.
type State string

// The states.
const (
	Linked     State = "linked"     // as it was written
	Edited     State = "edited"     // there, and somebody has changed it
	Gone       State = "gone"       // not there any more
	Unreadable State = "unreadable" // the file cannot be read
)

// Outcome says what was done.
type Outcome struct {
	Target
	// Done is "linked", "updated", "unchanged", "unlinked", "kept" or "gone".
	Done string
	// Real is the file that was written, with symbolic links followed.
	Real string
	// Before and After are the file, nil where there is none.
	Before, After []byte
	// Busy says that another program may be about to write the file.
	Busy bool
	// Restored says that the entry is back that was taken over.
	Restored bool
}

// ErrForeign: an entry of that name is there, and Berth did not write it as it is.
var ErrForeign = errors.New("an entry of that name is there, and not as Berth wrote it")

// Book is what Berth has written into clients' settings.
type Book struct {
	files  Files
	sealer Sealer
}

// Open returns the book of a home. The sealer may be nil for one that only reads.
func Open(files Files, sealer Sealer) *Book { return &Book{files, sealer} }

// file is the file of links.
type file struct {
	Links   []Record  `json:"links"`
	Removed []Removal `json:"removed,omitempty"`
}

// Records lists what was written, by client, scope and name.
func (b *Book) Records() ([]Record, error) {
	f, err := b.read()
	return f.Links, err
}

// Settled waits until nobody writes an entry, and returns whether what r says is on record
// then: an entry leaves its file before it is forgotten.
func (b *Book) Settled(ctx context.Context, r Record) (there bool, err error) {
	unlock, err := b.files.LockLinks(ctx)
	if err != nil {
		return false, err
	}
	all, err := b.Records()
	return slices.ContainsFunc(all, func(o Record) bool { return o.same(r.Target) }), errors.Join(err, unlock())
}

// read reads the file of links.
func (b *Book) read() (f file, err error) {
	data, err := b.files.ReadLinks()
	if err != nil {
		return f, fmt.Errorf("read the links: %w", err)
	}
	if data == nil {
		return f, nil
	}
	if err := json.Unmarshal(data, &f); err != nil {
		return file{}, b.damaged(err)
	}
	for _, r := range f.Links {
		if len(r.Path) == 0 || r.File == "" {
			return file{}, b.damaged(errors.New("a link has no place"))
		}
	}
	slices.SortStableFunc(f.Links, func(x, y Record) int {
		return slices.Compare([]string{x.Client, x.Scope, x.Name(), x.File}, []string{y.Client, y.Scope, y.Name(), y.File})
	})
	return f, nil
}

func (b *Book) damaged(err error) error {
	return berth.WithHint(fmt.Errorf("%w %s: %w", berth.ErrBadState, b.files.LinksPath(), err),
		"restore it from a backup, or move it away: what was linked then has to be removed from the clients' settings by hand")
}

// write replaces the links; what was removed stays written down.
func (b *Book) write(all []Record) error {
	f, err := b.read()
	if err != nil {
		return err
	}
	f.Links = all
	return b.save(f)
}

func (b *Book) save(f file) error {
	data, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return err
	}
	return b.files.WriteLinks(append(data, '\n'))
}

// State is what has become of what was written.
func (r Record) State() (State, error) {
	s, err := look(r.File)
	if err != nil {
		return Unreadable, err
	}
	if !s.exists() {
		return Gone, nil
	}
	_, sum, err := settings.Get(r.Format, s.data, r.place())
	switch {
	case errors.Is(err, settings.ErrMissing):
		return Gone, nil
	case err != nil:
		return Unreadable, fmt.Errorf("%s: %w", r.File, err)
	case sum != r.Mark.Value:
		return Edited, nil
	}
	return Linked, nil
}

// Value is what the entry says now, as package json would decode it.
func (r Record) Value() (any, error) {
	s, err := look(r.File)
	if err != nil {
		return nil, err
	}
	value, _, err := settings.Get(r.Format, s.data, r.place())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", r.File, err)
	}
	return value, nil
}

// PutOptions are the options of Put; nil is the zero value.
type PutOptions struct {
	// Again puts it only where it was put before, and is "gone" elsewhere.
	Again bool
	// Force takes over an entry that Berth did not write.
	Force bool
	// Dry changes nothing: the outcome says what would be.
	Dry bool
	// Program is the program that the entry runs, "" for an address.
	Program string
	// Shared is for a file that others may read if it has to be made.
	Shared bool
	// Own has the client's own command add the entry, if there is none yet. Where the
	// entry is not there afterwards, or it returns an error, the file is edited.
	Own func(context.Context) error
}

// Put puts an entry into a file, in the place of one that Berth wrote before.
func (b *Book) Put(ctx context.Context, t Target, e settings.Entry, o *PutOptions) (out Outcome, err error) {
	if o == nil {
		o = &PutOptions{}
	}
	if !o.Dry {
		unlock, err := b.files.LockLinks(ctx)
		if err != nil {
			return out, err
		}
		defer func() { err = errors.Join(err, unlock()) }()
	}
	all, err := b.Records()
	if err != nil {
		return out, err
	}
	p := &putting{Book: b, target: t, entry: e, options: o, all: all, at: -1}
	p.at = slices.IndexFunc(all, func(r Record) bool { return r.same(t) })
	if o.Again && p.at < 0 {
		return Outcome{Target: t, Done: "gone"}, nil
	}
	return p.run(ctx)
}

// putting is one Put.
type putting struct {
	*Book
	target  Target
	entry   settings.Entry
	options *PutOptions
	all     []Record
	at      int // of the record of what is written, -1 if there is none

	out      Outcome
	rec      Record // what is going to be written down
	wrote    bool   // it was
	replaces bool   // an entry that Berth did not write
}

func (p *putting) run(ctx context.Context) (Outcome, error) {
	if p.options.Dry {
		s, err := look(p.target.File)
		if err != nil {
			return p.out, err
		}
		after, err := p.change(s)
		if err == nil && p.out.Done != "unchanged" {
			err = s.mayWrite()
		}
		p.out.After = after
		return p.out, p.placed(err)
	}
	if p.options.Own != nil && p.at < 0 {
		if done, err := p.byOwn(ctx); done || err != nil {
			return p.out, p.placed(err)
		}
	}
	before := slices.Clone(p.all)
	perm := fs.FileMode(0o600)
	if p.options.Shared {
		perm = 0o644
	}
	s, err := edit(ctx, p.target.File, perm, func(s *snapshot) (out []byte, err error) {
		out, err = p.change(s)
		p.out.After = out
		return out, err
	}, func() error { return p.writeDown(ctx) })
	if s != nil {
		p.out.Busy = s.busy()
	}
	if err != nil && p.wrote {
		// What is written down and was not done would be a link that is gone.
		if state, _ := p.rec.State(); state != Linked {
			err = errors.Join(err, p.write(before))
		}
	}
	return p.out, p.placed(err)
}

// placed says in which file something is wrong.
func (p *putting) placed(err error) error {
	if err != nil && isFault(err) {
		return fmt.Errorf("%s: %w", p.target.File, err)
	}
	return err
}

// change makes the file with the entry of the one without.
func (p *putting) change(s *snapshot) ([]byte, error) {
	t := p.target
	p.out = Outcome{Target: t, Done: "linked", Real: s.path, Before: s.data}
	p.rec = Record{Target: t, At: time.Now().UTC().Truncate(time.Second), Created: !s.exists(), Program: p.options.Program}
	if p.at >= 0 {
		old := p.all[p.at]
		p.rec.Created, p.rec.Original, p.rec.Replaced = old.Created, old.Original, old.Replaced
	}
	p.replaces = false
	doc, want := s.data, settings.Sum(p.whole())
	_, sum, err := settings.Get(t.Format, doc, t.place())
	var mark settings.Mark
	switch {
	case errors.Is(err, settings.ErrMissing):
	case err != nil:
		return nil, err
	case p.at >= 0 && sum == p.all[p.at].Mark.Value && sum == want:
		p.out.Done, p.rec = "unchanged", p.all[p.at]
		return doc, nil
	case p.at >= 0 && sum == p.all[p.at].Mark.Value:
		mark, p.out.Done = p.all[p.at].Mark, "updated"
		doc, err = settings.Remove(t.Format, doc, t.place(), mark)
	case p.options.Force:
		p.out.Done, p.replaces = "updated", p.at < 0
		doc, err = settings.Remove(t.Format, doc, t.place(), mark)
	default:
		return nil, ErrForeign
	}
	if err != nil && !errors.Is(err, settings.ErrMissing) {
		return nil, err
	}
	out, mark, err := settings.Set(t.Format, doc, t.place(), p.entry)
	p.rec.Mark = mark
	if p.at >= 0 && p.rec.Replaced != "" && sumOf(s.data) == p.all[p.at].After {
		p.rec.After = sumOf(out)
	}
	return out, err
}

// whole is the entry with the member that names it, where it is in a list.
func (p *putting) whole() settings.Entry {
	if p.target.ID == "" {
		return p.entry
	}
	return append(settings.Entry{{Key: p.target.ID, Value: p.target.Name()}}, p.entry...)
}

// writeDown keeps the file as it was, and the record, before the file is changed:
// after a crash, what is in it is known to be Berth's.
func (p *putting) writeDown(ctx context.Context) error {
	if p.out.Done == "unchanged" || p.wrote && p.all[p.at].Mark == p.rec.Mark {
		return nil // it is
	}
	if err := p.keep(ctx, p.out.Before); err != nil {
		return err
	}
	if p.replaces {
		if err := p.keepReplaced(ctx); err != nil {
			return err
		}
	}
	if p.at < 0 {
		p.all, p.at = append(p.all, p.rec), len(p.all)
	} else {
		p.all[p.at] = p.rec
	}
	p.wrote = true
	return p.write(p.all)
}

// keep keeps the original of a file that nothing was written to yet.
func (p *putting) keep(ctx context.Context, data []byte) error {
	for _, r := range p.all {
		if r.File == p.target.File {
			p.rec.Original, p.rec.Created = r.Original, r.Created
			return nil
		}
	}
	f, err := p.read()
	if err != nil {
		return err
	}
	// An entry of somebody else's may have been removed from it before.
	if p.rec.Original = f.originalOf(p.target.File); data == nil || p.rec.Original != "" {
		return nil
	}
	p.rec.Original, err = p.keepOriginal(ctx, p.target.File, data)
	return err
}

// keepOriginal keeps a file as it is, and returns the name under which.
func (b *Book) keepOriginal(ctx context.Context, path string, data []byte) (string, error) {
	name := originalOf(path)
	sealed, err := b.sealer.Seal(ctx, data)
	if err == nil {
		err = b.files.WriteOriginal(name, sealed)
	}
	if err != nil {
		return "", fmt.Errorf("keep the original of %s: %w", path, err)
	}
	return name, nil
}

func originalOf(path string) string { return sumOf([]byte(path))[:32] }

func sumOf(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// byOwn has the client's own command add the entry. It returns false if that is to be
// done here.
func (p *putting) byOwn(ctx context.Context) (bool, error) {
	t := p.target
	s, err := look(t.File)
	if err != nil {
		return false, err
	}
	if s.exists() {
		if _, _, err := settings.Get(t.Format, s.data, t.place()); !errors.Is(err, settings.ErrMissing) {
			return false, nil // an error, or an entry: change says so
		}
	}
	if err := s.mayWrite(); err != nil {
		return false, err
	}
	p.rec = Record{Target: t, At: time.Now().UTC().Truncate(time.Second), Created: !s.exists(), Program: p.options.Program}
	if err := p.keep(ctx, s.data); err != nil {
		return false, err
	}
	ownErr := p.options.Own(ctx)
	after, err := look(t.File)
	if err != nil || !after.exists() {
		return false, err
	}
	_, sum, err := settings.Get(t.Format, after.data, t.place())
	if err != nil || ownErr != nil && sum != settings.Sum(p.whole()) {
		return false, nil
	}
	// What it wrote is Berth's, also where it is not word for word what it was told.
	p.rec.Mark = settings.Mark{Value: sum}
	p.out = Outcome{Target: t, Done: "linked", Real: after.path, Before: s.data, After: after.data}
	p.all, p.at = append(p.all, p.rec), len(p.all)
	return true, p.write(p.all)
}

// Take takes an entry out of its file. One that somebody has edited is kept, and is
// Berth's no longer, unless force says otherwise.
func (b *Book) Take(ctx context.Context, r Record, force, dry bool) (out Outcome, err error) {
	if !dry {
		unlock, err := b.files.LockLinks(ctx)
		if err != nil {
			return out, err
		}
		defer func() { err = errors.Join(err, unlock()) }()
	}
	all, err := b.Records()
	if err != nil {
		return out, err
	}
	at := slices.IndexFunc(all, func(o Record) bool { return o.same(r.Target) })
	if at < 0 {
		return out, fmt.Errorf("%s: Berth has not written an entry %s", r.File, r.Name())
	}
	r = all[at]
	last := !slices.ContainsFunc(all, func(o Record) bool { return o.File == r.File && !o.same(r.Target) })
	change := func(s *snapshot) ([]byte, error) {
		out = Outcome{Target: r.Target, Done: "unlinked", Real: s.path, Before: s.data, After: s.data}
		if !s.exists() {
			out.Done = "gone"
			return nil, nil
		}
		_, sum, err := settings.Get(r.Format, s.data, r.place())
		switch {
		case errors.Is(err, settings.ErrMissing):
			out.Done = "gone"
			return s.data, nil
		case err != nil:
			return nil, err
		case sum != r.Mark.Value && !force:
			out.Done = "kept"
			return s.data, nil
		}
		doc, err := settings.Remove(r.Format, s.data, r.place(), r.Mark)
		if err != nil {
			return nil, err
		}
		if r.Replaced != "" {
			switch back, err := b.restore(r, s.data, doc); {
			case err == nil:
				doc, out.Restored = back, true
			case !force:
				return nil, err
			}
		}
		if r.Created && last && settings.Empty(doc) {
			doc = nil // the file was made for the entry
		}
		out.After = doc
		return doc, nil
	}
	if dry {
		s, err := look(r.File)
		if err == nil {
			_, err = change(s)
		}
		return out, err
	}
	if s, err := look(r.File); err == nil && !s.exists() {
		_, err = change(s)
		return out, errors.Join(err, b.forget(all, at, out, last))
	}
	s, err := edit(ctx, r.File, 0o600, change, func() error { return nil })
	if err != nil {
		if isFault(err) {
			err = fmt.Errorf("%s: %w", r.File, err)
		}
		return out, err
	}
	out.Busy = s.busy()
	return out, b.forget(all, at, out, last)
}

// forget removes a record, and the original if the file is as it was.
func (b *Book) forget(all []Record, at int, out Outcome, last bool) error {
	r := all[at]
	if err := b.write(slices.Delete(slices.Clone(all), at, at+1)); err != nil {
		return err
	}
	if r.Replaced != "" {
		if err := b.files.RemoveOriginal(r.Replaced); err != nil {
			return err
		}
	}
	if r.Original == "" || !last {
		return nil
	}
	if plain, err := b.original(r.Original); err == nil && string(plain) == string(out.After) {
		return b.files.RemoveOriginal(r.Original)
	}
	return nil
}

func (b *Book) original(name string) ([]byte, error) {
	sealed, err := b.files.ReadOriginal(name)
	if err != nil {
		return nil, err
	}
	return b.sealer.Unseal(sealed)
}

// Original returns a file as it was before Berth first wrote to it; fs.ErrNotExist
// if that is not kept.
func (b *Book) Original(path string) ([]byte, error) {
	plain, err := b.original(originalOf(path))
	if err != nil {
		return nil, fmt.Errorf("the original of %s: %w", path, err)
	}
	return plain, nil
}
