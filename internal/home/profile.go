package home

import (
	"errors"
	"fmt"
	"slices"

	"github.com/berth-run/berth"
)

// ErrNoProfile: the home has no profile of that name.
var ErrNoProfile = errors.New("no such profile")

// ErrProfileExists: the home has a profile of that name already.
var ErrProfileExists = errors.New("profile exists")

func profiles() kind { return kind{"profile", profilesDir, ErrNoProfile} }

// Profile is profiles/NAME.toml: the servers and tools that a client sees who
// comes by that name.
type Profile struct {
	// Name is the file's.
	Name string `toml:"-"`
	// Description is for people.
	Description string `toml:"description"`
	// Servers are those that are part of it, in the order in which they are listed;
	// with none, all are.
	Servers []string `toml:"servers"`
	// AllowTools and DenyTools are what berth.CheckToolPattern takes; with none to
	// allow, all are.
	AllowTools []string `toml:"allow-tools"`
	DenyTools  []string `toml:"deny-tools"`
	// ReadOnly: only tools that say of themselves that they read.
	ReadOnly bool `toml:"read-only"`
	// Mode is ModeAll or ModeSearch; "" is read as ModeAll.
	Mode string `toml:"mode"`

	doc []byte // what was read
}

// The values of a profile's mode.
const (
	// ModeAll lists every tool.
	ModeAll = "all"
	// ModeSearch lists three tools by which the others are found and called.
	ModeSearch = "search"
)

// Missing returns the servers of the profile that are not among those that are
// installed: a server that was removed is no error, and worth a warning.
func (p *Profile) Missing(installed []string) []string {
	return slices.DeleteFunc(slices.Clone(p.Servers), func(name string) bool { return slices.Contains(installed, name) })
}

// check finds what cannot be; file and doc tell the place.
func (p *Profile) check(file string, doc []byte) error {
	for _, server := range p.Servers {
		if err := berth.CheckName(server); err != nil {
			return atKey(file, doc, "servers", err)
		}
	}
	switch p.Mode {
	case "":
		p.Mode = ModeAll
	case ModeAll, ModeSearch:
	default:
		return atKey(file, doc, "mode", fmt.Errorf("%q is neither %s nor %s", p.Mode, ModeAll, ModeSearch))
	}
	if err := checkPatterns(file, doc, "allow-tools", p.AllowTools); err != nil {
		return err
	}
	return checkPatterns(file, doc, "deny-tools", p.DenyTools)
}

func (p *Profile) fields() []field {
	mode := p.Mode
	if mode == ModeAll {
		mode = "" // what holds anyway is not written
	}
	return []field{
		textField("description", p.Description),
		listField("servers", p.Servers),
		listField("allow-tools", p.AllowTools),
		listField("deny-tools", p.DenyTools),
		flagField("read-only", p.ReadOnly),
		textField("mode", mode),
	}
}

// ProfilePath returns the path of a profile's file.
func (h *Home) ProfilePath(name string) (string, error) { return h.flatPath(profiles(), name) }

// ReadProfile returns a profile and a warning with its line for each key that
// nobody knows. It is ErrNoProfile if there is none, and berth.ErrBadConfig, with
// the file and the line, if it does not parse or says what cannot be. After an
// error nothing may be called by that name: the zero Profile allows everything.
func (h *Home) ReadProfile(name string) (p Profile, warnings []string, err error) {
	path, doc, err := h.readFlat(profiles(), name)
	if err != nil {
		return Profile{}, nil, err
	}
	return decodeProfile(name, path, doc)
}

func decodeProfile(name, file string, doc []byte) (p Profile, warnings []string, err error) {
	if err := decodeUsersTOML(file, doc, &p); err != nil {
		return Profile{}, nil, err
	}
	if err := exactKeys(file, doc, (&Profile{}).fields()); err != nil {
		return Profile{}, nil, err
	}
	if err := p.check(file, doc); err != nil {
		return Profile{}, nil, err
	}
	p.Name, p.doc = name, doc
	return p, unknownKeys(file, doc, &p), nil
}

// Profiles lists the profiles of the home in alphabetical order, whether their
// files parse or not, and the files in profiles/ whose name none can have.
func (h *Home) Profiles() (names, strays []string, err error) { return h.listFlat(profiles()) }

// CreateProfile writes a profile that there is none of yet; else it is
// ErrProfileExists. What it holds that cannot be is berth.ErrBadConfig.
func (h *Home) CreateProfile(p Profile) error {
	return h.changeFlat(profiles(), p.Name, func(path string) error {
		if err := p.check("", nil); err != nil {
			return err
		}
		switch _, _, err := h.readFlat(profiles(), p.Name); {
		case err == nil:
			return fmt.Errorf("%w: %s", ErrProfileExists, p.Name)
		case !errors.Is(err, ErrNoProfile):
			return err
		}
		return h.putFlat(profiles(), p.Name, path, nil, p.fields())
	})
}

// UpdateProfile reads a profile, changes it and writes it, with no other change
// in between.
func (h *Home) UpdateProfile(name string, change func(*Profile) error) error {
	return h.changeFlat(profiles(), name, func(path string) error {
		p, _, err := h.ReadProfile(name)
		if err != nil {
			return err
		}
		if err := change(&p); err != nil {
			return err
		}
		if err := p.check("", nil); err != nil {
			return err
		}
		return h.putFlat(profiles(), name, path, p.doc, p.fields())
	})
}

// RemoveProfile removes a profile; ErrNoProfile if there is none.
func (h *Home) RemoveProfile(name string) error { return h.removeFlat(profiles(), name) }
