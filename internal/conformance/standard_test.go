//go:build linux

package conformance

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/berth-run/berth/internal/released"
)

// standard is a real server as its user adds it, and a call of each of its tools.
type standard struct {
	name  string
	flags []string // of berth add
	argv  []string
	calls []call
	// refused are calls of what it was not granted, and what is said of that.
	refused []call
	// change are flags of berth permissions, and after them calls that were allowed
	// by the server, and are refused by Berth.
	change []string
	then   []call
}

// TestStandard: real servers do all their work under the profile standard, with
// what Berth declares for them, and no more than that.
func TestStandard(t *testing.T) {
	fromRegistries(t)
	bin := released.Build(t)
	servers := []func(*testing.T, string) standard{everything, filesystem, memory, thinking}
	if uv := os.Getenv("BERTH_TEST_UV"); uv == "" {
		t.Log("BERTH_TEST_UV is not set: no server of Python")
	} else {
		t.Setenv("PATH", filepath.Dir(uv)+":"+os.Getenv("PATH"))
		servers = append(servers, clock, fetcher, git)
	}
	// The one that skips is the last.
	for _, s := range append(servers, browser) {
		runStandard(t, bin, t.TempDir(), s)
	}
}

// TestStandardAsNobody: the same without rights and without a way to get any.
func TestStandardAsNobody(t *testing.T) {
	fromRegistries(t)
	if os.Geteuid() != 0 {
		t.Skip("only root can become another user; part of TestStandard otherwise, see TestAsNobody")
	}
	dir, err := os.MkdirTemp("/tmp", "berth-standard-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	berth := filepath.Join(dir, "berth")
	bin, err := os.ReadFile(released.Build(t))
	if err != nil {
		t.Fatal(err)
	}
	// A test's own home, which the first two words name, would be root's.
	script := fmt.Sprintf("#!/bin/sh\nhome=$(echo \"$2\" | cksum | cut -d' ' -f1)\nshift 2\nHOME=%s TMPDIR=%[1]s exec setpriv --reuid=65534 --regid=65534 --clear-groups --no-new-privs %s --home %[1]s/$home \"$@\"\n", dir, berth)
	for path, text := range map[string][]byte{berth: bin, berth + ".sh": []byte(script)} {
		if err := os.WriteFile(path, text, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	give(t, dir)
	for _, s := range []func(*testing.T, string) standard{browser} {
		runStandard(t, berth+".sh", dir, s)
	}
}

// give makes a directory and what is in it the nobody's.
func give(t *testing.T, dir string) {
	t.Helper()
	if err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, 65534, 65534)
	}); err != nil {
		t.Fatal(err)
	}
}

// fromRegistries skips where packages cannot be had.
func fromRegistries(t *testing.T) {
	t.Helper()
	if os.Getenv("BERTH_TEST_REGISTRIES") != "1" {
		t.Skip("this test needs BERTH_TEST_REGISTRIES=1, and registry.npmjs.org and pypi.org")
	}
}

func runStandard(t *testing.T, bin, dir string, make func(*testing.T, string) standard) {
	t.Helper()
	work, err := os.MkdirTemp(dir, "work-")
	if err != nil {
		t.Fatal(err)
	}
	s := make(t, work)
	if strings.HasSuffix(bin, ".sh") {
		give(t, work)
	}
	t.Run(s.name, func(t *testing.T) {
		t.Parallel()
		site := released.NewSite(t, bin)
		site.Berth(slices.Concat([]string{"add", s.name}, s.flags, []string{"--"}, s.argv)...)
		defer site.Logs(s.name)
		var list []struct{ Name string }
		if err := json.Unmarshal([]byte(site.Berth("tools", s.name, "--json")), &list); err != nil {
			t.Fatal(err)
		}
		for _, tool := range list {
			if !slices.ContainsFunc(slices.Concat(s.calls, s.refused), func(c call) bool { return c.tool == tool.Name }) {
				t.Errorf("its tool %s is not called", tool.Name)
			}
		}
		for _, c := range s.calls {
			out, err := site.Try("call", s.name, c.tool, c.args)
			if err != nil || !strings.Contains(out, c.answer) {
				t.Errorf("%s %s printed %q, without %q: %v", c.tool, c.args, out, c.answer, err)
			}
		}
		refused := s.refused
		if s.change != nil {
			site.Berth(append([]string{"permissions", s.name}, s.change...)...)
			site.Berth("restart", s.name)
			refused = slices.Concat(refused, s.then)
		}
		for _, c := range refused {
			out, err := site.Try("call", s.name, c.tool, c.args)
			if err == nil || !strings.Contains(out+err.Error(), c.answer) {
				t.Errorf("%s %s is not refused: %q, %v", c.tool, c.args, out, err)
			}
		}
		var state struct {
			Guarantees map[string]struct{ State string }
		}
		text := site.Berth("permissions", s.name, "--json")
		if err := json.Unmarshal([]byte(text), &state); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		for _, name := range []string{"fs-read", "fs-write", "egress"} {
			if got := state.Guarantees[name].State; got != "enforced" {
				t.Errorf("%s is %q", name, got)
			}
		}
	})
}

func everything(t *testing.T, _ string) standard {
	return standard{
		name: "everything", argv: []string{"npx", "-y", "@modelcontextprotocol/server-everything"},
		calls: []call{
			{"echo", `{"message":"hi"}`, "Echo: hi"},
			{"get-annotated-message", `{"messageType":"error"}`, "Error"},
			{"get-env", `{}`, "PATH"},
			{"get-resource-links", `{"count":2}`, "resource"},
			{"get-resource-reference", `{"resourceType":"Text","resourceId":1}`, "resource"},
			{"get-structured-content", `{"location":"Chicago"}`, "temperature"},
			{"get-sum", `{"a":1,"b":2}`, "3"},
			{"get-tiny-image", `{}`, "image/png"},
			{"gzip-file-as-resource", `{"name":"a.gz","data":"data:text/plain,hi"}`, "a.gz"},
			{"toggle-simulated-logging", `{}`, "logging"},
			{"toggle-subscriber-updates", `{}`, "updates"},
			{"trigger-long-running-operation", `{"duration":0.1,"steps":1}`, "completed"},
		},
		refused: []call{
			{"gzip-file-as-resource", `{"name":"b.gz","data":"https://raw.githubusercontent.com/x"}`, ""},
			// What these ask for, a command line does not have.
			{"trigger-elicitation-request", `{}`, "-32601"},
			{"trigger-url-elicitation", `{"url":"http://example.com/"}`, "-32601"},
			{"trigger-sampling-request", `{"prompt":"a"}`, "-32601"},
			{"simulate-research-query", `{"topic":"a"}`, "requires task"},
		},
	}
}

func filesystem(t *testing.T, work string) standard {
	dir, other := filepath.Join(work, "granted"), filepath.Join(work, "other")
	for _, d := range []string{dir, other} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
		for name, text := range map[string]string{"note.txt": "what the note says", "pixel.png": "png"} {
			if err := os.WriteFile(filepath.Join(d, name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	at := func(format string) string {
		return strings.ReplaceAll(format, "DIR", dir)
	}
	return standard{
		name: "files", argv: []string{"npx", "-y", "@modelcontextprotocol/server-filesystem", dir},
		calls: []call{
			{"list_allowed_directories", `{}`, dir},
			{"read_file", at(`{"path":"DIR/note.txt"}`), "what the note says"},
			{"read_text_file", at(`{"path":"DIR/note.txt"}`), "what the note says"},
			{"read_media_file", at(`{"path":"DIR/pixel.png"}`), "image/png"},
			{"read_multiple_files", at(`{"paths":["DIR/note.txt"]}`), "what the note says"},
			{"create_directory", at(`{"path":"DIR/new"}`), "reated"},
			{"write_file", at(`{"path":"DIR/new/a.txt","content":"one"}`), "rote"},
			{"edit_file", at(`{"path":"DIR/new/a.txt","edits":[{"oldText":"one","newText":"two"}]}`), "+two"},
			{"move_file", at(`{"source":"DIR/new/a.txt","destination":"DIR/new/b.txt"}`), "moved"},
			{"list_directory", at(`{"path":"DIR/new"}`), "b.txt"},
			{"list_directory_with_sizes", at(`{"path":"DIR/new"}`), "b.txt"},
			{"directory_tree", at(`{"path":"DIR"}`), "b.txt"},
			{"search_files", at(`{"path":"DIR","pattern":"**/b.txt"}`), "b.txt"},
			{"get_file_info", at(`{"path":"DIR/new/b.txt"}`), "size"},
		},
		refused: []call{{"read_text_file", `{"path":"` + other + `/note.txt"}`, "denied"}},
		change:  []string{"--revoke", "filesystem:write:" + dir, "--grant", "filesystem:read:" + dir},
		then:    []call{{"write_file", at(`{"path":"DIR/x.txt","content":"one"}`), "EROFS"}},
	}
}

func memory(*testing.T, string) standard {
	return standard{
		name: "memory", argv: []string{"npx", "-y", "@modelcontextprotocol/server-memory"},
		calls: []call{
			{"create_entities", `{"entities":[{"name":"x","entityType":"y","observations":["z"]},{"name":"w","entityType":"y","observations":[]}]}`, `"x"`},
			{"create_relations", `{"relations":[{"from":"x","to":"w","relationType":"knows"}]}`, "knows"},
			{"add_observations", `{"observations":[{"entityName":"x","contents":["more"]}]}`, "more"},
			{"read_graph", `{}`, "more"},
			{"search_nodes", `{"query":"more"}`, `"x"`},
			{"open_nodes", `{"names":["w"]}`, `"w"`},
			{"delete_observations", `{"deletions":[{"entityName":"x","observations":["more"]}]}`, "deleted"},
			{"delete_relations", `{"relations":[{"from":"x","to":"w","relationType":"knows"}]}`, "deleted"},
			{"delete_entities", `{"entityNames":["w"]}`, "deleted"},
		},
	}
}

func thinking(*testing.T, string) standard {
	return standard{
		name: "thinking", argv: []string{"npx", "-y", "@modelcontextprotocol/server-sequential-thinking"},
		calls: []call{{"sequentialthinking", `{"thought":"a","nextThoughtNeeded":false,"thoughtNumber":1,"totalThoughts":1}`, "thoughtNumber"}},
	}
}

const page = `<!doctype html><title>Local</title>
<h1 id=h draggable=true>Hello page</h1>
<button id=press onclick="document.title='clicked'">Press</button>
<button id=ask onclick="confirm('sure?')">Ask</button>
<input id=text aria-label=text ondragover="event.preventDefault()"><input id=file type=file aria-label=file>
<select id=s aria-label=s><option>one<option>two</select>
<script>console.log("the page is there")</script>`

// local serves that page, and returns what a grant and a URL say of it.
func local(t *testing.T) (grant, url string) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/", "/two":
			w.Header().Set("Content-Type", "text/html")
			fmt.Fprint(w, page)
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(server.Close)
	_, port, err := net.SplitHostPort(server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return "network:localhost:" + port, "http://localhost:" + port + "/"
}

func browser(t *testing.T, work string) standard {
	chromium, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("chromium is not here")
	}
	grant, url := local(t)
	return standard{
		name: "browser", flags: []string{"--allow", grant, "--env", "PLAYWRIGHT_MCP_EXECUTABLE_PATH=" + chromium},
		argv: []string{"npx", "-y", "@playwright/mcp"},
		calls: []call{
			{"browser_navigate", `{"url":"` + url + `"}`, "Page Title: Local"},
			{"browser_snapshot", `{}`, "Hello page"},
			{"browser_find", `{"text":"Hello"}`, "Hello page"},
			{"browser_console_messages", `{"level":"info"}`, "the page is there"},
			{"browser_network_requests", `{"static":true}`, url},
			{"browser_network_request", `{"index":1}`, "200"},
			{"browser_resize", `{"width":800,"height":600}`, "800"},
			{"browser_emulate_media", `{"colorScheme":"dark"}`, "dark"},
			{"browser_evaluate", `{"function":"() => matchMedia('(prefers-color-scheme: dark)').matches"}`, "true"},
			{"browser_click", `{"target":"#press"}`, "Page Title: clicked"},
			{"browser_hover", `{"target":"h1"}`, "hover"},
			{"browser_drag", `{"startTarget":"h1","endTarget":"#text"}`, "drag"},
			{"browser_drop", `{"target":"#text","data":{"text/plain":"x"}}`, "drop"},
			{"browser_type", `{"target":"#text","text":"typed"}`, "typed"},
			{"browser_press_key", `{"key":"a"}`, "press"},
			{"browser_fill_form", `{"fields":[{"target":"#text","name":"text","type":"textbox","value":"filled"}]}`, "filled"},
			{"browser_select_option", `{"target":"#s","values":["two"]}`, "two"},
			{"browser_take_screenshot", `{"scale":"css"}`, "image/png"},
			{"browser_run_code_unsafe", `{"code":"async (page) => page.title()"}`, "clicked"},
			{"browser_wait_for", `{"text":"Hello"}`, "Hello"},
			{"browser_click", `{"target":"#ask"}`, "confirm"},
			{"browser_handle_dialog", `{"accept":true}`, "Page"},
			{"browser_click", `{"target":"#file"}`, "file"},
			{"browser_file_upload", `{"paths":[]}`, ""},
			{"browser_navigate", `{"url":"` + url + `two"}`, "two"},
			{"browser_navigate_back", `{}`, "Page URL: " + url},
			{"browser_tabs", `{"action":"list"}`, "Local"},
			{"browser_close", `{}`, ""},
		},
		refused: []call{{"browser_navigate", `{"url":"http://example.com/"}`, "net::ERR"}},
	}
}

func clock(*testing.T, string) standard {
	return standard{
		name: "time", argv: []string{"uvx", "mcp-server-time", "--local-timezone=UTC"},
		calls: []call{
			{"get_current_time", `{"timezone":"Europe/Paris"}`, "Europe/Paris"},
			{"convert_time", `{"source_timezone":"UTC","time":"12:00","target_timezone":"Asia/Tokyo"}`, "21:00"},
		},
	}
}

func fetcher(t *testing.T, _ string) standard {
	grant, url := local(t)
	return standard{
		name: "fetch", flags: []string{"--allow", grant}, argv: []string{"uvx", "mcp-server-fetch", "--allow-private-ips", "--ignore-robots-txt"},
		calls:   []call{{"fetch", `{"url":"` + url + `","raw":true}`, "Hello page"}},
		refused: []call{{"fetch", `{"url":"https://example.com/"}`, "Failed to fetch"}},
	}
}

func git(t *testing.T, work string) standard {
	repo := filepath.Join(work, "repo")
	for _, args := range [][]string{{"init", "-q", "-b", "main", repo}, {"-C", repo, "config", "user.name", "A"}, {"-C", repo, "config", "user.email", "a@example.com"},
		{"-C", repo, "commit", "-q", "--allow-empty", "-m", "first"}} {
		if out, err := exec.Command("git", args...).CombinedOutput(); err != nil {
			t.Fatalf("git %q: %v\n%s", args, err, out)
		}
	}
	if err := os.WriteFile(filepath.Join(repo, "a.txt"), []byte("one\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	in := func(more string) string { return `{"repo_path":"` + repo + `"` + more + `}` }
	return standard{
		name: "git", argv: []string{"uvx", "mcp-server-git", "--repository", repo},
		calls: []call{
			{"git_status", in(""), "a.txt"},
			{"git_add", in(`,"files":["a.txt"]`), "staged"},
			{"git_diff_staged", in(""), "+one"},
			{"git_reset", in(""), "reset"},
			{"git_add", in(`,"files":["a.txt"]`), "staged"},
			{"git_commit", in(`,"message":"second"`), "committed"},
			{"git_diff_unstaged", in(""), ""},
			{"git_log", in(""), "second"},
			{"git_create_branch", in(`,"branch_name":"b"`), "b"},
			{"git_checkout", in(`,"branch_name":"b"`), "b"},
			{"git_diff", in(`,"target":"HEAD~1"`), "+one"},
			{"git_show", in(`,"revision":"HEAD"`), "second"},
			{"git_branch", in(`,"branch_type":"local"`), "main"},
		},
	}
}
