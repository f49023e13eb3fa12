package home

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/berth-run/berth"
)

// PolicyFile is a policy as it is written.
type PolicyFile struct {
	Path string
	Data []byte
	// Organisation: it is that of the whole machine, which no user of it can change.
	Organisation bool
}

// PolicyPath returns the path of the home's own policy.
func (h *Home) PolicyPath() string { return h.dir + string(filepath.Separator) + "policy.toml" }

// OrganisationPolicyPath returns the path of the policy of the whole machine. No
// variable of the environment moves it: who could, could do without it.
func OrganisationPolicyPath() string { return organisationPolicy() }

// ReadPolicies returns the policies that bear on the home: that of the machine, which
// only its administrator may be able to write, and the home's own. Both are asked, so
// a home's policy loosens nothing. An error must stop whoever asked: a policy that
// cannot be read or trusted forbids everything.
func (h *Home) ReadPolicies() ([]PolicyFile, error) {
	var files []PolicyFile
	path := organisationPolicy()
	data, err := readTrusted(path)
	switch {
	case err == nil:
		files = append(files, PolicyFile{Path: path, Data: data, Organisation: true})
	case !errors.Is(err, fs.ErrNotExist):
		return nil, berth.WithHint(fmt.Errorf("read the policy of this machine: %w", err), "ask whoever administers it")
	}
	own, err := h.ReadOwnPolicy()
	if err == nil && own.Data != nil {
		files = append(files, own)
	}
	return files, err
}

// ReadOwnPolicy returns the home's own policy; without data if there is none.
func (h *Home) ReadOwnPolicy() (PolicyFile, error) {
	f := PolicyFile{Path: h.PolicyPath()}
	data, err := os.ReadFile(f.Path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return f, fmt.Errorf("read the policy: %w", err)
	}
	if err == nil {
		f.Data = append([]byte{}, data...) // of an empty file, not nil
	}
	return f, nil
}

// PolicyChange sets a key of a table of the policy, or removes it where Value is nil.
type PolicyChange struct {
	Table, Key string
	Value      any // a bool, a string or a []string
}

// UpdatePolicy changes the home's own policy, with no other change in between; the
// rest of the file, comments above all, stays. check is asked before it is written.
func (h *Home) UpdatePolicy(changes []PolicyChange, check func(PolicyFile) error) error {
	return h.changePolicy(func(f PolicyFile) ([]byte, error) {
		if err := check(f); err != nil {
			return nil, err
		}
		return editPolicy(f, changes)
	}, check)
}

// CreatePolicy writes a policy; fs.ErrExist if there is one.
func (h *Home) CreatePolicy(doc []byte) error {
	return h.changePolicy(func(f PolicyFile) ([]byte, error) {
		if f.Data != nil {
			return nil, fmt.Errorf("%s: %w", f.Path, fs.ErrExist)
		}
		return doc, nil
	}, func(PolicyFile) error { return nil })
}

func (h *Home) changePolicy(edit func(PolicyFile) ([]byte, error), check func(PolicyFile) error) error {
	if err := h.canWrite(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), changePatience)
	defer cancel()
	lock, err := WaitLock(ctx, h.RunLock("policy"))
	if err != nil {
		return fmt.Errorf("change the policy: %w", h.writeError(err))
	}
	defer func() { _ = lock.Unlock() }()
	f, err := h.ReadOwnPolicy()
	if err != nil {
		return err
	}
	doc, err := edit(f)
	if err == nil {
		err = check(PolicyFile{Path: f.Path, Data: doc})
	}
	if err != nil {
		return err
	}
	if err := h.replace(f.Path, doc); err != nil {
		return fmt.Errorf("write the policy: %w", err)
	}
	return nil
}

// editPolicy makes the changes to the text. What was written in a form that the
// editor does not know, is written anew.
func editPolicy(f PolicyFile, changes []PolicyChange) ([]byte, error) {
	want := map[string]any{}
	if err := decodeTOML(f.Path, f.Data, &want, berth.ErrBadConfig); err != nil {
		return nil, err
	}
	text := splitText(f.Data)
	var order []string
	for _, c := range changes {
		if !slices.Contains(order, c.Table) {
			order = append(order, c.Table)
		}
		table, _ := want[c.Table].(map[string]any)
		switch {
		case c.Value == nil:
			delete(table, c.Key)
			text.unset(c.Table, c.Key)
		default:
			if table == nil {
				table = map[string]any{}
				want[c.Table] = table
			}
			table[c.Key] = c.Value
			text.set(c.Table, c.Key, c.Value)
		}
	}
	doc, got := text.bytes(), map[string]any{}
	if decodeTOML(f.Path, doc, &got, berth.ErrBadConfig) == nil && sameValue(got, want) {
		return doc, nil
	}
	return writeDocument(want, order), nil
}

// untrusted is the error of a policy of the machine that others than its
// administrator could have written.
func untrusted(path, why string, args ...any) error {
	return fmt.Errorf("%w: %s: %s", berth.ErrBadConfig, path, strings.TrimSpace(fmt.Sprintf(why, args...)))
}
