package mcp

import (
	"encoding/json"
	"net/url"
	"path/filepath"
	"strings"

	"github.com/berth-run/berth/internal/jsonrpc"
)

const methodRoots = "roots/list"

// declareRoots adds the capability to capabilities, whatever they said of it.
func declareRoots(capabilities json.RawMessage) json.RawMessage {
	with, err := jsonrpc.Set(capabilities, []byte("{}"), "roots")
	if err != nil {
		return capabilities // a client's that are no object
	}
	return with
}

// rootsResult is the answer to roots/list: directories as URIs.
func rootsResult(dirs []string) []byte {
	type root struct {
		URI  string `json:"uri"`
		Name string `json:"name"`
	}
	all := struct {
		Roots []root `json:"roots"`
	}{[]root{}}
	for _, dir := range dirs {
		all.Roots = append(all.Roots, root{fileURI(filepath.ToSlash(dir)), filepath.Base(dir)})
	}
	raw, err := json.Marshal(all)
	if err != nil {
		panic("mcp: strings that are no JSON") // cannot happen
	}
	return raw
}

// fileURI is a path, with slashes, as a URI: RFC 8089.
func fileURI(path string) string {
	if !strings.HasPrefix(path, "/") {
		path = "/" + path // C:/…
	}
	u := url.URL{Scheme: "file", Path: path}
	return u.String()
}
