package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/autostart"
	"github.com/berth-run/berth/internal/home"
	"github.com/berth-run/berth/internal/proc"
	"github.com/berth-run/berth/supervisor"
	"github.com/spf13/cobra"
)

func newUp(a *app) *cobra.Command {
	var (
		stopOnExit, demo, replace bool
		d                         door
	)
	cmd := &cobra.Command{
		Use:   "up [--listen ADDR] [--tls | --tls-cert F --tls-key F] [--no-auth] [--replace] [--stop-on-exit] [--demo]",
		Short: "Start what is enabled, keep it up and share it, in the foreground",
		Long: `Start the servers that are enabled, and those that ran when the machine went
down; any other is started when a client first calls it. Watch over all servers of the home: one whose supervisor is killed gets
another within a second. Each change is a line of output.

It is the gateway, too: any number of clients share each server, whatever
revision of MCP they and it speak. ` + "`berth proxy NAME`" + ` reaches it by a socket in
the home that only your user can open. With --listen it also listens on a port:
  http://ADDR/mcp                all servers as one, by Streamable HTTP
  http://ADDR/servers/NAME/mcp   one of them
  http://ADDR/profiles/NAME/mcp  those of a profile
  http://ADDR/sse, …/NAME/sse    HTTP with SSE, for clients of 2024-11-05
  http://ADDR/metrics            figures in Prometheus' text format
  http://ADDR/healthz            says that it is there, to everyone
Callers need a token, which ` + "`berth token create NAME`" + ` makes, in the header
Authorization. With --no-auth, on this machine only, nobody is asked who they are;
it listens on ` + defaultListen + ` then where --listen does not say otherwise.

An address that other machines reach needs TLS: by --tls-cert and --tls-key, which
are read again when they change, or by --tls, for which the home has a CA of its own;
clients are given its certificate, tls/ca.pem.
Web pages are kept out by their Origin; --allow-origin and --allow-host let one in.

A socket that systemd has opened for it (systemd.socket(5), one, of TCP, with
FileDescriptorName=` + autostart.Socket + `) is served in the place of an own one; --listen, if it
is said, has to be its address. ` + "`berth service install`" + ` writes such units.

Ctrl-C leaves the servers up; with --stop-on-exit it ends them. One berth up
watches a home at a time. --replace takes the place of one that runs, for a new
version of Berth for one: at its address and with its rules, unless flags say
others. No server is restarted, clients keep their sessions, and calls that run are
answered. For up to a minute new calls may wait for those; one that takes longer is
cut off. The other one ends once its connections have. On Windows the address is
free for a moment.

--demo shows what Berth does, with nothing installed: a built-in MCP server is
started in a throw-away home, a tool is called, the server is killed and is back.
Ctrl-C ends everything and removes the home.

Exit codes: 0 ended by Ctrl-C, 1 failed.`,
		Example:           "  berth up\n  berth up --listen 127.0.0.1:7077\n  berth up --listen :7077 --tls\n  berth up --demo",
		Args:              noArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if demo {
				return a.demo(cmd.Context())
			}
			given, err := takeSocket()
			if err != nil {
				return err
			}
			if given != nil {
				defer given.Close()
				if err := d.takes(given); err != nil {
					return err
				}
			}
			if replace {
				d.replace, d.same = true, d.listen == "" && !d.noAuth && !d.tls && d.tlsCert+d.tlsKey == "" && len(d.origins)+len(d.hosts) == 0
			}
			if err := d.check(); err != nil {
				return err
			}
			if d.background {
				return a.serveBehind(cmd.Context(), d)
			}
			return a.up(cmd.Context(), d, stopOnExit)
		},
	}
	cmd.Flags().StringVar(&d.listen, "listen", "", "serve HTTP on this `ADDR` too; port 0 takes a free one")
	cmd.Flags().BoolVar(&d.noAuth, "no-auth", false, "ask for no token: let every program on this machine in")
	cmd.Flags().BoolVar(&d.tls, "tls", false, "serve HTTPS, by a certificate of the home's own CA")
	cmd.Flags().StringVar(&d.tlsCert, "tls-cert", "", "serve HTTPS, by the certificate in this `FILE`")
	cmd.Flags().StringVar(&d.tlsKey, "tls-key", "", "the key of --tls-cert, in this `FILE`")
	cmd.Flags().StringArrayVar(&d.origins, "allow-origin", nil, "let web pages of this `ORIGIN` in; may be repeated")
	cmd.Flags().StringArrayVar(&d.hosts, "allow-host", nil, "answer to this `HOST` as well; may be repeated")
	cmd.Flags().BoolVar(&replace, "replace", false, "take the place of the berth up that runs")
	cmd.Flags().BoolVar(&d.background, "background", false, "serve the socket until nobody uses it; what berth proxy starts")
	_ = cmd.Flags().MarkHidden("background")
	cmd.Flags().BoolVar(&stopOnExit, "stop-on-exit", false, "end all servers at the end")
	cmd.Flags().BoolVar(&demo, "demo", false, "show what Berth does, in a throw-away home")
	return cmd
}

func (a *app) up(ctx context.Context, d door, stopOnExit bool) error {
	s, err := a.open(false)
	if err != nil {
		return err
	}
	open, err := s.followKeeper(ctx, d)
	if err != nil {
		return err
	}
	defer open.close()
	wanted, err := s.wanted()
	if err != nil {
		return err
	}
	s.ui.say("berth: keeping the servers of %s; Ctrl-C ends", s.Dir())
	_ = each(s.ui, wanted, 8, func(name string) error {
		spec, err := s.spec(name)
		if err == nil {
			_, err = s.start(ctx, name, spec)
		}
		if err != nil {
			s.ui.fail(err) // the others are kept all the same
		}
		return nil
	})
	lines := newChanges(s.ui)
	err = s.keepAndServe(ctx, open, lines.show, func(name string, err error) { s.ui.fail(fmt.Errorf("%s: %w", name, err)) })
	if open.isReplaced() {
		s.ui.say("berth: another berth up goes on in the place of this one")
		open.gateway.Drain(ctx)
		return nil
	}
	if ctx.Err() == nil {
		return err
	}
	return s.leave(context.WithoutCancel(ctx), stopOnExit)
}

// keepAndServe watches over the servers and serves clients until ctx ends.
func (s *site) keepAndServe(ctx context.Context, open *opened, onEvent func(berth.Event), onError func(string, error)) error {
	serving, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	served := make(chan struct{})
	go func() {
		defer close(served)
		cancel(open.serve(serving))
	}()
	err := s.Keep(serving, supervisor.KeepOptions{
		Spec: func(name string) (berth.ProcessSpec, bool, error) {
			spec, err := s.spec(name)
			if errors.Is(err, berth.ErrNoServer) {
				return spec, false, nil
			}
			return spec, err == nil, err
		},
		OnEvent: onEvent,
		OnError: onError,
	})
	cancel(nil)
	<-served
	return err
}

// keptError: another process is the keeper of the home.
type keptError struct{ who, dir string }

func (e *keptError) Error() string {
	return fmt.Sprintf("%s keeps the servers of %s already", e.who, e.dir)
}

// beKeeper makes this the one `berth up` of the home.
func (s *site) beKeeper() (*home.Lock, error) {
	lock, err := home.TryLock(s.home.RunLock("keeper"))
	if errors.Is(err, home.ErrLocked) {
		who := "another process"
		if pid, readErr := os.ReadFile(s.home.RunLock("keeper")); readErr == nil && len(pid) > 0 {
			who = "process " + strings.TrimSpace(string(pid))
		}
		return nil, &keptError{who: who, dir: s.Dir()}
	}
	if err != nil {
		return nil, err
	}
	signLock(lock)
	return lock, nil
}

// signLock writes down who holds a lock, only as a hint for a message: the lock
// is what counts.
func signLock(lock *home.Lock) {
	if err := lock.File().Truncate(0); err == nil {
		_, _ = lock.File().WriteAt(fmt.Appendf(nil, "%d\n", os.Getpid()), 0)
	}
}

// wanted lists the servers to start: those that are enabled, and those that ran
// when the machine went down.
func (s *site) wanted() ([]string, error) {
	installed, err := s.installed()
	if err != nil {
		return nil, err
	}
	self, err := proc.Self()
	if err != nil {
		return nil, err
	}
	var wanted []string
	for _, name := range installed {
		server, err := s.home.ReadServer(name)
		if err != nil {
			s.ui.fail(err)
			continue
		}
		st, found, err := s.home.ReadState(name)
		if err != nil {
			s.ui.fail(err)
			continue
		}
		if server.Settings.Disabled {
			continue
		}
		if server.Settings.Autostart || found && ranBefore(st, self.Boot) {
			wanted = append(wanted, name)
		}
	}
	return wanted, nil
}

// ranBefore says whether the server ran, or was about to, when the machine went
// down: another boot wrote its state. One that had exited, given up or been put to
// rest did not.
func ranBefore(st home.State, boot string) bool {
	if st.BootID == "" || st.BootID == boot || st.Desired != string(berth.Running) {
		return false
	}
	switch berth.Phase(st.Phase) {
	case berth.PhaseExited, berth.PhaseFailed:
		return st.Status == string(berth.Running)
	case berth.PhaseStopped:
		return !st.AtRest // the next call starts it
	}
	return true
}

// leave is the end of `berth up`.
func (s *site) leave(ctx context.Context, stop bool) error {
	names, err := s.Names()
	if err != nil {
		return err
	}
	var running []string
	for _, name := range names {
		if st, err := s.Status(ctx, name); err == nil && (st.Status == berth.Running || st.ShimPID != 0) {
			running = append(running, name)
		}
	}
	switch {
	case len(running) == 0:
		return nil
	case !stop:
		s.ui.say("berth: %s up: %s; stop them with `berth stop --all`", plural(len(running), "server", "stays", "stay"), strings.Join(running, ", "))
		return nil
	}
	return each(s.ui, running, 16, func(name string) error {
		outcome, err := s.Stop(ctx, name)
		if err == nil {
			s.ui.print("%s: %s", name, outcome)
		}
		return err
	})
}

// plural is a number of things and what they do.
func plural(n int, noun, one, many string) string {
	if n == 1 {
		return "1 " + noun + " " + one
	}
	return fmt.Sprintf("%d %ss %s", n, noun, many)
}
