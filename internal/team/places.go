package team

import (
	"maps"
	"path/filepath"
	"slices"
	"strings"
)

// Places are the directories that differ from machine to machine. A path below one is
// written with a word in its place: {data}, {here} or ~.
type Places struct {
	// Data is what a server has to itself, Here where the file is, Home the user's. ""
	// is none.
	Data, Here, Home string
}

// words in the order in which they are tried: of the directories, the first may be
// below the others.
func (p Places) words() [][2]string {
	list := [][2]string{{"{data}", p.Data}, {"{here}", p.Here}, {"~", p.Home}}
	if p.Here == p.Home || below(p.Home, p.Here) { // a file in the home directory, or above
		list[1], list[2] = list[2], list[1]
	}
	return slices.DeleteFunc(list, func(w [2]string) bool { return w[1] == "" || w[1] == string(filepath.Separator) })
}

func below(path, dir string) bool {
	return dir != "" && strings.HasPrefix(path, dir+string(filepath.Separator))
}

// Out writes a word of a command, or a value, for other machines. What stands after "-flag="
// is looked at as well.
func (p Places) Out(word string) string {
	flag, value := split(word)
	for _, w := range p.words() {
		if value == w[1] || below(value, w[1]) {
			return flag + w[0] + filepath.ToSlash(value[len(w[1]):])
		}
	}
	if special(value) {
		value = `\` + value // it is meant as it is
	}
	return flag + value
}

// In is the word on this machine.
func (p Places) In(word string) string {
	flag, value := split(word)
	if rest, plain := strings.CutPrefix(value, `\`); plain && special(rest) {
		return flag + rest
	}
	for _, w := range p.words() {
		if rest, ok := strings.CutPrefix(value, w[0]); ok && (rest == "" || rest[0] == '/') {
			return flag + w[1] + filepath.FromSlash(rest)
		}
	}
	return flag + value
}

// special says whether a value would be read as another.
func special(value string) bool {
	for _, word := range []string{"~", "{here}", "{data}"} {
		if rest, ok := strings.CutPrefix(value, word); ok && (rest == "" || rest[0] == '/') {
			return true
		}
	}
	rest, escaped := strings.CutPrefix(value, `\`)
	return escaped && special(rest)
}

// split takes "-flag=" off a word.
func split(word string) (flag, value string) {
	if at := strings.IndexByte(word, '='); at > 0 && word[0] == '-' {
		return word[:at+1], word[at+1:]
	}
	return "", word
}

// Out is a server for other machines.
func (s Server) Out(p Places) Server { return s.mapped(p.Out) }

// In is a server on this machine.
func (s Server) In(p Places) Server { return s.mapped(p.In) }

func (s Server) mapped(change func(string) string) Server {
	s.Command = each(s.Command, change)
	s.Allow = each(s.Allow, func(entry string) string {
		for _, access := range []string{"filesystem:read:", "filesystem:write:", "exec:"} {
			if path, ok := strings.CutPrefix(entry, access); ok {
				return access + change(path)
			}
		}
		return entry
	})
	s.Env, s.Settings = values(s.Env, change), values(s.Settings, change)
	if s.Cwd != "" {
		s.Cwd = change(s.Cwd)
	}
	if file, ok := strings.CutPrefix(s.From, "file:"); ok {
		s.From = "file:" + change(file)
	}
	return s
}

func each(list []string, change func(string) string) []string {
	list = slices.Clone(list)
	for i := range list {
		list[i] = change(list[i])
	}
	return list
}

// values changes each line of each value: a setting with several has them in lines.
func values(m map[string]string, change func(string) string) map[string]string {
	m = maps.Clone(m)
	for key, value := range m {
		m[key] = strings.Join(each(strings.Split(value, "\n"), change), "\n")
	}
	return m
}
