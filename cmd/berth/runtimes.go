package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"strings"
	"time"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/listing"
	"github.com/berth-run/berth/internal/proc"
)

// haveRuntime says whether what runs a bundle is there, and new enough, before anything is
// asked. What it says of a version in words that are not known is passed on to the user.
func (s *site) haveRuntime(ctx context.Context, e listing.Entry) error {
	name := e.Program
	if e.Kind != listing.MCPB || strings.ContainsAny(name, `/\`) {
		return nil
	}
	names := []string{name}
	hint, want := "install "+name, ""
	switch name {
	case "node":
		hint, want = "install Node.js (https://nodejs.org, or nodejs of your system)", e.Runtimes["node"]
	case "python", "python3":
		names, want = []string{name, "python3", "python"}, e.Runtimes["python"]
		hint = "install Python 3 (https://www.python.org, or python3 of your system)"
	}
	at := ""
	for _, one := range names {
		found, err := proc.LookPath(one, "", []string{"PATH=" + valueOf(os.Environ(), "PATH")})
		if err == nil {
			at = found
			break
		}
	}
	if at == "" {
		return berth.WithHint(fmt.Errorf("the bundle is run by %s, which is not in the PATH: %w", printable(name), os.ErrNotExist), hint)
	}
	if want == "" {
		return nil
	}
	have, err := programVersion(ctx, at)
	if err != nil {
		return fmt.Errorf("%s --version: %w", path.Base(at), err)
	}
	ok, known := listing.InRange(have, want)
	switch {
	case !known:
		s.ui.note("the bundle wants %s %s, which was not compared with the %s that is here", name, printable(cut(want, 80)), have)
	case !ok:
		return berth.WithHint(fmt.Errorf("the bundle needs %s %s, and %s is %s", name, printable(cut(want, 80)), at, have), hint)
	}
	return nil
}

// programVersion asks a program for its version, the last word of the first line.
func programVersion(ctx context.Context, program string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, "--version")
	cmd.Env = berth.AllowedEnv(os.Environ())
	cmd.WaitDelay = time.Second
	out, err := cmd.Output()
	if err != nil {
		return "", err
	}
	line, _, _ := strings.Cut(string(out), "\n")
	words := strings.Fields(line)
	if len(words) == 0 {
		return "", errors.New("it says nothing")
	}
	return listing.Shown(strings.TrimPrefix(words[len(words)-1], "v"), 40), nil
}
