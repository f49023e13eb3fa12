package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/home"
	"github.com/berth-run/berth/internal/policy"
	"github.com/berth-run/berth/internal/shim"
	"github.com/spf13/cobra"
)

const policyHelp = `Keys:
  servers.deny, servers.allow                    names of servers, or *
  servers.deny_packages, servers.allow_packages  packages, such as @scope/*
  servers.deny_trust, servers.allow_trust        words for trust_level in a server's file
  permissions.deny_network_wildcard              no network:*, nor a host or port of *
  permissions.deny_env_wildcard                  no env:*
  permissions.deny_filesystem_write              no filesystem:write, nor filesystem:*
  permissions.deny_exec_wildcard                 no exec:*
  confinement.minimum                            no profile below standard, or strict
  confinement.require                            enforce: no server with berth.require=prefer
  tools.deny, tools.allow                        tools, such as SERVER/TOOL or @destructive
  tools.changes                                  withhold or allow tools that are not what was approved
What is denied is denied whatever is allowed; a list of what is allowed that is there
has to have it, also if the list is empty.`

// newPolicyTemplate is what --init writes.
const newPolicyTemplate = `# What Berth may start, and what may be called, in this home. Each start, restart,
# automatic restart and call asks. A policy of the whole machine is asked as well;
# nothing here loosens it. "berth help policy" has the keys.

[servers]
# Names that may not start; "*" is all of them.
deny = []

[permissions]
deny_network_wildcard = false
deny_env_wildcard = false
deny_filesystem_write = false
deny_exec_wildcard = false

[confinement]
# No server may be confined less than that: off, standard or strict.
minimum = "off"
`

type policyOptions struct {
	init, check, asJSON bool
	set, unset          []string
}

func newPolicy(a *app) *cobra.Command {
	var o policyOptions
	cmd := &cobra.Command{
		Use:   "policy [--init] [--set K=V]… [--unset K]… [--check [NAME…]] [--json]",
		Short: "Show, change or try the policies",
		Long: `Show what the policies say, change that of this home, or say which servers they do
not let start.

Two files are asked, and the stricter wins in everything: that of the machine, which
only its administrator can write (` + home.OrganisationPolicyPath() + `),
and policy.toml in the home. One of them that cannot be read, or that others could have
written, forbids everything.

` + policyHelp + `

A change holds from the next start, restart and call on. A server that runs and may
not be started any more goes on, without calls, until it is stopped; it is named.

--init writes a policy.toml with comments that forbids nothing. --set takes lists with
commas. --check says of each server, or of those named, whether it may start, and why
not. --json prints {"files": [{"file", "organisation", "rules", "warnings"}], "servers":
[{"name", "allowed", "why"}]}.

Files: policy.toml.

Exit codes: 0 done, 1 a policy cannot be read, or --init found one, 2 a key or value
that cannot be, 3 no such server, 4 --check: a server that was named may not start.`,
		Example: `  berth policy --init
  berth policy --set permissions.deny_network_wildcard=true --set confinement.minimum=standard
  berth policy --set servers.deny=one,two --check
  berth policy --check github --json`,
		ValidArgsFunction: a.completeNames(-1),
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 && !o.check {
				return usagef("servers are named for --check").hint("usage: %s", cmd.UseLine())
			}
			return checkNames(args)
		},
		RunE: func(cmd *cobra.Command, args []string) error { return a.policy(cmd.Context(), args, o) },
	}
	f := cmd.Flags()
	f.BoolVar(&o.init, "init", false, "write a policy that forbids nothing")
	f.StringArrayVar(&o.set, "set", nil, "set a `K=V`; may be repeated")
	f.StringArrayVar(&o.unset, "unset", nil, "take `K` out; may be repeated")
	f.BoolVar(&o.check, "check", false, "say which servers may start")
	f.BoolVar(&o.asJSON, "json", false, "print JSON")
	for flag, suffix := range map[string]string{"set": "=", "unset": ""} {
		_ = cmd.RegisterFlagCompletionFunc(flag, func(*cobra.Command, []string, string) (words []cobra.Completion, _ cobra.ShellCompDirective) {
			for _, key := range policy.Keys() {
				words = append(words, key+suffix)
			}
			return words, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
		})
	}
	return cmd
}

func (a *app) policy(ctx context.Context, names []string, o policyOptions) error {
	changes, done, err := policyChanges(o)
	if err != nil {
		return err
	}
	s, err := a.open(!o.init && len(changes) == 0)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := s.known(name); err != nil {
			return err
		}
	}
	if o.init {
		if err := s.home.CreatePolicy([]byte(newPolicyTemplate)); err != nil {
			if errors.Is(err, fs.ErrExist) {
				err = berth.WithHint(err, "berth policy --set changes it")
			}
			return err
		}
		done = append([]string{"init"}, done...)
	}
	if len(changes) > 0 {
		if err := s.home.UpdatePolicy(changes, checkPolicyText); err != nil {
			if errors.Is(err, berth.ErrBadConfig) {
				return usagef("%s", strings.TrimPrefix(err.Error(), berth.ErrBadConfig.Error()+": ")).hintFrom(err)
			}
			return err
		}
	}
	if len(done) > 0 {
		if err := s.recordOfHome(berth.ActionPolicy, strings.Join(done, ", ")); err != nil {
			return err
		}
	}
	v, err := s.policyView()
	if err != nil {
		return err
	}
	if o.check || len(done) > 0 {
		if err := s.verdicts(ctx, &v, names); err != nil {
			return err
		}
	}
	if !o.check {
		v.tellRunning(s.ui)
	}
	if o.asJSON {
		err = s.ui.json(v)
	} else {
		err = v.print(s.ui, o.check)
	}
	if err == nil && len(names) > 0 && slices.ContainsFunc(v.Servers, func(l serverVerdict) bool { return !l.Allowed }) {
		return silent(exitRefused)
	}
	return err
}

func policyChanges(o policyOptions) (changes []home.PolicyChange, done []string, err error) {
	for _, entry := range o.set {
		name, value, ok := strings.Cut(entry, "=")
		if !ok {
			return nil, nil, usagef("--set %s: no value", printable(name)).hint("write --set %s=VALUE", printable(name))
		}
		set, err := policy.ParseSetting(name, value)
		if err != nil {
			return nil, nil, usagef("--set: %s", strings.TrimPrefix(err.Error(), berth.ErrBadConfig.Error()+": ")).hintFrom(err)
		}
		changes = append(changes, home.PolicyChange{Table: set.Table, Key: set.Key, Value: set.Value})
		done = append(done, "set "+set.Name()+"="+set.Text())
	}
	for _, name := range o.unset {
		set, err := policy.ParseKey(name)
		if err != nil {
			return nil, nil, usagef("--unset: %s", strings.TrimPrefix(err.Error(), berth.ErrBadConfig.Error()+": ")).hintFrom(err)
		}
		changes = append(changes, home.PolicyChange{Table: set.Table, Key: set.Key})
		done = append(done, "unset "+set.Name())
	}
	return changes, done, nil
}

func checkPolicyText(f home.PolicyFile) error {
	_, _, err := policy.Parse(f.Path, f.Data)
	return err
}

type policyFileView struct {
	File         string         `json:"file"`
	Organisation bool           `json:"organisation"`
	Rules        map[string]any `json:"rules"`
	Warnings     []string       `json:"warnings,omitempty"`
	settings     []policy.Setting
}

// serverVerdict is what the policies say of a server.
type serverVerdict struct {
	Name    string `json:"name"`
	Allowed bool   `json:"allowed"`
	Why     string `json:"why,omitzero"`
	hint    string
	running bool
}

type policyView struct {
	Files   []policyFileView `json:"files"`
	Servers []serverVerdict  `json:"servers,omitempty"`
}

func (s *site) policyView() (v policyView, err error) {
	files, err := s.home.ReadPolicies()
	if err != nil {
		return v, err
	}
	v.Files = []policyFileView{}
	for _, f := range files {
		_, warnings, err := policy.Parse(f.Path, f.Data)
		if err != nil {
			return v, err
		}
		one := policyFileView{File: f.Path, Organisation: f.Organisation, Rules: map[string]any{}, settings: policy.Settings(f.Data)}
		for _, set := range one.settings {
			one.Rules[set.Name()] = set.Value
		}
		for _, w := range warnings {
			one.Warnings = append(one.Warnings, w.String())
		}
		v.Files = append(v.Files, one)
	}
	return v, nil
}

// verdicts finds out which of the named servers, or of all, may start.
func (s *site) verdicts(ctx context.Context, v *policyView, names []string) error {
	if len(names) == 0 {
		all, err := s.all()
		if err != nil {
			return err
		}
		for _, name := range all {
			if name == berth.ServerOf(name) {
				names = append(names, name)
			}
		}
	}
	v.Servers = []serverVerdict{}
	for _, name := range names {
		line := serverVerdict{Name: name, Allowed: true}
		if err := shim.CheckPolicy(s.home, name); err != nil {
			line.Allowed, line.Why, line.hint = false, err.Error(), hintOf(err)
		}
		st, err := s.Status(ctx, name)
		line.running = err == nil && st.Status == berth.Running
		v.Servers = append(v.Servers, line)
	}
	return nil
}

// tellRunning names the servers that run and would not be started.
func (v *policyView) tellRunning(u *ui) {
	for _, line := range v.Servers {
		if line.running && !line.Allowed {
			u.warn("%s runs; calls to it are refused and it is not started again: berth stop %s", line.Name, line.Name)
		}
	}
	v.Servers = nil // was not asked for
}

func (v *policyView) print(u *ui, check bool) error {
	for _, f := range v.Files {
		for _, w := range f.Warnings {
			u.warn("%s", w)
		}
	}
	t := tabwriter.NewWriter(u.out, 0, 0, 2, ' ', 0)
	if check {
		fmt.Fprintln(t, "SERVER\tMAY START\tWHY NOT")
		for _, line := range v.Servers {
			fmt.Fprintf(t, "%s\t%s\t%s\n", line.Name, map[bool]string{true: "yes", false: "no"}[line.Allowed], printable(line.Why))
		}
		if err := t.Flush(); err != nil {
			return err
		}
		for _, line := range v.Servers {
			if line.hint != "" {
				u.talk("berth: hint: ", line.Name+": "+line.hint)
			}
		}
		return nil
	}
	rules := 0
	for _, f := range v.Files {
		for _, set := range f.settings {
			if rules++; rules == 1 {
				fmt.Fprintln(t, "RULE\tVALUE\tFILE")
			}
			fmt.Fprintf(t, "%s\t%s\t%s\n", set.Name(), printable(orDash(set.Text())), f.File)
		}
	}
	if rules == 0 {
		u.say("no policy forbids anything; berth policy --init writes one")
	}
	return t.Flush()
}
