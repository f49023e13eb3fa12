package listing

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/berth-run/berth"
)

// Values are what a user said to settings, by key; several only for one that is
// repeated.
type Values map[string][]string

// Plan is what is run of an entry once its settings have values.
type Plan struct {
	Args    []string
	Env     map[string]string
	Headers map[string]string
	URL     string
	// Secret are the variables and headers that have a secret in their value, and
	// Kept those of them that are to stay as they are.
	Secret, Kept map[string]bool
	Allow        []berth.Permission
}

// MissingError is a setting that must have a value and has none.
type MissingError struct{ Setting Setting }

func (e *MissingError) Error() string {
	what := e.Setting.Key
	if e.Setting.Env != "" && e.Setting.Env != what {
		what += " (" + e.Setting.Env + ")"
	}
	return "the setting " + what + " has no value"
}

// Read returns a value in the form that the server gets: a path that is whole, a number
// or a boolean as such is written. The error quotes no secret.
func (s Setting) Read(text, cwd string) (string, error) {
	no := func(want string) error {
		if s.Secret {
			return fmt.Errorf("%s: its value is not %s", s.Key, want)
		}
		return fmt.Errorf("%s: %.80q is not %s", s.Key, text, want)
	}
	if strings.ContainsFunc(text, func(r rune) bool { return r == 0 || r == '\n' || r == '\r' }) {
		return "", no("one line")
	}
	if len(s.Choices) > 0 && !slices.Contains(s.Choices, text) {
		return "", no("one of " + strings.Join(s.Choices, ", "))
	}
	switch s.Type {
	case "number":
		n, err := strconv.ParseFloat(text, 64)
		switch {
		case err != nil || math.IsNaN(n) || math.IsInf(n, 0):
			return "", no("a number")
		case s.Min != nil && n < *s.Min:
			return "", no(fmt.Sprintf("%v or more", *s.Min))
		case s.Max != nil && n > *s.Max:
			return "", no(fmt.Sprintf("%v or less", *s.Max))
		}
	case "boolean":
		switch strings.ToLower(text) {
		case "true", "yes", "y", "1", "on":
			return "true", nil
		case "false", "no", "n", "0", "off":
			return "false", nil
		}
		return "", no("true or false")
	case "url":
		u, err := url.Parse(text)
		if err != nil || u.Scheme == "" || u.Host == "" && u.Path == "" && u.Opaque == "" {
			return "", no("a URL, such as https://example.com")
		}
	case "directory", "file":
		path := text
		if rest, ok := strings.CutPrefix(path, "~/"); ok || path == "~" {
			home, err := os.UserHomeDir()
			if err != nil {
				return "", err
			}
			path = filepath.Join(home, rest)
		}
		if !filepath.IsAbs(path) {
			path = filepath.Join(cwd, path)
		}
		info, err := os.Stat(path)
		switch {
		case err == nil && info.IsDir() != (s.Type == "directory"):
			return "", no("a " + s.Type)
		case err != nil && (s.Type == "directory" || s.Access == "read"):
			return "", fmt.Errorf("%s: %w", s.Key, err)
		}
		return filepath.Clean(path), nil
	}
	return text, nil
}

// Fill puts values into what the entry declares. Values that are nil leave the default;
// kept are secrets whose values are not known here and which stay as they are. data
// is the directory that the server has to itself.
func (e *Entry) Fill(values Values, kept map[string]bool, data string) (*Plan, error) {
	f := filling{Entry: e, values: Values{}, kept: kept, data: data}
	var errs []error
	for key := range values {
		if _, known := e.Setting(key); !known {
			errs = append(errs, fmt.Errorf("there is no setting %.80q", key))
		}
	}
	for _, s := range e.Settings {
		have := values[s.Key]
		if len(have) == 0 && s.Default != "" {
			have = []string{strings.ReplaceAll(s.Default, "{data}", data)}
			if s.Repeated {
				have = strings.Split(have[0], "\n")
			}
		}
		switch {
		case len(have) == 0 && s.Required && !kept[s.Key]:
			errs = append(errs, &MissingError{s})
		case len(have) > 1 && !s.Repeated:
			errs = append(errs, fmt.Errorf("%s has one value, not %d", s.Key, len(have)))
		case len(have) > 0:
			f.values[s.Key] = have
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return f.plan()
}

// filling is an entry and what its settings are.
type filling struct {
	*Entry
	values Values
	kept   map[string]bool
	data   string
}

func (f *filling) plan() (*Plan, error) {
	p := &Plan{Env: map[string]string{}, Headers: map[string]string{}, Secret: map[string]bool{}, Kept: map[string]bool{}}
	for _, arg := range f.Args {
		if s, ok := f.whole(arg); ok {
			p.Args = append(p.Args, f.words(s)...)
		} else if text, given, _ := f.text(arg); given {
			p.Args = append(p.Args, text)
		}
	}
	for _, s := range f.Settings {
		if len(s.Arg) > 0 && !slices.Contains(f.Args, "{"+s.Key+"}") {
			p.Args = append(p.Args, f.words(s)...)
		}
	}
	env := maps.Clone(f.Env)
	if env == nil {
		env = map[string]string{}
	}
	for _, s := range f.Settings {
		if _, there := env[s.Env]; s.Env != "" && !there {
			env[s.Env] = "{" + s.Key + "}"
		}
	}
	f.fields(env, p.Env, p)
	f.fields(f.Headers, p.Headers, p)
	var given bool
	if p.URL, given, _ = f.text(f.URL); !given {
		return nil, errors.New("its URL needs a setting that has no value")
	}
	for _, entry := range f.Allow {
		text, given, _ := f.text(entry)
		if !given {
			continue
		}
		if err := p.allow(text); err != nil {
			return nil, err
		}
	}
	for _, s := range f.Settings {
		for _, value := range f.values[s.Key] {
			if entry := s.permission(value, f.data); entry != "" {
				if err := p.allow(entry); err != nil {
					return nil, err
				}
			}
		}
	}
	return p, nil
}

func (p *Plan) allow(entry string) error {
	perm, err := berth.ParsePermission(entry)
	if err == nil && !slices.Contains(p.Allow, perm) {
		p.Allow = append(p.Allow, perm)
	}
	return err
}

// fields fills variables or headers in.
func (f *filling) fields(from, to map[string]string, p *Plan) {
	for _, key := range slices.Sorted(maps.Keys(from)) {
		text, given, which := f.text(from[key])
		secret, kept := false, false
		for _, s := range which {
			secret = secret || s.Secret
			kept = kept || f.kept[s.Key] && len(f.values[s.Key]) == 0
		}
		switch {
		case kept:
			p.Kept[key], p.Secret[key] = true, true
		case given:
			to[key] = text
			p.Secret[key] = secret
		}
	}
}

// whole is the setting that an argument stands for.
func (f *filling) whole(arg string) (Setting, bool) {
	key, ok := strings.CutPrefix(arg, "{")
	key, end := strings.CutSuffix(key, "}")
	if !ok || !end {
		return Setting{}, false
	}
	s, known := f.Setting(key)
	return s, known
}

// words are what a setting adds to the command line.
func (f *filling) words(s Setting) (list []string) {
	for _, value := range f.values[s.Key] {
		if s.Type == "boolean" && len(s.Arg) > 0 && !slices.ContainsFunc(s.Arg, func(w string) bool { return strings.Contains(w, "{}") }) {
			if value == "true" {
				list = append(list, s.Arg...)
			}
			continue
		}
		if len(s.Arg) == 0 {
			list = append(list, value)
		}
		for _, w := range s.Arg {
			list = append(list, strings.ReplaceAll(w, "{}", value))
		}
	}
	return list
}

// text puts the values of settings into a text, and says which settings it has; given is
// false if one of them has no value. What else is in braces stays.
func (f *filling) text(template string) (text string, given bool, which []Setting) {
	var b strings.Builder
	rest := template
	for {
		before, after, open := strings.Cut(rest, "{")
		b.WriteString(before)
		if !open {
			return b.String(), true, which
		}
		key, left, closed := strings.Cut(after, "}")
		s, known := f.Setting(key)
		switch {
		case closed && key == "data" && f.data != "":
			b.WriteString(f.data)
			rest = left
		case closed && known:
			which = append(which, s)
			if len(f.values[s.Key]) == 0 {
				for _, other := range f.Settings { // a secret that is kept may come after
					if strings.Contains(left, "{"+other.Key+"}") {
						which = append(which, other)
					}
				}
				return "", false, which
			}
			b.WriteString(f.values[s.Key][0])
			rest = left
		default:
			b.WriteString("{")
			rest = after
		}
	}
}

// permission is what a value gives its server; "" for nothing.
func (s Setting) permission(value, data string) string {
	switch s.Type {
	case "directory":
		if s.Access != "" {
			return berth.PermissionFiles + ":" + s.Access + ":" + value
		}
	case "file":
		if s.Access == "write" {
			value = filepath.Dir(value) // what is written beside it: journals
		}
		if s.Access != "" && value != data {
			return berth.PermissionFiles + ":" + s.Access + ":" + value
		}
	case "url":
		u, err := url.Parse(value)
		if err != nil || u.Hostname() == "" {
			return ""
		}
		port := u.Port()
		if port == "" {
			port = schemePort(u.Scheme)
		}
		host := u.Hostname()
		if strings.Contains(host, ":") {
			host = "[" + host + "]"
		}
		return berth.PermissionNetwork + ":" + host + ":" + port
	}
	return ""
}

// schemePort is the port of a scheme, "*" of one that is not known.
func schemePort(scheme string) string {
	scheme, _, _ = strings.Cut(scheme, "+") // postgresql+psycopg
	for _, line := range []string{"80 http", "443 https wss", "5432 postgres postgresql", "3306 mysql mariadb", "27017 mongodb", "6379 redis rediss", "1433 sqlserver mssql"} {
		words := strings.Fields(line)
		if slices.Contains(words[1:], scheme) {
			return words[0]
		}
	}
	return "*"
}
