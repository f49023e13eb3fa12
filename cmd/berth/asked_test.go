package main

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/berth-run/berth/internal/settings"
)

// askedCommand: `asked FORMAT FILE PATH` reads an entry of a client's settings, runs what
// it says in the environment that a client gives, which has little, and asks for the
// tools. What it answers is its output.
func askedCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: asked FORMAT FILE PATH")
	}
	value, _, err := settings.Get(settings.Format(args[0]), []byte(ts.ReadFile(args[1])), settings.Place{Path: strings.Split(args[2], "/")})
	ts.Check(err)
	entry := value.(map[string]any)
	first := func(keys ...string) any {
		for _, key := range keys {
			if v, ok := entry[key]; ok {
				return v
			}
		}
		return nil
	}
	var words []string
	for _, arg := range first("args").([]any) {
		words = append(words, arg.(string))
	}
	ctx, cancel := context.WithTimeout(context.Background(), 90*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, first("command", "cmd").(string), words...)
	for _, key := range []string{"PATH", "HOME", "TMPDIR", "GORACE", "BERTH_ALLOW_NETWORK_HOME"} {
		cmd.Env = append(cmd.Env, key+"="+ts.Getenv(key))
	}
	for key, v := range first("env", "envs").(map[string]any) {
		cmd.Env = append(cmd.Env, fmt.Sprintf("%s=%s", key, v))
	}
	slices.Sort(cmd.Env)
	cmd.Stdin = strings.NewReader(`{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"test","version":"1"}}}
{"jsonrpc":"2.0","method":"notifications/initialized"}
{"jsonrpc":"2.0","id":2,"method":"tools/list"}
`)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = &stdout, &stderr, 5*time.Second
	if err := cmd.Run(); err != nil {
		ts.Fatalf("%v: %s", err, stderr.String())
	}
	fmt.Fprint(ts.Stdout(), stdout.String())
}
