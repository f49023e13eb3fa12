package policy

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/berth-run/berth"
)

var (
	reads    = Annotations{ReadOnly: true}
	adds     = Annotations{Additive: true}
	destroys = Annotations{}
)

func TestTools(t *testing.T) {
	list := func(entries ...string) []string { return entries }
	for _, tt := range []struct {
		allow, deny []string
		tool        string
		a           Annotations
		ok          bool
	}{
		{nil, nil, "x", destroys, true},
		{list("x"), nil, "x", destroys, true},
		{list("x"), nil, "y", destroys, false},
		{list("X"), nil, "x", destroys, false}, // names have a case
		{list("y", "x"), nil, "x", destroys, true},
		{nil, list("x"), "x", destroys, false},
		{nil, list("x"), "xx", destroys, true},
		{list("x"), list("x"), "x", destroys, false},
		{list("get_*"), list("get_secret"), "get_file", destroys, true},
		{list("get_*"), list("get_secret"), "get_secret", destroys, false},
		{list("files/get"), nil, "get", destroys, true},
		{list("mail/get"), nil, "get", destroys, false},
		{list("f*/get"), nil, "get", destroys, true},
		{nil, list("files/*"), "get", destroys, false},
		{nil, list("mail/*"), "get", destroys, true},
		{list("@read-only"), nil, "x", reads, true},
		{list("@read-only"), nil, "x", adds, false},
		{list("@read-only"), nil, "@read-only", destroys, false}, // a name is no word
		{nil, list("@destructive"), "x", destroys, false},
		{nil, list("@destructive"), "x", adds, true},
		{nil, list("@destructive"), "x", reads, true},
		{nil, list("files/@destructive"), "x", destroys, false},
		{nil, list("mail/@destructive"), "x", destroys, true},
		// What is denied is denied whatever its case.
		{nil, list("delete_*"), "Delete_File", destroys, false},
		{nil, list("Delete_[A-Z]*"), "delete_file", destroys, false},
		{nil, list("Files/X"), "x", destroys, false},
		// A slash in a tool's name opens nothing.
		{nil, list("*"), "a/b", destroys, false},
		{nil, list("a/*"), "a/b", destroys, false},
		{nil, list("a/b"), "a/b", destroys, false},
		{list("a/*"), nil, "a/b", destroys, false},
		{list("mail/get"), nil, "mail/get", destroys, false},
		{list("*/a/b"), nil, "a/b", destroys, true},
		{list("*"), nil, "a/b", destroys, true},
		{nil, list("?/b"), "a/b", destroys, false},
		// What cannot be read allows nothing.
		{list("["), nil, "[", destroys, false},
		{nil, list("["), "x", destroys, false},
		{list("*"), list("@typo"), "x", reads, false},
	} {
		rule := Tools{Allow: tt.allow, Deny: tt.deny}
		ok, why := rule.Allows("files", tt.tool, tt.a)
		if ok != tt.ok || ok != (why == "") {
			t.Errorf("%+v %q %+v: %v, %q", rule, tt.tool, tt.a, ok, why)
		}
	}
}

func TestToolsOfServers(t *testing.T) {
	rule := Tools{Servers: []string{"files", "mail"}, Deny: []string{"mail/*"}}
	rules := Rules{{"a", rule}, {"b", Tools{Servers: []string{"files"}}}}
	for server, want := range map[string][4]bool{
		"files": {true, true, true, true},
		"mail":  {true, false, false, false},
		"other": {false, false, false, false},
	} {
		ok, _ := rule.Allows(server, "x", reads)
		all, _ := rules.Allows(server, "x", reads)
		if got := [4]bool{rule.HasServer(server), ok, rules.HasServer(server), all}; got != want {
			t.Errorf("%s: %v", server, got)
		}
	}
	if !Rules(nil).HasServer("x") || !(Tools{}).HasServer("x") {
		t.Error("without a rule there is no server")
	}
}

func TestToolsReadOnly(t *testing.T) {
	rule := Tools{Allow: []string{"x"}, ReadOnly: true}
	for _, tt := range []struct {
		tool string
		a    Annotations
		ok   bool
	}{{"x", reads, true}, {"x", adds, false}, {"x", destroys, false}, {"y", reads, false}} {
		if ok, _ := rule.Allows("s", tt.tool, tt.a); ok != tt.ok {
			t.Errorf("%+v: %v", tt, ok)
		}
	}
}

func TestParseAnnotations(t *testing.T) {
	for raw, want := range map[string]Annotations{
		``:                                      destroys,
		`null`:                                  destroys,
		`[]`:                                    destroys,
		`{`:                                     destroys,
		`{}`:                                    destroys,
		`{"readOnlyHint":true}`:                 reads,
		`{"readOnlyHint" : true , "title":"x"}`: reads,
		`{"readOnlyHint":false}`:                destroys,
		`{"readOnlyHint":"true"}`:               destroys,
		`{"readOnlyHint":1}`:                    destroys,
		`{"READONLYHINT":true}`:                 destroys,
		`{"readOnlyHint":null}`:                 destroys,
		`{"destructiveHint":false}`:             adds,
		`{"destructiveHint":true}`:              destroys,
		`{"destructiveHint":null}`:              destroys,
		`{"readOnlyHint":true,"x":[1,{"y":"z"}]}`:       reads,
		`{"readOnlyHint":true,"destructiveHint":false}`: {ReadOnly: true, Additive: true},
	} {
		if got := ParseAnnotations(json.RawMessage(raw)); got != want {
			t.Errorf("%s: %+v", raw, got)
		}
	}
	if both := ParseAnnotations(json.RawMessage(`{"readOnlyHint":true,"destructiveHint":true}`)); both.Destructive() {
		t.Error("destructiveHint means something of a tool that only reads")
	}
}

func TestToolsCheck(t *testing.T) {
	if err := (Tools{Allow: []string{"a*"}, Deny: []string{"@destructive"}}).Check(); err != nil {
		t.Error(err)
	}
	for field, rule := range map[string]Tools{
		"allow-tools: ": {Allow: []string{"a", "["}},
		"deny-tools: ":  {Allow: []string{"a"}, Deny: []string{"b", "@x"}},
	} {
		err := rule.Check()
		if !errors.Is(err, berth.ErrBadConfig) || !strings.HasPrefix(err.Error(), field) {
			t.Errorf("%+v: %v", rule, err)
		}
	}
}

func TestRules(t *testing.T) {
	rules := Rules{
		{`server "files"`, Tools{Deny: []string{"write"}}},
		{`profile "work"`, Tools{Allow: []string{"read", "write", "list"}}},
		{`client "cursor"`, Tools{Deny: []string{"list"}}},
	}
	for tool, want := range map[string]string{
		"read":  "",
		"write": `server "files": deny-tools has "write"`,
		"move":  `profile "work": allow-tools does not have it`,
		"list":  `client "cursor": deny-tools has "list"`,
	} {
		if ok, why := rules.Allows("files", tool, destroys); why != want || ok != (want == "") {
			t.Errorf("%s: %v, %q", tool, ok, why)
		}
	}
	if ok, _ := Rules(nil).Allows("files", "write", destroys); !ok {
		t.Error("no rules allow nothing")
	}
}

// Generators of small words, so that patterns and names meet often.
var (
	anyEntry = rapid.OneOf(
		rapid.StringMatching(`[ab*?]{1,3}`), rapid.StringMatching(`[ab*]{1,2}/[ab*?]{1,3}`), rapid.StringMatching(`\[?[ab]\]?`),
		rapid.SampledFrom([]string{"@read-only", "@destructive", "a/@read-only", "*/@destructive", "@x"}))
	anyName  = rapid.StringMatching(`[ab/]{1,3}`)
	anyTools = rapid.Custom(func(t *rapid.T) Tools {
		return Tools{
			Allow:    rapid.SliceOfN(anyEntry, 0, 3).Draw(t, "allow"),
			Deny:     rapid.SliceOfN(anyEntry, 0, 3).Draw(t, "deny"),
			ReadOnly: rapid.IntRange(0, 3).Draw(t, "read-only") == 0,
			Servers:  rapid.SliceOfN(rapid.StringMatching(`[ab]{1,2}`), 0, 2).Draw(t, "servers"),
		}
	})
	anyAnnotations = rapid.Custom(func(t *rapid.T) Annotations {
		return Annotations{rapid.Bool().Draw(t, "reads"), rapid.Bool().Draw(t, "adds")}
	})
)

// TestToolsProperties: what is added can only take away, except to a list of
// what is allowed; a tool that is named in deny is denied; all must allow.
func TestToolsProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rule := anyTools.Draw(t, "rule")
		server, tool := rapid.StringMatching(`[ab]{1,2}`).Draw(t, "server"), anyName.Draw(t, "tool")
		a := anyAnnotations.Draw(t, "annotations")
		entry := anyEntry.Draw(t, "entry")
		allows := func(rule Tools) bool { ok, _ := rule.Allows(server, tool, a); return ok }
		before := allows(rule)

		denied := rule
		denied.Deny = slices.Insert(slices.Clone(rule.Deny), rapid.IntRange(0, len(rule.Deny)).Draw(t, "at"), entry)
		if allows(denied) && !before {
			t.Fatalf("denying %q as well allows it", entry)
		}
		if allows(denied) && !allows(Tools{Deny: []string{entry}}) {
			t.Fatalf("%q denies alone, and not beside %+v", entry, rule)
		}
		for _, own := range []string{tool, strings.ToUpper(tool), "*", server + "/" + tool, server + "/*", "*/" + tool} {
			denied.Deny = append(slices.Clone(rule.Deny), own)
			// A name that begins or ends with a slash is no pattern, and denies all.
			if allows(denied) {
				t.Fatalf("%q is denied and allowed", own)
			}
		}
		strict := rule
		strict.ReadOnly = true
		if allows(strict) && !(before && a.ReadOnly) {
			t.Fatal("to read only allows more")
		}
		if len(rule.Allow) > 0 {
			wider := rule
			wider.Allow = append(slices.Clone(rule.Allow), entry)
			if before && !allows(wider) {
				t.Fatalf("allowing %q as well denies it", entry)
			}
		}
		if before && !rule.HasServer(server) {
			t.Fatal("a server that is not part of it")
		}
		if before && len(rule.Allow) > 0 && !slices.ContainsFunc(rule.Allow, func(e string) bool { return allows(Tools{Allow: []string{e}}) }) {
			t.Fatal("no entry allows it alone")
		}

		other := anyTools.Draw(t, "other")
		if ok, _ := (Rules{{"a", rule}, {"b", other}}).Allows(server, tool, a); ok != (before && allows(other)) {
			t.Fatalf("the stack says %v", ok)
		}
		// What the server says of the tool can be worse for it in no way but this.
		if ok, _ := rule.Allows(server, tool, reads); ok && slices.Contains(rule.Deny, berth.ToolsReadOnly) {
			t.Fatal("@read-only is denied and allowed")
		}
	})
}

func BenchmarkRules(b *testing.B) {
	rules := Rules{
		{`server "files"`, Tools{Deny: []string{"write_*", "delete_*"}}},
		{`profile "work"`, Tools{Allow: []string{"files/@read-only", "memory/*", "search_*"}}},
		{`client "cursor"`, Tools{Deny: []string{"@destructive"}}},
	}
	b.ReportAllocs()
	for b.Loop() {
		rules.Allows("files", "read_text_file", reads)
	}
}
