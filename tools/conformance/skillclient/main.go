// Command skillclient is a client of revision 2026-07-28 that loads the skills of a
// server (io.modelcontextprotocol/skills) as a host is to: no file before it is needed,
// and none of a skill whose SKILL.md is not what its entry says. The official suite runs
// it, and says in MCP_CONFORMANCE_SCENARIO what for.
package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"strings"
)

func main() {
	c := &client{url: os.Args[len(os.Args)-1]}
	if err := c.run(os.Getenv("MCP_CONFORMANCE_SCENARIO") != "sep-2640-client-no-prefetch"); err != nil {
		fmt.Fprintln(os.Stderr, "skillclient:", err)
		os.Exit(1)
	}
}

// entry is what a server says of a skill.
type entry struct {
	URI         string            `json:"uri"`
	Frontmatter map[string]string `json:"frontmatter"`
	Resources   []struct {
		URI    string `json:"uri"`
		Digest string `json:"digest"`
		Size   int    `json:"size"`
	} `json:"resources"`
}

// client speaks to the server at a URL.
type client struct {
	url string
	id  int
}

func (c *client) run(load bool) error {
	var said struct {
		Capabilities struct {
			Extensions map[string]any `json:"extensions"`
		} `json:"capabilities"`
	}
	if err := c.ask("server/discover", "", &said); err != nil {
		return err
	}
	if _, ok := said.Capabilities.Extensions["io.modelcontextprotocol/skills"]; !ok {
		return errors.New("the server has no skills")
	}
	var list struct {
		Skills []entry `json:"skills"`
	}
	if err := c.ask("skills/list", "", &list); err != nil {
		return err
	}
	if len(list.Skills) == 0 {
		return errors.New("the server lists no skills")
	}
	for _, e := range list.Skills {
		if !load {
			continue
		}
		if err := c.load(e); err != nil {
			fmt.Fprintf(os.Stderr, "skillclient: %s is not loaded: %v\n", e.URI, err)
		}
	}
	return nil
}

// load reads a skill, the file first that says what it is.
func (c *client) load(e entry) error {
	text, err := c.read(e, e.URI)
	if err != nil {
		return err
	}
	if front := frontmatter(text); !maps.Equal(front, e.Frontmatter) {
		return fmt.Errorf("%s says %v of itself, and its entry %v", e.URI, front, e.Frontmatter)
	}
	for _, r := range e.Resources {
		if r.URI == e.URI {
			continue
		}
		if _, err := c.read(e, r.URI); err != nil {
			return err
		}
	}
	return nil
}

// read reads a file and compares it with the entry of its skill.
func (c *client) read(e entry, uri string) (string, error) {
	var result struct {
		Contents []struct {
			Text string `json:"text"`
		} `json:"contents"`
	}
	if err := c.ask("resources/read", uri, &result); err != nil {
		return "", err
	}
	if len(result.Contents) != 1 {
		return "", fmt.Errorf("%s has %d contents", uri, len(result.Contents))
	}
	text := result.Contents[0].Text
	sum := sha256.Sum256([]byte(text))
	for _, r := range e.Resources {
		switch {
		case r.URI != uri:
			continue
		case r.Size != len(text):
			return "", fmt.Errorf("%s has %d bytes, and not %d", uri, len(text), r.Size)
		case r.Digest != "sha256:"+hex.EncodeToString(sum[:]):
			return "", fmt.Errorf("%s is not what its digest says", uri)
		}
		return text, nil
	}
	return "", fmt.Errorf("%s is no file of the skill", uri)
}

// frontmatter is what a file says before its text, one member a line.
func frontmatter(text string) map[string]string {
	front := map[string]string{}
	head, ok := strings.CutPrefix(text, "---\n")
	if head, _, ended := strings.Cut(head, "\n---\n"); ok && ended {
		for line := range strings.Lines(head) {
			key, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
			front[key] = value
		}
	}
	return front
}

func (c *client) ask(method, uri string, result any) error {
	c.id++
	params := map[string]any{"_meta": map[string]any{
		"io.modelcontextprotocol/protocolVersion":    "2026-07-28",
		"io.modelcontextprotocol/clientInfo":         map[string]string{"name": "skillclient", "version": "1"},
		"io.modelcontextprotocol/clientCapabilities": map[string]any{"extensions": map[string]any{"io.modelcontextprotocol/skills": map[string]any{}}},
	}}
	if uri != "" {
		params["uri"] = uri
	}
	body, err := json.Marshal(map[string]any{"jsonrpc": "2.0", "id": c.id, "method": method, "params": params})
	if err != nil {
		return err
	}
	req, err := http.NewRequest(http.MethodPost, c.url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	for key, value := range map[string]string{
		"Content-Type": "application/json", "Accept": "application/json, text/event-stream",
		"Mcp-Protocol-Version": "2026-07-28", "Mcp-Method": method,
	} {
		req.Header.Set(key, value)
	}
	if uri != "" {
		req.Header.Set("Mcp-Name", uri)
	}
	r, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer r.Body.Close()
	answer, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	if strings.HasPrefix(r.Header.Get("Content-Type"), "text/event-stream") {
		for line := range strings.Lines(string(answer)) {
			if data, ok := strings.CutPrefix(line, "data: "); ok {
				answer = []byte(data) // the last is the answer
			}
		}
	}
	var m struct {
		Result json.RawMessage `json:"result"`
		Error  json.RawMessage `json:"error"`
	}
	if err := json.Unmarshal(answer, &m); err != nil || m.Error != nil {
		return fmt.Errorf("%s: %s: %s, %v", method, r.Status, answer, err)
	}
	return json.Unmarshal(m.Result, result)
}
