package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/home"
	"github.com/spf13/cobra"
)

func newStatus(a *app) *cobra.Command {
	var asJSON, watch bool
	cmd := &cobra.Command{
		Use:     "status [NAME…] [--json] [--watch]",
		Aliases: []string{"ps"},
		Short:   "Show how servers are",
		Long: `Show how the named servers are, or all: those that are installed and those that
ran. Nothing is changed.

STATUS is "running" exactly while the server's process lives. PHASE says more:
  starting  being started
  running   alive, but it was not asked, or did not answer, whether it speaks MCP
  ready     alive, and it answered an MCP handshake
  backoff   it exited and waits for its next restart
  failed    down until someone acts: the reason stands below the table
  exited    it ended by itself and was not to be restarted
  stopping  a stop is under way
  stopped   it was stopped, or never ran
  at rest   stopped since nobody used it; whoever calls it starts it
RESTARTS counts the automatic ones within 10 minutes, and how many are allowed.
PROFILE is how tightly it is confined, with a * if something of that cannot be kept
here; the line below the table says what; container is one that its engine confines. What it may do: berth permissions NAME.
MCP is what the server says it is, and the protocol version spoken with it.
Below the table stands where a remote server is, what a server was refused lately and
which permission would allow it, and that a server is not confined since it was added
before servers were.

--json prints an array, one object for each server, with what the table leaves
out: the last exit, the last lines of stderr, what is guaranteed and how.
--watch goes on and shows each change; with --json one array a line.

Exit codes: 0 all is well, 1 a server has an error, 3 no such server.`,
		Example: `  berth status
  berth status everything --json
  berth status --watch`,
		Args:              names(-1),
		ValidArgsFunction: a.completeNames(-1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if watch {
				return a.watchStatus(cmd.Context(), args, asJSON)
			}
			s, err := a.open(true)
			if err != nil {
				return err
			}
			rows, err := s.rows(cmd.Context(), args)
			if err != nil {
				return err
			}
			if asJSON {
				err = s.ui.json(rows)
			} else {
				err = printStatus(s.ui, s.ui.out, rows, time.Now())
			}
			if err != nil {
				return err
			}
			return s.verdict(rows, args)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "go on and show each change")
	return cmd
}

// rows are the statuses of the named servers, or of all. A server that the home
// does not know has none; verdict says so.
func (s *site) rows(ctx context.Context, named []string) ([]berth.Status, error) {
	all, err := s.all()
	if err != nil {
		return nil, err
	}
	if len(named) > 0 {
		all = slices.DeleteFunc(all, func(name string) bool { return !slices.Contains(named, berth.ServerOf(name)) })
	}
	config, _, configErr := s.home.ReadConfig() // its warnings are said at a start
	rows := make([]berth.Status, len(all))
	slots := make(chan struct{}, 4*runtime.GOMAXPROCS(0))
	var asking sync.WaitGroup
	for i, name := range all {
		slots <- struct{}{}
		asking.Go(func() {
			defer func() { <-slots }()
			rows[i] = s.row(ctx, name, config)
			if configErr != nil && rows[i].Error == "" {
				rows[i].Error = configErr.Error()
			}
		})
	}
	asking.Wait()
	return rows, ctx.Err()
}

// row is the status of one server. What is wrong with it, its state file or the
// file that says how to run it, stands in Error.
func (s *site) row(ctx context.Context, name string, config home.Config) berth.Status {
	st, err := s.Status(ctx, name)
	if err != nil {
		st = berth.Status{Name: name, Status: berth.Stopped, Phase: berth.PhaseFailed, Error: err.Error()}
	}
	server, err := s.home.ReadServer(berth.ServerOf(name))
	if errors.Is(err, berth.ErrNoServer) {
		if st.Warning == "" {
			st.Warning = "it is not installed: it can be stopped, but not started again"
		}
		return st
	}
	if err == nil {
		st.URL, st.Disabled = server.ShownURL(), server.Settings.Disabled
		if st.Warning == "" {
			st.Warning = unconfined(server)
		}
		var spec berth.ProcessSpec
		// What is odd in the file is said when the server is started.
		if spec, _, err = s.specOf(server, config); err == nil && st.MaxRestarts == 0 && spec.AutoRestart != nil {
			st.MaxRestarts = spec.AutoRestart.MaxRestarts
		}
		if err == nil && !server.Remote() {
			st.Profile = berth.ProfileOff
			if spec.Confine != nil {
				st.Profile = spec.Confine.Profile
				st.Denied = stillDenied(st.Denied, spec.Confine.Allow)
			}
			if spec.Container {
				st.Profile = berth.ProfileContainer
			}
		}
	}
	if err != nil && st.Error == "" {
		st.Error = err.Error()
	}
	return st
}

// verdict is what the command returns once the rows are shown.
func (s *site) verdict(rows []berth.Status, named []string) error {
	for _, name := range named {
		if !slices.ContainsFunc(rows, func(st berth.Status) bool { return st.Name == name }) {
			return s.noServer(name)
		}
	}
	bad := false
	for _, st := range rows {
		bad = bad || st.Error != ""
		if st.Phase == berth.PhaseFailed && st.ShimPID == 0 && s.orphaned(st.Name) {
			s.ui.talk("berth: hint: ", fmt.Sprintf("berth start %s puts that right; with berth up it happens by itself", st.Name))
		}
	}
	if bad {
		return silent(exitFailed)
	}
	return nil
}

// refresh is how often a watched table is drawn anew for what has no event:
// memory and the time that servers are up.
const refresh = 2 * time.Second

// watchStatus shows the rows again whenever one changes, until ctx ends.
func (a *app) watchStatus(ctx context.Context, named []string, asJSON bool) error {
	s, err := a.open(false)
	if err != nil {
		return err
	}
	for _, name := range named {
		if err := s.known(name); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	changed := make(chan struct{}, 1)
	wake := func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	}
	var events sync.WaitGroup
	defer events.Wait()
	defer cancel(nil)
	events.Go(func() {
		cancel(s.Events(ctx, func(berth.Event) { wake() }))
	})
	var tick <-chan time.Time
	if s.ui.outTerm {
		t := time.NewTicker(refresh)
		defer t.Stop()
		tick = t.C
	}
	wake()
	last := ""
	for {
		select {
		case <-ctx.Done():
			if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
				return err
			}
			return nil // it was watched until the user had seen enough
		case <-changed:
		case <-tick:
		}
		rows, err := s.rows(ctx, named)
		if err != nil {
			continue // ctx has ended
		}
		text, err := watchText(s.ui, rows, asJSON)
		if err != nil {
			return err
		}
		if text == last {
			continue
		}
		last = text
		if s.ui.outTerm && !asJSON {
			text = "\x1b[H\x1b[2J" + text
		}
		if _, err := s.ui.out.Write([]byte(text)); err != nil {
			return err
		}
	}
}

func watchText(u *ui, rows []berth.Status, asJSON bool) (string, error) {
	if asJSON {
		line, err := json.Marshal(rows)
		return string(line) + "\n", err
	}
	var b strings.Builder
	err := printStatus(u, &b, rows, time.Now())
	if !u.outTerm {
		fmt.Fprintln(&b)
	}
	return b.String(), err
}
