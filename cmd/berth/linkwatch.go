package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/clients"
	"github.com/berth-run/berth/internal/link"
	"github.com/berth-run/berth/internal/settings"
)

const (
	// mostRepairs is how often an entry is put back within repairWindow: whoever takes it
	// out again and again means it.
	mostRepairs  = 3
	repairWindow = time.Minute
)

// linkEvent is what happened to an entry, or to a client.
type linkEvent struct {
	Time   time.Time `json:"time"`
	Client string    `json:"client"`
	Scope  string    `json:"scope,omitzero"`
	Entry  string    `json:"entry,omitzero"`
	File   string    `json:"file,omitzero"`
	// State is that of the entry (see link.State), or "repaired", "unlinked" or "found".
	State string `json:"state"`
	Error string `json:"error,omitzero"`
}

// linkWatch watches what was linked.
type linkWatch struct {
	*linker
	ids    []string
	repair bool

	seen  map[string]*watchedLink // by place
	found map[string]bool         // clients that are on this machine
}

// watchedLink is an entry as it was last seen.
type watchedLink struct {
	record  link.Record
	state   link.State
	problem string
	entry   settings.Entry // as it was when it was ours; nil: it never was
	repairs []time.Time
}

// watchLinks says what happens to what was linked, until ctx ends.
func (a *app) watchLinks(ctx context.Context, ids []string, o linkOptions) error {
	o.dry = !o.repair // a home that is only read is not made
	l, err := a.newLinker(o)
	if err != nil {
		return err
	}
	w := &linkWatch{linker: l, ids: ids, repair: o.repair, seen: map[string]*watchedLink{}}
	err = link.Watch(ctx, w.look)
	if ctx.Err() != nil {
		return nil // by Ctrl-C
	}
	return err
}

// look compares what there is with what there was, and returns what to watch.
func (w *linkWatch) look(ctx context.Context) (paths []string, err error) {
	records, err := w.book.Records()
	if err != nil {
		return nil, err
	}
	paths = []string{w.home.LinksPath()}
	now := map[string]bool{}
	for _, r := range records {
		if len(w.ids) > 0 && !slices.Contains(w.ids, r.Client) {
			continue
		}
		key := fmt.Sprintf("%q %q %q", r.File, r.Path, r.ID)
		now[key] = true
		paths = append(paths, r.File)
		l := w.seen[key]
		if l == nil {
			l = &watchedLink{}
			w.seen[key] = l
		}
		l.record = r
		if err := w.examine(ctx, l); err != nil {
			return nil, err
		}
	}
	for key, l := range w.seen {
		if !now[key] {
			delete(w.seen, key)
			if err := w.tell(l, "unlinked", ""); err != nil {
				return nil, err
			}
		}
	}
	if w.o.all {
		found, err := w.findClients(records)
		return append(paths, found...), err
	}
	return paths, nil
}

// examine tells what has become of one entry, and puts it back if that is wanted.
func (w *linkWatch) examine(ctx context.Context, l *watchedLink) error {
	state, stateErr := l.record.State()
	if state == link.Gone && state != l.state {
		// Berth itself may be taking it out. A home that cannot be locked is not written to.
		if there, err := w.book.Settled(ctx, l.record); err == nil && !there {
			return nil // the next look finds it unlinked
		}
		state, stateErr = l.record.State()
	}
	problem := ""
	if stateErr != nil {
		problem = stateErr.Error()
	}
	if state == link.Linked {
		if value, err := l.record.Value(); err == nil {
			if e, err := settings.EntryOf(value); err == nil {
				l.entry = e
			}
		}
	}
	if state == l.state && problem == l.problem {
		return nil
	}
	l.state, l.problem = state, problem
	if err := w.tell(l, string(state), problem); err != nil {
		return err
	}
	if state != link.Gone || !w.repair {
		return nil
	}
	if err := w.putBack(ctx, l); err != nil {
		return w.tell(l, string(state), err.Error())
	}
	l.state = link.Linked
	return errors.Join(w.tell(l, "repaired", ""), w.recordOfHome(berth.ActionLink, l.record.Client+": "+l.record.Name()+" in "+l.record.File+", again"))
}

// putBack puts an entry back that is gone.
func (w *linkWatch) putBack(ctx context.Context, l *watchedLink) error {
	r := l.record
	if l.entry == nil {
		return fmt.Errorf("it was gone before: berth link %s", r.Client)
	}
	if _, err := os.Stat(filepath.Dir(r.File)); errors.Is(err, fs.ErrNotExist) {
		return errors.New("its directory is gone, too")
	}
	now := time.Now()
	l.repairs = slices.DeleteFunc(l.repairs, func(t time.Time) bool { return now.Sub(t) > repairWindow })
	if len(l.repairs) >= mostRepairs {
		return fmt.Errorf("it was put back %d times within %v, and is left out now", mostRepairs, repairWindow)
	}
	l.repairs = append(l.repairs, now)
	entry := l.entry
	if r.ID != "" {
		entry = slices.DeleteFunc(slices.Clone(entry), func(f settings.Field) bool { return f.Key == r.ID })
	}
	out, err := w.book.Put(ctx, r.Target, entry, &link.PutOptions{Program: r.Program, Shared: r.Scope == string(clients.Project), Again: true})
	if err == nil && out.Done == "gone" {
		return errors.New("it was unlinked meanwhile")
	}
	return err
}

// findClients tells of clients that have come to this machine, and returns what shows
// that one is there.
func (w *linkWatch) findClients(records []link.Record) (paths []string, err error) {
	found := map[string]bool{}
	for _, c := range clients.All() {
		file, ok := c.File(w.system, clients.User)
		if !ok || c.OnlyNamed {
			continue
		}
		paths = append(paths, w.system.Path(file))
		for _, sign := range c.Signs {
			paths = append(paths, w.system.Expand(sign))
		}
		if !c.Installed(w.system, exec.LookPath) {
			continue
		}
		found[c.ID] = true
		linked := slices.ContainsFunc(records, func(r link.Record) bool { return r.Client == c.ID })
		if w.found != nil && !w.found[c.ID] && !linked {
			if err := w.say(linkEvent{Client: c.ID, State: "found", File: w.system.Path(file)}); err != nil {
				return nil, err
			}
			w.ui.say("berth: hint: berth link %s", c.ID)
		}
	}
	w.found = found
	return paths, nil
}

// tell says what has become of an entry.
func (w *linkWatch) tell(l *watchedLink, state, problem string) error {
	r := l.record
	if err := w.say(linkEvent{Client: r.Client, Scope: r.Scope, Entry: r.Name(), File: r.File, State: state, Error: problem}); err != nil {
		return err
	}
	if state == string(link.Gone) && !w.repair {
		w.ui.say("berth: hint: berth link %s puts it back; --repair does so by itself", r.Client)
	}
	return nil
}

// say prints one event: a line, or with --json an object on a line.
func (w *linkWatch) say(e linkEvent) error {
	e.Time = time.Now().Truncate(time.Second)
	if w.o.asJSON {
		line, err := json.Marshal(e)
		if err == nil {
			err = w.ui.write(line)
		}
		return err
	}
	line := fmt.Sprintf("%s %s: %s", e.Time.Format(time.TimeOnly), e.Client, e.State)
	if e.Entry != "" {
		line = fmt.Sprintf("%s %s: %s %s", e.Time.Format(time.TimeOnly), e.Client, e.Entry, e.State)
	}
	line += ": " + printable(e.File)
	if e.Error != "" {
		line += ": " + printable(e.Error)
	}
	w.ui.print("%s", line)
	return nil
}
