package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/home"
	"github.com/berth-run/berth/internal/jsonrpc"
	"github.com/berth-run/berth/internal/proc"
	"github.com/berth-run/berth/supervisor"

	"github.com/berth-run/berth/internal/demo"
	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	// The demo runs its own program again, by a path that says no name.
	if filepath.Base(os.Args[0]) == "exe" {
		os.Exit(Main())
	}
	if os.Getenv("GORACE") == "" {
		// A binary with the race detector sleeps for a second when it exits,
		// and each command and each shim of these tests is one.
		os.Setenv("GORACE", "atexit_sleep_ms=0")
	}
	testscript.Main(m, map[string]func(){
		"berth":       func() { os.Exit(Main()) },
		"withetc":     func() { os.Exit(withEtc(os.Args[1:])) },
		"testnpm":     func() { os.Exit(testNPM(os.Args[1:])) },
		"testdocker":  func() { os.Exit(testDocker(os.Args[1:])) },
		"testbrowser": func() { os.Exit(testBrowser(os.Args[1:])) },
		// So is each server, and no variable of ours reaches it: it exits
		// without the race detector's leave.
		"testserver": func() { syscall.Exit(testServer(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) },
	})
}

// testServer is an MCP server with faults.
func testServer(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	f := flag.NewFlagSet("testserver", flag.ContinueOnError)
	var (
		say       = f.String("stderr", "", "print this to stderr")
		exit      = f.Int("exit", -1, "exit at once with this code")
		crashOnce = f.String("crash-once", "", "exit with code 3 unless this file exists; make it")
		echoBack  = f.Bool("echo-back", false, "repeat the input, as cat does")
		silent    = f.Bool("silent", false, "answer nothing")
		noise     = f.String("noise", "", "print this to stdout first")
		picky     = f.Bool("picky", false, "exit if the first message is not initialize")
		deaf      = f.Bool("deaf", false, "ignore SIGTERM and the end of stdin")
		printEnv  = f.Bool("env", false, "print the environment to stderr")
		tools     = f.String("tools", "", "have the tools that this file lists, and read it again for each list")
		births    = f.String("births", "", "append a line to this file, and another if a twin of this process lives")
	)
	if f.Parse(args) != nil {
		return 2
	}
	if *say != "" {
		fmt.Fprintln(stderr, *say)
	}
	if *births != "" {
		defer bear(*births).Close()
	}
	if *printEnv {
		for _, kv := range os.Environ() {
			fmt.Fprintln(stderr, "env:", kv)
		}
	}
	if *noise != "" {
		fmt.Fprintln(stdout, *noise)
	}
	if *exit >= 0 {
		return *exit
	}
	if *crashOnce != "" {
		file, err := os.OpenFile(*crashOnce, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err == nil {
			file.Close()
			return 3
		}
	}
	if *deaf {
		signal.Ignore(syscall.SIGTERM)
	}
	var err error
	switch {
	case *echoBack:
		_, err = io.Copy(stdout, stdin)
	case *tools != "":
		err = serveTools(*tools, stdin, stdout)
	case *silent:
		_, err = io.Copy(io.Discard, stdin)
	case *picky:
		r := jsonrpc.NewReader(stdin, 0)
		var line []byte
		if line, err = r.Next(); err == nil {
			if m, parseErr := jsonrpc.Parse(line); parseErr != nil || m.Method != "initialize" {
				return 4
			}
			first := strings.NewReader(string(line) + "\n")
			err = demo.Serve(context.Background(), io.MultiReader(first, rest(r)), stdout, stderr)
		}
	default:
		err = demo.Serve(context.Background(), stdin, stdout, stderr)
	}
	if errors.Is(err, demo.ErrCrash) {
		return 7
	}
	if *deaf {
		select {} // until it is killed
	}
	return 0
}

// bear writes down that a process was born. What it returns is held while the
// process lives: who cannot have it has a twin.
func bear(file string) io.Closer {
	text := "born\n"
	lock, err := home.TryLock(file + ".lock")
	if err != nil {
		text += fmt.Sprintf("a twin lives: %v\n", err)
		lock = &home.Lock{}
	}
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err == nil {
		_, err = f.WriteString(text)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		panic(err) // the test would count wrong
	}
	return lock
}

// rest is what a line reader has not read yet, as a stream again.
func rest(r *jsonrpc.Reader) io.Reader {
	in, out := io.Pipe()
	go func() {
		for {
			line, err := r.Next()
			if err != nil {
				out.CloseWithError(err)
				return
			}
			if _, err := fmt.Fprintf(out, "%s\n", line); err != nil {
				return
			}
		}
	}()
	return in
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:           filepath.Join("testdata", "script"),
		Setup:         setUp,
		Cmds:          scriptCommands(),
		Condition:     scriptCondition,
		UpdateScripts: os.Getenv("BERTH_TEST_UPDATE") != "",
		// A command that is not there is a mistake in the script.
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
	})
}

// setUp gives a script a home of its own. What it started is ended with it, and
// nothing of that may be left.
func setUp(env *testscript.Env) error {
	dir := filepath.Join(env.WorkDir, "home")
	env.Setenv("BERTH_HOME", dir)
	env.Setenv("TMPDIR", env.WorkDir)
	env.Setenv("BERTH_SECRET_BACKEND", "file") // the keyring is the user's
	env.Setenv("TZ", "UTC")
	env.Setenv("GORACE", os.Getenv("GORACE"))
	env.Setenv("BERTH_ALLOW_NETWORK_HOME", "1") // where /tmp is on one
	env.Setenv("NL", "\n")
	if err := standIn(env); err != nil {
		return err
	}
	env.Setenv("LONG", strings.Repeat("x", 300))
	env.Defer(func() {
		for _, dir := range homesBelow(env.WorkDir) {
			if err := endAll(dir); err != nil {
				env.T().Log(err)
				env.T().Log("the script left something behind")
				env.T().FailNow()
			}
		}
	})
	return nil
}

// homesBelow finds the homes that a script made, wherever it put them.
func homesBelow(dir string) (homes []string) {
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && d.Name() == "runtime" {
			homes = append(homes, filepath.Dir(path))
		}
		return nil // what cannot be looked into is no script's home
	})
	return homes
}

// endAll stops every server of a home and says what is left.
func endAll(dir string) error {
	_ = os.Chmod(dir, 0o700) // a script may have taken the right away
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	m, err := supervisor.Open(&supervisor.Options{Home: dir})
	if err != nil {
		return err
	}
	h, err := home.Open(dir, nil)
	if err != nil {
		return err
	}
	var errs []error
	if err := endGateway(ctx, dir); err != nil {
		errs = append(errs, err)
	}
	names, err := m.Names()
	for _, name := range names {
		_, stopErr := m.Stop(ctx, name)
		left, leftErr := proc.Leftovers(proc.Query{Key: h.Key(name)})
		if len(left) > 0 {
			leftErr = errors.Join(leftErr, fmt.Errorf("%s: processes %v outlived their stop", name, left))
		}
		errs = append(errs, stopErr, leftErr)
	}
	return errors.Join(append(errs, err)...)
}

// endGateway ends the gateway that a proxy has started in the background.
func endGateway(ctx context.Context, dir string) error {
	s, err := openSite(newUI(io.Discard, io.Discard), &supervisor.Options{Home: dir})
	if err != nil {
		return err
	}
	o, err := s.replaceGateway(ctx, door{})
	if errors.Is(err, errNoGateway) || errors.Is(err, errStays) {
		return nil // there is none that outlives its test by intent
	}
	if err != nil {
		return fmt.Errorf("end the gateway of the test: %w", err)
	}
	defer o.close()
	select {
	case <-o.before:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("a gateway outlived the test: %w", context.Cause(ctx))
	}
}

func scriptCondition(cond string) (bool, error) {
	switch cond {
	case "root":
		return os.Geteuid() == 0, nil
	case "etc":
		return etcWorks(), nil
	case "unix":
		return runtime.GOOS != "windows", nil
	}
	return false, fmt.Errorf("unknown condition %q", cond)
}

func scriptCommands() map[string]func(*testscript.TestScript, bool, []string) {
	return map[string]func(*testscript.TestScript, bool, []string){
		"await": awaitCommand,
		"kill9": killCommand,
		"shape": shapeCommand,
		"code":  codeCommand,
		"boot":  bootCommand,
		"asked": askedCommand,
	}
}

// manager opens the home of a script.
func manager(ts *testscript.TestScript) *supervisor.Manager {
	m, err := supervisor.Open(&supervisor.Options{Home: ts.Getenv("BERTH_HOME")})
	ts.Check(err)
	return m
}

// awaitCommand: `await NAME PHASE [RESTARTS]` waits, by events, until a server
// is in a phase and was restarted that often.
func awaitCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 || len(args) > 3 {
		ts.Fatalf("usage: await NAME PHASE [RESTARTS]")
	}
	await(ts, args[0], fmt.Sprint(args[1:]), func(st berth.Status) bool {
		return string(st.Phase) == args[1] && (len(args) == 2 || fmt.Sprint(st.Restarts) == args[2])
	})
}

// await waits, by events, until a server's status is as it is wanted.
func await(ts *testscript.TestScript, name, what string, wanted func(berth.Status) bool) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	found := errors.New("found")
	ctx, stop := context.WithCancelCause(ctx)
	last := make(chan berth.Status, 1)
	err := manager(ts).Events(ctx, func(ev berth.Event) {
		st := ev.Status
		if st.Name != name {
			return
		}
		select {
		case <-last:
		default:
		}
		last <- st
		if wanted(st) {
			stop(found)
		}
	})
	if errors.Is(err, found) {
		return
	}
	select {
	case st := <-last:
		ts.Fatalf("%s did not come to %s: %v; last %+v", name, what, err, st)
	default:
		ts.Fatalf("%s did not come to %s: %v; no status was seen", name, what, err)
	}
}

// killCommand: `kill9 server|shim NAME` kills a process with SIGKILL. Of a server it
// waits until its shim knows: who calls before that calls the dead one.
func killCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: kill9 server|shim NAME")
	}
	st, err := manager(ts).Status(context.Background(), args[1])
	ts.Check(err)
	pid := map[string]int{"server": st.PID, "shim": st.ShimPID}[args[0]]
	if pid == 0 {
		ts.Fatalf("%s has no %s process: %+v", args[1], args[0], st)
	}
	id, err := proc.Identify(pid)
	ts.Check(err)
	pinned, err := proc.Pin(id)
	ts.Check(err)
	defer pinned.Close()
	ts.Check(pinned.Signal(syscall.SIGKILL))
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	ts.Check(pinned.Wait(ctx))
	if args[0] == "server" {
		await(ts, args[1], "another process", func(st berth.Status) bool { return st.PID != pid })
	}
}

// bootCommand: `boot` makes every state file one of an earlier boot of the
// system, which took all shims with it: none may be left that stays.
func bootCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: boot")
	}
	m := manager(ts)
	h, err := home.Open(m.Dir(), nil)
	ts.Check(err)
	names, err := m.Names()
	ts.Check(err)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for _, name := range names {
		path, err := h.ShimLock(name)
		ts.Check(err)
		lock, err := home.WaitLock(ctx, path) // a shim holds it to its end
		ts.Check(err)
		file := filepath.Join(m.Dir(), "runtime", name+".toml")
		state := regexp.MustCompile(`(?m)^boot_id = .*$`).ReplaceAllString(ts.ReadFile(file), `boot_id = "an earlier one"`)
		ts.Check(os.WriteFile(file, []byte(state), 0o600))
		ts.Check(lock.Unlock())
	}
}

// shapeCommand: `shape FILE` writes stdout to a file with everything that
// differs from run to run replaced by what it is.
func shapeCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: shape FILE")
	}
	text := ts.ReadFile("stdout")
	for _, r := range []struct{ pattern, by string }{
		{`"(pid|shimPid|memoryBytes|durationMs|timestampEpochSecs|generation|queueMicros|startMicros|runMicros|bytesOut)":( ?)\d+`, `"$1":${2}0`},
		{`"principal":"uid:-?\d+"`, `"principal":"uid:N"`},
		{`"(startedAt|at|time|nextRestart)":( ?)"[^"]*"`, `"$1":$2"TIME"`},
		{`"prev":( ?)"[0-9a-f]{64}"`, `"prev":$1"HASH"`},
		{`"(how|gap|state)":( ?)"[^"]*"(,?)\n *`, ``},
		{`"(how|gap|state)":( ?)"[^"]*"`, ``},
		{`(\{)\s+(\})`, `$1$2`},
		{regexp.QuoteMeta(ts.Getenv("WORK")), `$$WORK`},
		{`"[^"]*/testserver(\.exe)?"`, `"testserver"`},
		{regexp.QuoteMeta(berth.Version), `VERSION`},
	} {
		text = regexp.MustCompile(r.pattern).ReplaceAllString(text, r.by)
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(text), 0o600))
}

// codeCommand: `code N COMMAND ARG…` runs a command that must end with an exit
// code, and leaves its output in the files stdout and stderr of the script.
func codeCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: code N COMMAND ARG…")
	}
	err := ts.Exec(args[1], args[2:]...)
	got := 0
	var exit interface{ ExitCode() int }
	switch {
	case errors.As(err, &exit):
		got = exit.ExitCode()
	case err != nil:
		ts.Fatalf("%v", err)
	}
	if fmt.Sprint(got) != args[0] {
		ts.Fatalf("exit code %d, want %s", got, args[0])
	}
}
