package home

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/berth-run/berth"
)

// Permissions is permissions/NAME.toml: what the user granted a server beyond
// what it declares, and what the user took away.
type Permissions struct {
	Grant  []string `toml:"grant"`
	Revoke []string `toml:"revoke"`
}

// permissionsKind is the kind of these files, whose names are those of servers.
func permissionsKind() kind { return kind{"permissions of", permissionsDir, fs.ErrNotExist} }

// PermissionsPath returns the path of a server's permissions file.
func (h *Home) PermissionsPath(name string) (string, error) {
	if err := berth.CheckName(name); err != nil {
		return "", err
	}
	return h.path(permissionsDir, name+".toml"), nil
}

// ReadPermissions returns the user's word on a server, nothing if there is none,
// and a warning with its line for each key that nobody knows. An entry that is
// no permission is berth.ErrBadConfig: to pass over a revocation that was
// mistyped would be to grant it.
func (h *Home) ReadPermissions(name string) (p Permissions, warnings []string, err error) {
	path, err := h.PermissionsPath(name)
	if err != nil {
		return Permissions{}, nil, err
	}
	doc, err := readFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Permissions{}, nil, nil
	}
	if err != nil {
		return Permissions{}, nil, fmt.Errorf("read the permissions of %q: %w", name, err)
	}
	return decodePermissions(path, doc)
}

// UpdatePermissions reads the user's word on a server, changes it and writes it,
// with no other change in between. What is empty afterwards is no file. Comments
// stay.
func (h *Home) UpdatePermissions(name string, change func(*Permissions) error) error {
	if err := berth.CheckName(name); err != nil {
		return err
	}
	k := permissionsKind()
	return h.changeFlat(k, name, func(path string) error {
		doc, err := readFile(path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("read the permissions of %q: %w", name, err)
		}
		p, _, err := decodePermissions(path, doc)
		if err != nil {
			return err
		}
		if err := change(&p); err != nil {
			return err
		}
		for _, entry := range append(append([]string{}, p.Grant...), p.Revoke...) {
			if _, err := berth.ParsePermission(entry); err != nil {
				return err
			}
		}
		if len(p.Grant)+len(p.Revoke) == 0 {
			return h.removePermissions(path)
		}
		return h.putFlat(k, name, path, doc, []field{fullList("grant", p.Grant), fullList("revoke", p.Revoke)})
	})
}

// fullList is a field that is there also if it holds nothing.
func fullList(key string, list []string) field {
	if list == nil {
		list = []string{}
	}
	return field{key: key, value: list}
}

// RemovePermissions removes the user's word on a server, if there is one.
func (h *Home) RemovePermissions(name string) error {
	if err := berth.CheckName(name); err != nil {
		return err
	}
	return h.changeFlat(permissionsKind(), name, h.removePermissions)
}

func (h *Home) removePermissions(path string) error {
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err := h.remove(path); err != nil {
		return fmt.Errorf("remove the permissions: %w", err)
	}
	return nil
}

func decodePermissions(file string, doc []byte) (p Permissions, warnings []string, err error) {
	if err := decodeUsersTOML(file, doc, &p); err != nil {
		return Permissions{}, nil, err
	}
	if err := exactKeys(file, doc, []field{{key: "grant"}, {key: "revoke"}}); err != nil {
		return Permissions{}, nil, err
	}
	for _, list := range []struct {
		key     string
		entries []string
	}{{"grant", p.Grant}, {"revoke", p.Revoke}} {
		for _, entry := range list.entries {
			if _, err := berth.ParsePermission(entry); err != nil {
				return Permissions{}, nil, atKey(file, doc, list.key, withoutKind(err))
			}
		}
	}
	return p, unknownKeys(file, doc, &p), nil
}
