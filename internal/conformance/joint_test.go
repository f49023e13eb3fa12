//go:build linux

package conformance

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/berth-run/berth/internal/jsonrpc"
	"github.com/berth-run/berth/internal/oauthtest"
	"github.com/berth-run/berth/internal/released"
)

// raw is a client by HTTP that says what the test has it say, in one era.
type raw struct {
	url     string // of a server, or of all
	version string
	session string
	id      int
}

func newRaw(t *testing.T, url, version string) *raw {
	t.Helper()
	c := &raw{url: url, version: version}
	if version == modern {
		return c
	}
	r, m := c.do(t, `{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"`+version+`","capabilities":{},"clientInfo":{"name":"raw","version":"1"}}}`)
	if c.session = r.Header.Get("Mcp-Session-Id"); c.session == "" || m.Kind != jsonrpc.Response {
		t.Fatalf("initialize at %s: %s %s", url, r.Status, m.Error)
	}
	return c
}

func (c *raw) do(t *testing.T, body string, headers ...string) (*http.Response, jsonrpc.Message) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, c.url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json, text/event-stream")
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	if c.session != "" {
		req.Header.Set("Mcp-Session-Id", c.session)
	}
	r, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	answer, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	if strings.HasPrefix(r.Header.Get("Content-Type"), "text/event-stream") {
		for line := range strings.Lines(string(answer)) {
			if data, ok := strings.CutPrefix(line, "data: "); ok {
				answer = []byte(data) // the last is the answer
			}
		}
	}
	m, err := jsonrpc.Parse(answer)
	if err != nil {
		t.Fatalf("%s: %s: %q: %v", body, r.Status, answer, err)
	}
	return r, m
}

// ask makes a request with these members of params.
func (c *raw) ask(t *testing.T, method, members string) jsonrpc.Message {
	t.Helper()
	c.id++
	var headers []string
	if c.version == modern {
		headers = []string{"Mcp-Protocol-Version", modern, "Mcp-Method", method}
		for _, member := range []string{"name", "uri"} {
			if name, ok := jsonrpc.Text(jsonrpc.Get([]byte("{"+members+"}"), member)); ok {
				headers = append(headers, "Mcp-Name", name)
			}
		}
		if members != "" {
			members = "," + members
		}
		members = `"_meta":{"io.modelcontextprotocol/protocolVersion":"` + modern + `","io.modelcontextprotocol/clientCapabilities":{}}` + members
	}
	_, m := c.do(t, fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":%q,"params":{%s}}`, c.id, method, members), headers...)
	return m
}

// list returns a whole list.
func (c *raw) list(t *testing.T, method, member string) []json.RawMessage {
	t.Helper()
	m := c.ask(t, method, "")
	var result map[string]json.RawMessage
	var all []json.RawMessage
	if m.Kind != jsonrpc.Response || json.Unmarshal(m.Result, &result) != nil || json.Unmarshal(result[member], &all) != nil {
		t.Fatalf("%s at %s: %s%s", method, c.url, m.Result, m.Error)
	}
	return all
}

func textOf(raw json.RawMessage, path ...string) string {
	text, _ := jsonrpc.Text(jsonrpc.Get(raw, path...))
	return text
}

// comesTo is what an answer comes down to, however often it is asked for.
func comesTo(m jsonrpc.Message) string {
	if m.Kind == jsonrpc.ErrorResponse {
		if code := string(jsonrpc.Get(m.Error, "code")); code == "-32021" {
			// A server that asks several things at once is told of the first, and which
			// one that is differs from call to call.
			return "error " + code
		}
		return "error " + string(m.Error)
	}
	if string(jsonrpc.Get(m.Result, "isError")) == "true" {
		return "failed"
	}
	if kind := textOf(json.RawMessage(m.Result), "resultType"); kind != "" && kind != "complete" {
		return kind
	}
	return "done"
}

// argumentsFor are values for the properties that a schema requires.
func argumentsFor(schema []byte) string {
	var s struct {
		Required   []string
		Properties map[string]json.RawMessage
	}
	_ = json.Unmarshal(schema, &s) // none is none
	arguments := map[string]any{}
	for _, name := range s.Required {
		p := s.Properties[name]
		switch textOf(p, "type") {
		case "string":
			arguments[name] = "x"
			for choice := range jsonrpc.Elements(jsonrpc.Get(p, "enum")) {
				arguments[name] = json.RawMessage(choice)
				break
			}
		case "number", "integer":
			arguments[name] = 1
		case "boolean":
			arguments[name] = false
		case "array":
			arguments[name] = []any{}
		default:
			arguments[name] = map[string]any{}
		}
	}
	raw, _ := json.Marshal(arguments) // it is made of JSON
	return string(raw)
}

// What some tools are called with, so that they take no seconds and reach no network.
func quickArguments(tool string) string {
	return map[string]string{
		"trigger-long-running-operation": `{"duration":0.1,"steps":1}`,
		"gzip-file-as-resource":          `{"name":"x","data":"http://127.0.0.1:1/x"}`,
		"toggle-simulated-logging":       ``, // it would write from then on
		"toggle-subscriber-updates":      ``,
	}[tool]
}

// TestManyServers has seventeen servers at one address: four that offer what others do,
// under other names, two that are elsewhere and want a login, of which one is the
// official suite's with its authorization server, one that never answers and one that
// cannot live among them.
// Each tool, prompt and resource of theirs is asked for there, in both eras, and
// answers as it does at its server's own address; and all lists are, byte for byte,
// what they were, after another gateway has come.
func TestManyServers(t *testing.T) {
	o := switchedOn(t)
	site := released.NewSite(t, released.Build(t))
	servers := o.servers(t)
	again := func(name, as string) {
		for _, s := range servers {
			if s.name == name {
				s.name = as
				servers = append(servers, s)
				return
			}
		}
		t.Fatal(name)
	}
	again("everything", "everything.2")
	again("sdk", "sdk-2")
	again("filesystem", "files")
	again("memory", "graph")
	for _, s := range servers { // local ones, so far
		args := []string{"add", s.name, "--profile", "off"}
		for _, kv := range s.env {
			args = append(args, "--env", kv)
		}
		site.Berth(slices.Concat(args, []string{"--"}, s.argv)...)
	}
	// Two are elsewhere, and want a login.
	far := oauthtest.New(t)
	at, err := url.Parse(serve(t, dual.build(t)))
	if err != nil {
		t.Fatal(err)
	}
	to := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(at)
		r.Out.URL.Path = at.Path
	}, FlushInterval: -1}
	far.MCP = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// A server closes what it has not read of a body once it answers, and then the
		// proxy its connection, in the middle of the answer.
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		to.ServeHTTP(w, r)
	})
	browse(t)
	for _, elsewhere := range [][]string{{"far", far.URL + "/mcp"}, {"suites", o.authServer(t), "--client-id", suiteClientID}} {
		name := elsewhere[0]
		site.Berth("add", name, "--no-run", "--url", elsewhere[1])
		if out, err := site.Try("start", name); err == nil || !strings.Contains(err.Error(), "berth auth "+name) {
			t.Errorf("without a login: %v\n%s", err, out)
		}
		site.Berth(append([]string{"auth", name, "--timeout", "30s"}, elsewhere[2:]...)...)
		servers = append(servers, server{name: name})
	}
	site.Berth("add", "hung", "--no-run", "--profile", "off", "--", "sleep", "1000000")
	site.Berth("add", "crashing", "--no-run", "--no-restart", "--profile", "off", "--", "false")
	gw := site.Up()
	site.Berth("start", "far", "suites")
	for _, version := range []string{legacy, modern} {
		t.Run(version, func(t *testing.T) {
			all := newRaw(t, gw.URL+"/mcp", version)
			direct := map[string]*raw{}
			for _, s := range servers {
				direct[s.name] = newRaw(t, gw.URL+"/servers/"+s.name+"/mcp", version)
			}
			allTools(t, all, direct)
			allPrompts(t, all, direct)
			allResources(t, all, direct)
		})
	}
	lists := func() string {
		var b strings.Builder
		for _, version := range []string{legacy, modern} {
			c := newRaw(t, gw.URL+"/mcp", version)
			for _, l := range [][2]string{{"tools/list", "tools"}, {"prompts/list", "prompts"}, {"resources/list", "resources"}, {"resources/templates/list", "resourceTemplates"}} {
				for _, item := range c.list(t, l[0], l[1]) {
					b.Write(item)
					b.WriteByte('\n')
				}
			}
		}
		return b.String()
	}
	before := lists()
	gw.Kill()
	gw = site.Up()
	if after := lists(); after != before {
		was := slices.Collect(strings.Lines(before))
		is := slices.Collect(strings.Lines(after))
		t.Errorf("%d elements were listed, and %d are", len(was), len(is))
		for i := range min(len(was), len(is)) {
			if was[i] != is[i] {
				t.Errorf("the first that differs was %.200s, and is %.200s", was[i], is[i])
				break
			}
		}
	}
	if out := site.Berth("audit", "--action", "resource-renamed"); !strings.Contains(out, "everything.2") {
		t.Errorf("the clashes are not on record:\n%s", out)
	}
	if n := strings.Count(before, "\n"); n < 300 {
		t.Errorf("there are %d elements only", n)
	}
	http.DefaultClient.CloseIdleConnections()
}

// ownerOf is the server that a name among those of all belongs to, and its own name.
func ownerOf(t *testing.T, direct map[string]*raw, public string) (server, name string) {
	t.Helper()
	prefix, name, _ := strings.Cut(public, "_")
	if direct[prefix] != nil {
		return prefix, name
	}
	if strings.HasPrefix(prefix, "everything-2-") {
		return "everything.2", name
	}
	t.Fatalf("%q belongs to no server", public)
	return "", ""
}

func allTools(t *testing.T, all *raw, direct map[string]*raw) {
	begun := time.Now()
	merged := all.list(t, "tools/list", "tools")
	if took := time.Since(begun); took > 20*time.Second {
		t.Errorf("the list waited for %v", took)
	}
	sum := 0
	for name := range direct {
		sum += len(direct[name].list(t, "tools/list", "tools"))
	}
	if len(merged) != sum {
		t.Errorf("%d tools, of servers that have %d", len(merged), sum)
	}
	own := map[string]string{} // the servers' names of tools that were cut
	for server, c := range direct {
		for _, tool := range c.list(t, "tools/list", "tools") {
			own[server+" "+string(jsonrpc.Delete(tool, "name"))] = textOf(tool, "name")
		}
	}
	for _, tool := range merged {
		public := textOf(tool, "name")
		server, _ := ownerOf(t, direct, public)
		name, same := own[server+" "+string(jsonrpc.Delete(tool, "name"))]
		if !same || len(public) > 48 {
			t.Errorf("%s is not as %s has it, but for its name: %.300s", public, server, tool)
			continue
		}
		arguments := argumentsFor(jsonrpc.Get(tool, "inputSchema"))
		if server == "playwright" || server == "context7" {
			if arguments == "{}" {
				continue // it would look for a browser, or the network
			}
			arguments = `{"no":"such"}`
		}
		if quick := quickArguments(name); quick != "" {
			arguments = quick
		} else if strings.HasPrefix(name, "toggle-") {
			continue
		}
		got := comesTo(all.ask(t, "tools/call", fmt.Sprintf(`"name":%q,"arguments":%s`, public, arguments)))
		want := comesTo(direct[server].ask(t, "tools/call", fmt.Sprintf(`"name":%q,"arguments":%s`, name, arguments)))
		if got != want {
			t.Errorf("%s %s: %s, at its server's own address: %s", public, arguments, got, want)
		}
	}
}

func allPrompts(t *testing.T, all *raw, direct map[string]*raw) {
	prompts := all.list(t, "prompts/list", "prompts")
	if len(prompts) < 12 {
		t.Errorf("%d prompts", len(prompts))
	}
	for _, p := range prompts {
		public := textOf(p, "name")
		server, name := ownerOf(t, direct, public)
		arguments := map[string]string{}
		for a := range jsonrpc.Elements(jsonrpc.Get(p, "arguments")) {
			arguments[textOf(a, "name")] = "1"
		}
		raw, err := json.Marshal(arguments)
		if err != nil {
			t.Fatal(err)
		}
		got := comesTo(all.ask(t, "prompts/get", fmt.Sprintf(`"name":%q,"arguments":%s`, public, raw)))
		want := comesTo(direct[server].ask(t, "prompts/get", fmt.Sprintf(`"name":%q,"arguments":%s`, name, raw)))
		if got != want {
			t.Errorf("%s: %s, at its server's own address: %s", public, got, want)
		}
	}
}

func allResources(t *testing.T, all *raw, direct map[string]*raw) {
	var uris []string
	for _, r := range all.list(t, "resources/list", "resources") {
		uris = append(uris, textOf(r, "uri"))
	}
	sum := 0
	for _, c := range direct {
		if m := c.ask(t, "resources/list", ""); m.Kind == jsonrpc.Response {
			for range jsonrpc.Elements(jsonrpc.Get(m.Result, "resources")) {
				sum++
			}
		}
	}
	if len(uris) != sum || len(uris) < 20 {
		t.Errorf("%d resources, of servers that have %d", len(uris), sum)
	}
	for _, tpl := range all.list(t, "resources/templates/list", "resourceTemplates") {
		uri := textOf(tpl, "uriTemplate")
		for strings.Contains(uri, "{") {
			before, rest, _ := strings.Cut(uri, "{")
			_, after, _ := strings.Cut(rest, "}")
			uri = before + "1" + after
		}
		uris = append(uris, uri)
	}
	seen := map[string]bool{}
	for _, uri := range uris {
		if seen[uri] {
			t.Errorf("two resources are %s", uri)
		}
		seen[uri] = true
		m := all.ask(t, "resources/read", fmt.Sprintf(`"uri":%q`, uri))
		if got := textOf(json.RawMessage(slices.Collect(jsonrpc.Elements(jsonrpc.Get(m.Result, "contents")))[0]), "uri"); comesTo(m) != "done" || got != uri {
			t.Errorf("%s: %s, of %s", uri, comesTo(m), got)
		}
	}
}
