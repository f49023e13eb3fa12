package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/guard"
	"github.com/berth-run/berth/internal/home"
	"github.com/berth-run/berth/internal/listing"
	"github.com/berth-run/berth/internal/secret"
)

// addition makes of a row what is to be added.
func (y *syncer) addition(row *syncRow) (err error) {
	t, name := row.want, row.Server
	x := &addition{first: true}
	for _, table := range []map[string]string{t.Env, t.Headers, t.Settings} {
		for _, key := range slices.Sorted(maps.Keys(table)) {
			if _, _, isRef := refIn(table[key]); !isRef && plainSecret(key, table[key]) {
				return berth.WithHint(fmt.Errorf("the value of %s is a secret, which is not for such a file", printable(key)), fmt.Sprintf("write %s", secret.Ref{Server: name, Key: key}))
			}
		}
	}
	if t.URL != "" {
		err = remoteOfTeam(row, x)
	} else {
		err = commandOfTeam(row, x)
	}
	if err != nil {
		return err
	}
	server := &x.server
	server.Info.Description, server.Settings.Grace = t.Description, t.Grace
	server.Config = map[string]string{}
	for key, value := range t.Settings {
		if err := home.ValidateConfig(key, value); err != nil {
			return err
		}
		server.Config[key] = value
	}
	if t.Grace != "" {
		var d berth.Duration
		if err := d.UnmarshalText([]byte(t.Grace)); err != nil || d <= 0 {
			return fmt.Errorf("grace: %q is not a duration such as 5s or 1m30s", t.Grace)
		}
	}
	if err := declarationOf(y.lock.Servers[name].Declaration, row, server); err != nil {
		return err
	}
	if err := checkRefs(*server); err != nil {
		return err
	}
	if _, _, err := server.Spec(os.Environ(), home.Permissions{}); err != nil {
		return err
	}
	row.add = x
	return nil
}

func commandOfTeam(row *syncRow, x *addition) (err error) {
	t := row.want
	o := addOptions{transport: cmp.Or(t.Transport, "stdio"), maxRestarts: 10, cwd: t.Cwd, elsewhere: true, allow: t.Allow, noFetch: t.Package == ""}
	for _, key := range slices.Sorted(maps.Keys(t.Env)) {
		o.env = append(o.env, key+"="+t.Env[key])
	}
	if x.server, x.note, x.want, err = buildServer(row.Server, t.Command, o, os.Environ()); err != nil || t.Package == "" {
		return err
	}
	if x.want == nil {
		return fmt.Errorf("its command runs no package, and %s is said to be one", t.Package)
	}
	if listing.Kind(x.want.Kind) != row.kind() {
		return fmt.Errorf("its command runs %s, not %s", x.want, t.Package)
	}
	x.want.Locks = row.locks
	return nil
}

// kind is where the package of a row is from.
func (r *syncRow) kind() listing.Kind { return listing.Kind(r.locks[0].Kind) }

func remoteOfTeam(row *syncRow, x *addition) error {
	t := row.want
	if _, err := guard.CheckURL(t.URL); err != nil {
		return fmt.Errorf("its URL: %w", err)
	}
	var headers []home.Header
	for _, key := range slices.Sorted(maps.Keys(t.Headers)) {
		if err := home.CheckHeader(key, t.Headers[key]); err != nil {
			return err
		}
		headers = append(headers, home.Header{Name: key, Value: t.Headers[key]})
	}
	x.server = home.NewRemote(row.Server, t.URL, headers)
	x.server.Env = maps.Clone(t.Env)
	return nil
}

// declarationOf has a server be one of a catalogue, so that berth update and berth config
// know what it is.
func declarationOf(doc json.RawMessage, row *syncRow, server *home.Server) error {
	if row.want.Entry == "" {
		return nil
	}
	var e listing.Entry
	if len(doc) == 0 {
		return errors.New("what its catalogue says of it is not in the lock: `berth export` writes it")
	}
	if err := json.Unmarshal(doc, &e); err != nil {
		return fmt.Errorf("what its catalogue says of it, in the lock: %w", err)
	}
	if e.Name != row.want.Entry {
		return fmt.Errorf("the lock has %q of a catalogue, and the file %q", e.Name, row.want.Entry)
	}
	if err := e.Check(); err != nil {
		return fmt.Errorf("what its catalogue says of it, in the lock: %w", err)
	}
	said, err := json.Marshal(e)
	if err != nil {
		return err
	}
	server.Info.DisplayName, server.Info.Version = cmp.Or(e.Title, server.Name), cmp.Or(e.Version, server.Info.Version)
	server.Source.Entry, server.Source.From, server.Source.Repository, server.Source.Declaration = e.Name, row.want.From, e.Repository, string(said)
	for _, set := range e.Settings {
		if set.Required {
			server.ConfigMeta.RequiredKeys = append(server.ConfigMeta.RequiredKeys, set.Key)
		} else {
			server.ConfigMeta.OptionalKeys = append(server.ConfigMeta.OptionalKeys, set.Key)
		}
	}
	return nil
}
