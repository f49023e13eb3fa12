package shim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/home"
	"github.com/berth-run/berth/internal/proc"
)

// A server in a container is no process of ours: the engine runs it, and the client of
// the engine, which is the leader of our tree, passes its stdin, its stdout and SIGTERM on. A
// client that is killed leaves the container behind. So each container has a label that
// says whose it is, and a server has ended when its tree is empty and the engine has no
// container of that label any more.

// containerLabel is the label; its value is the key of the server and its home.
const containerLabel = "run.berth.server"

// engine is the container engine of one server.
type engine struct {
	path, dir, key string
	env            []string
}

// engine returns that of the spec, nil if there is none.
func (s *shim) engine() *engine {
	if !s.spec.Container {
		return nil
	}
	return newEngine(s.spec.Command, s.home.Key(s.name), environment(s.environ, s.spec))
}

// newEngine knows an engine by its client and the environment that this was started in.
func newEngine(command, key string, env []string) *engine {
	return &engine{path: command, dir: homeOf(env), key: key, env: env}
}

// argv is the command line of the next process. A container is named by the incarnation.
func (s *shim) argv(incarnation string) []string {
	args := s.spec.Args
	argv := append(make([]string, 0, len(args)+5), s.spec.Command)
	if s.spec.Container {
		argv = append(argv, args[0], "--name", "berth-"+incarnation, "--label", containerLabel+"="+s.home.Key(s.name))
		args = args[1:]
	}
	return append(argv, args...)
}

// The bounds of asking an engine. One that is just being restarted is asked again.
const (
	engineTries  = 4
	enginePause  = 500 * time.Millisecond
	engineOutput = 64 << 10
)

// remove ends the containers of the server, and returns nil when the engine has none. A
// nil engine has none.
func (e *engine) remove(ctx context.Context) (err error) {
	if e == nil {
		return nil
	}
	for try := range engineTries {
		if try > 0 {
			select {
			case <-time.After(enginePause):
			case <-ctx.Done():
				return err
			}
		}
		var none bool
		if none, err = e.removeOnce(ctx); none {
			return nil
		}
	}
	if err == nil {
		err = errors.New("it is there again each time that it was removed")
	}
	return fmt.Errorf("its container may still run: %w", err)
}

// removeOnce ends the containers that there are, and says whether there were none.
func (e *engine) removeOnce(ctx context.Context) (none bool, err error) {
	ids, err := e.list(ctx)
	if err != nil || len(ids) == 0 {
		return err == nil, err
	}
	// What another removes in this moment is an error of this one, and gone.
	_, err = e.run(ctx, append([]string{"rm", "-f"}, ids...)...)
	return false, err
}

// try ends the containers of the server while its tree still lives, which is no proof of
// anything: remove comes after it. It leaves half of the time of ctx.
func (e *engine) try(ctx context.Context) {
	if e == nil {
		return
	}
	if end, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Until(end)/2)
		defer cancel()
	}
	_, _ = e.removeOnce(ctx)
}

// list returns the ids of the server's containers, also of those that have ended.
func (e *engine) list(ctx context.Context) (ids []string, err error) {
	out, err := e.run(ctx, "ps", "-a", "-q", "--no-trunc", "--filter", "label="+containerLabel+"="+e.key)
	for _, word := range strings.Fields(out) {
		if len(word) >= 12 && strings.Trim(word, "0123456789abcdef") == "" {
			ids = append(ids, word)
		}
	}
	return ids, err
}

// run asks the engine, and returns what it said.
func (e *engine) run(ctx context.Context, args ...string) (out string, err error) {
	path, err := proc.LookPath(e.path, e.dir, e.env)
	if err != nil {
		return "", err
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return "", err
	}
	defer null.Close()
	r, w, err := os.Pipe()
	if err != nil {
		return "", err
	}
	defer r.Close()
	incarnation, err := drawIncarnation(e.key)
	if err != nil {
		w.Close()
		return "", err
	}
	tree, err := proc.Start(proc.Spec{Path: path, Argv: append([]string{e.path}, args...), Env: e.env, Dir: e.dir,
		Stdin: null, Stdout: w, Stderr: w, Key: e.key, Incarnation: incarnation})
	w.Close()
	if err != nil {
		return "", err
	}
	stop := context.AfterFunc(ctx, func() { _ = r.SetReadDeadline(time.Now()) })
	said, readErr := io.ReadAll(io.LimitReader(r, engineOutput))
	stop()
	_, _ = io.Copy(io.Discard, r)
	killing, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if ctx.Err() == nil && readErr == nil {
		select { // it has closed its stdout, and is about to end
		case <-tree.Exited():
		case <-killing.Done():
		}
	}
	left, err := tree.Kill(killing)
	tree.Close()
	switch exit := tree.Exit(); {
	case err != nil:
		return "", err
	case len(left) > 0 || ctx.Err() != nil:
		return "", fmt.Errorf("%s %s does not end", e.path, args[0])
	case exit.Code == nil || *exit.Code != 0:
		text := strings.Join(strings.Fields(string(said)), " ")
		return "", fmt.Errorf("%s %s: %.200s", e.path, args[0], text)
	}
	return string(said), readErr
}

// engineLeft is the engine of a supervisor that is gone, nil if it had none.
func engineLeft(h *home.Home, name string, st home.State) *engine {
	if len(st.Engine) == 0 {
		return nil
	}
	// Who recovers may have another environment than who started it.
	last := len(st.Engine) - 1
	env := append(berth.AllowedEnv(os.Environ()), st.Engine[:last]...)
	return newEngine(st.Engine[last], h.Key(name), env)
}
