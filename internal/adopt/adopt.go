// Package adopt reads the servers that AI clients have in their settings as servers
// that Berth can run.
//
//	entry of a client ──Read──▶ Server ──Unique──▶ names that a home can have
//
// Clients say the same in many words (command, cmd, a list of both; url, serverUrl,
// httpUrl …) and put in values that they look up when they start a server (${env:X},
// ${input:x}). What is not understood is a [Refusal], never a guess: a server that runs
// with "${TOKEN}" for its token is worse than none. It touches nothing itself: what it
// needs to know it asks its [Context].
package adopt

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/berth-run/berth/internal/secret"
)

// Server is what an entry runs, all looked up.
type Server struct {
	Command string            `json:"command,omitzero"`
	Args    []string          `json:"args,omitempty"`
	Env     map[string]string `json:"env,omitempty"`
	Cwd     string            `json:"cwd,omitzero"`
	URL     string            `json:"url,omitzero"`
	Headers map[string]string `json:"headers,omitempty"`
	// Secrets are the variables and headers whose values are.
	Secrets map[string]bool `json:"secrets,omitempty"`
	// Disabled: the client does not use it.
	Disabled bool `json:"-"`
}

// Same says whether two are the same server. Whether a client uses it is no part of it.
func (s Server) Same(o Server) bool {
	return s.Command == o.Command && slices.Equal(s.Args, o.Args) && maps.Equal(s.Env, o.Env) &&
		s.Cwd == o.Cwd && s.URL == o.URL && maps.Equal(s.Headers, o.Headers)
}

// Refusal says why an entry is not taken over, and what its user can do about it. It
// quotes no value.
type Refusal struct{ Why, Hint string }

func (r *Refusal) Error() string { return r.Why }

func refuse(format string, args ...any) error { return &Refusal{Why: fmt.Sprintf(format, args...)} }

// Context is what an entry depends on besides itself.
type Context struct {
	// Client is the client's ID.
	Client string
	// Project is the directory of the project that the entry is for, "" if it is for all
	// that the user does; Home is the user's.
	Project, Home string
	// Getenv returns a variable of the environment.
	Getenv func(key string) (value string, set bool)
	// Input returns the value of an input that the client would ask for or has kept, and
	// whether it is a secret.
	Input func(id string) (value string, hidden bool, err error)
	// EnvFile returns the variables of a file, File what is in one.
	EnvFile func(path string) (map[string]string, error)
	File    func(path string) (string, error)
}

// Read reads an entry, as package json decodes one.
func Read(c Context, value any) (Server, error) {
	e, ok := value.(map[string]any)
	if !ok {
		return Server{}, refuse("it is not a table of members")
	}
	r := &reading{Context: c, entry: e, server: Server{Env: map[string]string{}, Headers: map[string]string{}, Secrets: map[string]bool{}}}
	if err := r.all(); err != nil {
		return Server{}, err
	}
	return r.server, nil
}

// reading is the reading of one entry.
type reading struct {
	Context
	entry  map[string]any
	server Server
}

func (r *reading) all() error {
	r.server.Disabled = r.flag("disabled") || r.has("enabled") && !r.flag("enabled")
	switch kind, _ := r.entry["type"].(string); kind {
	case "builtin", "platform", "frontend", "inline_python":
		return refuse("it is a part of the client itself")
	}
	command, args, err := r.command()
	if err != nil {
		return err
	}
	at, err := r.text("url", "serverUrl", "httpUrl", "uri")
	if err != nil {
		return err
	}
	switch {
	case command != "" && at != "":
		return refuse("it has both a command and a URL")
	case command != "":
		r.server.Command, r.server.Args = command, args
		err = r.program()
	case at != "":
		r.server.URL = at
		err = r.remote()
	default:
		return refuse("it has neither a command nor a URL")
	}
	return err
}

func (r *reading) has(key string) bool {
	_, there := r.entry[key]
	return there
}

func (r *reading) flag(key string) bool {
	b, _ := r.entry[key].(bool)
	return b
}

// first is the first of some members that is there.
func (r *reading) first(keys ...string) (key string, value any) {
	for _, key := range keys {
		if value := r.entry[key]; value != nil {
			return key, value
		}
	}
	return "", nil
}

// text is a member that is a string, expanded; "" if there is none.
func (r *reading) text(keys ...string) (string, error) {
	key, value := r.first(keys...)
	if value == nil {
		return "", nil
	}
	text, ok := value.(string)
	if !ok {
		return "", refuse("its member %s is not a string", key)
	}
	text, _, err := r.expand(text)
	return text, err
}

// words is a member that is a list of strings, expanded.
func (r *reading) words(value any, key string) (out []string, err error) {
	list, ok := value.([]any)
	if !ok {
		return nil, refuse("its member %s is not a list", key)
	}
	for i, word := range list {
		text, ok := plain(word)
		if !ok {
			return nil, refuse("its member %s has something that is no string at place %d", key, i+1)
		}
		text, hidden, err := r.expand(text)
		if err != nil {
			return nil, err
		}
		if hidden {
			return nil, inArgument(i + 1)
		}
		out = append(out, text)
	}
	return out, nil
}

// inArgument refuses a secret in the command line. Berth keeps secrets where only the
// server sees them, and cannot know by which variable it would take this one.
func inArgument(place int) error {
	return &Refusal{
		Why:  fmt.Sprintf("its argument %d is or has a secret, and every user of this machine sees the arguments of a process", place),
		Hint: "if the server takes it from a variable: berth add NAME --secret VARIABLE -- COMMAND",
	}
}

// plain is a scalar as text.
func plain(value any) (string, bool) {
	switch v := value.(type) {
	case string:
		return v, true
	case bool:
		return strconv.FormatBool(v), true
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64), true
	case json.Number:
		return v.String(), true
	}
	return "", false
}

// command is the program and its arguments, however they are written.
func (r *reading) command() (string, []string, error) {
	key, value := r.first("command", "cmd")
	var args []string
	if in, ok := value.(map[string]any); ok { // Zed's of before: {"path": …, "args": […], "env": {…}}
		inner := &reading{Context: r.Context, entry: map[string]any{"command": in["path"], "args": in["args"]}, server: r.server}
		if env, there := in["env"]; there && !r.has("env") {
			r.entry = maps.Clone(r.entry)
			r.entry["env"] = env
		}
		return inner.command()
	}
	if list, ok := value.([]any); ok {
		words, err := r.words(list, key)
		if err != nil || len(words) == 0 {
			return "", nil, err
		}
		value, args = words[0], words[1:]
	} else if text, ok := value.(string); ok {
		text, hidden, err := r.expand(text)
		if err != nil {
			return "", nil, err
		}
		if hidden {
			return "", nil, inArgument(0)
		}
		value = text
	} else if value != nil {
		return "", nil, refuse("its member %s is not a string", key)
	}
	command, _ := value.(string)
	if more := r.entry["args"]; more != nil {
		words, err := r.words(more, "args")
		if err != nil {
			return "", nil, err
		}
		args = append(args, words...)
	}
	if command = strings.TrimSpace(command); command == "" {
		return "", nil, nil
	}
	if strings.HasPrefix(command, "~/") {
		command = filepath.Join(r.Home, command[2:])
	}
	// What Windows needs to run a script, and Berth does not.
	if base := strings.ToLower(strings.TrimSuffix(filepath.Base(command), ".exe")); base == "cmd" && len(args) > 1 && strings.EqualFold(args[0], "/c") {
		command, args = args[1], args[2:]
	}
	return command, args, nil
}

// program reads what belongs to a command.
func (r *reading) program() (err error) {
	s := &r.server
	if key, value := r.first("env", "environment", "envs"); value != nil {
		if err := r.table(key, value, s.Env); err != nil {
			return err
		}
	}
	if path, err := r.text("envFile"); err != nil {
		return err
	} else if path != "" && r.EnvFile != nil {
		more, err := r.EnvFile(r.in(path))
		if err != nil {
			return refuse("its variables are in a file: %v", err)
		}
		for key, value := range more {
			if _, there := s.Env[key]; !there {
				s.Env[key] = value
			}
		}
	}
	for _, key := range []string{"env_vars", "env_keys"} {
		if err := r.passed(key); err != nil {
			return err
		}
	}
	if s.Cwd, err = r.text("cwd"); err != nil {
		return err
	}
	if s.Cwd != "" {
		s.Cwd = r.in(s.Cwd)
		if !filepath.IsAbs(s.Cwd) {
			return refuse("its directory is relative, and to what is not said")
		}
	} else {
		s.Cwd = r.Project
	}
	if strings.ContainsAny(s.Command, `/\`) && !filepath.IsAbs(s.Command) && s.Cwd == "" {
		return refuse("its command is a relative path, and to what is not said")
	}
	r.mark(s.Env)
	masked := secret.NewMasker(hidden(s.Env, s.Secrets)).Args(append([]string{s.Command}, s.Args...))
	for i, word := range append([]string{s.Command}, s.Args...) {
		if masked[i] != word {
			return inArgument(i)
		}
	}
	return nil
}

// hidden are the secrets among variables.
func hidden(env map[string]string, secrets map[string]bool) map[string]string {
	out := map[string]string{}
	for key := range secrets {
		if value, there := env[key]; there {
			out["SECRET_"+key] = value // by a name that tells
		}
	}
	return out
}

// passed has variables that the client only names: of its own environment (Codex), or of
// its keyring (Goose).
func (r *reading) passed(key string) error {
	list, ok := r.entry[key].([]any)
	if !ok {
		return nil
	}
	for _, word := range list {
		name, ok := word.(string)
		if !ok {
			return refuse("its member %s has something that is no string", key)
		}
		if _, there := r.server.Env[name]; there {
			continue
		}
		value, set := r.Getenv(name)
		if set {
			r.server.Env[name] = value
			continue
		}
		if key == "env_vars" {
			continue // the client passes it on if it is set
		}
		value, _, err := r.Input(name)
		if err != nil {
			return err
		}
		r.server.Env[name], r.server.Secrets[name] = value, true
	}
	return nil
}

// table reads a table of strings.
func (r *reading) table(key string, value any, to map[string]string) error {
	table, ok := value.(map[string]any)
	if !ok {
		return refuse("its member %s is not a table", key)
	}
	for _, name := range slices.Sorted(maps.Keys(table)) {
		if table[name] == nil {
			continue
		}
		text, ok := plain(table[name])
		if !ok {
			return refuse("%s of its member %s is not a string", name, key)
		}
		text, hidden, err := r.expand(text)
		if err != nil {
			return err
		}
		to[name] = text
		if hidden {
			r.server.Secrets[name] = true
		}
	}
	return nil
}

// in is a path of the entry.
func (r *reading) in(path string) string {
	if path == "~" || strings.HasPrefix(path, "~/") {
		return filepath.Join(r.Home, path[1:])
	}
	if !filepath.IsAbs(path) && r.Project != "" {
		return filepath.Join(r.Project, path)
	}
	return path
}

// mark says which values are secrets: by their names, and by what they look like.
func (r *reading) mark(values map[string]string) {
	for key, value := range values {
		if value != "" && (secret.LooksSecret(key) || secret.MaskText(value) != value) {
			r.server.Secrets[key] = true
		}
	}
}

// remote reads what belongs to a URL.
func (r *reading) remote() error {
	s := &r.server
	key, value := r.first("headers", "http_headers")
	if options, ok := r.entry["requestOptions"].(map[string]any); ok && value == nil {
		key, value = "headers", options["headers"]
	}
	if value != nil {
		if err := r.table(key, value, s.Headers); err != nil {
			return err
		}
	}
	if named, ok := r.entry["env_http_headers"].(map[string]any); ok {
		for _, header := range slices.Sorted(maps.Keys(named)) {
			variable, _ := named[header].(string)
			if err := r.fromVariable(header, variable, "{token}"); err != nil {
				return err
			}
		}
	}
	for _, key := range []string{"bearer_token_env_var", "api_key_env"} {
		variable, _ := r.entry[key].(string)
		if variable == "" {
			continue
		}
		header, form := "Authorization", "Bearer {token}"
		if h, ok := r.entry["api_key_header"].(string); ok {
			header = h
		}
		if f, ok := r.entry["api_key_format"].(string); ok {
			form = f
		}
		if err := r.fromVariable(header, variable, form); err != nil {
			return err
		}
	}
	r.mark(s.Headers)
	if SecretURL(s.URL) {
		return &Refusal{
			Why:  "its URL has a secret in it, which would stand in the server's file",
			Hint: "if the server takes it in a header: berth add NAME --url URL --header KEY",
		}
	}
	return nil
}

// fromVariable has a header be what a variable of the environment says.
func (r *reading) fromVariable(header, variable, form string) error {
	value, set := r.Getenv(variable)
	if !set {
		return notSet(variable)
	}
	r.server.Headers[header], r.server.Secrets[header] = strings.ReplaceAll(form, "{token}", value), true
	return nil
}

// SecretURL says whether a URL has a secret in it.
func SecretURL(text string) bool {
	if secret.MaskText(text) != text {
		return true
	}
	u, err := url.Parse(text)
	if err != nil {
		return false // who runs it says what is wrong
	}
	for key, values := range u.Query() {
		for _, value := range values {
			if value != "" && secret.LooksSecret(key) {
				return true
			}
		}
	}
	return u.User != nil
}
