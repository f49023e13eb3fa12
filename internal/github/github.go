// Package github reads files of repositories on GitHub, at one commit, by its REST API
// (https://docs.github.com/en/rest/repos/contents, …/rest/commits/commits).
package github

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"github.com/berth-run/berth"
)

// Default is the API of github.com.
const Default = "https://api.github.com"

// MaxFile bounds a file, in bytes: what the API returns as it is.
const MaxFile = 1 << 20

// ErrNoFile: the repository has no such file.
var ErrNoFile = errors.New("there is no such file")

// Repository is one, and what of it is meant: a branch, a tag or a commit, "" for its
// default branch.
type Repository struct{ Owner, Name, Ref string }

func (r Repository) String() string { return r.Owner + "/" + r.Name }

// Parse reads OWNER/REPO, or the URL of a page of a repository.
func Parse(text string) (Repository, error) {
	bad := berth.WithHint(fmt.Errorf("%.120q is no repository on GitHub", text), "write OWNER/REPO, or https://github.com/OWNER/REPO")
	rest := text
	if strings.Contains(text, "://") {
		u, err := url.Parse(text)
		if err != nil || u.Scheme != "https" || !strings.EqualFold(strings.TrimPrefix(u.Host, "www."), "github.com") || u.User != nil {
			return Repository{}, bad
		}
		rest = strings.Trim(u.Path, "/")
	}
	parts := strings.Split(rest, "/")
	if len(parts) < 2 || !regexp.MustCompile(`^[A-Za-z0-9](?:[A-Za-z0-9-]{0,38})$`).MatchString(parts[0]) {
		return Repository{}, bad
	}
	r := Repository{Owner: parts[0], Name: strings.TrimSuffix(parts[1], ".git")}
	if !regexp.MustCompile(`^[A-Za-z0-9._-]{1,100}$`).MatchString(r.Name) || strings.Trim(r.Name, ".") == "" {
		return Repository{}, bad
	}
	switch {
	case len(parts) == 2:
	case len(parts) > 3 && rest != text && (parts[2] == "tree" || parts[2] == "commit"):
		r.Ref = strings.Join(parts[3:], "/")
	default:
		return Repository{}, bad
	}
	return r, nil
}

// Names says whether a text, as packages have it for their repository, names this one.
func (r Repository) Names(text string) bool {
	text, _, _ = strings.Cut(strings.ToLower(text), "#")
	text = strings.TrimSuffix(strings.TrimRight(text, "/"), ".git")
	want := strings.ToLower(r.String())
	for _, before := range []string{"github:", "github.com/", "github.com:", "www.github.com/"} {
		if at := strings.Index(text, before); at >= 0 && (at == 0 || strings.ContainsRune("/@.", rune(text[at-1]))) {
			got := text[at+len(before):]
			return got == want || strings.HasPrefix(got, want+"/")
		}
	}
	return text == want
}

// Client asks the API.
type Client struct {
	HTTP *http.Client
	// Base is the API's URL, Default for that of github.com.
	Base string
	// Token may be "": then the API answers some 60 times in an hour.
	Token     string
	UserAgent string
}

// Commit returns the commit that a repository's Ref is now.
func (c *Client) Commit(ctx context.Context, r Repository) (sha string, err error) {
	ref := r.Ref
	if ref == "" {
		ref = "HEAD"
	}
	body, err := c.get(ctx, "/repos/"+r.Owner+"/"+r.Name+"/commits/"+url.PathEscape(ref), "application/vnd.github.sha", 256)
	if errors.Is(err, ErrNoFile) {
		return "", berth.WithHint(fmt.Errorf("GitHub has no %s of %s that may be seen", ref, r), "of a private repository, a token in GITHUB_TOKEN lets it be")
	}
	if err != nil {
		return "", fmt.Errorf("%s: %w", r, err)
	}
	if sha = strings.TrimSpace(string(body)); !regexp.MustCompile(`^[0-9a-f]{40}([0-9a-f]{24})?$`).MatchString(sha) {
		return "", fmt.Errorf("%s: GitHub answered %.80q for a commit", r, sha)
	}
	return sha, nil
}

// File returns a file of a commit; ErrNoFile if there is none.
func (c *Client) File(ctx context.Context, r Repository, commit, path string) ([]byte, error) {
	body, err := c.get(ctx, "/repos/"+r.Owner+"/"+r.Name+"/contents/"+path+"?ref="+url.QueryEscape(commit), "application/vnd.github.raw+json", MaxFile)
	if err != nil {
		return nil, fmt.Errorf("%s of %s: %w", path, r, err)
	}
	return body, nil
}

func (c *Client) get(ctx context.Context, path, accept string, most int64) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimRight(c.Base, "/")+path, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", accept)
	req.Header.Set("User-Agent", c.UserAgent)
	req.Header.Set("X-GitHub-Api-Version", "2022-11-28")
	if c.Token != "" {
		req.Header.Set("Authorization", "Bearer "+c.Token)
	}
	resp, err := c.HTTP.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode == http.StatusNotFound || resp.StatusCode == http.StatusUnprocessableEntity:
		return nil, ErrNoFile
	case resp.StatusCode == http.StatusUnauthorized:
		return nil, berth.WithHint(errors.New("GitHub does not take the token"), "make another, or leave it out")
	case (resp.StatusCode == http.StatusForbidden || resp.StatusCode == http.StatusTooManyRequests) && (resp.Header.Get("X-RateLimit-Remaining") == "0" || resp.Header.Get("Retry-After") != ""):
		return nil, berth.WithHint(errors.New("GitHub answers no more for now"), "a token in GITHUB_TOKEN has it answer more often; else wait an hour")
	case resp.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("GitHub answered HTTP %d", resp.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, most+1))
	if err == nil && int64(len(body)) > most {
		err = fmt.Errorf("it has more than %d bytes", most)
	}
	return body, err
}
