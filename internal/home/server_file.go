package home

import (
	"bytes"
	"fmt"
	"maps"
	"slices"

	"github.com/pelletier/go-toml/v2"

	"github.com/berth-run/berth"
)

// field is a key of a server's file and its value; a nil value is a key that is
// left out.
type field struct {
	table, key string
	value      any
}

// serverTables are the tables of a server's file in the order in which they are
// written. The reference demands those before [env].
func serverTables() []string {
	return []string{"server", "source", "runtime", "permissions", "config", "config_meta", "env", "berth"}
}

// demanded reports whether a table is written even when it is empty.
func demanded(table string) bool { return table != "env" && table != "berth" }

// fields returns every key that this version knows, but for the free ones of
// [config] and [env].
func (s *Server) fields() []field {
	fields := []field{
		{"server", "name", s.Name},
		{"server", "display_name", s.Info.DisplayName},
		{"server", "version", s.Info.Version},
		{"server", "description", s.Info.Description},
		{"server", "category", s.Info.Category},
		{"server", "maintainer", s.Info.Maintainer},
		{"server", "trust_level", s.Info.TrustLevel},
		{"source", "type", s.Source.Type},
		{"source", "package", s.Source.Package},
		{"source", "repository", s.Source.Repository},
		{"runtime", "type", s.Runtime.Type},
		{"runtime", "command", s.Runtime.Command},
		{"runtime", "args", s.Runtime.Args},
		{"runtime", "transport", s.Runtime.Transport},
		{"permissions", "network", s.Permissions.Network},
		{"permissions", "env", s.Permissions.Env},
		{"permissions", "filesystem", s.Permissions.Filesystem},
		{"permissions", "exec", s.Permissions.Exec},
		{"config_meta", "required_keys", s.ConfigMeta.RequiredKeys},
		{"config_meta", "optional_keys", s.ConfigMeta.OptionalKeys},
	}
	for _, f := range []struct{ key, value string }{
		{"copy", s.Source.Copy},
		{"version", s.Source.Version},
		{"digest", s.Source.Digest},
		{"entry", s.Source.Entry},
		{"from", s.Source.From},
		{"declaration", s.Source.Declaration},
	} {
		source := field{table: "source", key: f.key}
		if f.value != "" {
			source.value = f.value
		}
		fields = append(fields, source)
	}
	typed := field{table: "source", key: "typed"}
	if len(s.Source.Typed) > 0 {
		typed.value = s.Source.Typed
	}
	fields = append(fields, typed)
	for _, f := range []struct {
		key string
		on  bool
	}{{"autostart", s.Settings.Autostart}, {"disabled", s.Settings.Disabled}} {
		flag := field{table: "berth", key: f.key}
		if f.on {
			flag.value = true
		}
		fields = append(fields, flag)
	}
	for _, f := range []struct{ key, value string }{
		{"cwd", s.Settings.Cwd},
		{"command_path", s.Settings.CommandPath},
		{"path", s.Settings.Path},
		{"grace", s.Settings.Grace},
		{"restart_window", s.Settings.Window},
		{"restart_min_delay", s.Settings.MinDelay},
		{"restart_max_delay", s.Settings.MaxDelay},
		{"restart_healthy", s.Settings.Healthy},
		{"tree_kill", s.Settings.TreeKill},
		{"url", s.Settings.URL},
	} {
		setting := field{table: "berth", key: f.key}
		if f.value != "" {
			setting.value = f.value
		}
		fields = append(fields, setting)
	}
	headers := field{table: "berth", key: "headers"}
	if len(s.Settings.Headers) > 0 {
		headers.value = s.Settings.Headers
	}
	return append(fields, headers)
}

// changes returns the fields that make the document of old that of s.
func (s *Server) changes(old map[string]any) []field {
	fields := s.fields()
	for _, free := range []struct {
		table  string
		values map[string]string
	}{{"config", s.Config}, {"env", s.Env}} {
		for _, key := range slices.Sorted(maps.Keys(free.values)) {
			fields = append(fields, field{free.table, key, free.values[key]})
		}
		if was, ok := old[free.table].(map[string]any); ok {
			for _, key := range slices.Sorted(maps.Keys(was)) {
				if _, kept := free.values[key]; !kept {
					fields = append(fields, field{free.table, key, nil})
				}
			}
		}
	}
	return slices.DeleteFunc(fields, func(f field) bool {
		table, _ := old[f.table].(map[string]any)
		was, there := table[f.key]
		return there == (f.value != nil) && (!there || sameValue(was, f.value))
	})
}

// encode returns the document of s: a new one, or the one that s was read from
// with the changes made to it.
func (s *Server) encode() ([]byte, error) {
	want := map[string]any{}
	if s.doc != nil {
		if err := toml.Unmarshal(s.doc, &want); err != nil {
			return nil, fmt.Errorf("%w: %s: %v", berth.ErrBadConfig, s.file, err)
		}
	}
	changes := s.changes(want)
	for _, table := range serverTables() {
		if _, there := want[table]; !there && demanded(table) {
			want[table] = map[string]any{}
		}
	}
	text := splitText(s.doc)
	for _, c := range changes {
		table, _ := want[c.table].(map[string]any)
		if table == nil {
			table = map[string]any{}
			want[c.table] = table
		}
		if c.value == nil {
			delete(table, c.key)
			text.unset(c.table, c.key)
		} else {
			table[c.key] = c.value
			text.set(c.table, c.key, c.value)
		}
	}
	if s.doc != nil {
		for _, table := range serverTables() {
			if demanded(table) {
				text.ensure(table)
			}
		}
		doc, got := text.bytes(), map[string]any{}
		if toml.Unmarshal(doc, &got) == nil && sameValue(got, want) {
			return doc, nil
		}
	}
	return writeDocument(want, serverTables()), nil
}

// writeDocument writes a document anew: its tables in the given order, then
// those that this version does not know, each on as few lines as TOML allows.
func writeDocument(doc map[string]any, order []string) []byte {
	var b []byte
	keys := slices.Sorted(maps.Keys(doc))
	for _, key := range keys {
		if _, table := doc[key].(map[string]any); !table {
			b = appendLine(b, key, doc[key])
		}
	}
	others := slices.DeleteFunc(keys, func(key string) bool { return slices.Contains(order, key) })
	for _, name := range slices.Concat(order, others) {
		table, ok := doc[name].(map[string]any)
		if !ok {
			continue
		}
		if len(b) > 0 {
			b = append(b, '\n')
		}
		b = append(appendKey(append(b, '['), name), "]\n"...)
		for _, key := range orderedKeys(name, table) {
			b = appendLine(b, key, table[key])
		}
	}
	return b
}

// orderedKeys returns the keys of a table: first those that this version knows,
// in their order, then the others.
func orderedKeys(name string, table map[string]any) []string {
	var keys []string
	for _, f := range (&Server{}).fields() {
		if _, there := table[f.key]; there && f.table == name {
			keys = append(keys, f.key)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(table)) {
		if !slices.Contains(keys, key) {
			keys = append(keys, key)
		}
	}
	return keys
}

// sameValue compares what two values say in TOML.
func sameValue(a, b any) bool {
	return bytes.Equal(appendValue(nil, a), appendValue(nil, b))
}
