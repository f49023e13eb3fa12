package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/gateway"
	"github.com/berth-run/berth/internal/home"
	"github.com/berth-run/berth/internal/mcp"
	"github.com/berth-run/berth/internal/shim"
)

// client is a session with a running server, and what carries it.
type client struct {
	*mcp.Session
	carrier io.Closer
}

func (c *client) Close() {
	c.Session.Close()
	c.carrier.Close()
}

// reachOptions say how hard to try.
type reachOptions struct {
	// steal takes the server from a client that shows no life.
	steal bool
	// patience is how long to wait for another client to let go.
	patience time.Duration
	// content: it is enough that somebody had a handshake with this process.
	content bool
}

// errContent: the server is ready for somebody else, which is all that was to
// be known; see reachOptions.content.
var errContent = errors.New("ready for another client")

// mostDeaths is how often a server may exit before it has answered. The first
// restart comes at once, the second after a quarter of a second; one that
// exits three times has a reason, and its user wants to know.
const mostDeaths = 3

// reach attaches to a server that is up or coming up, and makes the handshake
// or goes on with the one that was made. It waits for a restart in progress,
// and asks for a fresh process where only that can be spoken to.
func (s *site) reach(ctx context.Context, name string, o reachOptions) (*client, error) {
	var (
		deaths    deaths
		skipProbe bool
		belief    = s.belief(name)
		roots     = s.roots(name)
		patience  = time.Now().Add(o.patience)
	)
	for {
		a, err := shim.Attach(ctx, s.home, name, &shim.AttachOptions{Steal: o.steal})
		if err == nil {
			var c *client
			if c, err = s.shake(ctx, a, mcp.Options{SkipProbe: skipProbe, Roots: roots}, &belief); err == nil {
				return c, nil
			}
			a.Close()
		}
		var changed *shim.GenerationError
		switch {
		case ctx.Err() != nil:
			return nil, berth.WithHint(err, fmt.Sprintf(
				"it was left running: `berth logs %[1]s` shows what else it printed, --timeout waits longer, `berth stop %[1]s` ends it", name))
		case errors.Is(err, mcp.ErrNotMCP):
			return nil, berth.WithHint(err, fmt.Sprintf("`berth config %[1]s` shows what is run; `berth stop %[1]s` ends it", name))
		case errors.Is(err, berth.ErrHeld):
			if o.content && s.isReady(ctx, name) {
				return nil, errContent
			}
			// The gateway has it for all its clients, of which this is one more.
			if c, gatewayErr := s.byGateway(ctx, name); !errors.Is(gatewayErr, errNoGateway) {
				return c, gatewayErr
			}
			if time.Now().After(patience) {
				return nil, err
			}
			if err := pause(ctx, 50*time.Millisecond); err != nil {
				return nil, err
			}
		case errors.Is(err, mcp.ErrNeedsFresh):
			if o.content && s.isReady(ctx, name) {
				return nil, errContent
			}
			if err := s.Renew(ctx, name, a.Generation()); err != nil && !errors.Is(err, shim.ErrGone) {
				return nil, err
			}
		case errors.As(err, &changed), errors.Is(err, shim.ErrGone), errors.Is(err, berth.ErrNotRunning):
			skipProbe = skipProbe || errors.Is(err, mcp.ErrDiedOnProbe)
			note, err := s.afterDeath(ctx, name, &deaths)
			if err != nil {
				return nil, err
			}
			if note != "" {
				s.ui.note("%s", note)
			}
		default:
			return nil, err
		}
	}
}

// shake makes a session of an attachment.
func (s *site) shake(ctx context.Context, a *shim.Attachment, o mcp.Options, b *gateway.Belief) (*client, error) {
	died := o.SkipProbe // or it would be asked
	o.SkipProbe = died || b.Legacy()
	session, err := mcp.Connect(ctx, a, &o)
	err, unwritten := b.Learn(ctx, session, died, err)
	if unwritten != nil {
		s.ui.warn("%v", unwritten)
	}
	if err != nil {
		return nil, err
	}
	return &client{Session: session, carrier: a}, nil
}

// byGateway makes a session with a server through the gateway of the home.
func (s *site) byGateway(ctx context.Context, name string) (*client, error) {
	l, err := s.dialGateway(ctx, errand{server: name, patient: true})
	if err != nil {
		return nil, err
	}
	session, err := mcp.Connect(ctx, l, nil)
	if err != nil {
		l.Close()
		return nil, err
	}
	return &client{Session: session, carrier: l}, nil
}

func (s *site) isReady(ctx context.Context, name string) bool {
	st, err := s.Status(ctx, name)
	return err == nil && st.Phase == berth.PhaseReady
}

// deaths counts the exits of a server, each once, however often one is heard of.
type deaths struct {
	n    int
	last time.Time
}

// afterDeath says whether it is worth waiting for the next process of a server
// that went away before it had answered, and what the user should know of that
// meanwhile; or why not.
func (s *site) afterDeath(ctx context.Context, name string, d *deaths) (note string, err error) {
	st, err := s.Status(ctx, name)
	if err != nil {
		return "", err
	}
	news := d.n == 0 || st.LastExit != nil && !st.LastExit.At.Equal(d.last)
	if news {
		d.n++
		if st.LastExit != nil {
			d.last = st.LastExit.At
		}
	}
	switch st.Phase {
	case berth.PhaseStopped:
		return "", fmt.Errorf("server %q was stopped before it answered: %w", name, berth.ErrNotRunning)
	case berth.PhaseFailed, berth.PhaseExited:
		return "", s.died(st, d.n)
	}
	switch {
	case d.n >= mostDeaths:
		return "", s.died(st, d.n)
	case !news, st.Phase == berth.PhaseStopping:
		return "", pause(ctx, 50*time.Millisecond)
	case st.MaxRestarts > 0: // else what comes next is the verdict
		return fmt.Sprintf("server %q went away before it answered (%s); waiting for its next start", name, lastExit(st)), nil
	}
	return "", nil
}

// died is the error of a server that went away, after its last words.
func (s *site) died(st berth.Status, deaths int) error {
	words := st.Stderr
	if len(words) == 0 {
		words = s.lastWords(st.Name)
	}
	for _, line := range words {
		s.ui.say("  %s", line)
	}
	for _, line := range deniedLines(berth.ServerOf(st.Name), st.Denied, time.Now(), "berth permissions "+berth.ServerOf(st.Name)) {
		s.ui.note("%s", line)
	}
	text := fmt.Sprintf("server %q ended before it answered", st.Name)
	if deaths > 1 {
		text = fmt.Sprintf("server %q ended %d times before it answered", st.Name, deaths)
	}
	text += ": " + lastExit(st)
	if st.Error != "" {
		text += ": " + st.Error
	}
	hint := fmt.Sprintf("`berth logs %s` shows all that it printed", st.Name)
	if st.Phase != berth.PhaseFailed && st.Phase != berth.PhaseExited {
		hint += fmt.Sprintf("; it is still being restarted, `berth stop %s` ends that", st.Name)
	}
	return berth.WithHint(errors.New(text), hint)
}

// mostWords is how many lines of a server's own are shown when it went away.
const mostWords = 10

// lastWords are the last lines, in the server's log, of its last process that
// printed any.
func (s *site) lastWords(name string) (words []string) {
	lines, err := s.Logs(name, 4*mostWords)
	if err != nil {
		return nil
	}
	for _, line := range slices.Backward(lines) {
		text, ours := lifecycleText(string(line))
		started := ours && (strings.HasPrefix(text, "START ") || strings.HasPrefix(text, "AUTO_RESTART "))
		if started && len(words) > 0 || len(words) == mostWords {
			break
		}
		if !ours {
			words = append(words, text)
		}
	}
	slices.Reverse(words)
	return words
}

// lifecycleText is what a line of a log says, and whether it is one of Berth's
// own: "[seconds] WORD…".
func lifecycleText(line string) (text string, ours bool) {
	at, text, ok := strings.Cut(strings.TrimPrefix(line, "["), "] ")
	if _, err := strconv.ParseUint(at, 10, 64); !ok || err != nil || line[0] != '[' {
		return line, false
	}
	return text, true
}

func lastExit(st berth.Status) string {
	if st.LastExit == nil {
		return "unknown exit"
	}
	return st.LastExit.String()
}

// pause waits for what has no event.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// bringUp starts a server that is installed and down, for a command that needs
// it. A server that gave up is left to its user.
func (s *site) bringUp(ctx context.Context, name string, mayStart bool) error {
	if err := s.known(name); err != nil {
		return err
	}
	st, err := s.Status(ctx, name)
	if err != nil && !errors.Is(err, berth.ErrBadState) {
		return err // a start sets a bad state aside
	}
	notRunning := func(err error, format string, args ...any) error {
		return &exitError{code: exitNotRunning, err: berth.WithHint(err, fmt.Sprintf(format, args...))}
	}
	if err == nil {
		switch st.Phase {
		case berth.PhaseRunning, berth.PhaseReady, berth.PhaseStarting, berth.PhaseBackoff:
			state, _, err := s.home.ReadState(name)
			if err != nil {
				return nil // its shim knows all the same
			}
			return s.overStdio(name, state.Transport)
		case berth.PhaseFailed:
			if st.ShimPID == 0 && s.orphaned(name) {
				break // it did nothing wrong: its supervisor was killed
			}
			return notRunning(fmt.Errorf("server %q is down: %s", name, st.Error), "mend that, then: berth start %s", name)
		}
	}
	if !mayStart {
		return notRunning(fmt.Errorf("server %q: %w", name, berth.ErrNotRunning), "berth start %s", name)
	}
	spec, err := s.spec(name)
	if errors.Is(err, berth.ErrNoServer) {
		return notRunning(fmt.Errorf("server %q is not running, and not installed", name), "berth add %s -- COMMAND", name)
	}
	if err == nil {
		err = s.overStdio(name, spec.Transport)
	}
	if err != nil {
		return err
	}
	if _, err := s.start(ctx, name, spec); err != nil {
		if codeOf(err) == exitRefused {
			return &exitError{code: exitNotRunning, err: err}
		}
		return err
	}
	s.ui.say("%s: started", name)
	return nil
}

// overStdio returns nil unless the server is one whose stdout is not protocol.
func (s *site) overStdio(name, transport string) error {
	if transport != "http" {
		return nil
	}
	hint := fmt.Sprintf("`berth logs %s` shows what it says of it", name)
	if server, err := s.home.ReadServer(berth.ServerOf(name)); err == nil && server.Port() != "" {
		hint = fmt.Sprintf("for Berth's clients: berth add %s-http --url http://127.0.0.1:%s/mcp", name, server.Port())
	}
	return berth.WithHint(fmt.Errorf("server %q speaks http, not stdio: its clients reach it at an address of its own", name), hint)
}

// orphaned says whether the server is down because its shim was killed, though
// it should be up.
func (s *site) orphaned(name string) bool {
	st, found, err := s.home.ReadState(name)
	return err == nil && found && st.Desired == string(berth.Running) && berth.Phase(st.Phase) != berth.PhaseFailed
}

// start is Manager.Start within the bounds that berth.toml sets.
func (s *site) start(ctx context.Context, name string, spec berth.ProcessSpec) (berth.StartOutcome, error) {
	config, warnings, err := s.home.ReadConfig()
	s.warn(warnings...)
	if err != nil {
		return 0, err
	}
	if config.Runtime.MaxServers == 0 {
		return s.Start(ctx, name, spec)
	}
	// Between counting and starting nobody else may start one.
	lock, err := home.WaitLock(ctx, s.home.RunLock("start"))
	if err != nil {
		return 0, err
	}
	defer lock.Unlock()
	rows, err := s.rows(ctx, nil)
	if err != nil {
		return 0, err
	}
	running := 0
	for _, st := range rows {
		if st.Name != name && st.Status == berth.Running {
			running++
		}
	}
	if running >= config.Runtime.MaxServers {
		err := fmt.Errorf("%s, and %s allows %d: max_servers", plural(running, "server", "runs", "run"), s.home.ConfigPath(), config.Runtime.MaxServers)
		return 0, &exitError{code: exitRefused, err: berth.WithHint(err, "stop another server first")}
	}
	return s.Start(ctx, name, spec)
}
