package catalog

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/lazy"
)

// ErrLock: a lock is not what was written, or not what the server was added with.
var ErrLock = errors.New("the lock of the package is not as it was written")

// Lock is packages/ID.json: one package with all that it needs, each by version
// and hash. The copy beside it was installed from it, and can be again.
type Lock struct {
	// Format is 1.
	Format  int    `json:"format"`
	Kind    Kind   `json:"kind"`
	Package string `json:"package"`
	Version string `json:"version"`
	// Extras are those that were asked for, of PyPI.
	Extras string `json:"extras,omitzero"`
	// Program is what is run of a file that was downloaded, where that is not plain.
	Program string `json:"program,omitzero"`
	// For is what the choice of files depended on: "cpython-3.11-linux-x86_64".
	For string `json:"for,omitzero"`
	// Scripts are the packages whose own scripts were allowed to run.
	Scripts []string `json:"scripts,omitempty"`
	// Tree is every package, the one that was asked for included.
	Tree []Entry `json:"tree"`
	// Native is the same in the form that the tool of its kind installs from.
	Native string `json:"native"`
	// Files is the SHA-256 of files.sum in the copy, which has that of each file.
	Files string `json:"files"`
	// Tool and At say who installed it and when.
	Tool string    `json:"tool"`
	At   time.Time `json:"at"`
}

// Entry is a package of a tree.
type Entry struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	// From is where its file was.
	From string `json:"from,omitzero"`
	// Integrity has its hash; of PyPI, that of each file of the version that may be
	// taken. It is empty for what lies inside another package's file.
	Integrity []string `json:"integrity,omitempty"`
	// Path is where it is in the copy, if that is known before it is there.
	Path string `json:"path,omitzero"`
	// Script: it wants to run something when it is installed.
	Script bool `json:"script,omitzero"`
}

// Digest stands for what was resolved. When it was and by whom is none of it.
func (l *Lock) Digest() string {
	what, err := json.Marshal(struct {
		Kind                          Kind
		Package, Version, Extras, For string
		Scripts                       []string
		Tree                          []Entry
		Native                        string
		Program                       string `json:",omitzero"`
	}{l.Kind, l.Package, l.Version, l.Extras, l.For, l.Scripts, l.Tree, l.Native, l.Program})
	if err != nil {
		panic(err) // it is made of strings
	}
	sum := sha256.Sum256(what)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// ID is the name of its copy: what a person knows it by, and enough of the digest.
func (l *Lock) ID() string {
	of := strings.TrimPrefix(l.Package, "@")
	if l.Kind.Downloaded() {
		of = path.Base(filepath.ToSlash(of)) // and not where it is from
	}
	name := unsafe().ReplaceAllString(strings.ToLower(string(l.Kind)+"-"+of+"-"+l.Version), "-")
	if len(name) > 100 {
		name = name[:100]
	}
	return name + "-" + strings.TrimPrefix(l.Digest(), "sha256:")[:16]
}

var unsafe = lazy.Regexp(`[^a-z0-9._-]+`)

func (l *Lock) encode() ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", " ")
	err := enc.Encode(l)
	return b.Bytes(), err
}

// parseLock reads a lock and refuses one that is not the one of that name.
func parseLock(id string, data []byte) (*Lock, error) {
	l := &Lock{}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(l); err != nil {
		return nil, fmt.Errorf("%w: %s: %v", ErrLock, id, err)
	}
	if l.Format != 1 {
		return nil, fmt.Errorf("%s: a lock of format %d, which this version of Berth does not know", id, l.Format)
	}
	if !slices.Contains([]Kind{NPM, PyPI, OCI, Go, MCPB, Binary}, l.Kind) {
		return nil, fmt.Errorf("%w: %s: of kind %q", ErrLock, id, l.Kind)
	}
	if l.ID() != id {
		return nil, fmt.Errorf("%w: %s: its contents have another digest", ErrLock, id)
	}
	return l, nil
}

// pin holds the package's own file to hashes that are known from elsewhere.
func (l *Lock) pin(hashes []string) error {
	if len(hashes) == 0 {
		return nil
	}
	for i := range l.Tree {
		e := &l.Tree[i]
		if !l.own(i) {
			continue
		}
		same := slices.DeleteFunc(slices.Clone(e.Integrity), func(have string) bool {
			return !slices.ContainsFunc(strings.Fields(have), func(word string) bool { return slices.Contains(hashes, word) })
		})
		if len(same) == 0 {
			return berth.WithHint(fmt.Errorf("%w: the registry's %s %s has the hash %s, and the catalogue says %s",
				ErrLock, e.Name, e.Version, strings.Join(e.Integrity, " "), strings.Join(hashes, " ")),
				"somebody changed the package after it was looked at, or the catalogue is wrong: do not run it before you know which")
		}
		e.Integrity = same
	}
	if l.Kind == PyPI {
		l.Native = requirements(l.Tree)
	}
	return nil
}

// scripted are the packages that wanted to run something and were not allowed to.
func (l *Lock) scripted() []string {
	var names []string
	for _, e := range l.Tree {
		if e.Script && !slices.Contains(l.Scripts, e.Name) && !slices.Contains(names, e.Name) {
			names = append(names, e.Name)
		}
	}
	return names
}

// withoutUser takes a user's name and password out of a URL: locks are shown.
func withoutUser(from string) string {
	u, err := url.Parse(from)
	if err != nil || u.User == nil {
		return from
	}
	u.User = nil
	return u.String()
}

// Pinned are the hashes of the package's own file: of the one that was asked for.
func (l *Lock) Pinned() []string {
	for i, e := range l.Tree {
		if l.own(i) {
			return slices.Clone(e.Integrity)
		}
	}
	return nil
}

// own says whether an entry of the tree is the package that was asked for.
func (l *Lock) own(i int) bool {
	e := l.Tree[i]
	switch l.Kind {
	case NPM:
		return e.Path == "node_modules/"+l.Package
	case PyPI:
		return normal(e.Name) == normal(l.Package)
	}
	return i == 0 // of a program of Go its own module, of an image itself
}
