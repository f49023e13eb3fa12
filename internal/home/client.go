package home

import (
	"errors"

	"github.com/berth-run/berth"
)

// ErrNoClient: the home has no file of a client of that name.
var ErrNoClient = errors.New("no such client")

func clients() kind { return kind{"client", clientsDir, ErrNoClient} }

// Client is clients/NAME.toml: what one client may call. A client without a file
// is one of which nothing is said.
type Client struct {
	// Name is the file's.
	Name string `toml:"-"`
	// Profile bounds the client wherever it comes by, besides the profile that its
	// address names, if any; "" is none.
	Profile string `toml:"profile"`
	// AllowTools and DenyTools are what berth.CheckToolPattern takes; with none to
	// allow, all are.
	AllowTools []string `toml:"allow-tools"`
	DenyTools  []string `toml:"deny-tools"`
	// ReadOnly: only tools that say of themselves that they read.
	ReadOnly bool `toml:"read-only"`

	doc []byte // what was read
}

func (c *Client) check(file string, doc []byte) error {
	if c.Profile != "" {
		if err := berth.CheckNameOf("profile", c.Profile); err != nil {
			return atKey(file, doc, "profile", err)
		}
	}
	if err := checkPatterns(file, doc, "allow-tools", c.AllowTools); err != nil {
		return err
	}
	return checkPatterns(file, doc, "deny-tools", c.DenyTools)
}

func (c *Client) fields() []field {
	return []field{
		textField("profile", c.Profile),
		listField("allow-tools", c.AllowTools),
		listField("deny-tools", c.DenyTools),
		flagField("read-only", c.ReadOnly),
	}
}

// ReadClient returns what is said of a client and a warning with its line for
// each key that nobody knows. It is ErrNoClient if nothing is, and
// berth.ErrBadConfig, with the file and the line, if the file does not parse or
// says what cannot be: then the client may call nothing.
func (h *Home) ReadClient(name string) (c Client, warnings []string, err error) {
	path, doc, err := h.readFlat(clients(), name)
	if err != nil {
		return Client{}, nil, err
	}
	return decodeClient(name, path, doc)
}

func decodeClient(name, file string, doc []byte) (c Client, warnings []string, err error) {
	if err := decodeUsersTOML(file, doc, &c); err != nil {
		return Client{}, nil, err
	}
	if err := exactKeys(file, doc, (&Client{}).fields()); err != nil {
		return Client{}, nil, err
	}
	if err := c.check(file, doc); err != nil {
		return Client{}, nil, err
	}
	c.Name, c.doc = name, doc
	return c, unknownKeys(file, doc, &c), nil
}

// Clients lists the clients that have a file in alphabetical order, whether it
// parses or not, and the files in clients/ whose name none can have.
func (h *Home) Clients() (names, strays []string, err error) { return h.listFlat(clients()) }

// UpdateClient reads what is said of a client, nothing if there is no file,
// changes it and writes it, with no other change in between.
func (h *Home) UpdateClient(name string, change func(*Client) error) error {
	return h.changeFlat(clients(), name, func(path string) error {
		c, _, err := h.ReadClient(name)
		if errors.Is(err, ErrNoClient) {
			c, err = Client{Name: name}, nil
		}
		if err != nil {
			return err
		}
		if err := change(&c); err != nil {
			return err
		}
		if err := c.check("", nil); err != nil {
			return err
		}
		return h.putFlat(clients(), name, path, c.doc, c.fields())
	})
}

// RemoveClient removes a client's file; ErrNoClient if there is none.
func (h *Home) RemoveClient(name string) error { return h.removeFlat(clients(), name) }
