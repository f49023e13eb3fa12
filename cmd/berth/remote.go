package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/guard"
	"github.com/berth-run/berth/internal/home"
	"github.com/berth-run/berth/internal/remote"
)

// The exit codes of the process of a remote server. The supervisor starts another
// after each, within the bounds of the restart policy.
const (
	remoteUnreachable = 1
	remoteUsage       = 2
	remoteLost        = 3
)

// remoteMain is the process of a remote server: home.RemoteRole. It is reached
// before anything else of this program is made, and catches no signals: each of
// these processes costs what it holds.
func remoteMain(args []string, in io.Reader, out, stderr io.Writer) int {
	o, err := remoteOptions(args, os.Environ())
	if err != nil {
		fmt.Fprintf(stderr, "berth remote: %v\n", err)
		return remoteUsage
	}
	o.Log = func(line string) { fmt.Fprintf(stderr, "berth remote: %s\n", line) }
	err = remote.Run(context.Background(), in, out, o)
	if err == nil {
		return 0
	}
	o.Log(o.Mask(err.Error()))
	var (
		lost   *remote.Lost
		failed *remote.Unreachable
	)
	switch {
	case errors.As(err, &lost):
		return remoteLost
	case errors.As(err, &failed) && failed.Status == http.StatusUnauthorized:
		o.Log("it wants to know who asks: `berth add` takes a token by --header")
	}
	return remoteUnreachable
}

// remoteOptions are what the supervisor gave this process: the names of headers by
// arguments, what may be a secret by the environment.
func remoteOptions(args, environ []string) (o remote.Options, err error) {
	o.Header = http.Header{}
	var values []string
	for len(args) > 1 && args[0] == "--header" {
		key := fmt.Sprintf("%s%d", home.RemoteHeader, len(values))
		value := valueOf(environ, key)
		// A reference that nobody looked up is no value.
		if _, _, isRef := refIn(value); isRef || strings.HasPrefix(value, fromEnv) {
			return o, fmt.Errorf("the header %s refers to a value that was not looked up", args[1])
		}
		o.Header.Set(args[1], value)
		values = append(values, value)
		args = args[2:]
	}
	if o.URL = valueOf(environ, home.RemoteURL); len(args) != 2 || o.URL == "" {
		return o, errors.New("this is the process of a remote server, which `berth start` starts")
	}
	o.UserAgent = "berth/" + berth.Version
	o.Mask = maskerOf(nil, values).Text
	if dir := valueOf(environ, "BERTH_HOME"); dir != "" {
		o.Scratch = func() (*os.File, error) {
			h, err := home.Open(dir, nil)
			if err != nil {
				return nil, err
			}
			return h.Scratch()
		}
	}
	return o, withLogin(&o, args[0], valueOf(environ, "BERTH_HOME"))
}

// buildRemote makes the server that is at a URL, and says what is to be put into the
// secret store for it.
func (a *app) buildRemote(name string, o addOptions, environ []string) (s home.Server, secrets []stored, err error) {
	if _, err := guard.CheckURL(o.url); err != nil {
		return s, nil, usagef("--url: %v", err)
	}
	var headers []home.Header
	asked := map[int]bool{}
	for _, entry := range o.headers {
		key, value, given := strings.Cut(entry, "=")
		if err := home.CheckHeader(key, value); err != nil {
			return s, nil, usagef("--header: %v", err)
		}
		if !given {
			asked[len(headers)] = true
			if value, err = a.askFor("value of the header " + key); err != nil {
				return s, nil, usagef("--header %s: %v", key, err)
			}
			if err := home.CheckHeader(key, value); err != nil {
				return s, nil, usagef("--header: %v", err)
			}
		}
		if _, ref, isRef := refIn(value); isRef {
			if _, err := ownRef(name, ref); err != nil {
				return s, nil, usagef("--header: %s: %v", key, err).hintFrom(err)
			}
		}
		headers = append(headers, home.Header{Name: key, Value: value})
	}
	secrets = putAway(name, headers, asked)
	s = home.NewRemote(name, o.url, headers)
	if s.Env, err = buildEnv(o, environ); err != nil {
		return s, nil, err
	}
	return s, secrets, setLimits(&s, o)
}

// askFor gets a value that is not on the command line, where others see it: from
// the terminal, without showing it, or the next line of stdin.
func (a *app) askFor(what string) (string, error) {
	if f, ok := a.stdin.(*os.File); ok && isTerminal(f) {
		a.ui.say("%s: ", what)
		value, err := readHidden(f)
		return strings.TrimSpace(value), err
	}
	line, err := a.readLine()
	line = strings.TrimSpace(line)
	if line == "" {
		return "", errors.Join(errors.New("no value on stdin"), ignoreEOF(err))
	}
	return line, nil
}

func ignoreEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// yes asks on a terminal whether to do something that cannot be undone; elsewhere
// nobody answers, and it is not done.
func (a *app) yes(question string) bool {
	if !isTerminal(a.stdin) || !a.ui.errTerm {
		return false
	}
	fmt.Fprint(a.ui.err, question)
	line, err := a.readLine()
	return err == nil && strings.EqualFold(strings.TrimSpace(line), "y")
}
