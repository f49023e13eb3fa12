//go:build linux

package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/home"
)

// TestEachPolicyRuleAtTheGateway: a call of what a rule forbids is refused from the
// moment that the rule is written, though the server runs and the client is connected;
// with another rule of the kind it is made. The other gates are those of package
// supervisor's TestEachPolicyRuleAtEachGate.
func TestEachPolicyRuleAtTheGateway(t *testing.T) {
	b := newBench(t)
	dir := t.TempDir()
	tools := filepath.Join(dir, "tools.json")
	write := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(tools, `[{"name":"read","description":"reads","inputSchema":{"type":"object"},"annotations":{"readOnlyHint":true}},
		{"name":"write","inputSchema":{"type":"object"}}]`)
	b.berth("add", "one", "--no-run", "--allow", "network:*", "--allow", "env:*", "--allow", "exec:*", "--allow", "filesystem:write:"+dir,
		"--", "testserver", "-tools", tools)
	b.berth("config", "one", "--set", "berth.require=prefer")
	file := filepath.Join(b.dir, "servers", "one.toml")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	changed := regexp.MustCompile(`(?m)^trust_level = .*$`).ReplaceAllString(string(text), `trust_level = "community"`)
	changed = regexp.MustCompile(`(?m)^package = .*$`).ReplaceAllString(changed, `package = "@evil/server@1.2.3"`)
	if strings.Count(changed, "community")+strings.Count(changed, "@evil/") != 2 {
		t.Fatalf("the server's file is another than it was:\n%s", text)
	}
	write(file, changed)

	g := b.up()
	modern, legacy := g.guest("one").modern(), g.guest("one")
	call := func(c *guest, tool string) string {
		line, headers := c.call(tool, "{}")
		return c.must(line, headers...)
	}
	if answer := call(modern, "write"); !strings.Contains(answer, "did write") {
		t.Fatal(answer)
	}
	legacy.join()
	refused := 0
	for _, rule := range []struct{ forbids, lets, says string }{
		{"servers.deny = ['ONE']", "servers.deny = ['two']", "[servers] deny"},
		{"servers.allow = ['two']", "servers.allow = ['one']", "[servers] allow"},
		{"servers.deny_packages = ['@evil/*']", "servers.deny_packages = ['@good/*']", "[servers] deny_packages"},
		{"servers.allow_packages = ['@good/*']", "servers.allow_packages = ['@evil/server']", "[servers] allow_packages"},
		{"servers.deny_trust = ['community']", "servers.deny_trust = ['untrusted']", "[servers] deny_trust"},
		{"servers.allow_trust = ['official']", "servers.allow_trust = ['community']", "[servers] allow_trust"},
		{"permissions.deny_network_wildcard = true", "permissions.deny_network_wildcard = false", "deny_network_wildcard"},
		{"permissions.deny_env_wildcard = true", "permissions.deny_env_wildcard = false", "deny_env_wildcard"},
		{"permissions.deny_filesystem_write = true", "permissions.deny_filesystem_write = false", "deny_filesystem_write"},
		{"permissions.deny_exec_wildcard = true", "permissions.deny_exec_wildcard = false", "deny_exec_wildcard"},
		{"confinement.minimum = 'strict'", "confinement.minimum = 'standard'", "[confinement] minimum"},
		{"confinement.require = 'enforce'", "confinement.require = 'prefer'", "[confinement] require"},
		{"tools.deny = ['one/wr*']", "tools.deny = ['two/write']", "deny-tools has"},
		{"tools.allow = ['@read-only']", "tools.allow = ['write']", "allow-tools does not have it"},
		{"tools.changes = 'withhold'", "tools.changes = 'allow'", "is not what was approved"},
	} {
		if strings.HasPrefix(rule.forbids, "tools.changes") {
			write(tools, `[{"name":"write","description":"writes, and what not","inputSchema":{"type":"object"}}]`)
			b.berth("restart", "one")
		}
		for _, of := range []struct {
			policy string
			made   bool
		}{{rule.lets, true}, {rule.forbids, false}, {rule.lets, true}} {
			write(filepath.Join(b.dir, "policy.toml"), of.policy+"\n")
			for era, c := range map[string]*guest{"modern": modern, "legacy": legacy} {
				answer := call(c, "write")
				if !of.made {
					refused++
				}
				if made := strings.Contains(answer, "did write"); made != of.made || !made && !strings.Contains(answer, rule.says) {
					t.Errorf("%s, %s: %s", of.policy, era, answer)
				}
			}
		}
	}
	h, err := home.Open(b.dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	denied := 0
	for r, err := range h.Audit(home.AuditFilter{Action: berth.ActionToolCallDenied}) {
		if err != nil || r.Server != "one" || r.Call == nil || r.Call.Tool != "write" {
			t.Errorf("%+v, %v", r, err)
		}
		denied++
	}
	if denied != refused {
		t.Errorf("%d calls were refused, and %d of them are on record", refused, denied)
	}
}
