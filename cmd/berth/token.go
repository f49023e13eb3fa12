package main

import (
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/berth-run/berth"
	"github.com/spf13/cobra"
)

func newToken(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "token create|list|revoke",
		Short: "Let clients in by HTTP: make, list and revoke their tokens",
		Long: `Make, list and revoke the tokens by which clients of ` + "`berth up --listen`" + ` are
known. Each client has one, sends it with every request as the header
  Authorization: Bearer TOKEN
and is named by it in the audit trail. Clients that run here and speak stdio need
none: ` + "`berth proxy NAME --as CLIENT`" + ` goes by a socket that only your user can open.

The home keeps no token, only its hash.

Files: tokens.json.`,
		Example: "  berth token create ide --expires 30d\n  berth token list\n  berth token revoke ide",
	}
	return group(cmd, newTokenCreate(a), newTokenList(a), newTokenRevoke(a))
}

func newTokenCreate(a *app) *cobra.Command {
	var profile, expires string
	cmd := &cobra.Command{
		Use:   "create NAME [--profile P] [--expires 30d]",
		Short: "Make a token for a client and print it, this once",
		Long: `Make a token for the client NAME and print it. It is shown this once: the home
keeps its hash. A client has one token at a time; to give it another, revoke the
first.

--expires takes a time span such as 24h or 30d, or a time such as
2026-12-31T12:00:00Z. Without it the token works until it is revoked. --profile
names the profile that the client is held to.

Exit codes: 0 made, 1 failed, the client having a token for one, 2 a name that
cannot be, 3 no such profile.`,
		Example:           "  berth token create ide\n  berth token create ci --expires 24h",
		Args:              oneClient,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			t := berth.Token{Name: args[0], Profile: profile, Created: time.Now().UTC().Truncate(time.Second)}
			if cmd.Flags().Changed("profile") {
				if err := berth.CheckNameOf("profile", profile); err != nil {
					return usagef("--profile: %w", err)
				}
			}
			if cmd.Flags().Changed("expires") {
				var err error
				if t.Expires, err = parseExpiry(expires, time.Now()); err != nil {
					return err
				}
			}
			s, err := a.open(false)
			if err != nil {
				return err
			}
			if profile != "" {
				if _, err := s.profile(profile); err != nil {
					return err
				}
			}
			token, err := s.home.CreateToken(t)
			if err != nil {
				return err
			}
			s.ui.print("%s", token)
			s.ui.say("berth: this is shown once; %s sends it as the header Authorization: Bearer TOKEN", t.Name)
			return s.recordOfHome(berth.ActionTokenCreate, aboutToken(t))
		},
	}
	cmd.Flags().StringVar(&profile, "profile", "", "the `profile` that the client is held to")
	_ = cmd.RegisterFlagCompletionFunc("profile", a.completeProfileFlag)
	cmd.Flags().StringVar(&expires, "expires", "", "when it stops working: a `span`, or a time")
	return cmd
}

// aboutToken is what a record says of a token.
func aboutToken(t berth.Token) string {
	text := "token of " + t.Name
	if t.Profile != "" {
		text += ", profile " + t.Profile
	}
	if !t.Expires.IsZero() {
		text += ", expires " + t.Expires.Format(time.RFC3339)
	}
	return text
}

func newTokenList(a *app) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list [--json]",
		Short: "List the clients that have a token",
		Long: `List the clients that have a token, by name: when it was made, when it expires
or did, and the profile. The tokens themselves are kept nowhere.

--json prints an array.

Exit codes: 0 done, 1 failed.`,
		Example:           "  berth token list",
		Args:              noArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(*cobra.Command, []string) error {
			s, err := a.open(true)
			if err != nil {
				return err
			}
			all, err := s.home.Tokens()
			if err != nil {
				return err
			}
			if asJSON {
				return s.ui.json(all)
			}
			t := tabwriter.NewWriter(s.ui.out, 0, 0, 2, ' ', 0)
			fmt.Fprintln(t, "CLIENT\tPROFILE\tCREATED\tEXPIRES")
			for _, token := range all {
				fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", token.Name, orDash(token.Profile), localTime(token.Created), expiryText(token, time.Now()))
			}
			return t.Flush()
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func localTime(t time.Time) string { return t.Local().Format(time.DateTime) }

func expiryText(t berth.Token, now time.Time) string {
	switch {
	case t.Expires.IsZero():
		return "never"
	case t.Expired(now):
		return "expired " + localTime(t.Expires)
	}
	return localTime(t.Expires)
}

func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

func newTokenRevoke(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "revoke NAME",
		Short: "Take a client's token back, at once",
		Long: `Take the token of a client back. From now on a request with it is refused, and
within a second what it has open ends; no gateway has to be restarted.

Exit codes: 0 revoked, 1 failed, the client having none for one.`,
		Example: "  berth token revoke ide",
		Args:    oneClient,
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
			s, err := a.open(true)
			if err != nil || len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			var names []cobra.Completion
			all, _ := s.home.Tokens() // completion says nothing
			for _, t := range all {
				names = append(names, t.Name)
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(_ *cobra.Command, args []string) error {
			s, err := a.open(false)
			if err != nil {
				return err
			}
			if err := s.home.RevokeToken(args[0]); err != nil {
				return err
			}
			s.ui.print("%s: revoked", args[0])
			return s.recordOfHome(berth.ActionTokenRevoke, "token of "+args[0])
		},
	}
}

// oneClient checks the argument of a command that takes the name of a client.
func oneClient(cmd *cobra.Command, args []string) error {
	switch {
	case len(args) == 0:
		return usagef("of which client?").hint("usage: %s", cmd.UseLine())
	case len(args) > 1:
		return usagef("too many arguments: %q", args[1]).hint("usage: %s", cmd.UseLine())
	}
	return checkClient(args[0])
}

// checkClient returns nil if a client may have that name.
func checkClient(name string) error {
	if err := berth.CheckName(name); err != nil {
		_, why, _ := strings.Cut(err.Error(), ": ")
		return usagef("no client can be called %q: %s", printable(name), why)
	}
	return nil
}

// parseExpiry reads a span from now, also in days, or a time; either is later than
// now.
func parseExpiry(text string, now time.Time) (time.Time, error) {
	at, ok := spanOrTime(text, now, 1)
	if !ok {
		return time.Time{}, usagef("--expires: %q is neither a span such as 24h or 30d nor a time such as 2026-12-31T12:00:00Z", text)
	}
	if !at.After(now) {
		return time.Time{}, usagef("--expires: %s is not later than now", text)
	}
	return at.UTC().Truncate(time.Second), nil
}
