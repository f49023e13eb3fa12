package listing

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/berth-run/berth/internal/lazy"
)

// Reference is a server that a user named by what it is, and not by its name in a
// catalogue: a package, a URL, or a document that describes it. One of Kind, Remote,
// Document and File says which.
type Reference struct {
	// Kind is that of a package, whose name and version are Package and Version; Digest
	// is that of an image ("sha256:…"), if it was given.
	Kind                     Kind
	Package, Version, Digest string
	// Remote is the URL of a server, Document that of a server.json.
	Remote, Document string
	// File is the path of a server.json, or of a directory that has one.
	File string
}

// Forms are the ways in which a server can be named, for people.
const Forms = "NAME of a catalogue, npm:NAME[@VERSION] (or @SCOPE/NAME), pypi:NAME[@VERSION], oci:IMAGE[:TAG|@DIGEST], " +
	"go:PACKAGE[@VERSION], the https URL of a remote server, the path or https URL of a server.json, " +
	"the page of a package on npmjs.com, pypi.org, hub.docker.com or pkg.go.dev"

// mostReference bounds what is taken for a reference.
const mostReference = 2 << 10

// ParseReference reads what a user typed for a server. It returns false for a name that
// only a catalogue can know. No text is both: a name of a catalogue has neither a colon
// nor an at sign, does not begin as a path does, and does not end in ".json".
func ParseReference(text string) (Reference, bool, error) {
	if text == "" || len(text) > mostReference || strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r == 0x7f || r == '\uFFFD' }) && !pathLike(text) {
		return Reference{}, false, fmt.Errorf("%.80q names no server", text)
	}
	scheme, rest, colon := strings.Cut(text, ":")
	switch {
	case pathLike(text):
		return Reference{File: text}, true, nil
	case colon && (scheme == "https" || scheme == "http") && strings.HasPrefix(rest, "//"):
		r, err := ofURL(text)
		return r, true, err
	case colon && packaged(Kind(scheme)):
		r, err := ofPackage(Kind(scheme), rest)
		return r, true, err
	case strings.HasSuffix(text, ".json"):
		return Reference{File: text}, true, nil
	case strings.HasPrefix(text, "@"):
		r, err := ofPackage(NPM, text)
		return r, true, err
	case entryName(text):
		return Reference{}, false, nil
	}
	return Reference{}, false, ambiguous(text)
}

// packaged says whether a word is a kind of package that can be named.
func packaged(k Kind) bool { return k == NPM || k == PyPI || k == OCI || k == Go }

// pathLike says whether a text begins as a path does, and as nothing else.
func pathLike(text string) bool {
	if len(text) > 2 && text[1] == ':' && (text[2] == '\\' || text[2] == '/') && ('a' <= text[0]|0x20 && text[0]|0x20 <= 'z') {
		return true // a drive of Windows
	}
	for _, prefix := range []string{"/", "./", "../", "~/", `.\`, `..\`, `\`} {
		if strings.HasPrefix(text, prefix) {
			return true
		}
	}
	return text == "." || text == ".."
}

// ambiguous is the error for what could be several things, with those that it could be.
func ambiguous(text string) error {
	err := fmt.Errorf("%.80q is no name of a catalogue, and does not say what it is", text)
	var may []string
	for _, k := range []Kind{NPM, PyPI, OCI, Go} {
		if _, bad := ofPackage(k, text); bad == nil {
			may = append(may, string(k)+":"+text)
		}
	}
	if len(may) > 0 && len(text) <= 200 {
		return &FormError{err, "say which is meant: " + strings.Join(may, ", ")}
	}
	return &FormError{err, "a server is one of: " + Forms}
}

// FormError is a reference that is not understood. Hint says how one is written.
type FormError struct {
	Err  error
	Hint string
}

func (e *FormError) Error() string { return e.Err.Error() }

func (e *FormError) Unwrap() error { return e.Err }

var (
	goPath    = lazy.Regexp(`^[a-z0-9][a-z0-9-]*(?:\.[a-z0-9-]+)+(?:/[A-Za-z0-9_~-]+(?:\.[A-Za-z0-9_~-]+)*)*$`)
	goVersion = lazy.Regexp(`^v[0-9]+\.[0-9]+\.[0-9]+(?:-[0-9A-Za-z.-]+)?(?:\+incompatible)?$`)
	// The grammar of image references, of the distribution specification.
	imageName = lazy.Regexp(`^(?:[A-Za-z0-9]+(?:(?:\.|-+)[A-Za-z0-9]+)*(?::[0-9]{1,5})?/)?[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*$`)
	imageTag  = lazy.Regexp(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$`)
	imageHash = lazy.Regexp(`^sha256:[0-9a-f]{64}$`)
)

// ofPackage reads what stands after a kind.
func ofPackage(k Kind, spec string) (Reference, error) {
	r := Reference{Kind: k, Package: spec}
	bad := func(form string) error {
		return &FormError{fmt.Errorf("%s: %.80q is no package", k, spec), fmt.Sprintf("write %s:%s", k, form)}
	}
	switch k {
	case NPM:
		if i := strings.LastIndexByte(spec, '@'); i > 0 {
			r.Package, r.Version = spec[:i], spec[i+1:]
		}
		if !npmName().MatchString(r.Package) || strings.HasSuffix(spec, "@") {
			return r, bad("NAME or npm:@SCOPE/NAME, with a version NAME@1.2.3")
		}
	case PyPI:
		var given bool
		if r.Package, r.Version, given = strings.Cut(spec, "=="); !given {
			r.Package, r.Version, given = strings.Cut(spec, "@")
		}
		if !pypiName().MatchString(r.Package) || given && r.Version == "" {
			return r, bad("NAME, with a version NAME@1.2.3 or NAME==1.2.3")
		}
	case OCI:
		return ofImage(spec)
	case Go:
		var given bool
		if r.Package, r.Version, given = strings.Cut(spec, "@"); !goPath().MatchString(r.Package) || given && r.Version == "" {
			return r, bad("PACKAGE such as github.com/someone/server/cmd/server, with a version PACKAGE@v1.2.3")
		}
		if r.Version != "" && r.Version != "latest" && !goVersion().MatchString(r.Version) {
			return r, bad("PACKAGE@v1.2.3: " + fmt.Sprintf("%.40q is no version of a module", r.Version))
		}
	}
	if r.Version == "latest" {
		r.Version = ""
	}
	if k != Go && r.Version != "" && !exact().MatchString(r.Version) {
		return r, &FormError{fmt.Errorf("%s: %.40q is no exact version", k, r.Version), "leave it out for the newest"}
	}
	return r, nil
}

// ofImage reads the name of an image, and makes it whole as the engines do.
func ofImage(spec string) (Reference, error) {
	r := Reference{Kind: OCI}
	bad := func() error {
		return &FormError{fmt.Errorf("oci: %.80q is no image", spec), "write oci:IMAGE such as oci:mcp/time or oci:ghcr.io/someone/server, with a tag IMAGE:1.2 or a digest IMAGE@sha256:…"}
	}
	name := spec
	var digest bool
	if name, r.Digest, digest = strings.Cut(name, "@"); digest && !imageHash().MatchString(r.Digest) {
		return r, bad()
	}
	if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') {
		if name, r.Version = name[:i], name[i+1:]; !imageTag().MatchString(r.Version) {
			return r, bad()
		}
	}
	if !imageName().MatchString(name) || len(name) > 255 {
		return r, bad()
	}
	r.Package = wholeImage(name)
	return r, nil
}

// wholeImage gives an image the registry that the engines take where none is said.
func wholeImage(name string) string {
	first, _, path := strings.Cut(name, "/")
	switch {
	case !path:
		return "docker.io/library/" + name
	case first == "localhost", strings.ContainsAny(first, ".:"):
		return name
	}
	return "docker.io/" + name
}

// ofURL reads a URL: the page of a package, a server.json, or a remote server.
func ofURL(text string) (Reference, error) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" {
		return Reference{}, fmt.Errorf("%.80q is no URL", text)
	}
	parts := strings.Split(strings.Trim(u.Path, "/"), "/")
	noPackage := func(form string) (Reference, error) {
		return Reference{}, &FormError{fmt.Errorf("%.120q is a page of %s, and none of a package", text, u.Hostname()), "such a page is " + form}
	}
	switch strings.TrimPrefix(strings.ToLower(u.Hostname()), "www.") {
	case "npmjs.com":
		name, version, _ := strings.Cut(strings.Trim(u.Path, "/"), "/v/")
		name, ok := strings.CutPrefix(name, "package/")
		if !ok {
			return noPackage("https://www.npmjs.com/package/NAME")
		}
		if version != "" {
			name += "@" + version
		}
		return ofPackage(NPM, name)
	case "pypi.org":
		if len(parts) < 2 || len(parts) > 3 || parts[0] != "project" {
			return noPackage("https://pypi.org/project/NAME")
		}
		return ofPackage(PyPI, strings.Join(parts[1:], "=="))
	case "hub.docker.com":
		switch {
		case len(parts) >= 3 && parts[0] == "r":
			return ofImage("docker.io/" + parts[1] + "/" + parts[2])
		case len(parts) >= 2 && parts[0] == "_":
			return ofImage("docker.io/library/" + parts[1])
		}
		return noPackage("https://hub.docker.com/r/SOMEONE/IMAGE")
	case "pkg.go.dev":
		return ofPackage(Go, strings.Trim(u.Path, "/"))
	}
	if strings.HasSuffix(u.Path, ".json") {
		if u.Scheme != "https" {
			return Reference{}, errors.New("a server.json is taken from an https URL only")
		}
		return Reference{Document: text}, nil
	}
	return Reference{Remote: text}, nil
}
