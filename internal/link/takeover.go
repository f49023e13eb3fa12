package link

import (
	"context"
	"fmt"
	"slices"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/settings"
)

// This file puts back what a user had in the place of an entry, if it was taken over
// when he said so.

// keepReplaced keeps the file that has an entry which is about to be taken over.
func (p *putting) keepReplaced(ctx context.Context) error {
	sealed, err := p.sealer.Seal(ctx, p.out.Before)
	if err != nil {
		return fmt.Errorf("keep the entry of %s that is replaced: %w", p.target.File, err)
	}
	p.rec.Replaced = originalOf(p.target.File + "\x00" + p.target.place().String())
	p.rec.After = sumOf(p.out.After)
	return p.files.WriteOriginal(p.rec.Replaced, sealed)
}

// restore puts the entry that was taken over back into a document that was emptied of
// ours; before is the one with ours. Where nothing else has changed, it is the file of
// then, byte for byte.
func (b *Book) restore(r Record, before, doc []byte) ([]byte, error) {
	then, err := b.original(r.Replaced)
	if err == nil && sumOf(before) == r.After {
		return then, nil
	}
	var value any
	if err == nil {
		value, _, err = settings.Get(r.Format, then, r.place())
	}
	var e settings.Entry
	if err == nil {
		e, err = settings.EntryOf(value)
	}
	if err == nil {
		if r.ID != "" {
			e = slices.DeleteFunc(e, func(f settings.Field) bool { return f.Key == r.ID })
		}
		doc, _, err = settings.Set(r.Format, doc, r.place(), e)
	}
	if err != nil {
		return nil, berth.WithHint(fmt.Errorf("the entry %s that was there before cannot be put back: %w", r.Name(), err), "--force removes Berth's and leaves it at that")
	}
	return doc, nil
}
