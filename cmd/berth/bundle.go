package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/bundle"
	"github.com/berth-run/berth/internal/catalog"
	"github.com/berth-run/berth/internal/guard"
	"github.com/berth-run/berth/internal/listing"
	"github.com/spf13/cobra"
)

// fileOptions are the flags of what is a file: an MCPB bundle, or a program.
type fileOptions struct {
	// sum is the hash that the file must have, program the one in an archive that is
	// run, and args what it is given.
	sum, program string
	args         []string
}

func (o fileOptions) given() bool { return o.sum != "" || o.program != "" || len(o.args) > 0 }

// fileKind says which kind of file a name or a URL is one of, by how it ends; "" for none.
func fileKind(name string) listing.Kind {
	low := strings.ToLower(name)
	u, err := url.Parse(low)
	isURL := err == nil && (u.Scheme == "https" || u.Scheme == "http")
	if isURL {
		low = u.Path
	}
	has := func(ends ...string) bool {
		return slices.ContainsFunc(ends, func(end string) bool { return strings.HasSuffix(low, end) })
	}
	switch {
	case has(".mcpb", ".dxt"):
		return listing.MCPB
	case has(".zip", ".tar.gz", ".tgz") && (isURL || strings.ContainsAny(name, `/\`)):
		return listing.Binary
	}
	return ""
}

// asked is the entry that a user wants to install: a file, or what entry finds.
func (s *site) asked(ctx context.Context, name, kind string, o fileOptions) (listing.Entry, error) {
	if fileKind(name) == "" && !o.given() {
		return s.entry(ctx, name, kind)
	}
	e, err := s.fileEntry(ctx, name, o)
	if err != nil {
		return e, err
	}
	if kind != "" && kind != string(e.Kind) {
		return e, usagef("--kind: %s is to be had as %s", name, e.Kind)
	}
	return e, usable(e, name)
}

// usable says why an entry cannot be installed.
func usable(e listing.Entry, name string) error {
	if e.Unusable != "" {
		return fmt.Errorf("%s cannot be installed: %s", name, e.Unusable)
	}
	if err := e.Check(); err != nil {
		return fmt.Errorf("what is said of %s cannot be used: %w", name, err)
	}
	return nil
}

// fileEntry fetches a file that a user named, and looks what it is.
func (s *site) fileEntry(ctx context.Context, name string, o fileOptions) (listing.Entry, error) {
	sum := strings.ToLower(strings.TrimPrefix(o.sum, "sha256:"))
	if o.sum != "" && !listing.IsSHA256(sum) {
		return listing.Entry{}, usagef("--sha256: %.80q is no SHA-256", o.sum).hint("it has 64 digits, as sha256sum prints them")
	}
	from, away := name, isURL(name)
	if away {
		if _, err := guard.CheckURL(name); err != nil {
			return listing.Entry{}, usagef("%v", err)
		}
	} else if full, err := filepath.Abs(name); err == nil {
		from = full
	}
	e := listing.Entry{Kind: fileKind(name), Package: from, From: listing.FromName}
	if e.Kind == "" {
		if !away {
			return e, usagef("%s is neither a URL nor a bundle nor an archive", name).hint("berth add runs a program that is on this machine")
		}
		e.Kind = listing.Binary
	}
	if away && sum == "" {
		hint := "whoever offers the file says which it is, often beside it"
		if e.Kind == listing.MCPB {
			hint += "; berth info " + name + " shows that of what is there now"
		}
		return e, usagef("--sha256: what is downloaded must have a hash that you know").hint("%s", hint)
	}
	if e.Kind == listing.MCPB && (o.program != "" || len(o.args) > 0) {
		return e, usagef("%s is a bundle, which says itself what is run", name).hint("--program and -- ARG… are for programs")
	}
	if sum != "" {
		e.Hashes = []string{"sha256:" + sum}
	}
	if e.Kind == listing.MCPB {
		return s.readBundle(ctx, e)
	}
	return s.readProgram(ctx, e, o)
}

// stage fetches the file of an entry to where it can be looked at, and is unpacked from.
func (s *site) stage(ctx context.Context, e *listing.Entry) (*catalog.Staged, error) {
	s.unstage()
	defer s.ui.clearProgress()
	f, err := catalog.New(s.home).Stage(ctx, e.Package, e.Sum(), catalog.Options{Environ: os.Environ(), Get: openURL,
		Say:  func(text string) { s.ui.say("%s", text) },
		Show: func(text string) { s.ui.show("%s", text) },
	})
	if err != nil {
		return nil, err
	}
	s.staged, e.Hashes = f, []string{"sha256:" + f.SHA256}
	return f, nil
}

// unstage removes what was fetched to be looked at.
func (s *site) unstage() {
	if s.staged != nil {
		s.staged.Close()
		s.staged = nil
	}
}

// readBundle is an entry with what its bundle says of itself.
func (s *site) readBundle(ctx context.Context, e listing.Entry) (listing.Entry, error) {
	f, err := s.stage(ctx, &e)
	if err != nil {
		return e, err
	}
	in, err := f.Open()
	if err != nil {
		return e, err
	}
	defer in.Close()
	said, err := manifestOf(in, f.Size)
	if err != nil {
		return e, fmt.Errorf("%s: %w", path.Base(filepath.ToSlash(e.Package)), err)
	}
	said.Package, said.Hashes, said.From, said.Status = e.Package, e.Hashes, e.From, e.Status
	if e.Name != "" { // a registry lists it, and what that says of it comes first
		said.Name, said.Title, said.About, said.Version = e.Name, orText(e.Title, said.Title), orText(e.About, said.About), e.Version
		said.Repository = orText(e.Repository, said.Repository)
		said.Add(e)
	}
	return said, nil
}

func isURL(name string) bool {
	return strings.HasPrefix(name, "https://") || strings.HasPrefix(name, "http://")
}

func orText(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// manifestOf reads what a bundle says of itself, and checks its signature.
func manifestOf(in *os.File, size int64) (listing.Entry, error) {
	b, err := bundle.Open(in, size, bundle.DefaultLimits())
	if err != nil {
		return listing.Entry{}, err
	}
	signature, err := b.Signature(nil, time.Now())
	if err != nil {
		return listing.Entry{}, berth.WithHint(err, "get it again from whoever made it; do not run this one")
	}
	doc, err := b.Manifest()
	if err != nil {
		return listing.Entry{}, err
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return listing.Entry{}, err
	}
	e, err := listing.ParseManifest(doc, listing.Machine{OS: runtime.GOOS, Home: home})
	e.Signed = signedLine(signature)
	return e, err
}

// signedLine says what is known of a signature.
func signedLine(s *bundle.Signature) string {
	switch {
	case s == nil:
		return "by nobody"
	case s.Trusted:
		return fmt.Sprintf("by %s, for whom %s vouches (certificate %s)", listing.Shown(s.Signer, 120), listing.Shown(s.Issuer, 120), s.Fingerprint)
	}
	return fmt.Sprintf("by %s, for whom nobody vouches that is trusted here (certificate %s): %s", listing.Shown(s.Signer, 120), s.Fingerprint, listing.Shown(s.Why, 200))
}

// readProgram is the entry of a program, or of an archive with one.
func (s *site) readProgram(ctx context.Context, e listing.Entry, o fileOptions) (listing.Entry, error) {
	f, err := s.stage(ctx, &e)
	if err != nil {
		return e, err
	}
	base := path.Base(filepath.ToSlash(e.Package))
	if u, err := url.Parse(e.Package); err == nil && u.Scheme != "" {
		base = path.Base(u.Path)
	}
	if e.Program, err = f.Program(o.program); err != nil {
		return e, fmt.Errorf("%s: %w", base, err)
	}
	e.Name, e.Version, e.Args = programName(base), f.SHA256[:12], o.args
	return e, nil
}

// programName makes a name of that of a file: what comes before the system that it is for.
func programName(file string) string {
	low := strings.ToLower(file)
	for _, end := range []string{".exe", ".zip", ".tgz", ".gz", ".tar"} {
		low = strings.TrimSuffix(low, end)
	}
	words := strings.FieldsFunc(low, func(r rune) bool { return !('a' <= r && r <= 'z' || '0' <= r && r <= '9') })
	for i, word := range words {
		switch word {
		case "linux", "darwin", "macos", "windows", "win32", "win64", "amd64", "x86", "arm64", "aarch64", "i386", "universal":
			words = words[:i]
		default:
			continue
		}
		break
	}
	if len(words) == 0 {
		return "program"
	}
	return strings.Join(words, "-")
}

// fileRequest is what is to be unpacked of an entry, args those of its program.
func fileRequest(e listing.Entry, args []string) *catalog.Request {
	return &catalog.Request{Kind: catalog.Kind(e.Kind), Package: e.Package, Version: e.Version, Program: e.Program, Hashes: e.Hashes, Args: args}
}

// placed is an entry where it will be, if it is one that is unpacked.
func (s *site) placed(e listing.Entry) (listing.Entry, error) {
	if !e.Downloaded() {
		return e, nil
	}
	dir, err := catalog.New(s.home).Place(*fileRequest(e, nil))
	if err != nil {
		return e, err
	}
	return e.At(dir), nil
}

// offeredFile is what a file that was installed is to be replaced by: the same without any
// word of the user, for its hash is what the user said.
func (s *site) offeredFile(ctx context.Context, was listing.Entry, from string, o fileOptions) (listing.Entry, error) {
	local := filepath.IsAbs(was.Package)
	if from == "" && o.sum == "" && !local {
		return was, nil
	}
	if o.program == "" && was.Kind == listing.Binary {
		o.program = was.Program
		if !strings.Contains(was.Program, "/") && fileKind(was.Package) == "" {
			o.program = "" // it was the file itself
		}
	}
	if was.Kind == listing.Binary && len(o.args) == 0 {
		o.args = was.Args
	}
	if from == "" {
		from = was.Package
	}
	e, err := s.fileEntry(ctx, from, o)
	if err != nil {
		return e, err
	}
	if e.Kind != was.Kind {
		return e, errors.New("it was a " + string(was.Kind) + " and would be a " + string(e.Kind) + ": install it by another name")
	}
	if e.Kind == listing.Binary {
		e.Name = was.Name
	}
	return e, usable(e, from)
}

// bundleAt is the bundle that berth info shows: one on this machine is read where it is.
func (s *site) bundleAt(ctx context.Context, name string) (listing.Entry, error) {
	if isURL(name) {
		if _, err := guard.CheckURL(name); err != nil {
			return listing.Entry{}, usagef("%v", err)
		}
		defer s.unstage()
		return s.readBundle(ctx, listing.Entry{Kind: listing.MCPB, Package: name, From: listing.FromName})
	}
	full, err := filepath.Abs(name)
	if err != nil {
		return listing.Entry{}, err
	}
	in, err := os.Open(full)
	if err != nil {
		return listing.Entry{}, err
	}
	defer in.Close()
	hash := sha256.New()
	size, err := io.Copy(hash, in)
	if err != nil {
		return listing.Entry{}, err
	}
	e, err := manifestOf(in, size)
	if err != nil {
		return e, fmt.Errorf("%s: %w", name, err)
	}
	e.Package, e.From, e.Hashes = full, listing.FromName, []string{"sha256:" + hex.EncodeToString(hash.Sum(nil))}
	return e, nil
}

// entryWithArgs takes one server, and after -- the arguments of a program.
func entryWithArgs(cmd *cobra.Command, args []string) error {
	if dash := cmd.ArgsLenAtDash(); dash >= 0 {
		return oneEntry(cmd, args[:dash])
	}
	return oneEntry(cmd, args)
}
