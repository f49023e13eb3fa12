package shim

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/home"
)

// greetFD is where a new shim finds the socket to its launcher. Unix.
const greetFD = 3

// LaunchOptions says how to make a shim.
type LaunchOptions struct {
	// Executable is the binary to become the shim; default the running one.
	Executable string
	// GreetTimeout is how long it may take to greet; default 2 s for a named
	// executable, and 30 s for our own, which is known to be able to.
	GreetTimeout time.Duration
	Mode         Mode
	Spec         berth.ProcessSpec
	Environ      []string
	// Leash makes the shim, and its server, end with the returned Leash.
	Leash bool
}

// Launched is what became of a launch.
type Launched struct {
	Status  berth.Status
	Outcome berth.StartOutcome
	// Busy: another shim of this server holds the lock. Nothing was done.
	Busy bool
	// Leash is what a shim on a leash ends with; nil otherwise.
	Leash io.Closer
}

// Launch makes a shim for the server and returns its answer: the server is up,
// or why not. The shim is in a session of its own and outlives the caller.
func Launch(ctx context.Context, h *home.Home, name string, o LaunchOptions) (Launched, error) {
	exe := o.Executable
	timeout := o.GreetTimeout
	if exe == "" {
		var err error
		if exe, err = ownExecutable(); err != nil {
			return Launched{}, err
		}
		if timeout == 0 {
			timeout = 30 * time.Second
		}
	}
	if timeout == 0 {
		timeout = 2 * time.Second
	}
	args := []string{ShimName, name}
	if o.Spec.Confine.Confined() || !canTurn {
		args = append(args, confining)
	}
	cmd := &exec.Cmd{Path: exe, Args: args, Dir: rootDir(), Env: shimEnviron(os.Environ())}
	conn, err := startShim(cmd)
	if err != nil {
		return Launched{}, fmt.Errorf("start the shim of %q: %w", name, err)
	}
	// Nobody else waits for it while this process lives; afterwards init does.
	go cmd.Wait()

	l, err := converse(ctx, conn, timeout, boot{
		Version: versionFor(&o.Spec), Home: h.Dir(), Name: name, Mode: o.Mode,
		Spec: o.Spec, Environ: o.Environ, Leash: o.Leash,
	})
	if errors.Is(err, berth.ErrNoShim) {
		cmd.Process.Kill() // ours, unreaped: the pid cannot be another's
		err = berth.WithHint(fmt.Errorf("%s did not become the shim of %q: %w", exe, name, err),
			"name a binary that imports package supervisor in Options.Executable, such as berth itself")
	}
	if err != nil || !o.Leash || l.Busy {
		conn.Close()
		return l, err
	}
	l.Leash = conn
	return l, nil
}

// converse is the launcher's side of the greeting.
func converse(ctx context.Context, conn connection, timeout time.Duration, b boot) (Launched, error) {
	conn.SetReadDeadline(time.Now().Add(timeout))
	line := make([]byte, len(greeting))
	switch _, err := io.ReadFull(conn, line); {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return Launched{}, fmt.Errorf("%w: it did not greet within %v", berth.ErrNoShim, timeout)
	case err != nil:
		return Launched{}, fmt.Errorf("%w: it ended without a greeting", berth.ErrNoShim)
	case string(line) != greeting:
		return Launched{}, fmt.Errorf("%w: it greeted as something else", berth.ErrNoShim)
	}
	conn.SetReadDeadline(time.Time{})
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := send(conn, frameRequest, &b); err != nil {
		return Launched{}, gone(ctx, err)
	}
	frames := &frameReader{r: bufio.NewReader(conn)}
	kind, payload, err := frames.next()
	if err != nil {
		return Launched{}, gone(ctx, err)
	}
	var r reply
	if kind != frameReply {
		return Launched{}, fmt.Errorf("%w: a frame %q instead of a reply", ErrProtocol, kind)
	}
	if err := decode(payload, &r); err != nil {
		return Launched{}, err
	}
	l := Launched{Status: r.status(), Outcome: berth.StartOutcome(r.Outcome), Busy: r.Busy}
	if r.Busy {
		return l, nil
	}
	return l, r.Error.err()
}

// shimEnviron is the environment of a shim: a few variables of its launcher's,
// none of the server's, which come in the boot message and not from here.
//
// A shim has next to nothing to do: one processor and a small heap are enough.
// The runtime must know so before it starts, for by the time that any code of
// ours runs it has made threads, stacks and caches for each processor, a
// seventh of a shim's memory. And each thread would have two buffers for the stacks
// of a profile that nobody takes (profstackdepth, package runtime): 14 KiB.
func shimEnviron(environ []string) []string {
	own := ownVariables()
	env := []string{"GOMAXPROCS=1", "GOGC=25", "GODEBUG=profstackdepth=0"}
	for _, kv := range environ {
		key, _, _ := strings.Cut(kv, "=")
		if slices.Contains(own, key) {
			env = append(env, kv)
		}
	}
	return env
}
