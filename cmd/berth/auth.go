package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/oauth"
	"github.com/spf13/cobra"
)

// authOptions are the flags of auth.
type authOptions struct {
	clientID   string
	withSecret bool
	port       int
	scopes     []string
	noBrowser  bool
	timeout    time.Duration
	logout     bool
	list       bool
	asJSON     bool
}

// clientSecretVariable holds the secret that goes with --client-id.
const clientSecretVariable = "BERTH_CLIENT_SECRET"

func newAuth(a *app) *cobra.Command {
	var o authOptions
	cmd := &cobra.Command{
		Use:   "auth NAME [--client-id ID [--with-secret] [--port N]] [--scope S]… [--no-browser] | auth NAME --logout | auth --list [--json]",
		Short: "Log in to a remote server",
		Long: `Log in to a server that was added by its URL and wants a login (OAuth): open its
page in your browser, wait until you have agreed there, and keep the tokens. They
are renewed by themselves from then on. A server that runs has them at once.

The URL is printed, too, for a browser on which you log in yourself. The browser
comes back to a port of 127.0.0.1 on this machine: from another one, forward that
port (ssh -L PORT:127.0.0.1:PORT; PORT is in the URL, in redirect_uri).

Berth registers itself where that can be done. Where it cannot, register it by
hand as a native or desktop application, with http://127.0.0.1/callback to come
back to, and give --client-id; with --port if it wants a port in that. If a secret comes with that, --with-secret asks for
it, or reads a line of standard input; or put it into ` + clientSecretVariable + `. An
ID that is a https URL is that of a client id metadata document. ID and secret are
kept for the next login.

--scope asks for more than the server does. What a server refused for want of a
scope is asked for at the next login by itself.

--logout has the server's issuer revoke the tokens, if it can, and deletes them,
for each server of the same URL.

BERTH_BROWSER is a program that is run with the URL as its only argument, in the
place of the system's browser.

Files: credentials/vault.age, encrypted, with its key in credentials/identity.txt:
who can read both has the tokens.

Exit codes: 0 done, 1 failed, 2 wrong usage or a server without a URL, 3 no such
server, 4 the policy does not let it start.`,
		Example: `  berth auth notes
  berth auth notes --client-id 1234 --with-secret
  berth auth notes --logout
  berth auth --list`,
		Args: func(cmd *cobra.Command, args []string) error {
			if o.list {
				return noArgs(cmd, args)
			}
			return oneName(cmd, args)
		},
		ValidArgsFunction: a.completeNames(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case o.asJSON && !o.list:
				return usagef("--json goes with --list")
			case o.list && o.logout:
				return usagef("--list or --logout, not both")
			case (o.list || o.logout) && (o.clientID != "" || o.withSecret || len(o.scopes) > 0):
				return usagef("--client-id, --with-secret and --scope are for a login")
			case o.withSecret && o.clientID == "":
				return usagef("--with-secret goes with --client-id")
			case o.port != 0 && o.clientID == "":
				return usagef("--port goes with --client-id")
			case o.port < 0 || o.port > 65535:
				return usagef("--port: there is no port %d", o.port)
			case o.timeout <= 0:
				return usagef("--timeout must be more than nothing")
			}
			if o.list {
				return a.listLogins(o.asJSON)
			}
			s, err := a.open(false)
			if err != nil {
				return err
			}
			if o.logout {
				return s.logout(cmd.Context(), args[0])
			}
			return a.login(cmd.Context(), s, args[0], o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.clientID, "client-id", "", "log in as the client `ID`")
	f.BoolVar(&o.withSecret, "with-secret", false, "ask for the client's secret")
	f.IntVar(&o.port, "port", 0, "have the browser come back to port `N` (default any)")
	f.StringArrayVar(&o.scopes, "scope", nil, "ask for the scope `S` as well; may be repeated")
	f.BoolVar(&o.noBrowser, "no-browser", false, "print the URL and open nothing")
	f.DurationVar(&o.timeout, "timeout", 10*time.Minute, "how long to wait for all of it")
	f.BoolVar(&o.logout, "logout", false, "revoke and delete the tokens")
	f.BoolVar(&o.list, "list", false, "list the logins")
	f.BoolVar(&o.asJSON, "json", false, "with --list, print JSON")
	return cmd
}

// oauthClient returns what logs in to a server, with what change adds.
func (s *site) oauthClient(name string, change func(*oauth.Options)) (*oauth.Client, error) {
	server, err := s.server(name)
	if err != nil {
		return nil, err
	}
	if !server.Remote() {
		return nil, usagef("%s is a program on this machine, which needs no login", name).
			hint("what it needs is given with berth add --env")
	}
	v, err := s.vault()
	if err != nil {
		return nil, err
	}
	o := oauth.Options{Server: name, URL: server.Settings.URL, Vault: v}
	if change != nil {
		change(&o)
	}
	return oauth.New(o)
}

func (a *app) login(ctx context.Context, s *site, name string, o authOptions) error {
	secret, err := a.clientSecret(o)
	if err != nil {
		return err
	}
	c, err := s.oauthClient(name, func(c *oauth.Options) {
		c.Scopes = o.scopes
		if strings.HasPrefix(o.clientID, "https://") {
			c.ClientURL = o.clientID
		} else {
			c.ClientID, c.ClientSecret, c.Port = o.clientID, secret, o.port
		}
	})
	if err != nil {
		return err
	}
	if err := s.CheckPolicy(name); err != nil {
		return err
	}
	if server, err := s.server(name); err == nil && slices.ContainsFunc(server.Settings.Headers, isAuthorization) {
		s.ui.warn("%s is sent an Authorization header of yours, and not what a login brings", name)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, o.timeout, fmt.Errorf("the %v of --timeout are over", o.timeout))
	defer cancel()
	err = c.Login(ctx, func(_ context.Context, url string) error {
		s.ui.say("Log in to %s in your browser: %s", name, url)
		if o.noBrowser {
			return nil
		}
		if err := openBrowser(url); err != nil {
			s.ui.note("no browser was opened: %v; open the URL yourself", err)
		}
		s.ui.show("waiting for the browser")
		return nil
	})
	s.ui.clearProgress()
	if err != nil {
		return err
	}
	st, err := c.Status()
	if err != nil {
		return err
	}
	s.ui.print("%s: logged in", name)
	if run, err := s.Status(ctx, name); err == nil && (run.Phase == berth.PhaseFailed || run.Phase == berth.PhaseExited) {
		s.ui.note("it is down: berth start %s", name)
	}
	if len(st.Wants) > 0 {
		s.ui.warn("%s wanted more rights than were given: %s", name, strings.Join(st.Wants, " "))
	}
	return s.record(ctx, berth.Record{Server: name, Action: berth.ActionLogin, Detail: "by " + st.Issuer + ", scopes: " + strings.Join(st.Scopes, " ")})
}

// isAuthorization says whether an entry of a server's headers is that of a token.
func isAuthorization(entry string) bool {
	name, _, _ := strings.Cut(entry, "=")
	return strings.EqualFold(name, "Authorization")
}

// clientSecret reads the secret that goes with --client-id; "" if there is none.
func (a *app) clientSecret(o authOptions) (string, error) {
	if o.clientID == "" {
		return "", nil
	}
	if !o.withSecret {
		return os.Getenv(clientSecretVariable), nil
	}
	if f, ok := a.stdin.(*os.File); ok && isTerminal(f) {
		fmt.Fprint(a.ui.err, "The client's secret: ")
		secret, err := readHidden(f)
		fmt.Fprintln(a.ui.err)
		if err != nil {
			return "", fmt.Errorf("read the client's secret: %w", err)
		}
		return secret, nil
	}
	line, err := bufio.NewReader(io.LimitReader(a.stdin, 64<<10)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("read the client's secret: %w", err)
	}
	if line = strings.TrimRight(line, "\r\n"); line == "" {
		return "", usagef("--with-secret: no secret on standard input")
	}
	return line, nil
}

func (s *site) logout(ctx context.Context, name string) error {
	c, err := s.oauthClient(name, nil)
	if err != nil {
		return err
	}
	was, err := c.Logout(ctx)
	if errors.Is(err, oauth.ErrNotRevoked) {
		s.ui.warn("%v", err)
	} else if err != nil {
		return err
	}
	if !was {
		s.ui.print("%s: not logged in", name)
		return nil
	}
	s.ui.print("%s: logged out", name)
	return s.record(ctx, berth.Record{Server: name, Action: berth.ActionLogout})
}

func (a *app) listLogins(asJSON bool) error {
	s, err := a.open(true)
	if err != nil {
		return err
	}
	v, err := s.vault()
	if err != nil {
		return err
	}
	list, err := oauth.List(v)
	if err != nil {
		return err
	}
	if asJSON {
		return a.ui.json(list)
	}
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "SERVER\tLOGIN\tISSUER\tSCOPES")
	for _, l := range list {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", l.Server, l.State, l.Issuer, strings.Join(l.Scopes, " "))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for line := range strings.Lines(b.String()) {
		a.ui.print("%s", strings.TrimRight(line, " \n"))
	}
	return nil
}
