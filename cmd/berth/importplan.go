package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/adopt"
	"github.com/berth-run/berth/internal/clients"
	"github.com/berth-run/berth/internal/guard"
	"github.com/berth-run/berth/internal/home"
	"github.com/berth-run/berth/internal/link"
	"github.com/berth-run/berth/internal/secret"
	"github.com/berth-run/berth/internal/settings"
)

// candidate is an entry of a client's settings.
type candidate struct {
	client clients.Client
	link.Target
	sum    string
	value  any
	inputs map[string]input // of its file
}

// input is what a client asks for before it starts a server.
type input struct {
	about, fallback string
	choices         []string
	hidden          bool
}

// answer is the value of an input, or why there is none.
type answer struct {
	value string
	err   error
}

// mostSettings bounds a settings file, in bytes.
const mostSettings = 64 << 20

// candidates are all entries of the clients. What cannot be read is a row of its own.
func (i *importer) candidates(ids []string) (all []candidate) {
	scopes := []clients.Scope{clients.User}
	if i.o.project != "" {
		scopes = append(scopes, clients.Project, clients.Local)
	}
	seen := map[string]bool{} // two clients may have one file
	for _, id := range ids {
		c, _ := clients.Find(id)
		for _, scope := range scopes {
			f, ok := c.File(i.system, scope)
			if !ok {
				continue
			}
			path, keys := i.system.Path(f), f.Keys(i.o.project)
			if key := path + "\x00" + strings.Join(keys, "\x00"); seen[key] {
				continue
			} else {
				seen[key] = true
			}
			found, err := entriesIn(c, f, scope, path, keys)
			if err != nil {
				i.rows = append(i.rows, &importRow{From: []importSource{{Client: c.ID, Scope: string(scope), File: path}}, Done: "failed", Reason: err.Error(), Hint: hintOf(err)})
			}
			for _, one := range found {
				if (len(i.o.only) == 0 || slices.Contains(i.o.only, one.Name())) && !i.holds(one) {
					all = append(all, one)
				}
			}
		}
	}
	return all
}

// holds says whether what looks like an entry holds those of another client, or of
// another version of this one, which keeps them a level deeper in the same file.
func (i *importer) holds(c candidate) bool {
	for _, other := range clients.All() {
		for _, f := range other.Files {
			if keys := f.Keys(i.o.project); len(f.On[i.system.OS]) > 0 && len(keys) >= len(c.Path) && slices.Equal(keys[:len(c.Path)], c.Path) && i.system.Path(f) == c.File {
				return true
			}
		}
	}
	return false
}

// entriesIn are the entries of one file.
func entriesIn(c clients.Client, f clients.File, scope clients.Scope, path string, keys []string) (all []candidate, err error) {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer file.Close()
	doc, err := io.ReadAll(io.LimitReader(file, mostSettings+1))
	if err != nil {
		return nil, err
	}
	list, err := settings.List(f.Format, doc, keys, f.ID)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	inputs := inputsIn(f.Format, doc)
	for _, e := range list {
		t := link.Target{Client: c.ID, Scope: string(scope), File: path, Format: f.Format, Path: append(slices.Clone(keys), e.Name), ID: f.ID}
		all = append(all, candidate{client: c, Target: t, sum: e.Sum, value: e.Value, inputs: inputs})
	}
	return all, nil
}

// inputsIn are what Visual Studio Code asks for: the member inputs of its file.
func inputsIn(f settings.Format, doc []byte) map[string]input {
	value, err := settings.At(f, doc, []string{"inputs"})
	list, ok := value.([]any)
	if err != nil || !ok {
		return nil
	}
	all := map[string]input{}
	for _, e := range list {
		m, _ := e.(map[string]any)
		text := func(key string) string { s, _ := m[key].(string); return s }
		in := input{about: text("description"), fallback: text("default")}
		in.hidden, _ = m["password"].(bool)
		options, _ := m["options"].([]any)
		for _, option := range options {
			if s, ok := option.(string); ok {
				in.choices = append(in.choices, s)
			}
		}
		all[text("id")] = in
	}
	return all
}

// sort makes a row of each server, with all the entries that are it.
func (i *importer) sort(all []candidate) {
	for _, c := range all {
		source := importSource{Client: c.Client, Scope: c.Scope, Entry: c.Name(), File: c.File}
		row := &importRow{From: []importSource{source}, taken: []candidate{c}}
		server, err := i.read(c)
		switch {
		case i.isOwn(c, server):
			row.Done = "own"
		case err != nil:
			row.fail(err)
		default:
			if at := slices.IndexFunc(i.rows, func(o *importRow) bool { return o.Done == "planned" && o.found.Same(server) }); at >= 0 {
				o := i.rows[at]
				o.From, o.taken, o.Disabled = append(o.From, source), append(o.taken, c), o.Disabled && server.Disabled
				continue
			}
			row.Done, row.found, row.Disabled = "planned", server, server.Disabled
		}
		i.rows = append(i.rows, row)
	}
}

func (i *importer) read(c candidate) (adopt.Server, error) {
	ctx := adopt.Context{
		Client: c.Client, Home: i.system.Home, Getenv: os.LookupEnv,
		Input: func(id string) (string, bool, error) { return i.input(c, id) },
		EnvFile: func(path string) (map[string]string, error) {
			doc, err := os.ReadFile(path)
			env := map[string]string{}
			if err == nil {
				err = parseEnvFile(env, path, string(doc), os.Environ())
			}
			return env, err
		},
		File: func(path string) (string, error) {
			text, err := os.ReadFile(path)
			return string(text), err
		},
	}
	if c.Scope != string(clients.User) {
		ctx.Project = i.o.project
	}
	return adopt.Read(ctx, c.value)
}

// isOwn says whether an entry runs Berth.
func (i *importer) isOwn(c candidate, s adopt.Server) bool {
	for _, r := range i.own {
		if r.File == c.File && slices.Equal(r.Path, c.Path) {
			return true
		}
	}
	if base := strings.TrimSuffix(strings.ToLower(filepath.Base(s.Command)), ".exe"); base == "berth" && len(s.Args) > 0 && s.Args[0] == "proxy" {
		return true
	}
	u, err := url.Parse(s.URL)
	return err == nil && u.Host == defaultListen && (u.Path == "/mcp" || strings.HasPrefix(u.Path, "/servers/"))
}

// input is the value of an input: from --input, from whoever sits at the terminal, or
// what it is if nobody says anything.
func (i *importer) input(c candidate, id string) (string, bool, error) {
	in, known := c.inputs[id]
	hidden := in.hidden || !known || secret.LooksSecret(id)
	key := c.File + "\x00" + id
	if a, asked := i.asked[key]; asked {
		return a.value, hidden, a.err
	}
	value, err := i.ask(in, id, hidden)
	i.asked[key] = answer{value, err}
	return value, hidden, err
}

func (i *importer) ask(in input, id string, hidden bool) (string, error) {
	if from, given := i.inputs[id]; given {
		value, err := fromPlace(from)
		if err != nil {
			return "", &adopt.Refusal{Why: fmt.Sprintf("--input %s: %v", id, err)}
		}
		return value, nil
	}
	switch {
	case i.o.dry:
		return in.fallback, nil
	case isTerminal(i.app.stdin) && i.app.ui.errTerm:
		what := id
		if in.about != "" {
			what += ", " + in.about
		}
		if len(in.choices) > 0 {
			what += " (" + strings.Join(in.choices, ", ") + ")"
		}
		value, err := i.app.askLine(what, hidden)
		if err == nil && (value != "" || in.fallback != "") {
			return cmp.Or(value, in.fallback), nil
		}
	case in.fallback != "":
		return in.fallback, nil
	}
	return "", &adopt.Refusal{Why: "the client asks for its " + id, Hint: fmt.Sprintf("--input %s=env:VARIABLE or %[1]s=file:PATH gives it", id)}
}

// fromPlace takes a value from a variable, or the first line of a file.
func fromPlace(from string) (string, error) {
	if name, ok := strings.CutPrefix(from, "env:"); ok {
		value := os.Getenv(name)
		if value == "" {
			return "", fmt.Errorf("the variable %s is not set", printable(name))
		}
		return value, nil
	}
	text, err := os.ReadFile(strings.TrimPrefix(from, "file:"))
	if err != nil {
		return "", err
	}
	line, _, _ := strings.Cut(string(text), "\n")
	if line = strings.TrimSpace(line); line == "" {
		return "", fmt.Errorf("the first line of %s is empty", strings.TrimPrefix(from, "file:"))
	}
	return line, nil
}

// nameAll gives each server its name, and finds those that the home has.
func (i *importer) nameAll() error {
	names, err := i.installed()
	if err != nil {
		return err
	}
	taken := map[string]bool{}
	here := map[string]home.Server{}
	for _, name := range names {
		taken[name] = true
		if server, err := i.home.ReadServer(name); err == nil {
			here[name] = server
		}
	}
	for _, row := range i.rows {
		if row.Done != "planned" {
			continue
		}
		for _, name := range slices.Sorted(maps.Keys(here)) {
			if i.sameAsHere(here[name], row.found) {
				row.Server, row.Done = name, "there"
				break
			}
		}
		if row.Done == "planned" {
			row.Server = adopt.Unique(adopt.Name(row.From[0].Entry), func(name string) bool { return taken[name] })
			taken[row.Server] = true
		}
	}
	return nil
}

// sameAsHere says whether a server of the home runs what an entry does.
func (i *importer) sameAsHere(here home.Server, s adopt.Server) bool {
	same := func(value, want string) bool {
		if !secret.IsRef(value) {
			return value == want
		}
		got, err := i.lookUp(here.Name, value)
		return err == nil && got == want
	}
	if s.URL != "" {
		headers, err := here.Headers()
		if err != nil || here.Settings.URL != s.URL || len(headers) != len(s.Headers) {
			return false
		}
		for _, h := range headers {
			want, there := s.Headers[h.Name]
			if got, err := i.headerValue(here.Name, h.Value); !there || err != nil || got != want {
				return false
			}
		}
		return true
	}
	typed := here.Source.Typed
	if !here.Fetched() {
		typed = append([]string{here.Runtime.Command}, here.Runtime.Args...)
	}
	if here.Remote() || here.Settings.Cwd != s.Cwd || !slices.Equal(typed, append([]string{s.Command}, s.Args...)) {
		return false
	}
	for key, value := range s.Env {
		if got, there := here.Env[key]; !there || !same(got, value) {
			return false
		}
	}
	return true
}

// plan makes of each row what is to be added.
func (i *importer) plan() {
	for _, row := range i.rows {
		if row.Done != "planned" {
			continue
		}
		if err := i.additionOf(row); err != nil {
			row.fail(err)
			row.Server = ""
			continue
		}
		server := &row.add.server
		if server.Remote() {
			row.URL = server.ShownURL()
		} else {
			row.Command = secret.NewMasker(server.Env).Args(append([]string{server.Runtime.Command}, server.Runtime.Args...))
			row.Allow = declaredLines(*server)
		}
		row.Secrets = slices.Sorted(maps.Keys(row.found.Secrets))
	}
}

// additionOf is what is added for a row.
func (i *importer) additionOf(row *importRow) (err error) {
	x := &addition{first: true}
	if row.found.URL != "" {
		err = i.remoteServer(row, x)
	} else {
		err = i.commandServer(row, x)
	}
	if err != nil {
		return err
	}
	x.server.Info.Description = "imported from " + row.where()
	x.server.Settings.Disabled = row.Disabled
	if err := checkRefs(x.server); err != nil {
		return err
	}
	if _, _, err := x.server.Spec(os.Environ(), home.Permissions{}); err != nil {
		return err
	}
	row.add = x
	return i.givePrefix(&x.server, "")
}

func (i *importer) commandServer(row *importRow, x *addition) (err error) {
	s := row.found
	o := addOptions{transport: "stdio", maxRestarts: 10, profile: i.o.profile, require: i.o.require, cwd: s.Cwd, elsewhere: true}
	for _, key := range slices.Sorted(maps.Keys(s.Env)) {
		value := s.Env[key]
		if s.Secrets[key] {
			ref, err := ownRef(row.Server, secret.Ref{Server: row.Server, Key: key}.String())
			if err != nil {
				return fmt.Errorf("the secret %s: %w", printable(key), err)
			}
			x.kept = append(x.kept, stored{ref, value})
			value = ref.String()
		}
		o.env = append(o.env, key+"="+value)
	}
	x.server, x.note, x.want, err = buildServer(row.Server, append([]string{s.Command}, s.Args...), o, os.Environ())
	if err == nil && x.want != nil {
		x.about, err = i.declareKnown(&x.server, *x.want, o)
	}
	return err
}

func (i *importer) remoteServer(row *importRow, x *addition) error {
	s := row.found
	if _, err := guard.CheckURL(s.URL); err != nil {
		return fmt.Errorf("its URL: %w", err)
	}
	var headers []home.Header
	asked := map[int]bool{}
	for _, key := range slices.Sorted(maps.Keys(s.Headers)) {
		if err := home.CheckHeader(key, s.Headers[key]); err != nil {
			return err
		}
		asked[len(headers)] = s.Secrets[key]
		headers = append(headers, home.Header{Name: key, Value: s.Headers[key]})
	}
	x.hidden = putAway(row.Server, headers, asked)
	x.server = home.NewRemote(row.Server, s.URL, headers)
	x.server.Env = map[string]string{}
	return setLimits(&x.server, addOptions{maxRestarts: 10})
}

// errKept: an entry was edited while it was taken over.
var errKept = berth.WithHint(errors.New("it was edited since it was read, and is left there"), "import again")
