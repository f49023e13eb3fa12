package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/catalog"
	"github.com/berth-run/berth/internal/home"
	"github.com/berth-run/berth/internal/proc"
	"github.com/berth-run/berth/internal/secret"
	"github.com/spf13/cobra"
)

// addOptions are the flags of add.
type addOptions struct {
	env         []string
	envFiles    []string
	cwd         string
	noRestart   bool
	maxRestarts int
	memory      string
	files       string
	grace       string
	transport   string
	port        string
	replace     bool
	noRun       bool
	timeout     time.Duration
	prefix      string
	url         string
	self        bool
	mayRestart  bool
	headers     []string
	secrets     []string
	allow       []string
	profile     string
	require     string
	noFetch     bool
	scripts     []string
	// elsewhere: the command was not typed here, so that a relative path is not one to
	// something that is in this directory.
	elsewhere bool
}

func newAdd(a *app) *cobra.Command {
	var o addOptions
	cmd := &cobra.Command{
		Use:   "add NAME [flags] -- COMMAND [ARG…] | add NAME --url URL [flags] | add NAME --self",
		Short: "Add a server",
		Long: `Add a server: write servers/NAME.toml, which says how to run COMMAND. Then run it
once, unless --no-run is given: what it says of itself and what it lists is kept
in manifests/NAME.json, from which clients are answered until one of them calls
it, and it is stopped again. A server whose first run fails is added all the
same, and what it printed last is shown. The policy is asked first.

Of sudo, rm -r and paths such as your home directory or ~/.ssh in the command line you
are warned before that run.

NAME has letters a-z, digits and . _ -, at most 64 of them. COMMAND is a path or
is looked up in the PATH now; where it was found and the PATH are written down,
since a login service has another. Without --cwd the server runs in your home
directory; if COMMAND or an argument is a relative path to something that
exists, it runs in the current directory instead, and you are told.

The package of an npx, npm exec, uvx, uv tool run or pipx run command is fetched in
a step of its own, by the npm, or the uv or pip, that is there: it and all that it
needs, each by its version and hash, into packages/, where the lock is, too. From
then on its program is run directly: the same version each time, without network,
npx and a shell. Install scripts of packages are not run, nor is one of PyPI built,
but for those that --allow-scripts names. What has options that Berth does not know
is run as it is, and you are told; --no-fetch does that always.

A server gets PATH, HOME, the language, proxy and certificate variables and
those of npm and uv from the environment of whoever starts it, and nothing else:
tokens must be given with --env or --env-file. --env K alone takes the value
that K has now. A line of an --env-file is K=V, or K alone as with --env; blank
lines and lines that begin with # do not count, and one pair of quotes around V
is taken off. Values are stored in the server's file, which only you can read.
--secret K puts the value of the variable K into the encrypted store of the home (see
berth secret) and has the server's file refer to it: the value that K has now, or that
is asked for, or a line of stdin. A V of --env may be such a reference, too:
secret://NAME/KEY.

A server may do what --allow lets it, and nothing else of these: without any, it has
no network, reads none of your files but its own program, and writes to a directory of
its own only (data/NAME in the home). What it may do is printed; berth permissions NAME
shows and changes it. Of some packages Berth knows what they need: that is declared
for them, but for the kinds of permission that --allow names and the variables that
--env does. Where the system cannot keep a server to that, it is not
started, unless --require is prefer; --profile off has it do whatever you may.

` + permissionForms + `

With --url, the server is one that others run, at a URL: https, or http on this
machine. It is spoken to by Streamable HTTP, of any revision, or by the HTTP with
SSE of before, and to clients is like any other. --header K=V is sent with each
request; V may be env:VARIABLE, a variable of whoever starts the server. --header
K alone asks for the value, or reads a line of stdin, so that it is in no list
of processes. Values that are secrets are kept in the encrypted store of the home,
and the server's file refers to them (secret://NAME/KEY). Headers go to the origin
of the URL only.
A process of Berth's own stands for the server; what is said of restarts and limits
is about that. Where names lead is checked: a private address must be typed. If the
server wants a login instead of a header: berth auth NAME, then berth start NAME.

Where a client has all servers at one address, the names of a server's tools begin
with its prefix: NAME, or what --prefix says. One that another server has is refused.

With --self, the server is Berth itself: its tools are the status and the logs of
your servers, and finding a tool of any of them. They only read; with --allow-restart
there is one that restarts a server, too.

What is added this way is restarted when it exits, at most 10 times in 10
minutes. --transport http is for a server that listens by itself: it is kept up,
but not spoken to, and not run now. --port is where it listens, and http://127.0.0.1:PORT
leads to it, though it is confined and has a network of its own. For Berth's clients that
is one more server: berth add OTHER --url http://127.0.0.1:PORT/mcp.

Exit codes: 0 added, 1 failed (also: the command was not found, the name is
taken and --replace was not given, the prefix is another server's, or it was added and its first run failed), 2
usage, 4 added, but the policy or max_servers does not let it run.`,
		Example: `  berth add everything -- npx -y @modelcontextprotocol/server-everything
  berth add files --allow filesystem:write:/srv -- npx -y @modelcontextprotocol/server-filesystem /srv
  berth add time -- uvx mcp-server-time --local-timezone=UTC
  berth add github --env GITHUB_TOKEN --allow network:api.github.com:443 -- github-mcp-server stdio
  berth add docs --url https://mcp.example.com/mcp --header Authorization
  berth add berth --self
  berth add mine --cwd /srv/mine --replace -- ./server.py --verbose`,
		Args: func(cmd *cobra.Command, args []string) error { return addArgs(cmd, args) },
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.add(cmd.Context(), args[0], args[1:], o)
		},
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
			if len(args) == 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return nil, cobra.ShellCompDirectiveDefault
		},
	}
	f := cmd.Flags()
	f.StringArrayVarP(&o.env, "env", "e", nil, "`K=V` or K: a variable of the server's environment; may be repeated")
	f.StringArrayVar(&o.envFiles, "env-file", nil, "`file` of such variables; --env wins; may be repeated")
	f.StringArrayVar(&o.allow, "allow", nil, "let it do that (`permission`); may be repeated")
	f.StringVar(&o.profile, "profile", "", "how tightly it is confined: off, standard or strict (`word`; default "+string(home.NewProfile)+")")
	f.StringVar(&o.require, "require", "", "enforce or prefer: refuse to start where that cannot be kept, or say so (`word`; default enforce)")
	f.StringVar(&o.prefix, "prefix", "", "what its tools' names begin with among those of all servers (default NAME; `word`)")
	f.StringVar(&o.cwd, "cwd", "", "working `directory` of the server")
	f.BoolVar(&o.noRestart, "no-restart", false, "leave the server down when it exits")
	f.IntVar(&o.maxRestarts, "max-restarts", 10, "most automatic restarts in 10 minutes")
	f.StringVar(&o.memory, "memory", "", "limit on the memory of all its processes, such as 512M (`size`)")
	f.StringVar(&o.files, "files", "", "limit on the open files of each process (`number`)")
	f.StringVar(&o.grace, "grace", "", "how long a stop waits before each harder step, such as 10s (default 5s; `duration`)")
	f.StringVar(&o.transport, "transport", "stdio", "stdio or http (`word`)")
	f.StringVar(&o.port, "port", "", "with --transport http, the `number` of the port at which it listens")
	f.BoolVar(&o.replace, "replace", false, "replace a server of that name")
	f.BoolVar(&o.noRun, "no-run", false, "do not run it now")
	f.StringVar(&o.url, "url", "", "`URL` of a remote server, instead of a command")
	f.StringArrayVar(&o.secrets, "secret", nil, "`K`: a variable whose value is kept in the secret store; may be repeated")
	f.StringArrayVar(&o.headers, "header", nil, "`K=V` or K: a header for the remote server; may be repeated")
	f.BoolVar(&o.self, "self", false, "Berth itself is the server")
	f.BoolVar(&o.mayRestart, "allow-restart", false, "with --self: it may restart servers")
	f.DurationVar(&o.timeout, "timeout", 90*time.Second, "how long its first run may take until it answers")
	f.BoolVar(&o.noFetch, "no-fetch", false, "run npx, uvx and the like as they are, at each start")
	f.StringArrayVar(&o.scripts, "allow-scripts", nil, "`package` that may run its install scripts while it is fetched; may be repeated")
	_ = cmd.RegisterFlagCompletionFunc("transport", cobra.FixedCompletions([]string{"stdio", "http"}, cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("profile", completeProfileWords())
	_ = cmd.RegisterFlagCompletionFunc("require", cobra.FixedCompletions([]string{string(berth.RequireEnforce), string(berth.RequirePrefer)}, cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.MarkFlagDirname("cwd")
	return cmd
}

func addArgs(cmd *cobra.Command, args []string) error {
	usage := "usage: " + cmd.UseLine()
	dash := cmd.ArgsLenAtDash()
	if dash == 0 || len(args) == 0 {
		return usagef("the server needs a name").hint("%s", usage)
	}
	if err := berth.CheckName(args[0]); err != nil {
		return err
	}
	if self, err := cmd.Flags().GetBool("self"); err == nil && self {
		for _, flag := range []string{"url", "header", "cwd", "transport", "allow", "profile", "require", "no-fetch", "allow-scripts"} {
			if cmd.Flags().Changed(flag) {
				return usagef("--%s is not for --self", flag)
			}
		}
		if len(args) > 1 {
			return usagef("a server has a command or is --self, not both")
		}
		return nil
	}
	if cmd.Flags().Changed("allow-restart") {
		return usagef("--allow-restart is for --self")
	}
	if cmd.Flags().Changed("url") {
		for _, flag := range []string{"cwd", "transport", "allow", "profile", "require", "no-fetch", "allow-scripts"} {
			if cmd.Flags().Changed(flag) {
				return usagef("--%s is for a command, not for a --url", flag)
			}
		}
		if at, err := cmd.Flags().GetString("url"); err != nil || at == "" {
			return usagef("--url is empty")
		}
		if len(args) > 1 {
			return usagef("a server has a command or a --url, not both")
		}
		return nil
	}
	switch {
	case cmd.Flags().Changed("header"):
		return usagef("--header is for a server with --url")
	case dash < 0 && len(args) > 1:
		return usagef("a -- must stand before the command").hint("berth add %s -- %s", args[0], strings.Join(args[1:], " "))
	case dash > 1:
		return usagef("too many arguments before --: %q", args[1]).hint("%s", usage)
	case len(args) == 1 || strings.TrimSpace(args[1]) == "":
		return usagef("the command is empty").hint("%s", usage)
	}
	return nil
}

func (a *app) add(ctx context.Context, name string, command []string, o addOptions) error {
	if o.timeout <= 0 {
		return usagef("--timeout must be more than nothing")
	}
	var (
		server home.Server
		note   string
		hidden []stored
		err    error
		want   *catalog.Request // what is to be fetched
	)
	if o.self {
		s, err := a.open(false)
		if err != nil {
			return err
		}
		command = []string{home.OwnProgram(), "--home", s.Dir(), "self-server"}
		if o.mayRestart {
			command = append(command, "--allow-restart")
		}
	}
	if o.url != "" {
		server, hidden, err = a.buildRemote(name, o, os.Environ())
	} else {
		server, note, want, err = buildServer(name, command, o, os.Environ())
	}
	if err == nil && o.self {
		// It reads the home, which nobody else may.
		server.Config[home.KeySandbox] = string(berth.ProfileOff)
	}
	if err != nil {
		return err
	}
	if len(o.scripts) > 0 && want == nil {
		return usagef("--allow-scripts is for a package that is fetched")
	}
	if server.Env == nil {
		server.Env = map[string]string{}
	}
	kept, err := a.takeSecrets(name, o.secrets, server.Env)
	if err != nil {
		return err
	}
	if err := checkRefs(server); err != nil {
		return err
	}
	if _, _, err := server.Spec(os.Environ(), home.Permissions{}); err != nil {
		return err
	}
	s, err := a.open(false)
	if err != nil {
		return err
	}
	if err := s.givePrefix(&server, o.prefix); err != nil {
		return err
	}
	x := addition{server: server, want: want, scripts: o.scripts, replace: o.replace, hidden: hidden, kept: kept, note: note, own: o.self}
	if want != nil {
		if x.about, err = s.declareKnown(&x.server, *want, o); err != nil {
			return err
		}
	}
	if err := s.put(ctx, &x); err != nil {
		return err
	}
	switch st, err := s.Status(ctx, name); {
	case err == nil && st.Status == berth.Running:
		a.ui.say("it still runs as it was: berth restart %s", name)
	case o.transport == "http" && o.port != "":
		a.ui.say("start it: berth start %s; it is then at http://127.0.0.1:%s", name, o.port)
	case o.noRun, o.transport == "http":
		a.ui.say("start it: berth start %s", name)
	default:
		return s.firstRun(ctx, name, o.timeout)
	}
	return nil
}

// takeSecrets gets the values of variables that are to be kept in the secret store,
// and has the environment refer to them.
func (a *app) takeSecrets(name string, keys []string, env map[string]string) (all []stored, err error) {
	for _, key := range keys {
		ref, err := ownRef(name, secret.Ref{Server: name, Key: key}.String())
		if err != nil {
			return nil, usagef("--secret: write the name of a variable, without a value")
		}
		value := os.Getenv(key)
		if value == "" {
			if value, err = a.askFor("value of " + key); err != nil {
				return nil, usagef("--secret %s: %v", key, err)
			}
		}
		env[key] = ref.String()
		all = append(all, stored{ref, value})
	}
	return all, nil
}

// buildServer makes the server that the flags describe, a note for the user about
// what was decided for them, and the package that is to be fetched, if any.
func buildServer(name string, command []string, o addOptions, environ []string) (s home.Server, note string, want *catalog.Request, err error) {
	s = home.NewServer(name, command[0], command[1:])
	if s.Env, err = buildEnv(o, environ); err != nil {
		return s, "", nil, err
	}
	switch o.transport {
	case "stdio", "http":
		s.Runtime.Transport = o.transport
	default:
		return s, "", nil, usagef("transport %q is neither stdio nor http", o.transport)
	}
	if err := setLimits(&s, o); err != nil {
		return s, "", nil, err
	}
	if err := setRights(&s, o); err != nil {
		return s, "", nil, err
	}
	if o.cwd != "" || !o.elsewhere {
		if s.Settings.Cwd, note, err = workingDir(o.cwd, command); err != nil {
			return s, "", nil, err
		}
	}
	path := valueOf(environ, "PATH")
	if own, ok := s.Env["PATH"]; ok {
		path = own
	}
	s.Settings.Path = path
	if !o.noFetch {
		r, why := toFetch(command, s.Settings.Cwd)
		if r != nil {
			return s, note, r, nil
		}
		if why != "" {
			note = strings.TrimPrefix(note+"; ", "; ") + "it is run by " + command[0] + " at each start: " + why
		}
	}
	s.Settings.CommandPath, err = proc.LookPath(command[0], s.Settings.Cwd, []string{"PATH=" + path})
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = berth.WithHint(err, "install it, or give its full path")
		}
		return s, "", nil, err
	}
	return s, note, nil, nil
}

// setRights has the server declare what the flags let it do.
func setRights(s *home.Server, o addOptions) error {
	allowed, err := typedPermissions("--allow", o.allow)
	if err != nil {
		return err
	}
	for _, p := range allowed {
		s.Declare(p)
	}
	profile := o.profile
	if profile == "" {
		profile = string(home.NewProfile)
	}
	for _, flag := range []struct{ name, key, value string }{{"profile", home.KeySandbox, profile}, {"require", home.KeyRequire, o.require}} {
		if flag.value == "" {
			continue
		}
		if err := home.ValidateConfig(flag.key, flag.value); err != nil {
			return usagef("--%s: %s", flag.name, strings.TrimPrefix(err.Error(), berth.ErrBadConfig.Error()+": "+flag.key+": "))
		}
		s.Config[flag.key] = flag.value
	}
	return nil
}

func setLimits(s *home.Server, o addOptions) error {
	set := func(flag, key, value string) error {
		if err := home.ValidateConfig(key, value); err != nil {
			// What is wrong with the value is true of the flag as well.
			bad := usagef("--%s: %v", flag, strings.TrimPrefix(err.Error(), berth.ErrBadConfig.Error()+": "+key+": "))
			if o.maxRestarts == 0 {
				return bad.hint("--no-restart is for no restart at all")
			}
			return bad
		}
		s.Config[key] = value
		return nil
	}
	errs := []error{
		set("no-restart", "berth.auto-restart", strconv.FormatBool(!o.noRestart)),
		set("max-restarts", "berth.max-restarts", strconv.Itoa(o.maxRestarts)),
	}
	if o.memory != "" {
		errs = append(errs, set("memory", "berth.max-memory", o.memory))
	}
	if o.port != "" && o.transport != "http" {
		return usagef("--port is for --transport http: others are not reached by a port")
	}
	if o.port != "" {
		errs = append(errs, set("port", "berth.port", o.port))
	}
	if o.files != "" {
		errs = append(errs, set("files", "berth.max-file-descriptors", o.files))
	}
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	if o.grace != "" {
		var d berth.Duration
		if err := d.UnmarshalText([]byte(o.grace)); err != nil || d <= 0 {
			return usagef("--grace: %q is not a duration such as 5s or 1m30s", o.grace)
		}
		s.Settings.Grace = o.grace
	}
	return nil
}

// workingDir decides where the server runs. Without --cwd, "" is the default;
// but a relative path on the command line means something only from here.
func workingDir(flag string, command []string) (dir, note string, err error) {
	if flag != "" {
		dir, err := filepath.Abs(flag)
		if err != nil {
			return "", "", err
		}
		info, err := os.Stat(dir)
		if err != nil {
			return "", "", fmt.Errorf("--cwd: %w", err)
		}
		if !info.IsDir() {
			return "", "", usagef("--cwd: %s is not a directory", dir)
		}
		return dir, "", nil
	}
	found := ""
	for i, word := range command {
		if relativeFile(word, i == 0) {
			found = word
			break
		}
	}
	if found == "" {
		return "", "", nil
	}
	if dir, err = os.Getwd(); err != nil {
		return "", "", err
	}
	return dir, fmt.Sprintf("it runs in %s, for %q is there; --cwd says otherwise", dir, found), nil
}

// relativeFile says whether a word of a command is a relative path to something
// that exists. A command without a separator is looked up in the PATH.
func relativeFile(word string, command bool) bool {
	if flag, value, ok := strings.Cut(word, "="); ok && strings.HasPrefix(flag, "-") {
		word = value
	}
	if word == "" || filepath.IsAbs(word) || strings.HasPrefix(word, "-") {
		return false
	}
	if command && !strings.ContainsRune(word, '/') && !strings.ContainsRune(word, filepath.Separator) {
		return false
	}
	_, err := os.Stat(word)
	return err == nil
}

// shellLine writes a command so that a shell would read it back.
func shellLine(words []string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = w
		if w == "" || strings.ContainsFunc(w, func(r rune) bool {
			return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("@%+=:,./_-", r) || r > 127)
		}) {
			quoted[i] = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
		}
	}
	return strings.Join(quoted, " ")
}
