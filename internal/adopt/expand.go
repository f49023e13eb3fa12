package adopt

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/berth-run/berth/internal/secret"
)

// expand puts in what a client would look up, and says whether a secret is in it then.
//
// ${env:X}, ${X} and ${X:-default} are variables to some client each, and are to no other
// anything that its user could mean. $X and {env:X} are, so that only the clients that
// document them have them read.
func (r *reading) expand(text string) (out string, hidden bool, err error) {
	var b strings.Builder
	for text != "" {
		begin, end, inner := r.next(text)
		if begin < 0 {
			break
		}
		value, secret, err := r.lookUp(inner)
		if err != nil {
			return "", false, err
		}
		hidden = hidden || secret
		b.WriteString(text[:begin])
		b.WriteString(value)
		text = text[end:]
	}
	b.WriteString(text)
	return b.String(), hidden, nil
}

// next is the next thing to look up in a text: where it begins and ends, and what is
// asked for; begin is -1 if there is none.
func (r *reading) next(text string) (begin, end int, inner string) {
	bare := r.Client == "gemini-cli" || r.Client == "qwen-code" || r.Client == "crush"
	braces := r.Client == "opencode" || r.Client == "opencode-1" || r.Client == "kilo-code"
	for i := range len(text) {
		switch rest := text[i:]; {
		case strings.HasPrefix(rest, "${{"): // Continue's
			if n := strings.Index(rest, "}}"); n > 0 {
				return i, i + n + 2, strings.TrimSpace(rest[3:n])
			}
		case strings.HasPrefix(rest, "${"):
			if n := strings.IndexByte(rest, '}'); n > 0 {
				return i, i + n + 1, rest[2:n]
			}
		case bare && rest[0] == '$':
			n := 1
			for n < len(rest) && nameByte(rest[n], n == 1) {
				n++
			}
			if n > 1 {
				return i, i + n, rest[1:n]
			}
		case braces && (strings.HasPrefix(rest, "{env:") || strings.HasPrefix(rest, "{file:")):
			if n := strings.IndexByte(rest, '}'); n > 0 {
				return i, i + n + 1, rest[1:n]
			}
		}
	}
	return -1, 0, ""
}

func nameByte(c byte, first bool) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '_' || !first && '0' <= c && c <= '9'
}

func isName(s string) bool {
	for i := range len(s) {
		if !nameByte(s[i], i == 0) {
			return false
		}
	}
	return s != ""
}

// lookUp is what one thing stands for.
func (r *reading) lookUp(what string) (value string, hidden bool, err error) {
	kind, name, typed := strings.Cut(what, ":")
	switch {
	case typed && (kind == "input" || kind == "promptString"):
		return r.Input(name)
	case typed && kind == "env":
		return r.variable(name)
	case typed && kind == "file":
		value, err = r.File(r.in(name))
		if err != nil {
			return "", false, refuse("it takes a value from a file: %v", err)
		}
		return strings.TrimSpace(value), true, nil
	case strings.HasPrefix(what, "secrets."):
		return r.Input(strings.TrimPrefix(what, "secrets."))
	case what == "workspaceFolder" || what == "workspaceRoot":
		if r.Project == "" {
			return "", false, &Refusal{Why: "it is about the project that is open, ${" + what + "}", Hint: "--project DIR says which"}
		}
		return r.Project, false, nil
	case what == "workspaceFolderBasename":
		if r.Project == "" {
			return "", false, &Refusal{Why: "it is about the project that is open, ${" + what + "}", Hint: "--project DIR says which"}
		}
		return filepath.Base(r.Project), false, nil
	case what == "userHome":
		return r.Home, false, nil
	case what == "pathSeparator" || what == "/":
		return string(os.PathSeparator), false, nil
	}
	if name, fallback, ok := strings.Cut(what, ":-"); ok && isName(name) {
		if value, set := r.Getenv(name); set && value != "" {
			return value, secret.LooksSecret(name), nil
		}
		return fallback, false, nil
	}
	if isName(what) {
		return r.variable(what)
	}
	return "", false, refuse("it has ${%.40s}, which only the client can look up", what)
}

func (r *reading) variable(name string) (string, bool, error) {
	value, set := r.Getenv(name)
	if !set {
		return "", false, notSet(name)
	}
	return value, secret.LooksSecret(name), nil
}

func notSet(name string) error {
	return &Refusal{Why: "the variable " + name + " that it takes a value from is not set here", Hint: "set " + name + ", and import again"}
}
