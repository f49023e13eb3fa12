package clients

import (
	"errors"
	"fmt"
	"strings"
)

// Said is what an entry in a client's file says.
type Said struct {
	// Program and its arguments, and Env, of an entry for a program.
	Program string
	Args    []string
	Env     map[string]string
	// URL is the address of an entry for one; the token that goes with it is Token, or in
	// the environment variable Variable.
	URL, Token, Variable string
}

// Read reads an entry, in whatever client's shape it is, from its value as package json
// would decode it.
func Read(value any) (Said, error) {
	entry, ok := value.(map[string]any)
	if !ok {
		return Said{}, errors.New("the entry is not a table")
	}
	s := Said{Program: text(entry, "command", "cmd"), Args: texts(entry["args"])}
	if words := texts(entry["command"]); len(words) > 0 {
		s.Program, s.Args = words[0], words[1:]
	}
	for _, key := range []string{"env", "envs", "environment"} {
		if env, ok := entry[key].(map[string]any); ok {
			s.Env = map[string]string{}
			for k, v := range env {
				s.Env[k] = fmt.Sprint(v)
			}
		}
	}
	s.URL = text(entry, "url", "serverUrl", "httpUrl", "uri")
	s.Variable = text(entry, "bearer_token_env_var", "api_key_env")
	headers := entry["headers"]
	if options, ok := entry["requestOptions"].(map[string]any); ok {
		headers = options["headers"]
	}
	if of, ok := entry["http_headers"]; ok {
		headers = of
	}
	if h, ok := headers.(map[string]any); ok {
		s.Token, s.Variable = bearerOf(text(h, "Authorization"), s.Variable)
	}
	if s.Program == "" && s.URL == "" {
		return s, errors.New("the entry says neither a command nor an address")
	}
	return s, nil
}

// bearerOf is what the value of a header says: a token, or the variable that it is in.
func bearerOf(header, variable string) (token, in string) {
	token, ok := strings.CutPrefix(header, "Bearer ")
	if !ok {
		return "", variable
	}
	for _, form := range [][2]string{{"${env:", "}"}, {"${", "}"}, {"{env:", "}"}, {"$", ""}} {
		rest, ok := strings.CutPrefix(token, form[0])
		if name, ended := strings.CutSuffix(rest, form[1]); ok && ended {
			return "", name
		}
	}
	return token, variable
}

// text is the first of some members that is a text.
func text(entry map[string]any, keys ...string) string {
	for _, key := range keys {
		if s, ok := entry[key].(string); ok {
			return s
		}
	}
	return ""
}

// texts are the texts of a list.
func texts(v any) (all []string) {
	list, _ := v.([]any)
	for _, e := range list {
		if s, ok := e.(string); ok {
			all = append(all, s)
		}
	}
	return all
}
