package policy

import (
	"errors"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/berth-run/berth"
)

// TestRulesOfServers has each rule of the file: a server that it lets start, and one
// that it does not.
func TestRulesOfServers(t *testing.T) {
	confined := func(profile berth.Profile, require berth.Requirement, allow ...string) *berth.Confinement {
		return &berth.Confinement{Profile: profile, Require: require, Allow: allow}
	}
	off := func(allow ...string) *berth.Confinement { return confined(berth.ProfileOff, "", allow...) }
	standard, strict := confined(berth.ProfileStandard, ""), confined(berth.ProfileStrict, berth.RequireEnforce)
	for _, tt := range []struct {
		rule string
		may  []Subject
		not  []Subject
	}{
		{`servers.allow = ["one", "TWO"]`, []Subject{{Name: "one"}, {Name: "two"}}, []Subject{{Name: "three"}, {Name: "on"}}},
		{`servers.allow = ["*"]`, []Subject{{Name: "one"}}, nil},
		{`servers.allow = []`, nil, []Subject{{Name: "one"}}},
		{"servers.allow = ['one']\nservers.deny = ['one']", nil, []Subject{{Name: "one"}}},
		{`servers.deny_packages = ["@evil/*", "bad-one"]`,
			[]Subject{{}, {Package: "@good/x"}, {Package: "bad-one-more"}, {Package: "@evil"}},
			[]Subject{{Package: "@evil/x"}, {Package: "@evil/x@1.2.3"}, {Package: "bad-one"}, {Package: "Bad_One==1.0"}, {Package: "bad.one[cli]"}}},
		{`servers.deny_packages = ["*"]`, nil, []Subject{{}, {Package: "@a/b"}}},
		{`servers.allow_packages = ["@good/*", "one"]`,
			[]Subject{{Package: "@good/x"}, {Package: "@good/x@2.0"}, {Package: "one==1"}},
			[]Subject{{}, {Package: "One"}, {Package: "@good/x/y"}, {Package: "one-more"}, {Package: "@goody/x"}}},
		{`servers.deny_trust = ["untrusted"]`, []Subject{{Trust: "community"}, {Trust: "official"}}, []Subject{{}, {Trust: "untrusted"}, {Trust: "Untrusted"}}},
		{`servers.allow_trust = ["official"]`, []Subject{{Trust: "official"}}, []Subject{{}, {Trust: "community"}}},
		{`permissions.deny_network_wildcard = true`,
			[]Subject{{}, {Confine: off("network:h:1", "env:*")}, {Confine: off("network:*.h.org:1")}},
			[]Subject{{Confine: off("network:*")}, {Confine: off("env:A", "network:*:443")}, {Confine: off("network:h:*")},
				{Confine: confined(berth.ProfileStrict, "", "network:*")}, {Confine: off("network:nonsense")}}},
		{`permissions.deny_env_wildcard = true`, []Subject{{Confine: off("env:A", "network:*")}}, []Subject{{Confine: off("env:*")}}},
		{`permissions.deny_filesystem_write = true`, []Subject{{Confine: off("filesystem:read:/")}},
			[]Subject{{Confine: off("filesystem:write:/tmp/x")}, {Confine: off("filesystem:*")}}},
		{`permissions.deny_exec_wildcard = true`, []Subject{{Confine: off("exec:git")}}, []Subject{{Confine: off("exec:*")}}},
		{`confinement.minimum = "standard"`, []Subject{{Confine: standard}, {Confine: strict}, {Own: true}}, []Subject{{}, {Confine: off()}, {Confine: confined("loose", "")}}},
		{`confinement.minimum = "strict"`, []Subject{{Confine: strict}}, []Subject{{}, {Confine: standard}}},
		{`confinement.minimum = "off"`, []Subject{{}, {Confine: strict}}, nil},
		{`confinement.require = "enforce"`, []Subject{{}, {Confine: standard}, {Confine: strict}, {Confine: off()}},
			[]Subject{{Confine: confined(berth.ProfileStandard, berth.RequirePrefer)}}},
		{`confinement.require = "prefer"`, []Subject{{Confine: confined(berth.ProfileStandard, berth.RequirePrefer)}}, nil},
	} {
		p := mustParse(t, tt.rule+"\n")
		for _, s := range tt.may {
			if err := p.Server(s); err != nil {
				t.Errorf("%s: %+v: %v", tt.rule, s, err)
			}
		}
		for _, s := range tt.not {
			err := p.Server(s)
			if !errors.Is(err, berth.ErrDenied) || !strings.Contains(err.Error(), file) {
				t.Errorf("%s: %+v: %v", tt.rule, s, err)
				continue
			}
			if h := new(berth.Hinted); !errors.As(err, &h) || h.Hint == "" {
				t.Errorf("%s: no hint", tt.rule)
			}
			if _, key, _ := strings.Cut(strings.Split(tt.rule, " ")[0], "."); len(strings.Split(tt.rule, "\n")) == 1 && !strings.Contains(err.Error(), key) {
				t.Errorf("%s: %v does not name the rule", tt.rule, err)
			}
		}
		if asks := strings.Contains(tt.rule, "packages") || strings.Contains(tt.rule, "trust"); (Policies{{}, p}).AskOrigin() != asks {
			t.Errorf("%s: where servers come from is asked: %v", tt.rule, !asks)
		}
	}
}

func TestRulesOfTools(t *testing.T) {
	for rule, want := range map[string][2]bool{ // may files/read be called, files/write
		"":                               {true, true},
		`tools.deny = ["files/write"]`:   {true, false},
		`tools.deny = ["@destructive"]`:  {true, false},
		`tools.allow = ["@read-only"]`:   {true, false},
		`tools.allow = ["other/*"]`:      {false, false},
		`tools.allow = []`:               {false, false},
		`tools.deny = []`:                {true, true},
		`servers.deny = ["files"]`:       {true, true}, // of its start
		"tools.deny = ['*/r*','write*']": {false, false},
	} {
		rules := Policies{mustParse(t, rule+"\n")}.Rules()
		reading, _ := rules.Allows("files", "read", reads)
		writing, why := rules.Allows("files", "write", destroys)
		if reading != want[0] || writing != want[1] || !writing && !strings.HasPrefix(why, "policy "+file+": ") {
			t.Errorf("%s: %v, %v, %q", rule, reading, writing, why)
		}
	}
}

func TestBadRules(t *testing.T) {
	for text, want := range map[string]string{
		"[confinement]\nminimum = 'tight'\n":    `:2: key "confinement.minimum": "tight" is none of`,
		"[confinement]\nrequire = 'maybe'\n":    `:2: key "confinement.require": "maybe" is neither`,
		"[confinement]\nrequire = true\n":       `:2: key "confinement.require" must be a word in quotes`,
		"[confinement]\nMinimum = 'strict'\n":   `:2: key "Minimum": write it minimum`,
		"[servers]\nallow-packages = []\n":      `:2: key "allow-packages": write it allow_packages`,
		"[servers]\ndeny_packages = ['[']\n":    `:2: key "servers.deny_packages": "[" is no name`,
		"[servers]\nallow = 'one'\n":            `"servers.allow" must be an array of strings`,
		"[tools]\ndeny = ['@typo']\n":           `:2: key "tools.deny": "@typo" is no pattern of tools`,
		"[tools]\ndeny = true\n":                `"tools.deny" must be an array of strings`,
		"[tools]\nDeny = ['x']\ndeny = []\n":    `write it deny`,
		"[permissions]\ndeny-env-wildcard=true": `write it deny_env_wildcard`,
	} {
		if _, _, err := Parse(file, []byte(text)); !errors.Is(err, berth.ErrBadConfig) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

var anyRule = rapid.Custom(func(t *rapid.T) string {
	return rapid.OneOf(
		rapid.StringMatching(`servers\.(deny|allow) = \['([ab]|\*)'\]`),
		rapid.StringMatching(`servers\.(deny|allow)_packages = \['(@a/\*|b|\*)'\]`),
		rapid.StringMatching(`servers\.(deny|allow)_trust = \['(official|untrusted)'\]`),
		rapid.StringMatching(`permissions\.deny_(network|env|exec)_wildcard = (true|false)`),
		rapid.StringMatching(`permissions\.deny_filesystem_write = (true|false)`),
		rapid.StringMatching(`confinement\.minimum = '(off|standard|strict)'`),
		rapid.StringMatching(`confinement\.require = '(enforce|prefer)'`),
		rapid.StringMatching(`tools\.(deny|allow) = \['(a|b/\*|@read-only)'\]`),
	).Draw(t, "rule")
})

// TestPoliciesOnlyTighten: two policies allow what each of them allows, in either
// order, and no rule that is added to a policy lets start what could not.
func TestPoliciesOnlyTighten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := Subject{
			Name: rapid.SampledFrom([]string{"a", "b"}).Draw(t, "name"), Package: rapid.SampledFrom([]string{"", "@a/x", "b"}).Draw(t, "package"),
			Trust: rapid.SampledFrom([]string{"", "official"}).Draw(t, "trust"),
		}
		if rapid.Bool().Draw(t, "confined") {
			s.Confine = &berth.Confinement{
				Profile: rapid.SampledFrom([]berth.Profile{"off", "standard", "strict"}).Draw(t, "profile"),
				Require: rapid.SampledFrom([]berth.Requirement{"enforce", "prefer"}).Draw(t, "require"),
				Allow:   rapid.SliceOfN(rapid.SampledFrom([]string{"network:*", "network:h:1", "env:*", "exec:*", "filesystem:write:/a"}), 0, 3).Draw(t, "allow"),
			}
		}
		rules := rapid.SliceOfNDistinct(anyRule, 1, 4, func(rule string) string { key, _, _ := strings.Cut(rule, " "); return key }).Draw(t, "rules")
		parse := func(rules []string) Policy {
			p, _, err := Parse(file, []byte(strings.Join(rules, "\n")+"\n"))
			if err != nil {
				t.Fatal(err)
			}
			return p
		}
		all, fewer := parse(rules), parse(rules[1:])
		one := parse(rules[:1])
		may := func(p Policies) bool { return p.Server(s) == nil }
		if may(Policies{all}) && !may(Policies{fewer}) {
			t.Fatalf("%q lets start what %q does not", rules, rules[1:])
		}
		split := may(Policies{one, fewer})
		if split != may(Policies{fewer, one}) || split != may(Policies{all}) {
			t.Fatalf("%q and %q say another thing together", rules[:1], rules[1:])
		}
		if split != (may(Policies{one}) && may(Policies{fewer})) {
			t.Fatal("two allow what one forbids")
		}
		tool := func(p Policies) bool { ok, _ := p.Rules().Allows("b", "a", reads); return ok }
		if tool(Policies{one, fewer}) != (tool(Policies{one}) && tool(Policies{fewer})) {
			t.Fatal("of a tool they say another thing together")
		}
	})
}
