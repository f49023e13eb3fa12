package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/autostart"
	"github.com/berth-run/berth/internal/home"
	"github.com/spf13/cobra"
)

// serviceOptions are the flags of service.
type serviceOptions struct {
	listen                             string
	noListen, tls, noAuth, show, force bool
	asJSON                             bool
}

func newService(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "service install|uninstall|status",
		Short: "Have the system start Berth when you log in",
		Long: `Have what starts a user's programs at login start ` + "`berth up`" + `, and keep it up: systemd's
user manager on Linux, launchd on macOS, the Task Scheduler on Windows. Clients that
are linked by ` + "`berth link`" + ` need no service: they start what they need. One is for
clients that are linked by address (` + "`berth link --http`" + `), and for servers that are to run
while no client does.

Exit codes: 0 done, 1 failed, 2 wrong usage.`,
		Example: "  berth service install\n  berth service status",
	}
	return group(cmd, newServiceInstall(a), newServiceUninstall(a), newServiceStatus(a))
}

func newServiceInstall(a *app) *cobra.Command {
	var o serviceOptions
	cmd := &cobra.Command{
		Use:   "install [--listen ADDR | --no-listen] [--tls] [--no-auth] [--force] [--print]",
		Short: "Start berth up now and at each login",
		Long: `Write what has the system run ` + "`berth up`" + ` now and at each login, and load it. It
listens on http://` + defaultListen + ` unless --listen says another address or --no-listen that
there is none; callers need a token (` + "`berth token create NAME`" + `). A ` + "`berth up`" + ` that runs
hands over to it. Run again, it changes what differs; what is the same stays as it is.

On Linux these are a service and, for the address, a socket unit: systemd listens, so
that no caller is turned away while Berth is restarted. Servers stay up when the
service is stopped or restarted (KillMode=process). They end at logout, unless
` + "`loginctl enable-linger`" + ` has your user manager stay. Where there is no user manager
for you, nothing is written.

The program is named by the path that an upgrade leaves in place. A file that is there
and was not written by Berth, or was edited since, is left alone unless --force;
` + "`systemctl --user edit berth.service`" + ` changes units without editing them. --print shows
the files and writes nothing.

Files: service.json in the home, and those that --print names.

Exit codes: 0 it runs, 1 failed, 2 wrong usage.`,
		Example:           "  berth service install\n  berth service install --no-listen\n  berth service install --listen 127.0.0.1:8080 --print",
		Args:              noArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.check(); err != nil {
				return err
			}
			return a.serviceInstall(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.listen, "listen", "", "serve HTTP on this `ADDR` (default "+defaultListen+")")
	_ = cmd.RegisterFlagCompletionFunc("listen", cobra.NoFileCompletions)
	f.BoolVar(&o.noListen, "no-listen", false, "serve no port: only berth proxy reaches it")
	f.BoolVar(&o.tls, "tls", false, "serve HTTPS, by a certificate of the home's own CA")
	f.BoolVar(&o.noAuth, "no-auth", false, "ask for no token: let every program on this machine in")
	f.BoolVar(&o.force, "force", false, "replace files that Berth did not write")
	f.BoolVar(&o.show, "print", false, "show the files and write nothing")
	return cmd
}

func newServiceUninstall(a *app) *cobra.Command {
	var o serviceOptions
	cmd := &cobra.Command{
		Use:   "uninstall [--force]",
		Short: "Undo berth service install",
		Long: `End the service, and remove the files that ` + "`berth service install`" + ` has written. One
that was edited since is kept and said, unless --force. Servers stay up; ` + "`berth stop\n--all`" + ` ends them.

Exit codes: 0 done, also when there was none, 1 failed.`,
		Example:           "  berth service uninstall",
		Args:              noArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.serviceUninstall(cmd.Context(), o.force)
		},
	}
	cmd.Flags().BoolVar(&o.force, "force", false, "remove files that were edited, too")
	return cmd
}

func newServiceStatus(a *app) *cobra.Command {
	var o serviceOptions
	cmd := &cobra.Command{
		Use:   "status [--json]",
		Short: "Show what berth service install has written, and whether it runs",
		Long: `Show the files that ` + "`berth service install`" + ` has written, whether they are as they were
written, and what the system says of them.

Exit codes: 0 the service is installed, 1 it is not, or failed.`,
		Example:           "  berth service status --json",
		Args:              noArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.serviceStatus(cmd.Context(), o.asJSON)
		},
	}
	cmd.Flags().BoolVar(&o.asJSON, "json", false, "print a JSON object")
	return cmd
}

// check says whether the service may be like that.
func (o *serviceOptions) check() error {
	if o.noListen {
		if o.listen != "" || o.tls || o.noAuth {
			return usagef("--no-listen stands alone")
		}
		return nil
	}
	if o.listen == "" {
		o.listen = defaultListen
	}
	d := door{listen: o.listen, tls: o.tls, noAuth: o.noAuth}
	if err := d.check(); err != nil {
		return err
	}
	host, port, err := net.SplitHostPort(o.listen)
	if n, numErr := strconv.ParseUint(port, 10, 16); err != nil || numErr != nil || n == 0 {
		return usagef("--listen %s: a service needs a port by its number, not 0", o.listen)
	}
	// systemd resolves no names, and wants an address.
	switch host {
	case "localhost":
		o.listen = net.JoinHostPort("127.0.0.1", port)
	case "":
		o.listen = net.JoinHostPort("::", port)
	}
	return nil
}

// serviceJob is what is to be run for a home.
func (s *site) serviceJob(o serviceOptions) (autostart.Job, error) {
	program, err := stablePath()
	if err != nil {
		return autostart.Job{}, err
	}
	if isThrowaway(program) {
		return autostart.Job{}, berth.WithHint(fmt.Errorf("%s will not be there for long", program), "install berth, and run that")
	}
	j := autostart.Job{Name: s.serviceName(), Program: program, Args: []string{"up", "--replace"}, Log: filepath.Join(s.Dir(), "service.log")}
	if !o.noListen {
		j.Listen = o.listen
		j.Args = append(j.Args, "--listen", o.listen)
	}
	if o.tls {
		j.Args = append(j.Args, "--tls")
	}
	if o.noAuth {
		j.Args = append(j.Args, "--no-auth")
	}
	if !isDefaultHome(s.Dir()) {
		j.Args = append(j.Args, "--home", s.Dir())
	}
	return j, nil
}

// serviceName is how the service of a home is called: each home may have one.
func (s *site) serviceName() string {
	if isDefaultHome(s.Dir()) {
		return "berth"
	}
	sum := sha256.Sum256([]byte(s.Dir()))
	return "berth-" + hex.EncodeToString(sum[:4])
}

// autostartHere is the system that this process runs on.
func autostartHere() (autostart.System, error) {
	dir, err := os.UserHomeDir()
	if err != nil {
		return autostart.System{}, err
	}
	s := autostart.System{OS: runtime.GOOS, Home: dir, Config: os.Getenv("XDG_CONFIG_HOME"), User: strconv.Itoa(os.Getuid())}
	if !filepath.IsAbs(s.Config) {
		s.Config = "" // as the XDG specification says
	}
	if runtime.GOOS == "windows" {
		u, err := user.Current()
		if err != nil {
			return s, err
		}
		s.User = u.Username
	}
	return s, nil
}

func (a *app) serviceInstall(ctx context.Context, o serviceOptions) error {
	s, err := a.open(o.show)
	if err != nil {
		return err
	}
	job, err := s.serviceJob(o)
	if err != nil {
		return err
	}
	system, err := autostartHere()
	if err != nil {
		return err
	}
	plan, err := autostart.For(job, system)
	if err != nil {
		return err
	}
	if o.show {
		for _, f := range plan.Files {
			s.ui.say("berth: %s", f.Path)
			s.ui.print("%s", f.Text)
		}
		return nil
	}
	if err := probeManager(ctx, plan); err != nil {
		return err
	}
	unlock, err := s.home.LockService(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = unlock() }()
	old, _, err := s.home.ReadService()
	if err != nil {
		return err
	}
	next := home.Service{Name: job.Name, System: system.OS, Listen: job.Listen, TLS: o.tls}
	changed, stale, err := s.writeFiles(plan, old, &next, o.force)
	if err != nil {
		return err
	}
	if err := s.dropFiles(ctx, plan, old, stale, o.force); err != nil {
		return err
	}
	steps := plan.Load
	if changed && len(old.Files) > 0 {
		steps = plan.Reload
	}
	if err := runAll(ctx, steps); err != nil {
		return berth.WithHint(err, "`berth service uninstall` removes what was written; `berth up` says in the foreground what is wrong")
	}
	switch {
	case !changed && len(stale) == 0:
		s.ui.print("unchanged: %s has it", plan.Manager)
	default:
		s.ui.print("installed: %s has it", plan.Manager)
		if err := s.recordOfHome(berth.ActionServiceInstall, job.Name); err != nil {
			return err
		}
	}
	s.sayService(next)
	return nil
}

// sayService says what comes next.
func (s *site) sayService(next home.Service) {
	if next.Listen != "" {
		scheme := "http"
		if next.TLS {
			scheme = "https"
		}
		s.ui.say("berth: clients reach it at %s://%s/mcp; `berth link CLIENT --http` tells them", scheme, next.Listen)
	}
	if runtime.GOOS == "linux" && !lingers() {
		s.ui.note("it ends when you log out; `loginctl enable-linger` has it stay, and start with the machine")
	}
}

// probeManager returns nil if what starts a user's programs is there for this user.
func probeManager(ctx context.Context, p autostart.Plan) error {
	if err := runOne(ctx, p.Probe); err != nil {
		return berth.WithHint(fmt.Errorf("there is no such thing as %s for you here: %w", p.Manager, err), p.NoManager)
	}
	return nil
}

func (a *app) serviceUninstall(ctx context.Context, force bool) error {
	s, err := a.open(true)
	if err != nil {
		return err
	}
	old, found, err := s.home.ReadService()
	if err != nil {
		return err
	}
	if !found {
		s.ui.say("berth: there is no service of this home")
		return nil
	}
	if s, err = a.open(false); err != nil {
		return err
	}
	unlock, err := s.home.LockService(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = unlock() }()
	plan, err := s.planOf(old)
	if err != nil {
		return err
	}
	if err := probeManager(ctx, plan); err != nil {
		return err
	}
	// What was ended or removed by hand is no reason to keep the files.
	if err := runAll(ctx, plan.Unload); err != nil {
		s.ui.warn("%v", err)
	}
	var kept []string
	for _, f := range old.Files {
		switch removed, err := removeWritten(f, force); {
		case err != nil:
			return err
		case !removed:
			kept = append(kept, f.Path)
		}
	}
	if err := runAll(ctx, plan.Forget); err != nil {
		return err
	}
	if err := s.home.RemoveService(); err != nil {
		return err
	}
	for _, path := range kept {
		s.ui.print("kept: %s", path)
		s.ui.say("berth: hint: somebody edited it; remove it yourself if nothing of it is yours")
	}
	s.ui.print("uninstalled")
	s.ui.say("berth: servers that are up stay up; `berth stop --all` ends them")
	return s.recordOfHome(berth.ActionServiceUninstall, old.Name)
}

// planOf is the plan of a service that was installed.
func (s *site) planOf(old home.Service) (autostart.Plan, error) {
	system, err := autostartHere()
	if err != nil {
		return autostart.Plan{}, err
	}
	if old.System != system.OS {
		return autostart.Plan{}, berth.WithHint(fmt.Errorf("the service of this home was installed on %s", old.System), "uninstall it there")
	}
	return autostart.For(autostart.Job{Name: old.Name, Program: home.OwnProgram(), Listen: old.Listen, Log: filepath.Join(s.Dir(), "service.log")}, system)
}

// serviceRow is what `berth service status` shows.
type serviceRow struct {
	Name   string        `json:"name"`
	Listen string        `json:"listen,omitzero"`
	Files  []serviceFile `json:"files"`
	// Manager is what the system says, by unit where it tells.
	Manager string `json:"manager"`
	Error   string `json:"error,omitzero"`
	Lingers *bool  `json:"lingers,omitzero"`
}

type serviceFile struct {
	Path  string `json:"path"`
	State string `json:"state"` // "as written", "edited" or "gone"
}

func (a *app) serviceStatus(ctx context.Context, asJSON bool) error {
	s, err := a.open(true)
	if err != nil {
		return err
	}
	old, found, err := s.home.ReadService()
	if err != nil {
		return err
	}
	if !found {
		return berth.WithHint(errors.New("there is no service of this home"), "berth service install")
	}
	plan, err := s.planOf(old)
	if err != nil {
		return err
	}
	row := serviceRow{Name: old.Name, Listen: old.Listen}
	for _, f := range old.Files {
		state, err := stateOf(f)
		if err != nil {
			return err
		}
		row.Files = append(row.Files, serviceFile{f.Path, state})
	}
	if row.Manager, err = outputOf(ctx, plan.Show); err != nil {
		row.Error = err.Error()
	}
	if runtime.GOOS == "linux" {
		lingers := lingers()
		row.Lingers = &lingers
	}
	if asJSON {
		return s.ui.json(row)
	}
	s.ui.print("%s", row.Name)
	for _, f := range row.Files {
		s.ui.print("  %-10s %s", f.State, f.Path)
	}
	if row.Error != "" {
		s.ui.warn("%s", row.Error)
	}
	s.ui.print("%s", printableLines(row.Manager))
	s.sayService(old)
	if slices.ContainsFunc(row.Files, func(f serviceFile) bool { return f.State != asWritten }) {
		s.ui.say("berth: hint: `berth service install` writes what is missing, --force what was edited")
	}
	return nil
}
