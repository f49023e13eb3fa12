package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/catalog"
	"github.com/berth-run/berth/internal/home"
	"github.com/berth-run/berth/internal/vault"
	"github.com/berth-run/berth/supervisor"
	"github.com/spf13/cobra"
)

// app is what all commands share: the streams and the global flags.
type app struct {
	stdin    io.Reader
	ui       *ui
	homeFlag string
	lines    *bufio.Reader // of stdin, once one was read
	parsed   bool          // the command line is in order; errors are not of usage
}

func newApp(stdin io.Reader, stdout, stderr io.Writer) *app {
	return &app{stdin: stdin, ui: newUI(stdout, stderr)}
}

// site is an open home: the manager of what runs in it, and its files.
type site struct {
	*supervisor.Manager
	home *home.Home
	ui   *ui
	// staged is a file that was fetched to be looked at; nil if there is none.
	staged *catalog.Staged

	mu     sync.Mutex // guards the fields below
	warned map[string]bool
	opened *vault.Vault // the secret store; nil until somebody asks
}

// open opens the home; one that is opened for reading is left as it is, also
// when it does not exist.
func (a *app) open(readOnly bool) (*site, error) {
	dir := a.homeFlag
	if dir == "" {
		var err error
		if dir, err = home.Default(); err != nil {
			return nil, err
		}
	}
	return openSite(a.ui, &supervisor.Options{Home: dir, ReadOnly: readOnly})
}

func openSite(u *ui, o *supervisor.Options) (*site, error) {
	m, err := supervisor.Open(o)
	if err != nil {
		return nil, err
	}
	// The manager has proved that the home is fit, and made what was missing.
	h, err := home.Open(o.Home, &home.Options{ReadOnly: o.ReadOnly})
	if err != nil {
		return nil, err
	}
	return &site{Manager: m, home: h, ui: u, warned: map[string]bool{}}, nil
}

// vault opens the secret store, once: a passphrase is asked for by the first who needs
// it.
func (s *site) vault() (_ *vault.Vault, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.opened == nil {
		s.opened, err = openVault(s.home)
	}
	return s.opened, err
}

// warn says each warning once.
func (s *site) warn(warnings ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range warnings {
		if !s.warned[w] {
			s.warned[w] = true
			s.ui.warn("%s", w)
		}
	}
}

// installed lists the servers that have a file. A file that no server can have
// is worth a warning: somebody wonders why nothing comes of it.
func (s *site) installed() ([]string, error) {
	names, strays, err := s.home.Servers()
	for _, stray := range strays {
		s.warn(fmt.Sprintf("%s is no server's: %v", stray, "its name is not one that a server can have"))
	}
	return names, err
}

// all lists the servers of the home: those that are installed and those that
// have a state, sorted.
func (s *site) all() ([]string, error) {
	installed, err := s.installed()
	if err != nil {
		return nil, err
	}
	states, err := s.Names()
	if err != nil {
		return nil, err
	}
	all := append(installed, states...)
	slices.Sort(all)
	return slices.Compact(all), nil
}

// chosen are the servers that a command is about: the named ones, each once, or
// with --all those that list returns.
func chosen(args []string, all bool, list func() ([]string, error)) ([]string, error) {
	if all {
		return list()
	}
	var names []string
	for _, name := range args {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names, nil
}

// known returns nil if the home has a server of that name: installed, or with a
// state, as homes of the reference have.
func (s *site) known(name string) error {
	all, err := s.all()
	if err != nil {
		return err
	}
	if slices.Contains(all, berth.ServerOf(name)) {
		return nil
	}
	return s.noServer(name)
}

// instances lists the further processes of a server that have a state.
func (s *site) instances(server string) ([]string, error) {
	names, err := s.Names()
	return slices.DeleteFunc(names, func(name string) bool {
		return name == server || berth.ServerOf(name) != server
	}), err
}

// stopInstances ends the further processes of a server. The gateway starts them
// again for clients that need them.
func (s *site) stopInstances(ctx context.Context, server string) error {
	names, err := s.instances(server)
	for _, name := range names {
		_, stopErr := s.Stop(ctx, name)
		err = errors.Join(err, stopErr)
	}
	return err
}

// noServer is the error for a name that the home does not know, with what may
// have been meant.
func (s *site) noServer(name string) error {
	err := fmt.Errorf("%w: %s", berth.ErrNoServer, name)
	all, listErr := s.all()
	if listErr != nil {
		return err
	}
	if slices.Contains(all, name) {
		return berth.WithHint(fmt.Errorf("%w: %s is not installed", berth.ErrNoServer, name),
			fmt.Sprintf("it ran once, and how is not known: berth add %s -- COMMAND", name))
	}
	for _, other := range all {
		if distance(name, other) <= 2 {
			return berth.WithHint(err, fmt.Sprintf("did you mean %s?", other))
		}
	}
	return berth.WithHint(err, fmt.Sprintf("add it: berth install NAME, or berth add %s -- COMMAND; `berth status` lists what there is in %s", name, s.Dir()))
}

// server reads an installed server.
func (s *site) server(name string) (home.Server, error) {
	server, err := s.home.ReadServer(berth.ServerOf(name))
	if errors.Is(err, berth.ErrNoServer) {
		return server, s.noServer(name)
	}
	return server, err
}

// spec is how to start an installed server: with the secrets that its file only
// names.
func (s *site) spec(name string) (berth.ProcessSpec, error) {
	server, err := s.server(name)
	if err != nil {
		return berth.ProcessSpec{}, err
	}
	spec, err := s.plan(server)
	if err == nil {
		err = s.resolve(server, &spec)
	}
	if err == nil && spec.Confine.Confined() {
		err = s.home.MakeData(server.Name)
	}
	return spec, err
}

// plan is how to run a server, as its file says. What is odd in the file is said.
func (s *site) plan(server home.Server) (berth.ProcessSpec, error) {
	config, warnings, err := s.home.ReadConfig()
	s.warn(warnings...)
	if err != nil {
		return berth.ProcessSpec{}, err
	}
	spec, warnings, err := s.specOf(server, config)
	s.warn(warnings...)
	return spec, err
}

// specOf joins what a server's file says with what berth.toml says for all.
// A permissions file that cannot be read stops a start: to pass over a revocation
// would be to grant it.
func (s *site) specOf(server home.Server, config home.Config) (berth.ProcessSpec, []string, error) {
	user, odd, err := s.home.ReadPermissions(server.Name)
	if err == nil {
		err = checkRefs(server)
	}
	if err != nil {
		return berth.ProcessSpec{}, nil, err
	}
	if _, own := server.Config["berth.auto-restart"]; !own && config.Runtime.AutoRestart != nil {
		server.Config = with(server.Config, "berth.auto-restart", strconv.FormatBool(*config.Runtime.AutoRestart))
	}
	spec, warnings, err := server.Spec(os.Environ(), user)
	if err == nil && server.Remote() {
		spec.Env["BERTH_HOME"] = s.Dir() // for what does not fit into memory
	}
	return spec, append(odd, warnings...), err
}

func with(m map[string]string, key, value string) map[string]string {
	out := map[string]string{key: value}
	for k, v := range m {
		if k != key {
			out[k] = v
		}
	}
	return out
}

// record appends an audit record about what this command changed: a server, or the
// home, of which no server is named then.
func (s *site) record(ctx context.Context, r berth.Record) (err error) {
	if r.Server != "" {
		_, err = s.Record(ctx, r)
	} else {
		r.Time = time.Now()
		r.TimestampEpochSecs = r.Time.Unix()
		_, err = s.home.Append(r)
	}
	if err != nil {
		return fmt.Errorf("it was done, but the audit trail could not be written: %w", err)
	}
	return nil
}

// recordAll is record for several records about the home, for the price of one.
func (s *site) recordAll(records []berth.Record) error {
	if len(records) == 0 {
		return nil
	}
	for i := range records {
		records[i].Time = time.Now()
		records[i].TimestampEpochSecs = records[i].Time.Unix()
	}
	if _, err := s.home.AppendAll(records); err != nil {
		return fmt.Errorf("it was done, but the audit trail could not be written: %w", err)
	}
	return nil
}

// recordOfHome is record for what is about the home and none of its servers.
func (s *site) recordOfHome(action, detail string) error {
	return s.record(context.Background(), berth.Record{Action: action, Detail: detail})
}

// completeNames completes server names; most is how many a command takes, -1
// for any number. It changes nothing and says nothing.
func (a *app) completeNames(most int) cobra.CompletionFunc {
	return func(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if most >= 0 && len(args) >= most {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		s, err := a.open(true)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		s.ui = newUI(io.Discard, io.Discard)
		all, _ := s.all()
		left := slices.DeleteFunc(all, func(name string) bool { return slices.Contains(args, name) })
		return left, cobra.ShellCompDirectiveNoFileComp
	}
}

// distance is how many letters must be added, taken away or replaced to make b
// of a.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		last := row[0]
		row[0] = i + 1
		for j := range len(b) {
			next := min(row[j+1], row[j]) + 1
			if a[i] == b[j] {
				next = min(next, last)
			} else {
				next = min(next, last+1)
			}
			last, row[j+1] = row[j+1], next
		}
	}
	return row[len(b)]
}
