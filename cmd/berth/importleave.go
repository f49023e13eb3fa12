package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/clients"
)

// leaving is a client and a scope, with the entries that are to go from there.
type leaving struct {
	client  clients.Client
	scope   clients.Scope // in which Berth is linked in their place
	entries []*importSource
	taken   []candidate
}

// leaveClients offers to take what was taken over out of the clients' settings, with Berth
// in its place.
func (i *importer) leaveClients(ctx context.Context) error {
	var all []*leaving
	for _, row := range i.rows {
		if row.Done != "imported" && row.Done != "there" && (row.Done != "planned" || !i.o.dry) {
			continue
		}
		for n, c := range row.taken {
			scope := clients.User // also for what Claude Code has of a project for its user
			if c.Scope == string(clients.Project) {
				scope = clients.Project
			}
			at := slices.IndexFunc(all, func(l *leaving) bool { return l.client.ID == c.Client && l.scope == scope })
			if at < 0 {
				at, all = len(all), append(all, &leaving{client: c.client, scope: scope})
			}
			all[at].entries, all[at].taken = append(all[at].entries, &row.From[n]), append(all[at].taken, c)
		}
	}
	for _, l := range all {
		if err := i.leave(ctx, l); err != nil {
			return err
		}
	}
	return nil
}

// leave takes entries out of one client's settings.
func (i *importer) leave(ctx context.Context, l *leaving) error {
	var names []string
	for _, e := range l.entries {
		names = append(names, e.Entry)
	}
	list := printable(strings.Join(names, ", "))
	link := "berth link " + l.client.ID
	if l.scope == clients.Project {
		link += " --scope project"
	}
	switch {
	case i.o.dry && i.o.replace:
		i.ui.print("%s: would be linked, and these would be taken out of its settings: %s", l.client.ID, list)
		return nil
	case i.o.dry:
		return nil
	case !i.o.replace && (i.o.yes || i.o.asJSON || !isTerminal(i.app.stdin) || !i.ui.errTerm):
		i.ui.say("berth: hint: %s still runs %s itself; `%s` gives it Berth's, and --replace-in-clients takes these out as well", l.client.ID, list, link)
		return nil
	case !i.o.yes && !i.app.yes(fmt.Sprintf("put Berth into the settings of %s, and take out of them %s? [y/N] ", l.client.ID, list)):
		if i.o.replace {
			i.ui.say("berth: %s is left as it is", l.client.ID)
		} else {
			i.ui.say("berth: hint: `%s` gives it Berth's", link)
		}
		return nil
	}
	linker, err := i.app.newLinker(linkOptions{scope: string(l.scope)})
	if err != nil {
		return err
	}
	linker.site, linker.system = i.site, i.system
	if linker.made, err = newMaker(i.site, linker.o, i.app.yes); err != nil {
		return err
	}
	// First Berth, then what it stands for: the client is never without.
	linker.client(ctx, l.client)
	linker.lookAgain(ctx)
	if err := linker.report(berth.ActionLink); err != nil {
		i.failed = true
		i.ui.say("berth: %s keeps its own entries", l.client.ID)
		return nil
	}
	for n, c := range l.taken {
		out, err := linker.book.Remove(ctx, c.Target, c.sum, false)
		if err == nil && out.Done == "kept" {
			err = errKept
		}
		if err != nil {
			i.failed = true
			i.ui.fail(berth.WithHint(fmt.Errorf("%s: %s: %w", l.client.ID, printable(c.Name()), err), hintOf(err)))
			continue
		}
		l.entries[n].Removed = true
		i.ui.print("%s: %s was taken out of %s", l.client.ID, printable(c.Name()), printable(c.File))
		if err := i.recordOfHome(berth.ActionImport, fmt.Sprintf("%s: %s was taken out of %s", l.client.ID, c.Name(), c.File)); err != nil {
			return errors.Join(err)
		}
	}
	return nil
}
