package home

import (
	"maps"
	"slices"
	"strings"
	"testing"
)

// TestRemoteSpec: nothing that may be a secret is in the arguments, and what was
// written is what is read.
func TestRemoteSpec(t *testing.T) {
	h := openTestHome(t)
	s := NewRemote("far", "https://mcp.example.com/mcp?key=hidden#x", []Header{{"Authorization", "Bearer a=b"}, {"X-Env", "env:V"}})
	if err := h.WriteServer(s, false); err != nil {
		t.Fatal(err)
	}
	got, err := h.ReadServer("far")
	if err != nil {
		t.Fatal(err)
	}
	spec, warnings, err := got.Spec(nil, Permissions{})
	if err != nil || len(warnings) > 0 || spec.Transport != "stdio" || spec.Command != OwnProgram() || !got.Remote() || !got.Lines() {
		t.Errorf("%+v, %q, %v", spec, warnings, err)
	}
	if want := []string{"remote", "--header", "Authorization", "--header", "X-Env", "far", "https://mcp.example.com/mcp"}; !slices.Equal(spec.Args, want) {
		t.Errorf("%q", spec.Args)
	}
	want := map[string]string{
		"BERTH_REMOTE_URL":      "https://mcp.example.com/mcp?key=hidden#x",
		"BERTH_REMOTE_SECRET_0": "Bearer a=b", "BERTH_REMOTE_SECRET_1": "env:V",
		"GOMAXPROCS": "2", "GOGC": "25",
	}
	if !maps.Equal(spec.Env, want) {
		t.Errorf("%q", spec.Env)
	}
}

func TestRemoteSpecOfAUser(t *testing.T) {
	h := openTestHome(t)
	for doc, want := range map[string]string{
		"[berth]\nurl = 'https://u:hidden@mcp.example.com/'\n":           "or it holds a name or password",
		"[berth]\nurl = 'mcp.example.com'\n":                             "that is no URL",
		"[berth]\nurl = 'https://?x'\n":                                  "that is no URL",
		"[runtime]\ncommand = 'x'\n[berth]\nurl = 'https://a/'\n":        "a command or a URL, not both",
		"[berth]\nurl = 'https://a/'\nheaders = ['hidden']\n":            "entry 1 is not NAME=VALUE",
		"[berth]\nurl = 'https://a/'\nheaders = ['Host=hidden']\n":       "Host is not the user's to set",
		"[berth]\nurl = 'https://a/'\nheaders = ['A B=hidden']\n":        "no name of a header",
		"[berth]\nurl = 'https://a/'\nheaders = [\"A=hidden\\r\\nB\"]\n": "a line break or another control character",
	} {
		putFile(t, h, doc, "servers", "far.toml")
		s, err := h.ReadServer("far")
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := s.Spec(nil, Permissions{}); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hidden") {
			t.Errorf("%s: %v", doc, err)
		}
	}
}
