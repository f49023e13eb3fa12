package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/guard"
	"github.com/berth-run/berth/internal/listing"
)

// misnamed is a wrong usage, with how a server is named.
func misnamed(err error) error {
	bad := usagef("%v", err)
	var form *listing.FormError
	if errors.As(err, &form) {
		return bad.hint("%s", form.Hint)
	}
	return bad.hint("a server is one of: %s", listing.Forms)
}

// direct returns the ways in which a server can be had that a user named by what it is.
func (s *site) direct(ctx context.Context, r listing.Reference) ([]listing.Entry, error) {
	switch {
	case r.File != "":
		return fileEntries(r.File)
	case r.Document != "":
		return documentEntries(ctx, r.Document)
	case r.Remote != "":
		e, err := urlEntry(r.Remote)
		return []listing.Entry{e}, err
	}
	e, err := packageEntry(r)
	return []listing.Entry{e}, err
}

// packageEntry is a package of which nothing else is known, or that of the catalogue.
func packageEntry(r listing.Reference) (listing.Entry, error) {
	known, found, err := listing.OfPackage(r.Kind, r.Package)
	if err != nil {
		return listing.Entry{}, err
	}
	if found && r.Digest == "" && (r.Version == "" || r.Version == known.Version) {
		return known, nil
	}
	e := r.EntryOf(strings.TrimPrefix(path.Base(r.Package), "@"))
	if err := e.Check(); err != nil {
		return e, usagef("%s: %v", r.Kind, err)
	}
	return e, nil
}

// urlEntry is a remote server of which nothing else is known.
func urlEntry(at string) (listing.Entry, error) {
	u, err := guard.CheckURL(at)
	if err != nil {
		return listing.Entry{}, usagef("%v", err)
	}
	e := listing.Entry{Name: hostName(u), Kind: listing.Remote, URL: at, From: listing.FromName}
	return e, e.Check()
}

// hostName makes a name of a URL: of what stands before the last dot of its host.
func hostName(u *url.URL) string {
	parts := strings.Split(u.Hostname(), ".")
	if len(parts) > 1 {
		parts = parts[:len(parts)-1]
	}
	if len(parts) > 1 && (parts[0] == "mcp" || parts[0] == "www" || parts[0] == "api") {
		parts = parts[1:]
	}
	return strings.Join(parts, "-")
}

// fileEntries are those of a server.json, or of the one in a directory.
func fileEntries(name string) ([]listing.Entry, error) {
	full, err := filepath.Abs(name)
	if rest, ok := strings.CutPrefix(name, "~/"); ok {
		var home string
		if home, err = os.UserHomeDir(); err == nil {
			full = filepath.Join(home, rest)
		}
	}
	if err != nil {
		return nil, err
	}
	if info, err := os.Stat(full); err == nil && info.IsDir() {
		full = filepath.Join(full, "server.json")
	}
	f, err := os.Open(full)
	if errors.Is(err, os.ErrNotExist) {
		return nil, berth.WithHint(err, "a name that ends in .json is the path of a server.json, and so is what begins as a path")
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return described(f, full)
}

// documentEntries are those of a server.json at a URL.
func documentEntries(ctx context.Context, at string) ([]listing.Entry, error) {
	if _, err := guard.CheckURL(at); err != nil {
		return nil, usagef("%v", err)
	}
	body, err := download(ctx, at)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	return described(body, at)
}

// documentTimeout bounds the download of a document.
const documentTimeout = time.Minute

// download opens what is at a URL. The caller closes it.
func download(ctx context.Context, at string) (io.ReadCloser, error) {
	client, err := guard.New(at, &guard.Options{Header: 30 * time.Second})
	if err != nil {
		return nil, err
	}
	client.Timeout = documentTimeout
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", "berth/"+berth.Version)
	resp, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("fetch %s: %w", cut(at, 120), err)
	}
	if resp.StatusCode != http.StatusOK {
		resp.Body.Close()
		return nil, fmt.Errorf("fetch %s: HTTP %d", cut(at, 120), resp.StatusCode)
	}
	return resp.Body, nil
}

// described reads a server.json.
func described(from io.Reader, name string) ([]listing.Entry, error) {
	doc, err := io.ReadAll(io.LimitReader(from, listing.MaxServerJSON+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	all, err := listing.ParseServerJSON(doc)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	for i := range all {
		all[i].From = listing.FromFile + ":" + name
	}
	return all, nil
}

// sourceLine says where an entry is from.
func sourceLine(e listing.Entry) string {
	switch file, isFile := strings.CutPrefix(e.From, listing.FromFile+":"); {
	case isFile && strings.HasPrefix(file, "https://"):
		return "the document " + file
	case isFile:
		return "the file " + file
	case strings.HasPrefix(e.From, listing.FromIndex+":"):
		return "the index " + strings.TrimPrefix(e.From, listing.FromIndex+":") + ", whose entries nobody here has looked at"
	case e.From == listing.FromBerth:
		return "Berth's own catalogue"
	case e.From == listing.FromRegistry:
		return "the MCP registry, as its author published it"
	}
	return "you: nothing else is known of it"
}
