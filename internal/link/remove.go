package link

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/berth-run/berth/internal/settings"
)

// Removal is an entry of somebody else's that was taken out of a file, at their wish.
type Removal struct {
	Target
	At time.Time `json:"at"`
	// Original names the file as it was before.
	Original string `json:"original"`
}

// Removals lists what Remove has taken out, the oldest first.
func (b *Book) Removals() ([]Removal, error) {
	f, err := b.read()
	return f.Removed, err
}

// Remove takes an entry that Berth did not write out of its file, if it still says what
// has the hash sum (see settings.Get), and keeps the file as it was. Done is "removed",
// "kept" for an entry that says something else by now, or "gone".
func (b *Book) Remove(ctx context.Context, t Target, sum string, dry bool) (out Outcome, err error) {
	change := func(s *snapshot) ([]byte, error) {
		out = Outcome{Target: t, Done: "removed", Real: s.path, Before: s.data, After: s.data}
		if !s.exists() {
			out.Done = "gone"
			return nil, nil
		}
		switch _, now, err := settings.Get(t.Format, s.data, t.place()); {
		case errors.Is(err, settings.ErrMissing):
			out.Done = "gone"
			return s.data, nil
		case err != nil:
			return nil, err
		case now != sum:
			out.Done = "kept"
			return s.data, nil
		}
		doc, err := settings.Remove(t.Format, s.data, t.place(), settings.Mark{})
		out.After = doc
		return doc, err
	}
	placed := func(err error) error {
		if err != nil && isFault(err) {
			return fmt.Errorf("%s: %w", t.File, err)
		}
		return err
	}
	if dry {
		s, err := look(t.File)
		if err == nil {
			_, err = change(s)
		}
		if err == nil && out.Done == "removed" {
			err = s.mayWrite()
		}
		return out, placed(err)
	}
	unlock, err := b.files.LockLinks(ctx)
	if err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	if s, err := look(t.File); err == nil && !s.exists() {
		_, err = change(s)
		return out, err
	}
	written := false
	s, err := edit(ctx, t.File, 0o600, change, func() error {
		if out.Done != "removed" || written {
			return nil
		}
		written = true
		return b.removing(ctx, t, out.Before)
	})
	if s != nil {
		out.Busy = s.busy()
	}
	return out, placed(err)
}

// removing keeps the file as it was, and writes down what is about to be taken out: a
// process that is killed now leaves a note of what is still there.
func (b *Book) removing(ctx context.Context, t Target, before []byte) error {
	f, err := b.read()
	if err != nil {
		return err
	}
	r := Removal{Target: t, At: time.Now().UTC().Truncate(time.Second), Original: f.originalOf(t.File)}
	if r.Original == "" {
		if r.Original, err = b.keepOriginal(ctx, t.File, before); err != nil {
			return err
		}
	}
	f.Removed = append(slices.DeleteFunc(f.Removed, func(o Removal) bool { return o.same(t) }), r)
	return b.save(f)
}

// originalOf names the original of a file that was written to before, "" if none is kept.
func (f *file) originalOf(path string) string {
	for _, r := range f.Links {
		if r.File == path && r.Original != "" {
			return r.Original
		}
	}
	for _, r := range f.Removed {
		if r.File == path && r.Original != "" {
			return r.Original
		}
	}
	return ""
}
