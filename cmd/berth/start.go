package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/berth-run/berth"
	"github.com/spf13/cobra"
)

// startOptions are the flags of start and restart.
type startOptions struct {
	all     bool
	wait    bool
	timeout time.Duration
}

const waitHelp = `Then wait until the server answers an MCP handshake, and print its name, its
version, the protocol version and how many tools it has. What it prints on stderr
before it ends is shown. When the time is up, or on Ctrl-C, the server is left as
it is, in phase "running". A server with transport http is not asked, but for whether
anything answers at its port, if berth.port says that.
`

func newStart(a *app) *cobra.Command {
	return a.newStartLike("start", "Start servers", `Start servers that are installed. One that runs already is left as it is.

`+waitHelp+`
With --all: every server that is installed.

Exit codes: 0 started, or running already, 1 it does not run or did not answer,
3 no such server, 4 refused by policy.toml, by max_servers in berth.toml, or
because a limit cannot be set here.`,
		func(s *site, ctx context.Context, name string, spec berth.ProcessSpec) (string, error) {
			outcome, err := s.start(ctx, name, spec)
			return outcome.String(), err
		})
}

func newRestart(a *app) *cobra.Command {
	return a.newStartLike("restart", "Stop servers and start them again", `Stop servers, their whole process trees, and start them again as their files now
say. One that does not run is started.

`+waitHelp+`
With --all: every server that is installed and runs.

Exit codes: as of berth start.`,
		func(s *site, ctx context.Context, name string, spec berth.ProcessSpec) (string, error) {
			if st, err := s.Status(ctx, name); err != nil || st.Status != berth.Running {
				outcome, err := s.start(ctx, name, spec)
				return outcome.String(), err
			}
			return "restarted", errors.Join(s.Restart(ctx, name, spec), s.stopInstances(ctx, name))
		})
}

func (a *app) newStartLike(verb, short, long string, do func(*site, context.Context, string, berth.ProcessSpec) (string, error)) *cobra.Command {
	var o startOptions
	cmd := &cobra.Command{
		Use:   verb + " NAME…|--all [--wait=false] [--timeout 90s]",
		Short: short,
		Long:  long,
		Example: "  berth " + verb + " everything\n" +
			"  berth " + verb + " everything github --timeout 3m\n" +
			"  berth " + verb + " --all --wait=false",
		Args:              namesOrAll(&o.all),
		ValidArgsFunction: a.completeNames(-1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.timeout <= 0 {
				return usagef("--timeout must be more than nothing")
			}
			s, err := a.open(false)
			if err != nil {
				return err
			}
			list := s.installed
			if verb == "restart" {
				list = func() ([]string, error) { return s.installedRunning(cmd.Context()) }
			}
			names, err := chosen(args, o.all, list)
			if err != nil {
				return err
			}
			if len(names) == 0 {
				s.ui.note("there is no server to %s", verb)
			}
			return each(s.ui, names, 8, func(name string) error {
				return s.startOne(cmd.Context(), name, o, do)
			})
		},
	}
	f := cmd.Flags()
	f.BoolVar(&o.all, "all", false, "all of them")
	f.BoolVar(&o.wait, "wait", true, "wait until the server answers")
	f.DurationVar(&o.timeout, "timeout", 90*time.Second, "how long to wait")
	return cmd
}

// installedRunning are the installed servers that run.
func (s *site) installedRunning(ctx context.Context) ([]string, error) {
	installed, err := s.installed()
	if err != nil || len(installed) == 0 {
		return nil, err
	}
	rows, err := s.rows(ctx, installed)
	if err != nil {
		return nil, err
	}
	var running []string
	for _, st := range rows {
		if st.Status == berth.Running {
			running = append(running, st.Name)
		}
	}
	return running, nil
}

func (s *site) startOne(ctx context.Context, name string, o startOptions, do func(*site, context.Context, string, berth.ProcessSpec) (string, error)) error {
	spec, err := s.spec(name)
	if err != nil {
		return err
	}
	done, err := do(s, ctx, name, spec)
	if err != nil {
		return err
	}
	st, err := s.Status(ctx, name)
	if err != nil {
		return err
	}
	if st.Warning != "" {
		s.warn(st.Warning)
	}
	if notDisabled(s.home, name) != nil {
		s.ui.note("%s is disabled: clients cannot use it until berth enable %s", name, name)
	}
	if o.wait && len(spec.Ports) > 0 {
		ctx, cancel := context.WithTimeoutCause(ctx, o.timeout, fmt.Errorf("the %v of --timeout are over", o.timeout))
		defer cancel()
		stop := s.tick(name)
		at, err := s.awaitHTTP(ctx, name, spec.Ports[0])
		stop()
		if err != nil {
			return fmt.Errorf("%s: %s, but: %w", name, done, err)
		}
		s.ui.print("%s: %s%s: it answers at %s", name, done, pidPart(st), at)
		return nil
	}
	if !o.wait || spec.Transport == "http" {
		text := fmt.Sprintf("%s: %s%s", name, done, pidPart(st))
		if o.wait {
			text += "; http: not asked whether it answers"
		}
		s.ui.print("%s", text)
		return nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, o.timeout, fmt.Errorf("the %v of --timeout are over", o.timeout))
	defer cancel()
	stop := s.tick(name)
	answer, err := s.awaitReady(ctx, name)
	stop()
	if err != nil {
		return fmt.Errorf("%s: %s, but: %w", name, done, err)
	}
	if st, err = s.Status(ctx, name); err != nil {
		return err
	}
	s.ui.print("%s: %s%s: %s", name, done, pidPart(st), printable(answer))
	return nil
}

func pidPart(st berth.Status) string {
	if st.PID == 0 {
		return ""
	}
	return fmt.Sprintf(", pid %d", st.PID)
}

// awaitReady waits for the handshake and says in a line what the server is.
func (s *site) awaitReady(ctx context.Context, name string) (string, error) {
	c, err := s.reach(ctx, name, reachOptions{content: true, patience: 24 * time.Hour})
	if errors.Is(err, errContent) {
		st, err := s.Status(ctx, name)
		if err != nil {
			return "", err
		}
		return mcpText(st.MCP) + ", ready for another client", nil
	}
	if err != nil {
		return "", err
	}
	defer c.Close()
	info := c.Info().MCP
	parts := []string{strings.TrimSpace(info.ServerInfo.Name + " " + info.ServerInfo.Version), "protocol " + info.ProtocolVersion}
	if parts[0] == "" {
		parts[0] = "a server without a name"
	}
	s.remember(ctx, name, c)
	tools, err := c.Tools(ctx)
	switch {
	case err != nil:
		// It answers; what is wrong with its tools is not its start's concern.
		s.ui.warn("%s: %v", name, err)
	default:
		parts = append(parts, counted(len(tools), "tool"))
	}
	return strings.Join(parts, ", "), nil
}

// awaitHTTP waits until something at a port of this machine speaks HTTP for a server.
// Where it is confined, what is connected to is Berth's, and says nothing of the server.
func (s *site) awaitHTTP(ctx context.Context, name string, port uint16) (at string, err error) {
	at = fmt.Sprintf("http://127.0.0.1:%d", port)
	way := &http.Transport{DisableKeepAlives: true}
	client := &http.Client{Transport: way, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodOptions, at, nil)
		if err != nil {
			return "", err
		}
		resp, err := client.Do(req)
		if err == nil {
			return at, resp.Body.Close()
		}
		if ctx.Err() != nil {
			return "", berth.WithHint(fmt.Errorf("nothing answers at %s: %w", at, context.Cause(ctx)), "it was left running: `berth logs "+name+"` shows what it printed")
		}
		st, statusErr := s.Status(ctx, name)
		switch {
		case statusErr != nil:
			return "", statusErr
		case st.Phase == berth.PhaseFailed, st.Phase == berth.PhaseExited, st.Phase == berth.PhaseStopped:
			return "", s.died(st, 1)
		}
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			continue // the next try says why
		}
	}
}

// tick shows on a terminal that something is waited for, until stop is called.
func (s *site) tick(name string) (stop func()) {
	if !s.ui.errTerm {
		return func() {}
	}
	began := time.Now()
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		t := time.NewTicker(time.Second)
		defer t.Stop()
		for {
			s.ui.show("%s: waiting for it to answer (%ds)", name, int(time.Since(began).Seconds()))
			select {
			case <-t.C:
			case <-done:
				s.ui.clearProgress()
				return
			}
		}
	}()
	return func() {
		close(done)
		<-ended
	}
}
