package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/gateway"
	"github.com/berth-run/berth/internal/home"
	"github.com/berth-run/berth/internal/mcp"
	"github.com/berth-run/berth/internal/shim"
)

// keys are what is known of a server by how it is run. They are "" for one that is
// not spoken to.
type keys struct {
	manifest string // of its manifest
	spec     string // of its command line; see home.SpecDigest
	era      string // of its era
}

// keysOf returns the keys of a server.
func (s *site) keysOf(server home.Server, config home.Config) (keys, error) {
	run, _, err := s.specOf(server, config)
	if err != nil || run.Transport == "http" {
		return keys{}, err
	}
	permissions, _, err := s.home.ReadPermissions(server.Name)
	if err != nil {
		return keys{}, err
	}
	k := keys{spec: home.SpecDigest(run), era: server.EraKey(run)}
	k.manifest = server.ManifestKey(k.spec, permissions)
	if eras := server.Config["berth.eras"]; eras == home.EraLegacy || eras == home.EraModern {
		k.era = "" // its user knows
	}
	return k, nil
}

// keys is keysOf of an installed server.
func (s *site) keys(name string) (keys, error) {
	server, err := s.home.ReadServer(berth.ServerOf(name))
	if err != nil {
		return keys{}, err
	}
	config, _, err := s.home.ReadConfig()
	if err != nil {
		return keys{}, err
	}
	return s.keysOf(server, config)
}

// belief is what is remembered of the era of a server that is run in the same way.
func (s *site) belief(name string) gateway.Belief {
	keys, err := s.keys(name)
	if err != nil {
		return gateway.Belief{} // a start says what is wrong
	}
	return gateway.Believe(s.home, keys.era)
}

// roots are the directories that the server is to be told of. Whoever makes its
// handshake tells it, for all who come after.
func (s *site) roots(name string) []string {
	server, err := s.home.ReadServer(berth.ServerOf(name))
	if err != nil {
		return nil // a start says what is wrong
	}
	sharing, err := server.Sharing()
	if err != nil {
		return nil
	}
	return sharing.Roots
}

// remember keeps what the server says of itself and what it lists. A session
// through the gateway is none to learn that from: the gateway keeps it.
func (s *site) remember(ctx context.Context, name string, c *client) {
	a, direct := c.carrier.(*shim.Attachment)
	if !direct {
		return
	}
	keys, err := s.keys(name)
	if err != nil || keys.manifest == "" {
		return
	}
	st, found, err := s.home.ReadState(name)
	if err != nil || !found || st.SpecDigest != keys.spec || st.Generation != a.Generation() {
		return // its process is of what the file said before
	}
	m, err := c.Survey(ctx, keys.manifest)
	var data []byte
	if err == nil {
		data, err = m.Encode()
	}
	if err == nil && s.pinsTools(name) {
		_, err = gateway.SeeTools(s.home, berth.ServerOf(name), gateway.ToolsOf(m), true)
	}
	if err == nil {
		err = s.home.WriteManifest(name, data)
	}
	if err != nil {
		s.ui.warn("%s: what it lists is not kept: %v", name, err)
	}
}

// hasManifest says whether the gateway can answer for the server without starting
// it.
func (s *site) hasManifest(name string) bool {
	keys, err := s.keys(name)
	if err != nil || keys.manifest == "" {
		return false
	}
	data, err := s.home.ReadManifest(name, mcp.MaxManifest+1)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			s.ui.warn("%v", err)
		}
		return false
	}
	m, err := mcp.ParseManifest(data)
	return err == nil && m.Key == keys.manifest
}

// firstRun runs a server that was added, to learn what it says of itself, and
// puts it to rest.
func (s *site) firstRun(ctx context.Context, name string, timeout time.Duration) error {
	failed := func(err error, hint string) error {
		return berth.WithHint(fmt.Errorf("%s: added, but its first run failed: %w", name, err), hint)
	}
	if err := s.CheckPolicy(name); err != nil {
		return fmt.Errorf("%s: added, but not run: %w", name, err)
	}
	spec, err := s.spec(name)
	if err != nil {
		return err
	}
	again := fmt.Sprintf("`berth logs %[1]s` shows all that it printed, berth start %[1]s tries again; --no-run adds a server without running it", name)
	outcome, err := s.start(ctx, name, spec)
	if err != nil {
		return failed(err, again)
	}
	if outcome == berth.AlreadyRunning {
		return nil // somebody else was faster
	}
	answer, err := s.firstAnswer(ctx, name, timeout)
	resting, cancel := context.WithTimeout(context.WithoutCancel(ctx), restTimeout)
	defer cancel()
	if _, restErr := s.Rest(resting, name, 0, "its first run is over"); restErr != nil {
		s.ui.warn("%v", restErr)
	}
	if err != nil {
		return failed(err, again)
	}
	s.ui.print("%s: %s", name, printable(answer))
	s.ui.say("a client that calls it starts it; so does: berth start %s", name)
	return nil
}

// restTimeout bounds the stop after a first run.
const restTimeout = 30 * time.Second

// firstAnswer waits until the server answers, keeps what it says, and says it in a
// line.
func (s *site) firstAnswer(ctx context.Context, name string, timeout time.Duration) (string, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("the %v of --timeout are over", timeout))
	defer cancel()
	stop := s.tick(name)
	answer, err := s.awaitReady(ctx, name)
	stop()
	return answer, err
}

// readyForProxy makes certain that the gateway can serve the server: it starts it
// by itself for who calls it, if it knows what to say meanwhile or has a process
// for each client.
func (s *site) readyForProxy(ctx context.Context, name string, mayStart bool) error {
	if mayStart && s.onDemand(ctx, name) {
		if err := s.CheckPolicy(name); err != nil {
			return &exitError{code: exitNotRunning, err: err}
		}
		return nil
	}
	return s.bringUp(ctx, name, mayStart)
}

func (s *site) onDemand(ctx context.Context, name string) bool {
	server, err := s.home.ReadServer(name)
	if err != nil || !server.Lines() {
		return false
	}
	st, err := s.Status(ctx, name)
	if err != nil || st.Phase == berth.PhaseFailed {
		return false // its user is to know
	}
	sharing, err := server.Sharing()
	return err == nil && (sharing.Session || s.hasManifest(name))
}
