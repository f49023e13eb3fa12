package shim

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/direct"
	"github.com/berth-run/berth/internal/home"
	"github.com/berth-run/berth/internal/proc"
	"github.com/berth-run/berth/internal/secret"
)

// newIncarnation returns a name for a process tree that nothing else has: the
// server's key and 64 random bits.
func (s *shim) newIncarnation() (string, error) { return drawIncarnation(s.home.Key(s.name)) }

func drawIncarnation(key string) (string, error) {
	var b [8]byte
	if _, err := rand.Read(b[:]); err != nil {
		return "", fmt.Errorf("draw a random number: %w", err)
	}
	return key + "." + hex.EncodeToString(b[:]), nil
}

// setSpec takes a spec; the machine judges by its policy from now on, the next
// process is started by the rest.
func (s *shim) setSpec(spec berth.ProcessSpec, environ []string) {
	s.spec, s.environ = spec, environ
	s.m.policy = spec.AutoRestart.WithDefaults()
	s.m.grace = spec.Grace.Std()
	if s.m.grace == 0 {
		s.m.grace = berth.DefaultGrace.Std()
	}
	s.m.http = spec.Transport == "http"
	s.masked = maskerOf(spec)
	s.specDigest = home.SpecDigest(spec)
}

// maskerOf knows the secrets of a spec.
func maskerOf(spec berth.ProcessSpec) *secret.Masker {
	var values []string
	for _, key := range spec.Secrets {
		values = append(values, spec.Env[key])
	}
	return secret.NewMasker(spec.Env, values...)
}

// startChild starts one incarnation; nothing of it is left if it fails. Its
// output waits in the pipes until begin.
func (s *shim) startChild(incarnation string) (*child, error) {
	for key, value := range s.spec.Env {
		if secret.IsRef(value) { // whoever started it has not looked it up
			return nil, fmt.Errorf("%w: the variable %s refers to a secret that was not looked up", berth.ErrInvalidSpec, key)
		}
	}
	env := environment(s.environ, s.spec)
	dir := s.spec.Dir
	if dir == "" {
		dir = homeOf(env)
	}
	path, err := proc.LookPath(s.spec.Command, dir, env)
	if err != nil {
		return nil, err
	}
	p, err := openPipes()
	if err != nil {
		return nil, fmt.Errorf("make the pipes of %q: %w", s.name, err)
	}
	started := time.Now()
	spec := proc.Spec{
		Path:               path,
		Argv:               s.argv(incarnation),
		Env:                env,
		Dir:                dir,
		Stdin:              p.childIn,
		Stdout:             p.childOut,
		Stderr:             p.childErr,
		TreeLock:           s.treeLock.File(),
		Key:                s.home.Key(s.name),
		Incarnation:        incarnation,
		MaxMemoryBytes:     s.spec.MaxMemoryBytes,
		MaxFileDescriptors: s.spec.MaxFileDescriptors,
		MaxProcesses:       s.spec.MaxProcesses,
		MaxCPUPercent:      s.spec.MaxCPUPercent,
	}
	var tree *proc.Tree
	var j *jail
	if s.spec.Confine.Confined() {
		tree, j, err = s.confined(spec)
	} else {
		spec.Mechanism = s.mechanism()
		tree, err = proc.Start(spec)
	}
	p.closeChild()
	if err != nil {
		p.closeOurs()
		return nil, err
	}
	c := s.newChild(tree, p, incarnation, started)
	c.jail = j
	return c, nil
}

// newChild puts a started tree and our ends of its pipes together.
func (s *shim) newChild(tree *proc.Tree, p pipes, incarnation string, started time.Time) *child {
	// The values of its secret variables are masked in what the server prints:
	// many print their configuration.
	mask := s.masked
	outLog := newLineLog(func(line []byte) { s.log.Output(mask.Values(line)) })
	c := &child{
		tree:        tree,
		stdin:       p.in,
		stdout:      p.out,
		stderrPipe:  p.err,
		incarnation: incarnation,
		started:     started,
		engine:      s.engine(),
		relay:       &relay{log: outLog, counts: &s.counts, stdin: stdinPipe{direct.New(p.in), p.in}, buffers: &s.buffers},
	}
	c.errLog = newLineLog(func(line []byte) {
		line = mask.Values(line)
		s.stderr.add(line)
		s.log.Output(line)
	})
	c.flush = func() {
		outLog.flush()
		c.errLog.flush()
	}
	return c
}

// environment is what a server gets: the allow-listed part of the caller's
// environment, but for what it is denied, and its own variables.
func environment(environ []string, spec berth.ProcessSpec) []string {
	denied := func(key string) bool {
		return slices.ContainsFunc(spec.Unset, func(name string) bool {
			return name == key || runtime.GOOS == "windows" && strings.EqualFold(name, key)
		})
	}
	var env []string
	for _, kv := range berth.AllowedEnv(environ) {
		key, _, _ := strings.Cut(kv, "=")
		if _, replaced := spec.Env[key]; !replaced && !denied(key) {
			env = append(env, kv)
		}
	}
	for k, v := range spec.Env {
		env = append(env, k+"="+v)
	}
	return env
}

// homeOf is where a server runs that names no directory: the user's home,
// where runners keep their settings, or the root.
func homeOf(env []string) string {
	for _, kv := range env {
		for _, key := range []string{"HOME=", "USERPROFILE="} {
			if dir, ok := strings.CutPrefix(kv, key); ok {
				if info, err := os.Stat(dir); err == nil && info.IsDir() {
					return dir
				}
			}
		}
	}
	return "/"
}

// permanent tells the errors of a start that the next try would only repeat.
func permanent(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) ||
		errors.Is(err, syscall.ENOEXEC) || errors.Is(err, syscall.ENOTDIR) ||
		errors.Is(err, syscall.E2BIG) || errors.Is(err, syscall.ENAMETOOLONG) ||
		errors.Is(err, errors.ErrUnsupported) || errors.Is(err, berth.ErrInvalidSpec) ||
		errors.Is(err, berth.ErrUnenforced)
}

// mechanism is the one that the spec demands, or the best that works here.
func (s *shim) mechanism() berth.TreeMechanism {
	if s.spec.TreeKill != berth.TreeAuto {
		return s.spec.TreeKill
	}
	chosen, _ := s.prober.Choose()
	return chosen
}

// scratch opens a nameless file for what does not fit into memory.
func (s *shim) scratch() (*os.File, error) { return s.home.Scratch() }
