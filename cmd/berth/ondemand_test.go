package main

import (
	"bytes"
	"errors"
	"testing"

	"github.com/berth-run/berth"
)

// TestServerComesAndGoesOnDemand: a client is served without a process of the
// server until it calls it, and the process is stopped when nobody calls, which
// the client does not notice; whoever started it.
func TestServerComesAndGoesOnDemand(t *testing.T) {
	b := newBench(t)
	b.berth("add", "one", "--", "testserver")
	b.berth("config", "one", "--set", "berth.idle-timeout=1s")
	c := b.proxy("one")
	c.shakeHands()
	c.send(`{"jsonrpc":"2.0","id":"list","method":"tools/list"}`)
	c.want(`"list"`, `"echo"`)
	if st := b.status("one"); st.Generation != 1 || st.PID != 0 || !st.AtRest {
		t.Fatalf("after its first run and no call: %+v", st)
	}
	c.echo(1, "first")
	atRest := func(st berth.Status) bool { return st.AtRest }
	if err := awaitStatus(b, "one", atRest); err != nil {
		t.Fatal(err)
	}
	c.send(`{"jsonrpc":"2.0","id":"again","method":"tools/list"}`)
	c.want(`"again"`, `"echo"`)
	if st := b.status("one"); st.Generation != 2 || st.Restarts != 0 || st.Error != "" {
		t.Errorf("at rest: %+v", st)
	}
	b.berth("start", "one")
	c.echo(2, "second")
	// The client's end is not the gateway's until the server is at rest.
	if code := c.hangUp(); code != 0 {
		t.Errorf("exit code %d: %s", code, c.err)
	}
	if err := awaitStatus(b, "one", atRest); err != nil {
		t.Fatal(err)
	}
	if st := b.status("one"); st.Generation != 3 {
		t.Errorf("in the end: %+v", st)
	}
}

func TestGatewayLog(t *testing.T) {
	var out, err bytes.Buffer
	log := newGatewayLog(newUI(&out, &err))
	for range 2 {
		log.Warn("it is odd", "server", "one", "error", errors.New("why"))
		log.Info("of no interest")
	}
	log.Warn("more")
	if got, want := err.String(), "berth: warning: it is odd (server one): why\nberth: warning: more\n"; got != want || out.Len() > 0 {
		t.Errorf("said %q, want %q; printed %q", got, want, out.String())
	}
}
