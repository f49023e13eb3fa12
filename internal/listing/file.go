package listing

import (
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
)

// Dirname stands, in what a bundle runs, for where it is unpacked.
const Dirname = "${__dirname}"

// Downloaded says whether an entry is a file that is downloaded, or lies on this machine,
// and unpacked.
func (e *Entry) Downloaded() bool { return e.Kind == MCPB || e.Kind == Binary }

// Sum is the SHA-256 that the file of an entry must have, in lower case; "" if any may.
func (e *Entry) Sum() string {
	if !e.Downloaded() || len(e.Hashes) == 0 {
		return ""
	}
	return strings.TrimPrefix(e.Hashes[0], "sha256:")
}

// IsSHA256 says whether a text is one as it is written here: 64 digits in lower case.
func IsSHA256(text string) bool {
	return len(text) == 64 && !strings.ContainsFunc(text, func(r rune) bool {
		return !('0' <= r && r <= '9' || 'a' <= r && r <= 'f')
	})
}

func nonEmpty(text string) []string {
	if text == "" {
		return nil
	}
	return []string{text}
}

// Add adds to what a bundle says of itself what somebody else says that it is to be run
// with besides.
func (e *Entry) Add(other Entry) {
	e.Args = append(e.Args, other.Args...)
	for key, value := range other.Env {
		if _, there := e.Env[key]; !there {
			e.Env[key] = value
		}
	}
	for _, s := range other.Settings {
		if _, there := e.Setting(s.Key); !there {
			e.Settings = append(e.Settings, s)
		}
	}
}

// checkFile is Check of what is downloaded.
func (e *Entry) checkFile() error {
	var errs []error
	u, err := url.Parse(e.Package)
	isURL := err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Host != ""
	if !isURL && !filepath.IsAbs(e.Package) {
		errs = append(errs, fmt.Errorf("%.80q is neither a URL nor a path", e.Package))
	}
	if isURL && len(e.Hashes) == 0 {
		errs = append(errs, errors.New("nothing says which hash its file has"))
	}
	if len(e.Hashes) > 1 || len(e.Hashes) == 1 && (!strings.HasPrefix(e.Hashes[0], "sha256:") || !IsSHA256(e.Sum())) {
		errs = append(errs, fmt.Errorf("%.80q is no SHA-256 of a file", strings.Join(e.Hashes, " ")))
	}
	return errors.Join(errs...)
}

// At is the entry once it is unpacked in a directory.
func (e Entry) At(dir string) Entry {
	put := func(text string) string { return strings.ReplaceAll(text, Dirname, dir) }
	if e.Kind == Binary {
		e.Program = Dirname + "/" + e.Program
	}
	e.Program = filepath.FromSlash(put(e.Program))
	e.Args = slices.Clone(e.Args)
	for i := range e.Args {
		e.Args[i] = put(e.Args[i])
	}
	env := make(map[string]string, len(e.Env))
	for key, value := range e.Env {
		env[key] = put(value)
	}
	e.Env = env
	return e
}

// unusableFile says why a bundle of a server.json cannot be installed; "" if it can.
func (p *jsonPkg) unusableFile() string {
	u, err := url.Parse(p.Identifier)
	switch {
	case p.Transport.Type != "" && p.Transport.Type != "stdio":
		return fmt.Sprintf("it speaks %.40q and not stdio", p.Transport.Type)
	case err != nil || u.Scheme != "https" || u.Host == "":
		return fmt.Sprintf("%.80q is no https URL of a bundle", p.Identifier)
	case p.SHA256 == "":
		return "it does not give the hash of its bundle (fileSha256)"
	case !IsSHA256(p.SHA256):
		return fmt.Sprintf("its fileSha256 %.80q is no SHA-256 in lower case", p.SHA256)
	}
	return ""
}
