package catalog

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"runtime"
	"slices"
	"strings"

	"github.com/berth-run/berth"
)

// shared is a lock in the form in which others get it: without what is only true of the
// home that it was made in, and as far as can be in lines that people review.
type shared struct {
	Kind    Kind     `json:"kind"`
	Package string   `json:"package"`
	Version string   `json:"version"`
	Extras  string   `json:"extras,omitzero"`
	For     string   `json:"for"`
	Scripts []string `json:"scripts,omitempty"`
	Digest  string   `json:"digest"`
	Tree    []Entry  `json:"tree"`
	// PackageLock is npm's package-lock.json, NativeText the same where its text does not
	// follow from what it says. PyPI's requirements follow from the tree.
	PackageLock json.RawMessage `json:"packageLock,omitempty"`
	NativeText  string          `json:"native,omitzero"`
}

// Share returns the lock for others, as JSON text that ParseShared reads.
func (l *Lock) Share() ([]byte, error) {
	s := shared{Kind: l.Kind, Package: l.Package, Version: l.Version, Extras: l.Extras, For: l.For, Scripts: l.Scripts, Digest: l.Digest(), Tree: l.Tree}
	switch {
	case l.Kind == PyPI && l.Native == requirements(l.Tree):
	case l.Kind == NPM && npmText([]byte(l.Native)) == l.Native:
		s.PackageLock = json.RawMessage(l.Native)
	default:
		s.NativeText = l.Native
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(s)
	return bytes.TrimSpace(b.Bytes()), err
}

// npmText is what npm writes of a JSON text: two spaces for each level.
func npmText(doc []byte) string {
	var flat, out bytes.Buffer
	if json.Compact(&flat, doc) != nil || json.Indent(&out, flat.Bytes(), "", "  ") != nil {
		return ""
	}
	return out.String() + "\n"
}

// ParseShared reads a lock that somebody else made, and refuses one that does not say what
// its digest does, or has anything but packages of registries in it, each with its hash.
func ParseShared(data []byte) (*Lock, error) {
	var s shared
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&s); err != nil {
		return nil, fmt.Errorf("%w: %v", ErrLock, err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%w: more follows", ErrLock)
	}
	l := &Lock{Format: 1, Kind: s.Kind, Package: s.Package, Version: s.Version, Extras: s.Extras, For: s.For, Scripts: s.Scripts, Tree: s.Tree, Native: s.NativeText}
	bad := func(format string, args ...any) error {
		return fmt.Errorf("%w: "+format, append([]any{ErrLock}, args...)...)
	}
	switch {
	case s.Kind != NPM && s.Kind != PyPI:
		return nil, bad("of kind %.20q", s.Kind)
	case s.Kind == NPM && !npmSpec().MatchString(s.Package) || s.Kind == PyPI && !pypiSpec().MatchString(s.Package):
		return nil, bad("%.80q is no package", s.Package)
	case !version().MatchString(s.Version):
		return nil, bad("%.40q is no version", s.Version)
	}
	if s.Kind == NPM {
		if s.NativeText == "" {
			l.Native = npmText(s.PackageLock)
		}
		tree, err := npmTree([]byte(l.Native))
		if err != nil {
			return nil, bad("%v", err)
		}
		if !slices.EqualFunc(tree, l.Tree, sameEntry) {
			return nil, bad("its tree is not that of its package-lock.json")
		}
	} else {
		l.Native = requirements(l.Tree)
		for _, e := range l.Tree {
			if !pypiSpec().MatchString(e.Name) || !version().MatchString(e.Version) || len(e.Integrity) == 0 {
				return nil, bad("%.80q is no package of an index with its version and hash", e.Name)
			}
			for _, h := range e.Integrity {
				if sha, ok := strings.CutPrefix(h, "sha256:"); !ok || !sha256Hex().MatchString(sha) {
					return nil, bad("%.80q is no hash that can be relied on", h)
				}
			}
		}
	}
	if !slices.ContainsFunc(l.Tree, func(e Entry) bool {
		return e.Version == l.Version && (l.Kind == NPM && e.Path == "node_modules/"+l.Package || l.Kind == PyPI && normal(e.Name) == normal(l.Package))
	}) {
		return nil, bad("%s %s is not in its tree", l.Package, l.Version)
	}
	for _, name := range l.Scripts {
		if !slices.ContainsFunc(l.Tree, func(e Entry) bool { return e.Name == name }) {
			return nil, bad("scripts of %.80q are allowed, which is not in its tree", name)
		}
	}
	if l.Digest() != s.Digest {
		return nil, bad("it says that its digest is %.80q, and that is %s", s.Digest, l.Digest())
	}
	return l, nil
}

// On is the lock on another system: of npm one lock is for all of them.
func (l *Lock) On(platform string) *Lock {
	if l.Kind != NPM {
		return l
	}
	other := *l
	other.For = platform
	return &other
}

// locked is the one of locks that is for this system.
func locked(ctx context.Context, k kind, r Request) (*Lock, error) {
	platform := runtime.GOOS + "-" + runtime.GOARCH
	if p, ok := k.(*pypi); ok { // of Python, its version counts as well
		var err error
		if platform, err = p.platform(ctx); err != nil {
			return nil, err
		}
	}
	var others []string
	for _, l := range r.Locks {
		if l.Kind != r.Kind || normalName(l.Kind, l.Package) != normalName(r.Kind, r.Package) {
			return nil, fmt.Errorf("%w: it is of %s %s, not of %s %s", ErrLock, l.Kind, l.Package, r.Kind, r.Package)
		}
		if l = l.On(platform); l.For == platform {
			found := *l
			return &found, nil
		}
		others = append(others, l.For)
	}
	return nil, berth.WithHint(fmt.Errorf("%s is locked for %s, and this is %s", r.Package, strings.Join(others, ", "), platform),
		"install it here, and `berth export` adds what it is here to the lock")
}

func normalName(k Kind, name string) string {
	if k == PyPI {
		return normal(name)
	}
	return name
}

// Hosts are those that the packages of the tree come from.
func (l *Lock) Hosts() (hosts []string) {
	for _, e := range l.Tree {
		if u, err := url.Parse(e.From); err == nil && u.Host != "" && !slices.Contains(hosts, u.Host) {
			hosts = append(hosts, u.Host)
		}
	}
	slices.Sort(hosts)
	return hosts
}
