package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/clients"
	"github.com/berth-run/berth/internal/home"
	"github.com/berth-run/berth/internal/settings"
)

// tokenVariable is where clients find the token that their settings only name.
const tokenVariable = "BERTH_TOKEN"

// maker makes the entries of clients.
type maker struct {
	site    *site
	o       linkOptions
	program string
	env     settings.Entry
	servers []string // with --each
	yes     func(question string) bool
}

// madeEntry is an entry to write.
type madeEntry struct {
	name    string
	entry   settings.Entry
	program string // what it runs; "" for an address
	secret  bool   // the token is in it
	token   string // that
	undo    func() // takes back what was made for it
}

func newMaker(s *site, o linkOptions, yes func(string) bool) (*maker, error) {
	m := &maker{site: s, o: o, yes: yes}
	var err error
	if m.program, err = stablePath(); err != nil {
		return nil, err
	}
	if isThrowaway(m.program) && !o.http {
		s.ui.warn("%s may not be there for long; install berth, and link again", m.program)
	}
	if !isDefaultHome(s.Dir()) {
		m.env = settings.Entry{{Key: "BERTH_HOME", Value: s.Dir()}}
	}
	// Clients hand little of their environment on, and it would refuse the home.
	if os.Getenv("BERTH_ALLOW_NETWORK_HOME") == "1" {
		m.env = append(m.env, settings.Field{Key: "BERTH_ALLOW_NETWORK_HOME", Value: "1"})
	}
	if o.each {
		if m.servers, err = s.installed(); err != nil {
			return nil, err
		}
		if len(m.servers) == 0 {
			return nil, berth.WithHint(errors.New("there is no server to link"), "berth add NAME -- COMMAND")
		}
	}
	return m, nil
}

// entries are the entries for a client.
func (m *maker) entries(c clients.Client) ([]madeEntry, error) {
	token := ""
	undo := func() {}
	if m.o.http {
		var err error
		if token, undo, err = m.token(c); err != nil {
			return nil, err
		}
	}
	if !m.o.each {
		return []madeEntry{m.entry(c, "berth", "", token, undo)}, nil
	}
	var all []madeEntry
	names := map[string]string{}
	for _, server := range m.servers {
		// Some clients take no dots.
		name := "berth-" + strings.ReplaceAll(server, ".", "-")
		if other, twice := names[name]; twice {
			return nil, fmt.Errorf("%s and %s would have the same entry, %s", other, server, name)
		}
		names[name] = server
		all = append(all, m.entry(c, name, server, token, undo))
	}
	return all, nil
}

func (m *maker) entry(c clients.Client, name, server, token string, undo func()) madeEntry {
	e := madeEntry{name: name, secret: token != "", token: token, undo: undo}
	if m.o.http {
		r := clients.Remote{Name: name, URL: m.url(server), Token: token}
		if token == "" && !m.o.noToken {
			r.Variable = tokenVariable
		}
		e.entry = c.HTTP(r)
		return e
	}
	args := []string{"proxy", "--as", c.ID}
	if server != "" {
		args = []string{"proxy", server, "--as", c.ID}
	}
	e.program = m.program
	e.entry = c.Stdio(clients.Program{Name: name, Path: m.program, Args: args, Env: m.env})
	return e
}

func (m *maker) url(server string) string {
	base := m.base()
	if server != "" {
		return base + "/servers/" + server + "/mcp"
	}
	return base + "/mcp"
}

// base is where the gateway is: where one was said, where its service listens, or where
// it listens without being told.
func (m *maker) base() string {
	if m.o.url != "" {
		return strings.TrimRight(m.o.url, "/")
	}
	service, _, err := m.site.home.ReadService()
	switch {
	case err != nil || service.Listen == "":
		return "http://" + defaultListen
	case service.TLS:
		return "https://" + service.Listen
	}
	return "http://" + service.Listen
}

// token is the token that stands in the client's file; "" if none has to.
func (m *maker) token(c clients.Client) (token string, undo func(), err error) {
	undo = func() {}
	inFile := m.o.tokenInFile
	if c.HTTP != nil && !c.Refer && !inFile && !m.o.noToken && !m.o.dry {
		inFile = m.yes(fmt.Sprintf("%s can take its token only from its file, where everybody who can read that has it; write it there? [y/N] ", c.Title))
	}
	switch {
	case c.HTTP == nil:
		return "", undo, fmt.Errorf("%s takes no address, or none from a file", c.Title)
	case m.o.noToken:
		return "", undo, nil
	case !inFile && !c.Refer:
		return "", undo, berth.WithHint(fmt.Errorf("%s cannot take a token from a variable", c.Title),
			"--token-in-file writes it into the file; without --http, no token is needed")
	case !inFile:
		m.site.ui.say("berth: %s finds its token in the variable %s: `berth token create %s` makes one", c.ID, tokenVariable, c.ID)
		return "", undo, nil
	case m.o.dry:
		return home.TokenPrefix + strings.Repeat("x", home.TokenLength-len(home.TokenPrefix)), undo, nil
	}
	if token, err = m.site.home.CreateToken(berth.Token{Name: c.ID, Created: time.Now().UTC().Truncate(time.Second)}); err != nil {
		return "", undo, err
	}
	made := m.site.recordOfHome(berth.ActionTokenCreate, "token of "+c.ID)
	return token, func() { _ = m.site.home.RevokeToken(c.ID) }, made
}

// shown is the entry as a person may see it.
func (e madeEntry) shown() settings.Entry {
	if e.token == "" {
		return e.entry
	}
	return masked(e.entry, e.token)
}

func masked(e settings.Entry, token string) settings.Entry {
	out := settings.Entry{}
	for _, f := range e {
		switch v := f.Value.(type) {
		case string:
			f.Value = strings.ReplaceAll(v, token, "TOKEN")
		case settings.Entry:
			f.Value = masked(v, token)
		}
		out = append(out, f)
	}
	return out
}

// mask hides the token in a file.
func (e madeEntry) mask(doc []byte) []byte {
	if e.token == "" {
		return doc
	}
	return bytes.ReplaceAll(doc, []byte(e.token), []byte("TOKEN"))
}

// stablePath is the path of this program that an upgrade leaves in place: the one by
// which it was called, where that is a link to it, as of Homebrew.
func stablePath() (string, error) {
	exe, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find this program: %w", err)
	}
	called := os.Args[0]
	if !strings.ContainsRune(called, os.PathSeparator) {
		if called, err = exec.LookPath(called); err != nil {
			return exe, nil
		}
	}
	if called, err = filepath.Abs(called); err != nil {
		return exe, nil
	}
	a, errA := os.Stat(called)
	b, errB := os.Stat(exe)
	if errA == nil && errB == nil && os.SameFile(a, b) {
		return called, nil
	}
	return exe, nil
}

// isThrowaway says whether a program is one that `go run` has built.
func isThrowaway(path string) bool { return strings.Contains(filepath.ToSlash(path), "/go-build") }

// isDefaultHome says whether programs find the home without being told.
func isDefaultHome(dir string) bool {
	user, err := os.UserHomeDir()
	if err != nil {
		return false
	}
	usual := filepath.Join(user, ".berth")
	if real, err := filepath.EvalSymlinks(usual); err == nil {
		usual = real
	}
	if runtime.GOOS == "windows" {
		return strings.EqualFold(usual, dir)
	}
	return usual == dir
}
