package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/home"
	"github.com/spf13/cobra"
)

const permissionForms = `Permissions:
  network:HOST:PORT       connect to it; HOST may be *.SUFFIX or an address, HOST and
                          PORT may be *; network:* is all of the network
  filesystem:read:PATH    read PATH and what is below it; a Unix socket: see write
  filesystem:write:PATH   change it as well; of a Unix socket: connect to it
  filesystem:*            all files that are not Berth's
  exec:COMMAND            run that program; exec:* is any
  env:NAME                get the variable from whoever starts the server; env:* is all`

// permissionsOptions are the flags of permissions.
type permissionsOptions struct {
	grant, revoke, calls         []string
	reset, export, apply, asJSON bool
	learn                        bool
	profile                      string
	timeout                      time.Duration
}

func newPermissions(a *app) *cobra.Command {
	var o permissionsOptions
	cmd := &cobra.Command{
		Use:     "permissions NAME [--grant P]… [--revoke P]… [--reset] [--apply] [--export] [--json] [--learn [-- TOOL [JSON]…]]",
		Aliases: []string{"perms"},
		Short:   "Show or change what a server may do",
		Long: `Show what a server may do and where each line comes from, and how far the one
that runs is kept to it; or change it.

What it may do is what its file declares (` + "`berth add --allow`" + `) and what you grant,
without what you revoke. A revocation takes back the very permission that it names:
of network:* only the whole can be taken. A variable that the server's file gives a
value is declared by that; revoked, it comes from nowhere. One that every server gets
(PATH, HTTP_PROXY) can be revoked too. Changes hold from the server's next start on.

` + permissionForms + `

A server that was added before servers were confined has the profile off, and may do
whatever you may. --apply has it confined from its next start on: --profile
standard, or strict, which refuses to start where the system cannot keep all of it.
--reset takes back all that you granted and revoked. --export prints the effective
set as the table [permissions] of a server's file.

What it was refused since its start, or before it ended, is shown with the permission
that would allow it.

--learn finds out what it needs: it runs the server, as strictly as it is declared,
lists its tools, makes the calls after --, and at a terminal lets you use it until you
press Enter. Then it prints a --grant for each file, program, socket, host and port
that the server was refused; --apply, or a yes at a terminal, grants them. What a server
does once it may do that is seen by the next run. Never proposed is what shows keys,
tokens or a browser's data: that is for you to grant by hand, if at all. Read what is proposed: a server that means
harm asks for what it would like to have. It is for Linux alone.

--json prints {"name", "profile", "require", "chosen", "permissions":
[{"permission", "from"}], "revoked", "warnings", "running", "current",
"guarantees", "denied": [{"what", "grant", "why", "times", "at"}]}. "current" says
whether the server that runs was started with these. With --learn it prints {"name",
"grants", "kept", "denied", "applied"}.

Files: permissions/NAME.toml; --apply: servers/NAME.toml.

Exit codes: 0 done, 1 failed, 2 not a permission, or not one that can be revoked, 3
no such server.`,
		Example: `  berth permissions github
  berth permissions github --grant network:api.github.com:443
  berth permissions files --revoke filesystem:write:/srv --json
  berth permissions old --apply
  berth permissions files --learn -- read_file '{"path":"/srv/a"}' list_allowed_directories`,
		Args: func(cmd *cobra.Command, args []string) error {
			if dash := cmd.ArgsLenAtDash(); dash >= 0 {
				if o.calls = args[dash:]; !o.learn {
					return usagef("calls are for --learn").hint("usage: %s", cmd.UseLine())
				}
				args = args[:dash]
			}
			return oneName(cmd, args)
		},
		ValidArgsFunction: a.completeNames(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.profile != "" && !o.apply {
				return usagef("--profile is for --apply").hint("berth permissions %s --apply --profile %s", args[0], o.profile)
			}
			if o.learn {
				if len(o.grant)+len(o.revoke) > 0 || o.reset || o.export || o.profile != "" {
					return usagef("--learn goes with --apply, --json and --timeout alone")
				}
				if o.timeout <= 0 {
					return usagef("--timeout must be more than nothing")
				}
				calls, err := a.parseCalls(o.calls)
				if err != nil {
					return err
				}
				return a.learn(cmd.Context(), args[0], calls, o)
			}
			return a.permissions(cmd.Context(), args[0], o)
		},
	}
	f := cmd.Flags()
	f.StringArrayVar(&o.grant, "grant", nil, "let it do that (`permission`); may be repeated")
	f.StringArrayVar(&o.revoke, "revoke", nil, "no longer let it do that (`permission`); may be repeated")
	f.BoolVar(&o.reset, "reset", false, "go back to what it declares")
	f.BoolVar(&o.export, "export", false, "print the effective set as a declaration")
	f.BoolVar(&o.apply, "apply", false, "confine it to that; with --learn, grant what it was refused")
	f.BoolVar(&o.learn, "learn", false, "run it, and propose what to grant")
	f.DurationVar(&o.timeout, "timeout", 90*time.Second, "with --learn, how long to wait for its answers")
	f.StringVar(&o.profile, "profile", "", "off, standard or strict (`word`; default standard)")
	f.BoolVar(&o.asJSON, "json", false, "print JSON")
	_ = cmd.RegisterFlagCompletionFunc("profile", completeProfileWords())
	cmd.MarkFlagsMutuallyExclusive("export", "json")
	return cmd
}

func completeProfileWords() cobra.CompletionFunc {
	return cobra.FixedCompletions([]string{string(berth.ProfileOff), string(berth.ProfileStandard), string(berth.ProfileStrict)}, cobra.ShellCompDirectiveNoFileComp)
}

func (a *app) permissions(ctx context.Context, name string, o permissionsOptions) error {
	grant, err := typedPermissions("--grant", o.grant)
	if err != nil {
		return err
	}
	revoke, err := typedPermissions("--revoke", o.revoke)
	if err != nil {
		return err
	}
	change := len(grant)+len(revoke) > 0 || o.reset || o.apply
	s, err := a.open(!change)
	if err != nil {
		return err
	}
	server, err := s.server(name)
	if err != nil {
		return err
	}
	if change {
		if err := s.changePermissions(ctx, server, grant, revoke, o); err != nil {
			return err
		}
		if server, err = s.server(name); err != nil {
			return err
		}
	}
	v, err := s.permissionsView(ctx, server)
	if err != nil {
		return err
	}
	switch {
	case o.asJSON:
		err = s.ui.json(v)
	case o.export:
		v.export(s.ui)
	default:
		err = v.print(s.ui)
	}
	if change && v.Running && !v.Current {
		s.ui.note("it runs as before until: berth restart %s", name)
	}
	return err
}

// typedPermissions reads permissions that a user typed. A path is made a full one:
// nobody who reads it later is where the user is now.
func typedPermissions(flag string, entries []string) (list []berth.Permission, err error) {
	for _, entry := range entries {
		p, err := berth.ParsePermission(entry)
		if err != nil {
			return nil, usagef("%s: %s", flag, strings.TrimPrefix(err.Error(), berth.ErrBadConfig.Error()+": ")).
				hint("`berth help permissions` lists the forms")
		}
		if user, err := os.UserHomeDir(); err == nil {
			p = p.ExpandHome(user)
		}
		if p.Access != "" && !filepath.IsAbs(p.Target) {
			if p.Target, err = filepath.Abs(p.Target); err != nil {
				return nil, err
			}
		}
		list = append(list, p)
	}
	return list, nil
}

func (s *site) changePermissions(ctx context.Context, server home.Server, grant, revoke []berth.Permission, o permissionsOptions) error {
	var done []string
	if o.apply {
		word := o.profile
		if word == "" {
			word = string(berth.ProfileStandard)
		}
		if err := home.ValidateConfig(home.KeySandbox, word); err != nil {
			return usagef("--profile: %q is none of off, standard and strict", word)
		}
		if server.Remote() {
			return usagef("%s is at a URL: what runs here is Berth's own, and is not confined", server.Name)
		}
		if server.Container() {
			return usagef("%s is in a container, which its engine confines: it has no profile", server.Name)
		}
		err := s.home.UpdateServer(server.Name, func(server *home.Server) error {
			if server.Config == nil {
				server.Config = map[string]string{}
			}
			server.Config[home.KeySandbox] = word
			return nil
		})
		if err != nil {
			return err
		}
		done = append(done, "profile "+word)
	}
	if o.reset {
		done = append(done, "reset")
	}
	if o.reset || len(grant)+len(revoke) > 0 {
		err := s.home.UpdatePermissions(server.Name, func(p *home.Permissions) error {
			if o.reset {
				*p = home.Permissions{}
			}
			for _, each := range grant {
				p.Revoke = withoutEntry(p.Revoke, each)
				p.Grant = append(withoutEntry(p.Grant, each), each.String())
				done = append(done, "grant "+each.String())
			}
			for _, each := range revoke {
				p.Grant = withoutEntry(p.Grant, each)
				p.Revoke = append(withoutEntry(p.Revoke, each), each.String())
				done = append(done, "revoke "+each.String())
			}
			return revocable(server, *p, revoke)
		})
		if err != nil {
			return err
		}
	}
	return s.record(ctx, berth.Record{Server: server.Name, Action: berth.ActionPermissions, Detail: strings.Join(done, ", ")})
}

// withoutEntry is a list of permissions without one, however that is written.
func withoutEntry(list []string, gone berth.Permission) []string {
	return slices.DeleteFunc(slices.Clone(list), func(entry string) bool {
		p, err := berth.ParsePermission(entry)
		return err == nil && p == gone
	})
}

// revocable refuses to write down a revocation that takes nothing away, since there
// is a permission that covers it.
func revocable(server home.Server, user home.Permissions, revoke []berth.Permission) error {
	rights, _, err := server.Rights(user)
	if err != nil {
		return err
	}
	for _, p := range revoke {
		if by, found := berth.Unrevoked(rights.Effective, p); found {
			err := usagef("%v cannot be revoked alone: %v covers it", p, by)
			return err.hint("berth permissions %s --revoke %v, and --grant what it needs of that", server.Name, by)
		}
	}
	return nil
}

// permissionLine is a line of the effective set.
type permissionLine struct {
	Permission string `json:"permission"`
	From       string `json:"from"`
}

// permissionsView is what is shown of what a server may do.
type permissionsView struct {
	Name        string                     `json:"name"`
	Profile     berth.Profile              `json:"profile"`
	Require     berth.Requirement          `json:"require"`
	Chosen      bool                       `json:"chosen"`
	Permissions []permissionLine           `json:"permissions"`
	Revoked     []string                   `json:"revoked"`
	Program     []string                   `json:"program,omitempty"`
	Data        string                     `json:"data,omitzero"`
	Warnings    []string                   `json:"warnings,omitempty"`
	Running     bool                       `json:"running"`
	Current     bool                       `json:"current"`
	Guarantees  map[string]berth.Guarantee `json:"guarantees,omitempty"`
	Denied      []berth.Denial             `json:"denied,omitempty"`
	remote      bool
	container   bool
}

func (s *site) permissionsView(ctx context.Context, server home.Server) (v permissionsView, err error) {
	user, odd, err := s.home.ReadPermissions(server.Name)
	if err != nil {
		return v, err
	}
	rights, warnings, err := server.Rights(user)
	if err != nil {
		return v, err
	}
	v = permissionsView{
		Name: server.Name, Profile: rights.Profile, Require: rights.Require, Chosen: rights.Chosen,
		Permissions: []permissionLine{}, Revoked: []string{}, Warnings: append(odd, warnings...), remote: server.Remote(), container: server.Container(),
	}
	for _, p := range rights.Effective {
		v.Permissions = append(v.Permissions, permissionLine{p.String(), p.Origin})
	}
	for _, p := range rights.Revoked {
		v.Revoked = append(v.Revoked, p.String())
	}
	spec, planErr := s.plan(server) // says what is odd in the file
	if planErr == nil && spec.Confine.Confined() {
		v.Program, v.Data = spec.Confine.Program, spec.Confine.Data
	}
	st, err := s.Status(ctx, server.Name)
	if err != nil {
		return v, err
	}
	v.Denied = stillDenied(st.Denied, rights.Confinement().Allow)
	if v.Running = st.Status == berth.Running; v.Running {
		v.Guarantees = st.Guarantees
		state, _, err := s.home.ReadState(server.Name)
		v.Current = err == nil && planErr == nil && state.SpecDigest == home.SpecDigest(spec)
	}
	return v, nil
}

func (v *permissionsView) print(u *ui) error {
	t := tabwriter.NewWriter(u.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "PERMISSION\tFROM")
	for _, p := range v.Permissions {
		fmt.Fprintf(t, "%s\t%s\n", printable(p.Permission), p.From)
	}
	for _, p := range v.Revoked {
		fmt.Fprintf(t, "%s\trevoked\n", printable(p))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	u.print("%s: %s", v.Name, v.profileText())
	for _, path := range v.Program {
		u.print("%s: reads and runs %s, which is its own", v.Name, printable(path))
	}
	if v.Data != "" {
		u.print("%s: writes to %s, which is its own", v.Name, printable(v.Data))
	}
	for _, key := range slices.Sorted(maps.Keys(v.Guarantees)) {
		u.print("%s: %s", v.Name, guaranteeText(key, v.Guarantees[key]))
	}
	for _, d := range v.Denied {
		u.print("%s: %s", v.Name, printable(deniedText(v.Name, d, time.Now())))
	}
	return nil
}

// profileText says how the server is kept to what it may do.
func (v *permissionsView) profileText() string {
	switch {
	case v.remote:
		return "at a URL: what runs here is Berth's own"
	case v.container:
		return "in a container: its engine keeps it to that, as far as it can tell them apart; Berth does not try it"
	case !v.Chosen:
		return "profile off: it was added before servers were confined, and may do whatever you may; berth permissions " + v.Name + " --apply"
	case v.Profile == berth.ProfileOff:
		return "profile off: it may do whatever you may"
	case v.Require == berth.RequirePrefer:
		return fmt.Sprintf("profile %s, as far as the system can keep it", v.Profile)
	}
	return fmt.Sprintf("profile %s: it may do nothing else, or is not started", v.Profile)
}

// guaranteeText is how a promise is kept, in a line.
func guaranteeText(name string, g berth.Guarantee) string {
	text := name + ": " + string(g.State)
	if g.How != "" {
		text += " (" + g.How + ")"
	}
	if g.Gap != "" {
		text += ", not: " + g.Gap
	}
	return printable(text)
}

// export prints the effective set as a server's file declares one.
func (v *permissionsView) export(u *ui) {
	u.print("[permissions]")
	for _, kind := range []string{berth.PermissionNetwork, berth.PermissionEnv, berth.PermissionFiles, berth.PermissionExec} {
		var entries []string
		for _, p := range v.Permissions {
			if entry, ok := strings.CutPrefix(p.Permission, kind+":"); ok {
				entries = append(entries, entry)
			}
		}
		u.print("%s", home.DeclarationLine(kind, entries))
	}
}

// unconfined is the warning about a server that was added before servers were
// confined; "" if it was not.
func unconfined(server home.Server) string {
	if server.Remote() {
		return ""
	}
	rights, _, err := server.Rights(home.Permissions{})
	if err != nil || rights.Chosen {
		return ""
	}
	return "it is not confined: berth permissions " + server.Name + " --apply"
}

// describeRights says what a server that was added may do, and how to have it do more.
func (s *site) describeRights(server home.Server) error {
	user, _, err := s.home.ReadPermissions(server.Name)
	if err != nil {
		return err
	}
	rights, warnings, err := server.Rights(user)
	s.warn(warnings...)
	if err != nil || server.Remote() {
		return err
	}
	if server.Container() {
		s.describeContainer(server, rights)
		return nil
	}
	if !rights.Confined() {
		s.ui.note("it is not confined, and may do whatever you may; berth permissions %s --apply confines it", server.Name)
		return nil
	}
	var network, files, others []string
	for _, p := range rights.Effective {
		switch p.Kind {
		case berth.PermissionNetwork:
			network = append(network, p.String())
		case berth.PermissionFiles:
			files = append(files, p.String())
		default:
			others = append(others, p.String())
		}
	}
	s.ui.say("it may use: %s; %s; %s", orNone(network, "no network"), orNone(files, "none of your files"), orNone(others, "no further variable or program"))
	s.ui.say("for more: berth permissions %s --grant network:HOST:PORT, or filesystem:read:PATH", server.Name)
	return nil
}

func orNone(list []string, none string) string {
	if len(list) == 0 {
		return none
	}
	return strings.Join(list, ", ")
}
