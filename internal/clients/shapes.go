package clients

import (
	"github.com/berth-run/berth/internal/settings"
)

// This file has the shapes of entries. Most clients differ in a field or two.

func field(key string, value any) settings.Field { return settings.Field{Key: key, Value: value} }

// program is an entry with command, args and env, below the fields that come first.
func program(first ...settings.Field) func(Program) settings.Entry {
	return programAs("command", "args", "env", first...)
}

func programAs(command, args, env string, first ...settings.Field) func(Program) settings.Entry {
	return func(p Program) settings.Entry {
		e := append(settings.Entry{}, first...)
		e = append(e, field(command, p.Path), field(args, p.Args))
		if len(p.Env) > 0 {
			e = append(e, field(env, p.Env))
		}
		return e
	}
}

// line is an entry whose command is a list with the arguments.
func line(env string, first ...settings.Field) func(Program) settings.Entry {
	return func(p Program) settings.Entry {
		e := append(settings.Entry{}, first...)
		e = append(e, field("command", append([]string{p.Path}, p.Args...)))
		if len(p.Env) > 0 {
			e = append(e, field(env, p.Env))
		}
		return e
	}
}

// withTools adds the member without which the client offers no tool.
func withTools(shape func(Program) settings.Entry) func(Program) settings.Entry {
	return func(p Program) settings.Entry { return append(shape(p), field("tools", []string{"*"})) }
}

// address is an entry with an address in the field url, and a header with the token:
// refer says how a variable is named there, as in "${%}".
func address(url, refer string, first ...settings.Field) func(Remote) settings.Entry {
	return addressWith(url, "headers", refer, first...)
}

func addressWith(url, headers, refer string, first ...settings.Field) func(Remote) settings.Entry {
	return func(r Remote) settings.Entry {
		e := append(settings.Entry{}, first...)
		e = append(e, field(url, r.URL))
		if bearer := r.bearer(refer); bearer != "" {
			e = append(e, field(headers, settings.Entry{field("Authorization", bearer)}))
		}
		return e
	}
}

// bearer is the value of the header, "" if none is needed or the variable cannot be
// named.
func (r Remote) bearer(refer string) string {
	switch {
	case r.Token != "":
		return "Bearer " + r.Token
	case r.Variable != "" && refer != "":
		text := ""
		for _, c := range refer {
			if c == '%' {
				text += r.Variable
			} else {
				text += string(c)
			}
		}
		return "Bearer " + text
	}
	return ""
}

// codexAddress names the variable, not the header.
func codexAddress(r Remote) settings.Entry {
	e := settings.Entry{field("url", r.URL)}
	switch {
	case r.Token != "":
		e = append(e, field("http_headers", settings.Entry{field("Authorization", r.bearer(""))}))
	case r.Variable != "":
		e = append(e, field("bearer_token_env_var", r.Variable))
	}
	return e
}

func continueAddress(r Remote) settings.Entry {
	e := settings.Entry{field("type", "streamable-http"), field("url", r.URL)}
	if r.Token != "" {
		e = append(e, field("requestOptions", settings.Entry{field("headers", settings.Entry{field("Authorization", r.bearer(""))})}))
	}
	return e
}

func vibeAddress(r Remote) settings.Entry {
	e := settings.Entry{field("transport", "streamable-http"), field("url", r.URL)}
	switch {
	case r.Token != "":
		e = append(e, field("headers", settings.Entry{field("Authorization", r.bearer(""))}))
	case r.Variable != "":
		e = append(e, field("api_key_env", r.Variable), field("api_key_header", "Authorization"), field("api_key_format", "Bearer {token}"))
	}
	return e
}

// goose are the fields that each extension of Goose has to have.
func goose(kind, name string) []settings.Field {
	return []settings.Field{field("enabled", true), field("type", kind), field("name", name), field("description", "Berth"), field("timeout", 300)}
}

func gooseProgram(p Program) settings.Entry {
	return programAs("cmd", "args", "envs", goose("stdio", p.Name)...)(p)
}

func gooseAddress(r Remote) settings.Entry {
	return addressWith("uri", "headers", "", goose("streamable_http", r.Name)...)(r)
}

// everywhere is a path that is the same on all systems.
func everywhere(paths ...string) map[string][]string {
	return map[string][]string{"linux": paths, "darwin": paths, "windows": paths}
}

// per is a path by system, "" where there is none.
func per(linux, darwin, windows string) map[string][]string {
	m := map[string][]string{}
	for goos, path := range map[string]string{"linux": linux, "darwin": darwin, "windows": windows} {
		if path != "" {
			m[goos] = []string{path}
		}
	}
	return m
}

// editor is a path in the user's directory of an editor that is built on VS Code's
// sources.
func editor(name, file string) map[string][]string {
	return per("{XDG_CONFIG_HOME:~/.config}/"+name+"/User/"+file,
		"~/Library/Application Support/"+name+"/User/"+file,
		"{APPDATA:~/AppData/Roaming}/"+name+"/User/"+file)
}

func user(f settings.Format, on map[string][]string, within ...string) File {
	return File{Scope: User, Format: f, On: on, Within: within}
}

func project(f settings.Format, path string, within ...string) File {
	return File{Scope: Project, Format: f, On: everywhere(path), Within: within}
}

// list makes the entries of a file elements of a list.
func (f File) list(id string) File {
	f.ID = id
	return f
}
