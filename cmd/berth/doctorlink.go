package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/adopt"
	"github.com/berth-run/berth/internal/clients"
	"github.com/berth-run/berth/internal/jsonrpc"
	"github.com/berth-run/berth/internal/link"
)

const (
	// linkPatience is how long what a link leads to may take to answer: it may have to
	// start servers.
	linkPatience = 60 * time.Second
	// linksAtOnce is how many are tried at the same time.
	linksAtOnce = 4
	// linkLine bounds what is read of one answer, in bytes.
	linkLine = 64 << 20
)

// examineLinks looks whether clients' settings still have what was linked, and, with
// run, whether that leads to Berth: it runs what the entry says as the client would, and
// asks for the tools.
func (a *app) examineLinks(ctx context.Context, run bool) []finding {
	s, err := a.open(true)
	if err != nil {
		return nil // what is wrong with the home is said above
	}
	records, err := link.Open(s.home, nil).Records()
	if err != nil {
		return []finding{{What: "links", State: berth.None, Gap: err.Error()}}
	}
	findings := make([]finding, len(records))
	slots := make(chan struct{}, linksAtOnce)
	var running sync.WaitGroup
	for i, r := range records {
		running.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			findings[i] = s.examineLink(ctx, r, run)
		})
	}
	running.Wait()
	return findings
}

func (s *site) examineLink(ctx context.Context, r link.Record, run bool) finding {
	f := finding{What: "link of " + r.Client, State: berth.Enforced, How: r.Name() + " in " + r.File}
	again := "berth link " + r.Client
	if r.Scope == string(clients.Project) {
		again += " --scope project"
	}
	state, err := r.State()
	switch {
	case err != nil:
		f.State, f.Gap = berth.None, err.Error()
		return f
	case state == link.Gone:
		f.State, f.Gap = berth.None, "it is gone: "+again
		return f
	case state == link.Edited:
		// Who edited it is not known: in a project, perhaps somebody else.
		f.State, f.Gap = berth.Partial, "somebody has edited it, and it is not run here: "+again+" --force writes it anew"
		return f
	}
	value, err := r.Value()
	var said linkSaid
	if err == nil {
		said, err = readLink(r.Client, value)
	}
	if err == nil && said.Command != "" {
		if _, lookErr := exec.LookPath(said.Command); lookErr != nil {
			err = fmt.Errorf("the program that it runs is not there: %s; %s", said.Command, again)
		}
	}
	if err != nil {
		f.State, f.Gap = berth.None, err.Error()
		return f
	}
	if !run {
		return f
	}
	ctx, cancel := context.WithTimeoutCause(ctx, linkPatience, fmt.Errorf("it did not answer within %v", linkPatience))
	defer cancel()
	begun := time.Now()
	tools := 0
	if said.URL != "" {
		tools, err = s.tryAddress(ctx, said)
	} else {
		tools, err = tryProgram(ctx, said)
	}
	var unsure *unsureError
	switch {
	case errors.As(err, &unsure):
		f.State, f.Gap = berth.Partial, unsure.gap
	case err != nil:
		f.State, f.Gap = berth.None, "it does not answer: "+err.Error()
	default:
		f.How += fmt.Sprintf(": %s after %d ms", plural(tools, "tool", "answers", "answer"), time.Since(begun).Milliseconds())
	}
	return f
}

// linkSaid is what an entry says, with what the client looks up for it.
type linkSaid struct {
	adopt.Server
	unset string // a variable that the client has to have, and this process has not
}

func readLink(client string, value any) (said linkSaid, err error) {
	dir, err := os.UserHomeDir()
	if err != nil {
		return said, err
	}
	said.Server, err = adopt.Read(adopt.Context{
		Client: client, Home: dir,
		Getenv: func(key string) (string, bool) {
			value, set := os.LookupEnv(key)
			if !set {
				said.unset = key
			}
			return value, true
		},
		Input: func(id string) (string, bool, error) { return "", false, fmt.Errorf("it asks for %s", id) },
		File:  func(path string) (string, error) { return "", fmt.Errorf("it has what is in %s", path) },
	}, value)
	return said, err
}

// unsureError: it could not be tried to the end, for no fault of the link.
type unsureError struct{ gap string }

func (e *unsureError) Error() string { return e.gap }

// The messages of a client that wants to know the tools.
const (
	askInitialize  = `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"berth doctor","version":"1"}}}`
	askInitialized = `{"jsonrpc":"2.0","method":"notifications/initialized"}`
	askTools       = `{"jsonrpc":"2.0","id":2,"method":"tools/list"}`
)

// tryProgram runs what an entry says, with the little that clients hand on of their
// environment, and returns how many tools it has.
func tryProgram(ctx context.Context, said linkSaid) (tools int, err error) {
	cmd := exec.CommandContext(ctx, said.Command, said.Args...)
	cmd.Env = berth.AllowedEnv(os.Environ())
	for key, value := range said.Env {
		cmd.Env = append(cmd.Env, key+"="+value)
	}
	if cmd.Dir, err = os.UserHomeDir(); err != nil {
		return 0, err
	}
	var words bytes.Buffer
	cmd.Stderr, cmd.WaitDelay = &words, 5*time.Second
	in, err := cmd.StdinPipe()
	if err != nil {
		return 0, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return 0, err
	}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	tools, err = converse(in, jsonrpc.NewReader(out, linkLine))
	in.Close()
	// What it still says is of no interest, and must not keep it.
	_, _ = io.Copy(io.Discard, out)
	waitErr := cmd.Wait()
	switch {
	case err == nil:
		return tools, nil
	case ctx.Err() != nil:
		return 0, context.Cause(ctx)
	case waitErr != nil:
		err = fmt.Errorf("%s: %w", said.Command, waitErr)
	}
	if text := strings.TrimSpace(words.String()); text != "" {
		lines := strings.Split(text, "\n")
		err = fmt.Errorf("%w: %s", err, printable(strings.Join(lines[max(0, len(lines)-2):], "; ")))
	}
	return 0, err
}

// converse is the conversation of a client that wants to know the tools.
func converse(in io.Writer, out *jsonrpc.Reader) (int, error) {
	if _, err := io.WriteString(in, askInitialize+"\n"); err != nil {
		return 0, err
	}
	if _, err := answerTo("1", out.Next); err != nil {
		return 0, err
	}
	if _, err := io.WriteString(in, askInitialized+"\n"+askTools+"\n"); err != nil {
		return 0, err
	}
	answer, err := answerTo("2", out.Next)
	return countTools(answer), err
}

// answerTo reads up to the answer with that id, and returns its result.
func answerTo(id string, next func() ([]byte, error)) ([]byte, error) {
	for {
		line, err := next()
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = errors.New("it ended without an answer")
			}
			return nil, err
		}
		if string(jsonrpc.Get(line, "id")) != id || jsonrpc.Get(line, "method") != nil {
			continue
		}
		if fault := jsonrpc.Get(line, "error"); fault != nil {
			return nil, jsonrpc.DecodeError(fault)
		}
		return bytes.Clone(jsonrpc.Get(line, "result")), nil
	}
}

func countTools(result []byte) (n int) {
	for range jsonrpc.Elements(jsonrpc.Get(result, "tools")) {
		n++
	}
	return n
}

// tryAddress asks what listens at the address of an entry for its tools.
func (s *site) tryAddress(ctx context.Context, said linkSaid) (int, error) {
	client := &http.Client{Transport: s.trusting(), CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	defer client.CloseIdleConnections()
	session := ""
	post := func(message string) ([]byte, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, said.URL, strings.NewReader(message))
		if err != nil {
			return nil, err
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Accept", "application/json, text/event-stream")
		for key, value := range said.Headers {
			req.Header.Set(key, value)
		}
		if session != "" {
			req.Header.Set("Mcp-Session-Id", session)
			req.Header.Set("Mcp-Protocol-Version", "2025-11-25")
		}
		resp, err := client.Do(req)
		if errors.Is(err, syscall.ECONNREFUSED) {
			return nil, fmt.Errorf("nothing listens at %s: `berth service install`, or `berth up --listen`", said.URL)
		}
		if err != nil {
			return nil, err
		}
		defer resp.Body.Close()
		if id := resp.Header.Get("Mcp-Session-Id"); id != "" {
			session = id
		}
		body, err := io.ReadAll(io.LimitReader(resp.Body, linkLine))
		switch {
		case err != nil:
			return nil, err
		case resp.StatusCode == http.StatusUnauthorized && said.unset != "":
			return nil, &unsureError{fmt.Sprintf("Berth listens there; whether the client has a token in %s cannot be seen from here, where it is not set", said.unset)}
		case resp.StatusCode == http.StatusUnauthorized:
			return nil, fmt.Errorf("its token is refused at %s: `berth token create` makes one", said.URL)
		case resp.StatusCode/100 != 2:
			return nil, fmt.Errorf("%s answers %s", said.URL, resp.Status)
		}
		return body, nil
	}
	body, err := post(askInitialize)
	if err == nil {
		_, err = answerTo("1", messagesOf(body))
	}
	if err == nil {
		_, err = post(askInitialized)
	}
	if err == nil {
		body, err = post(askTools)
	}
	if err != nil {
		return 0, err
	}
	answer, err := answerTo("2", messagesOf(body))
	endSession(ctx, client, said, session)
	return countTools(answer), err
}

// endSession ends a session of doctor's own; one that stays ends by itself.
func endSession(ctx context.Context, client *http.Client, said linkSaid, session string) {
	req, err := http.NewRequestWithContext(ctx, http.MethodDelete, said.URL, nil)
	if err != nil || session == "" {
		return
	}
	for key, value := range said.Headers {
		req.Header.Set(key, value)
	}
	req.Header.Set("Mcp-Session-Id", session)
	if resp, err := client.Do(req); err == nil {
		resp.Body.Close()
	}
}

// messagesOf hands out the messages of a body: one, or those of a stream of events.
func messagesOf(body []byte) func() ([]byte, error) {
	var messages [][]byte
	if json.Valid(body) {
		messages = append(messages, body)
	} else {
		for line := range bytes.Lines(body) {
			if data, ok := bytes.CutPrefix(line, []byte("data:")); ok {
				messages = append(messages, bytes.TrimSpace(data))
			}
		}
	}
	return func() ([]byte, error) {
		if len(messages) == 0 {
			return nil, io.EOF
		}
		m := messages[0]
		messages = messages[1:]
		return m, nil
	}
}

// trusting trusts the home's own CA besides those of the system.
func (s *site) trusting() *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone()
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if own, err := os.ReadFile(s.home.CAPath()); err == nil {
		pool.AppendCertsFromPEM(own)
	}
	t.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	return t
}
