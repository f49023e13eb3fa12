package catalog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/berth-run/berth"
)

// tools run the programs that resolve and install.
type tools struct {
	env  []string
	look func(string) (string, error)
	// held is inherited by each of them: while one lives that outlived us, nobody
	// takes its directory for abandoned.
	held *os.File
}

// toolEnv is the environment of such a program: what every server gets from its
// caller, which has no secrets of any server in it, and where pip finds packages.
func toolEnv(environ []string, path string) []string {
	env := slices.DeleteFunc(berth.AllowedEnv(environ), func(kv string) bool {
		return path != "" && strings.HasPrefix(strings.ToUpper(kv), "PATH=")
	})
	if path != "" {
		env = append(env, "PATH="+path)
	}
	for _, kv := range environ {
		key, _, _ := strings.Cut(kv, "=")
		switch strings.ToUpper(key) {
		case "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_NO_INDEX", "PIP_CERT", "PIP_CLIENT_CERT",
			"PIP_TRUSTED_HOST", "PIP_PROXY", "PIP_DEFAULT_TIMEOUT", "PIP_CACHE_DIR", "PIP_CONFIG_FILE":
			env = append(env, kv)
		}
	}
	return append(env, "NO_COLOR=1", "PYTHONDONTWRITEBYTECODE=1")
}

// maxOutput bounds what of a tool's output is kept.
const maxOutput = 64 << 20

// run runs a program in dir, hands each line that it says of its progress to line,
// and returns its stdout.
func (t *tools) run(ctx context.Context, dir string, line func(string), path string, args ...string) ([]byte, error) {
	cmd := exec.Command(path, args...)
	cmd.Dir, cmd.Env = dir, t.env
	if t.held != nil {
		inherit(cmd, t.held)
	}
	out := &output{line: line}
	stdout, stderr := &stream{to: out, keep: true}, &stream{to: out}
	cmd.Stdout, cmd.Stderr = stdout, stderr
	// A child of the program that does not end must not hold us up.
	cmd.WaitDelay = 2 * time.Second
	err := runGroup(ctx, cmd)
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err != nil && !errors.Is(err, exec.ErrWaitDelay) {
		return nil, &toolError{name: filepath.Base(path), args: args, err: err, said: out.last}
	}
	return stdout.all, nil
}

// toolError is a program that failed, and what it said.
type toolError struct {
	name string
	args []string
	err  error
	said []string
}

func (e *toolError) Error() string {
	what := e.name
	if len(e.args) > 0 && !strings.HasPrefix(e.args[0], "-") {
		what += " " + e.args[0]
	}
	text := fmt.Sprintf("%s: %v", what, e.err)
	if told := e.told(); len(told) > 0 {
		text += "\n" + strings.Join(told, "\n")
	}
	return text
}

// told are the lines that say what went wrong, as far as they can be told apart.
func (e *toolError) told() []string {
	var errs []string
	for _, line := range e.said {
		low := strings.ToLower(line)
		if strings.HasPrefix(low, "npm error") && !strings.Contains(low, "a complete log of this run") && strings.TrimSpace(line[len("npm error"):]) != "" ||
			strings.HasPrefix(low, "error:") || strings.HasPrefix(line, "  × ") || strings.HasPrefix(line, "  ╰") {
			errs = append(errs, line)
		}
	}
	if len(errs) == 0 {
		errs = e.said
	}
	if len(errs) > 8 {
		errs = errs[:8]
	}
	return errs
}

func (e *toolError) says(words ...string) bool {
	for _, line := range e.said {
		for _, word := range words {
			if strings.Contains(line, word) {
				return true
			}
		}
	}
	return false
}

// output is what a tool says on both of its streams: it is cut into lines, of which
// the last are kept.
type output struct {
	line func(string)

	mu   sync.Mutex // guards the fields below: each stream is copied by itself
	last []string
}

func (o *output) add(text string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.last) == 200 {
		o.last = o.last[1:]
	}
	o.last = append(o.last, text)
	if o.line != nil {
		o.line(text)
	}
}

// stream is one of them.
type stream struct {
	to   *output
	all  []byte // kept if keep is set
	keep bool
	rest []byte
}

func (s *stream) Write(p []byte) (int, error) {
	if s.keep {
		if len(s.all)+len(p) > maxOutput {
			return 0, errors.New("it says too much")
		}
		s.all = append(s.all, p...)
	}
	for rest := p; len(rest) > 0; {
		i := bytes.IndexByte(rest, '\n')
		if i < 0 {
			// A line that is too long is none to show.
			if len(s.rest) < 64<<10 {
				s.rest = append(s.rest, rest...)
			}
			break
		}
		s.to.add(strings.TrimRight(string(s.rest)+string(rest[:i]), "\r"))
		s.rest, rest = nil, rest[i+1:]
	}
	return len(p), nil
}
