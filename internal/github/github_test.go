package github_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/github"
)

func TestParse(t *testing.T) {
	for text, want := range map[string]github.Repository{
		"someone/server":                         {Owner: "someone", Name: "server"},
		"https://github.com/someone/server.git":  {Owner: "someone", Name: "server"},
		"https://www.github.com/someone/server/": {Owner: "someone", Name: "server"},
		"https://github.com/a/b/tree/feature/x":  {Owner: "a", Name: "b", Ref: "feature/x"},
		"server":                                 {}, "a/b/c": {}, "../b": {}, "a/..": {}, "a/b?x": {}, "http://github.com/a/b": {}, "https://github.com.evil.example/a/b": {},
		"https://x:y@github.com/a/b": {}, "https://github.com/a": {}, "https://github.com/a/b/issues/1": {}, "-a/b": {},
	} {
		got, err := github.Parse(text)
		if got != want || (err == nil) != (want.Owner != "") {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
}

func TestNames(t *testing.T) {
	r := github.Repository{Owner: "Some", Name: "server"}
	for text, want := range map[string]bool{
		"git+https://github.com/some/server.git": true, "github:some/server": true, "some/server": true, "https://github.com/some/server/tree/main/x#readme": true,
		"git@github.com:some/server.git": true, "https://github.com/some/server2": false, "https://notgithub.com/some/server": false, "": false,
		"https://evil.example/github.com/some/other": false,
	} {
		if r.Names(text) != want {
			t.Errorf("%q: %v", text, !want)
		}
	}
}

func TestClient(t *testing.T) {
	sha := strings.Repeat("a", 40)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Header.Get("Authorization") == "Bearer bad":
			w.WriteHeader(http.StatusUnauthorized)
		case r.URL.Path == "/repos/o/limited/commits/HEAD":
			w.Header().Set("X-RateLimit-Remaining", "0")
			w.WriteHeader(http.StatusForbidden)
		case r.URL.EscapedPath() == "/repos/o/r/commits/v1%2Fx" && r.Header.Get("Accept") == "application/vnd.github.sha":
			_, _ = w.Write([]byte(sha))
		case r.URL.Path == "/repos/o/odd/commits/HEAD":
			_, _ = w.Write([]byte("<html>"))
		case r.URL.Path == "/repos/o/r/contents/a.json" && r.URL.Query().Get("ref") == sha && r.Header.Get("Accept") == "application/vnd.github.raw+json":
			_, _ = w.Write([]byte("{}"))
		case r.URL.Path == "/repos/o/r/contents/big":
			_, _ = w.Write(make([]byte, github.MaxFile+1))
		default:
			http.NotFound(w, r)
		}
	}))
	defer s.Close()
	c := &github.Client{HTTP: s.Client(), Base: s.URL, UserAgent: "test"}
	r := github.Repository{Owner: "o", Name: "r", Ref: "v1/x"}
	if got, err := c.Commit(t.Context(), r); got != sha || err != nil {
		t.Error(got, err)
	}
	if got, err := c.File(t.Context(), r, sha, "a.json"); string(got) != "{}" || err != nil {
		t.Error(string(got), err)
	}
	if _, err := c.File(t.Context(), r, sha, "b.json"); !errors.Is(err, github.ErrNoFile) {
		t.Error(err)
	}
	if _, err := c.File(t.Context(), r, sha, "big"); err == nil {
		t.Error("a file of any length is taken")
	}
	for name, want := range map[string]string{"limited": "no more for now", "odd": "for a commit", "none": "has no HEAD"} {
		if _, err := c.Commit(t.Context(), github.Repository{Owner: "o", Name: name}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	c.Token = "bad"
	_, err := c.Commit(t.Context(), r)
	var hint *berth.Hinted
	if err == nil || strings.Contains(err.Error(), "bad") || !errors.As(err, &hint) {
		t.Error(err)
	}
}
