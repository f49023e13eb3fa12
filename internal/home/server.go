package home

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/berth-run/berth"
)

// Server is servers/NAME.toml: what is installed and how to run it. The tables
// before Env are the reference's, which demands each of them and each of their
// keys; a file that a user wrote may leave out all but the command.
//
// The [config] keys that are not Berth's own (see ConfigKeys) are kept, and are
// no part of the server's environment: [env] is.
type Server struct {
	// Name is the file's; [server] name is written to be the same.
	Name string `toml:"-"`

	Info        Info              `toml:"server"`
	Source      Source            `toml:"source"`
	Runtime     Runtime           `toml:"runtime"`
	Permissions Declared          `toml:"permissions"`
	Config      map[string]string `toml:"config"`
	ConfigMeta  ConfigMeta        `toml:"config_meta"`

	// Env is the server's environment besides what every server receives.
	Env map[string]string `toml:"env"`
	// Settings are what the reference has no table for.
	Settings Settings `toml:"berth"`

	file string // where it was read
	doc  []byte // what was read, with what this version does not know
}

// Info is the table [server].
type Info struct {
	Name        string `toml:"name"`
	DisplayName string `toml:"display_name"`
	Version     string `toml:"version"`
	Description string `toml:"description"`
	Category    string `toml:"category"`
	Maintainer  string `toml:"maintainer"`
	TrustLevel  string `toml:"trust_level"`
}

// Source is the table [source].
type Source struct {
	Type       string `toml:"type"`
	Package    string `toml:"package"`
	Repository string `toml:"repository"`
	// Copy is the copy of the package in packages/ that the server is run from;
	// "" for one that was not fetched. Version is the package's, Digest that of its
	// lock, and Typed the command that the user gave.
	Copy    string   `toml:"copy"`
	Version string   `toml:"version"`
	Digest  string   `toml:"digest"`
	Typed   []string `toml:"typed"`
	// Entry is the catalogue's name of a server that was installed, From whose
	// catalogue that is, and Declaration what it said of it then, as JSON.
	Entry       string `toml:"entry"`
	From        string `toml:"from"`
	Declaration string `toml:"declaration"`
}

// Runtime is the table [runtime].
type Runtime struct {
	Type      string   `toml:"type"`
	Command   string   `toml:"command"`
	Args      []string `toml:"args"`
	Transport string   `toml:"transport"`
}

// Declared is the table [permissions]: what the server says it needs.
type Declared struct {
	Network    []string `toml:"network"`
	Env        []string `toml:"env"`
	Filesystem []string `toml:"filesystem"`
	Exec       []string `toml:"exec"`
}

// ConfigMeta is the table [config_meta].
type ConfigMeta struct {
	RequiredKeys []string `toml:"required_keys"`
	OptionalKeys []string `toml:"optional_keys"`
}

// Settings is the table [berth]. Durations are as in "5s"; "" is the default
// that berth.ProcessSpec has.
type Settings struct {
	// Autostart: berth up starts it.
	Autostart bool `toml:"autostart"`
	// Disabled: no client may use it, and berth up does not start it.
	Disabled bool `toml:"disabled"`
	// Cwd is the server's working directory.
	Cwd string `toml:"cwd"`
	// CommandPath and Path are where the command and what the PATH was when the
	// server was added: a login service has another.
	CommandPath string `toml:"command_path"`
	Path        string `toml:"path"`
	Grace       string `toml:"grace"`
	// The bounds of automatic restarts, besides those in [config].
	Window   string `toml:"restart_window"`
	MinDelay string `toml:"restart_min_delay"`
	MaxDelay string `toml:"restart_max_delay"`
	Healthy  string `toml:"restart_healthy"`
	// TreeKill forces a mechanism; see berth.TreeMechanisms.
	TreeKill string `toml:"tree_kill"`
	// URL is where a remote server is; it has no command.
	URL string `toml:"url"`
	// Headers are what it is sent besides, "NAME=VALUE" each; see Header.
	Headers []string `toml:"headers"`
}

// NewServer returns a server that was added by hand, with a value for each key
// that the reference demands.
func NewServer(name, command string, args []string) Server {
	return Server{
		Name: name,
		Info: Info{
			Name: name, DisplayName: name, Version: "0.0.0",
			Description: "added by berth add", Category: "custom", Maintainer: "unknown", TrustLevel: "untrusted",
		},
		Source:  Source{Type: "local"},
		Runtime: Runtime{Type: "command", Command: command, Args: args, Transport: "stdio"},
		Config:  map[string]string{},
	}
}

// ServerPath returns the path of a server's file.
func (h *Home) ServerPath(name string) (string, error) {
	if err := berth.CheckName(name); err != nil {
		return "", err
	}
	return h.path(serversDir, name+".toml"), nil
}

// ReadServer returns a server; berth.ErrNoServer if there is none,
// berth.ErrBadConfig if its file does not parse.
func (h *Home) ReadServer(name string) (Server, error) {
	path, err := h.ServerPath(name)
	if err != nil {
		return Server{}, err
	}
	doc, err := readFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Server{}, fmt.Errorf("%w: %s", berth.ErrNoServer, name)
	}
	if err != nil {
		return Server{}, fmt.Errorf("read the server %q: %w", name, err)
	}
	return decodeServer(name, path, doc)
}

func decodeServer(name, file string, doc []byte) (Server, error) {
	s := Server{}
	if err := decodeUsersTOML(file, doc, &s); err != nil {
		return Server{}, err
	}
	s.Name, s.file, s.doc = name, file, doc
	return s, nil
}

// Servers lists the servers of the home in alphabetical order, whether their
// files parse or not, and the files in servers/ whose name no server can have.
func (h *Home) Servers() (names, strays []string, err error) {
	names, strays, err = h.names(serversDir, berth.CheckName)
	if err != nil {
		return nil, nil, fmt.Errorf("list the servers: %w", err)
	}
	return names, strays, nil
}

// WriteServer writes a server's file. One that exists is berth.ErrExists unless
// replace is set. A server that was read keeps what this version does not know,
// its comments included.
func (h *Home) WriteServer(s Server, replace bool) error {
	return h.WriteServerIf(s, replace, func() error { return nil })
}

// WriteServerIf is WriteServer that writes nothing if check returns an error. No other
// process changes a server between the two.
func (h *Home) WriteServerIf(s Server, replace bool, check func() error) error {
	return h.changeServer(s.Name, func(path string) error {
		if !replace {
			if _, err := os.Lstat(path); err == nil {
				return berth.ErrExists
			} else if !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
		if err := check(); err != nil {
			return err
		}
		return h.putServer(s, path)
	})
}

// UpdateServer reads a server, changes it and writes it, with no other change
// in between.
func (h *Home) UpdateServer(name string, change func(*Server) error) error {
	return h.updateServer(name, false, change)
}

// ExchangeServer is UpdateServer, and keeps the file as it was before for
// ReadPrevious.
func (h *Home) ExchangeServer(name string, change func(*Server) error) error {
	return h.updateServer(name, true, change)
}

func (h *Home) updateServer(name string, keep bool, change func(*Server) error) error {
	return h.changeServer(name, func(path string) error {
		s, err := h.ReadServer(name)
		if err != nil {
			return err
		}
		was := s.doc
		if err := change(&s); err != nil {
			return err
		}
		s.Name = name
		if keep {
			// A process that is killed now leaves a copy of what is there anyway.
			if err := os.MkdirAll(h.path(previousDir), 0o700); err != nil {
				return h.writeError(err)
			}
			if err := h.replace(h.path(previousDir, name+".toml"), was); err != nil {
				return err
			}
		}
		return h.putServer(s, path)
	})
}

// ReadPrevious returns a server as it was before its last exchange;
// berth.ErrNoServer if there was none.
func (h *Home) ReadPrevious(name string) (Server, error) {
	if err := berth.CheckName(name); err != nil {
		return Server{}, err
	}
	path := h.path(previousDir, name+".toml")
	doc, err := readFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Server{}, berth.ErrNoServer
	}
	if err != nil {
		return Server{}, err
	}
	return decodeServer(name, path, doc)
}

// RemovePrevious forgets how a server was before.
func (h *Home) RemovePrevious(name string) error {
	return h.changeServer(name, func(string) error {
		path := h.path(previousDir, name+".toml")
		if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return h.remove(path)
	})
}

// previousDir holds the files of servers as they were before their last update.
const previousDir = "previous"

// RemoveServer removes a server's file; berth.ErrNoServer if there is none.
func (h *Home) RemoveServer(name string) error {
	return h.changeServer(name, func(path string) error {
		if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
			return berth.ErrNoServer
		}
		return h.remove(path)
	})
}

// changePatience is how long a change waits for one that another process makes;
// each takes milliseconds.
const changePatience = 10 * time.Second

// changeServer runs change while no other process changes a server.
func (h *Home) changeServer(name string, change func(path string) error) error {
	path, err := h.ServerPath(name)
	if err != nil {
		return err
	}
	if err := h.canWrite(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), changePatience)
	defer cancel()
	lock, err := WaitLock(ctx, h.RunLock("servers"))
	if err != nil {
		return fmt.Errorf("change the server %q: %w", name, h.writeError(err))
	}
	defer func() { _ = lock.Unlock() }()
	if err := change(path); err != nil {
		return fmt.Errorf("change the server %q: %w", name, err)
	}
	return nil
}

func (h *Home) putServer(s Server, path string) error {
	if err := s.checkText(); err != nil {
		return err
	}
	doc, err := s.encode()
	if err != nil {
		return err
	}
	return h.replace(path, doc)
}

// checkText refuses what TOML cannot hold. Unlike a state, a server is run from
// its file: another command than the one that was meant must not be.
func (s *Server) checkText() error {
	check := func(what string, texts ...string) error {
		for _, t := range texts {
			if !utf8.ValidString(t) || strings.ContainsRune(t, 0) {
				return fmt.Errorf("%w: %s is not UTF-8 text without NUL, so it cannot be written down", berth.ErrInvalidSpec, what)
			}
		}
		return nil
	}
	errs := []error{
		check("the command", s.Runtime.Command, s.Settings.CommandPath),
		check("an argument", s.Runtime.Args...),
		check("an argument", s.Source.Typed...),
		check("the declaration", s.Source.Declaration, s.Source.Entry, s.Source.From),
		check("the working directory", s.Settings.Cwd),
		check("the PATH", s.Settings.Path),
		check("the URL", s.Settings.URL),
		check("a header", s.Settings.Headers...),
	}
	for k, v := range s.Env {
		errs = append(errs, check("a variable of the environment", k, v))
	}
	for k, v := range s.Config {
		errs = append(errs, check("a configuration key", k, v))
	}
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
