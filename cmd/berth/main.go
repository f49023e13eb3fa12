// Command berth keeps MCP servers up: it adds, starts, watches and stops them,
// and lets any number of clients share each. `berth help` lists what it can.
package main

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"strings"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/home"
	"github.com/spf13/cobra"

	// A copy of this program becomes the shim of a server before main is
	// reached, by what this package links.
	_ "github.com/berth-run/berth/supervisor"
)

func main() {
	os.Exit(Main())
}

// Main runs the command of this process; the tests register it as a program.
func Main() int {
	if len(os.Args) > 1 && os.Args[1] == home.RemoteRole {
		return remoteMain(os.Args[2:], os.Stdin, os.Stdout, os.Stderr)
	}
	ctx, stop := signal.NotifyContext(context.Background(), endSignals()...)
	defer stop()
	// The second Ctrl-C is not asked for reasons.
	context.AfterFunc(ctx, stop)
	return run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
}

// run is the whole command: it returns the exit code.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	a := newApp(stdin, stdout, stderr)
	root := newRoot(a)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err != nil && !a.parsed {
		err = asUsage(err)
	}
	return a.ui.end(err)
}

const rootLong = `Berth keeps MCP servers up. Each runs under a small process of its own, its
shim, that restarts it when it dies, ends its whole process tree when told to,
and survives this command.

Files, all in $BERTH_HOME, else ~/.berth:
  servers/NAME.toml   what is installed and how to run it
  logs/NAME.log       what a server printed, and when it started and ended
  audit/audit.jsonl   who did what, in order
  profiles/NAME.toml  which servers and tools a client sees by that name
  clients/NAME.toml   which tools a client may call
  approvals/NAME.json what a server's tools were when they were approved
  permissions/NAME.toml  what you granted a server, and what you revoked
  data/NAME/          what a confined server writes for itself
  previous/NAME.toml  what a server was before its last update
  registry/servers    a copy of the MCP registry
  policy.toml         which servers may not start, and what none may do
  berth.toml          settings of this home
  credentials/        secrets and tokens of servers, encrypted
  service.json        what has the system start Berth (berth service)
  links.json          what was written into clients' settings; originals/ has
                      these as they were, encrypted

Environment: BERTH_HOME, BERTH_ALLOW_NETWORK_HOME=1 (a home on a network disk
that only this machine uses), BERTH_SECRET_BACKEND (where the key of the
secret store is: keyring, file or passphrase), BERTH_SECRET_PASSPHRASE_FILE,
BERTH_BROWSER, NO_COLOR.

Exit codes:
  0  done, also when there was nothing left to do
  1  it failed
  2  wrong usage
  3  no such server, profile or client
  4  refused: by the policy, or because a guarantee cannot be given
  5  call, tools or proxy of a server that is not running and may not be started`

// newRoot builds the command tree. It does no other work: what is not asked for
// must not cost anything.
func newRoot(a *app) *cobra.Command {
	var version bool
	root := &cobra.Command{
		Use:   "berth",
		Short: "Keep MCP servers up",
		Long:  rootLong,
		Example: `  berth install everything
  berth start everything
  berth call everything echo '{"message":"hi"}'
  berth status`,
		Args:              cobra.ArbitraryArgs,
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
		PersistentPreRun:  func(*cobra.Command, []string) { a.parsed = true },
		RunE: func(cmd *cobra.Command, args []string) error {
			if version {
				a.printVersion()
				return nil
			}
			if len(args) == 0 {
				cmd.SetOut(a.ui.err)
				_ = cmd.Help()
				return &exitError{code: exitUsage}
			}
			return unknownCommand(cmd, args[0])
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	root.SetIn(a.stdin)
	root.SetOut(a.ui.out)
	root.SetErr(a.ui.err)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usagef("%v", err).hint("see `%s --help`", cmd.CommandPath())
	})
	root.Flags().BoolVar(&version, "version", false, "print the version")
	root.PersistentFlags().StringVar(&a.homeFlag, "home", "", "home `directory` (default $BERTH_HOME, else ~/.berth)")
	_ = root.MarkPersistentFlagDirname("home")

	root.AddGroup(
		&cobra.Group{ID: groupServers, Title: "Servers:"},
		&cobra.Group{ID: groupLook, Title: "What they do:"},
		&cobra.Group{ID: groupUse, Title: "Using one:"},
		&cobra.Group{ID: groupBerth, Title: "Berth itself:"},
	)
	add := func(group string, commands ...*cobra.Command) {
		for _, c := range commands {
			c.GroupID, c.DisableFlagsInUseLine = group, true
			root.AddCommand(c)
		}
	}
	help := newHelp()
	add(groupServers, newSearch(a), newInfo(a), newInstall(a), newUpdate(a), newRollback(a), newAdd(a), newImport(a), newImportGitHub(a), newExport(a), newSync(a), newFetch(a), newRemove(a), newAuth(a), newSecret(a), newEnable(a), newDisable(a), newConfig(a), newPermissions(a),
		newStart(a), newStop(a), newRestart(a), newUp(a), newService(a))
	add(groupLook, newList(a), newStatus(a), newTop(a), newLogs(a), newAudit(a))
	add(groupUse, newTools(a), newCall(a), newApprove(a), newProxy(a), newProfile(a), newClientRules(a), newLink(a), newUnlink(a))
	add(groupBerth, newPolicy(a), newToken(a), newDoctor(a), newValidate(a), newVersion(a), newCompletion(a), help)
	root.SetHelpCommand(help) // or cobra lists its own beside it
	root.AddCommand(newSelfServer(a), newDemoServer(a))
	return root
}

const (
	groupServers = "servers"
	groupLook    = "look"
	groupUse     = "use"
	groupBerth   = "berth"
)

func unknownCommand(root *cobra.Command, word string) error {
	err := usagef("unknown command %q", word)
	root.SuggestionsMinimumDistance = 2
	if near := root.SuggestionsFor(word); len(near) > 0 {
		return err.hint("did you mean %s?", strings.Join(near, " or "))
	}
	return err.hint("`%s --help` lists the commands", root.CommandPath())
}

// asUsage makes what cobra complains of a usage error.
func asUsage(err error) error {
	var known *exitError
	if errors.As(err, &known) {
		return err
	}
	return &exitError{code: exitUsage, err: err}
}

// names checks the arguments of a command that takes server names, before
// anything else is looked at.
func names(most int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if most >= 0 && len(args) > most {
			return usagef("too many arguments: %q", args[most]).hint("usage: %s", cmd.UseLine())
		}
		return checkNames(args)
	}
}

func checkNames(args []string) error {
	for _, name := range args {
		if err := berth.CheckName(name); err != nil {
			return err
		}
	}
	return nil
}

// oneName is names for a command that takes exactly one.
func oneName(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return usagef("which server?").hint("usage: %s", cmd.UseLine())
	}
	return names(1)(cmd, args)
}

// someNames is names for a command that takes one or more.
func someNames(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return usagef("which server?").hint("usage: %s", cmd.UseLine())
	}
	return names(-1)(cmd, args)
}

// namesOrAll is names for a command that takes some, or --all.
func namesOrAll(all *bool) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case *all && len(args) > 0:
			return usagef("name servers or say --all, not both")
		case !*all && len(args) == 0:
			return usagef("which server?").hint("name one or more, or say --all")
		}
		return checkNames(args)
	}
}

func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usagef("%s takes no argument, but %q was given", cmd.CommandPath(), args[0])
	}
	return nil
}
