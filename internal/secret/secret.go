// Package secret keeps secrets out of what Berth writes and shows: it turns
// what looks like one into asterisks, and holds the grammar of references to
// values that are stored elsewhere.
//
// Masking is by form (flags and variables with telling names, Authorization
// headers, URLs with a user, the prefixes of well-known tokens) and by value
// (what a server's own environment holds). It errs on the side of the asterisk,
// but it is a net with holes: a secret that looks like an ordinary word, in a
// place that says nothing about it, is not found.
package secret

import (
	"slices"
	"strconv"
	"strings"
)

// Stars replaces a secret. Its length says nothing about that of the secret.
const Stars = "***"

// MinValue is the length, in bytes, from which a known value is masked wherever
// it occurs: shorter ones occur in innocent text.
const MinValue = 6

// Masker masks by form, and the values that it was made with. The zero Masker
// masks by form alone. It may be used by several goroutines.
type Masker struct {
	values []string // longest first
}

// NewMasker returns a Masker that also knows the secrets among the values of
// env, a server's own environment, and the further values, if they have six
// bytes or more. Of a value with several lines it knows each long line too,
// since logs print them one by one.
func NewMasker(env map[string]string, values ...string) *Masker {
	m := &Masker{}
	for key, value := range env {
		if !refOrStars(value) && (LooksSecret(key) || MaskText(value) != value) {
			m.add(value)
		}
	}
	for _, value := range values {
		m.add(value)
	}
	// A value may be a part of another, which must then be found first.
	slices.SortFunc(m.values, func(a, b string) int {
		if len(a) != len(b) {
			return len(b) - len(a)
		}
		return strings.Compare(a, b)
	})
	m.values = slices.Compact(m.values)
	return m
}

func (m *Masker) add(value string) {
	value = strings.TrimSpace(value)
	if len(value) < MinValue || strings.Trim(value, "*") == "" {
		return
	}
	m.values = append(m.values, value)
	// As a string of JSON has it: servers log their settings so, too.
	if quoted := strconv.Quote(value); quoted[1:len(quoted)-1] != value {
		m.values = append(m.values, quoted[1:len(quoted)-1])
	}
	for line := range strings.Lines(value) {
		if line = strings.TrimSpace(line); len(line) >= 16 && line != value {
			m.values = append(m.values, line)
		}
	}
}

// MaskArgs masks the arguments of a command by form. The result has as many
// elements.
func MaskArgs(args []string) []string { return new(Masker).Args(args) }

// MaskText masks text by form.
func MaskText(text string) string { return new(Masker).Text(text) }

// MaskEnv masks the values of an environment by form and by the names of the
// variables.
func MaskEnv(env map[string]string) map[string]string { return new(Masker).Env(env) }

// Text masks secrets in text, which may have several lines.
func (m *Masker) Text(text string) string {
	// What was hidden by a mask may complete another pattern, so the passes go
	// on until one finds nothing: this makes masking idempotent. Each replaces
	// something that is not an asterisk; text that is made to need many passes
	// is not worth keeping.
	for range 16 {
		spans := m.find(text)
		if len(spans) == 0 {
			return text
		}
		text = replace(text, spans)
	}
	return Stars
}

// Args masks the arguments of a command. The result has as many elements.
func (m *Masker) Args(args []string) []string {
	out := slices.Clone(args)
	for range 16 {
		if !m.argsPass(out) {
			return out
		}
	}
	for i := range out {
		out[i] = Stars
	}
	return out
}

// argsPass masks in place and reports whether it changed anything.
func (m *Masker) argsPass(args []string) bool {
	changed := false
	value := false // the flag before takes this argument as its value
	for i, arg := range args {
		masked := arg
		switch {
		case value && !looksFlag(arg):
			if arg != "" && !refOrStars(arg) {
				masked = Stars
			}
			value = false
		default:
			masked = m.assignment(arg)
			value = strings.HasPrefix(arg, "-") && !strings.ContainsAny(arg, "=: ") && LooksSecret(arg)
		}
		if masked != arg {
			args[i], changed = masked, true
		}
	}
	return changed
}

// looksFlag says whether the argument after a flag is a flag itself and not its
// value: a random secret may begin with a dash, but not look like "--name".
func looksFlag(arg string) bool {
	name, dashes := strings.CutPrefix(arg, "--")
	if !dashes {
		return len(arg) == 2 && arg[0] == '-' && letter(arg[1])
	}
	return name == "" || letter(name[0])
}

// assignment masks one argument. "NAME=…", "--name=…" and "Name: …" are masked
// to their end, blanks included, where the name tells of a secret.
func (m *Masker) assignment(arg string) string {
	n := 0
	for n < len(arg) && keyByte(arg[n]) {
		n++
	}
	if n > 0 && n < len(arg) && (arg[n] == '=' || arg[n] == ':') && LooksSecret(arg[:n]) {
		start := n + 1
		for start < len(arg) && arg[start] == ' ' {
			start++
		}
		if rest := arg[start:]; rest != "" && !strings.HasPrefix(rest, "//") {
			if refOrStars(rest) {
				return arg
			}
			return m.Text(arg[:n]) + arg[n:start] + Stars
		}
	}
	return m.Text(arg)
}

// Env masks the values of an environment: whole where the variable's name tells
// of a secret, else as text. A reference to a secret is none and stays.
func (m *Masker) Env(env map[string]string) map[string]string {
	out := make(map[string]string, len(env))
	for key, value := range env {
		switch {
		case value == "" || refOrStars(value):
			out[key] = value
		case LooksSecret(key):
			out[key] = Stars
		default:
			out[key] = m.Text(value)
		}
	}
	return out
}

// refOrStars says whether s may be shown wherever it stands.
func refOrStars(s string) bool {
	if strings.Trim(s, "*") == "" {
		return true
	}
	_, err := ParseRef(s)
	return err == nil
}
