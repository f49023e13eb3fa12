//go:build linux

package chaos

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/berth-run/berth/internal/jsonrpc"
	"github.com/berth-run/berth/internal/released"
)

// TestUpgradesUnderLoad replaces the gateway again and again while eight clients
// call a tool without pause and two a tool that takes its time. No call may fail
// or be carried out twice, no session may end, and the server's process
// stays the one that it was.
func TestUpgradesUnderLoad(t *testing.T) {
	upgrades := min(max(envInt(t, "BERTH_CHAOS_KILLS", 60)/25, 5), 100)
	p := newPier(t, released.Build(t), "legacy")
	l := newLoad(p, 3, 2)
	patient, hasty := p.legacy(), p.modern()
	l.clients.Go(func() { l.keepSleeping(patient, "700ms") }) // longer than new calls wait at a time
	l.clients.Go(func() { l.keepSleeping(hasty, "200ms") })
	before := p.status("one")
	var replaced []released.Gateway
	for n := range upgrades {
		if t.Failed() {
			break
		}
		replaced = append(replaced, p.gw)
		p.gw = p.Replace()
		if p.gw.URL != p.url {
			t.Errorf("upgrade %d listens on %s, not %s", n, p.gw.URL, p.url)
		}
	}
	l.end()
	if now := p.status("one"); now.PID != before.PID || now.ShimPID != before.ShimPID || now.Restarts != before.Restarts {
		t.Errorf("process %d of shim %d became %d of %d", before.PID, before.ShimPID, now.PID, now.ShimPID)
	}
	l.judge()
	http.DefaultClient.CloseIdleConnections()
	for n, gw := range replaced {
		select {
		case <-gw.Ended:
		case <-time.After(time.Minute + 10*time.Second):
			t.Fatalf("the gateway that upgrade %d replaced goes on", n)
		}
	}
	t.Logf("%d upgrades", upgrades)
}

// TestUpgradesThatAreKilled sends SIGKILL to one of the two gateways at any moment
// of an upgrade: the other one is the gateway then. Only what was asked meanwhile may
// fail, and nothing is carried out twice.
func TestUpgradesThatAreKilled(t *testing.T) {
	kills := min(max(envInt(t, "BERTH_CHAOS_KILLS", 60)/10, 6), 200)
	seed := envInt(t, "BERTH_CHAOS_SEED", int(time.Now().UnixNano()&0xffffffff))
	t.Logf("%d kills with BERTH_CHAOS_SEED=%d", kills, seed)
	rng := rand.New(rand.NewPCG(uint64(seed), 3))
	p := newPier(t, released.Build(t), "legacy")
	l := newLoad(p, 2, 2)
	before := p.status("one")
	survived := map[string]int{}
	for range kills {
		if t.Failed() {
			break
		}
		survived[l.upgradeAndKill(rng)]++
		time.Sleep(time.Duration(rng.Int64N(int64(2 * settling)))) // calls in which nothing may go wrong
	}
	l.end()
	if now := p.status("one"); now.PID != before.PID || now.ShimPID != before.ShimPID {
		t.Errorf("process %d of shim %d became %d of %d", before.PID, before.ShimPID, now.PID, now.ShimPID)
	}
	l.judge()
	t.Logf("gateways that went on: %v", survived)
	// The next gateway removes what the killed ones left: it comes by itself, or takes
	// the place of one that a proxy has started meanwhile, and has such a socket itself.
	p.gw.Kill()
	p.again()
	left, err := filepath.Glob(filepath.Join(p.Home, "run", "heir-*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, socket := range left {
		if conn, err := net.Dial("unix", socket); err != nil {
			t.Errorf("left over by a gateway that is gone: %v", err)
		} else {
			conn.Close()
		}
	}
}

// upgradeAndKill kills the old gateway or the new one, and says which is there then.
func (l *load) upgradeAndKill(rng *rand.Rand) (survivor string) {
	l.t.Helper()
	l.began.Add(1)
	defer func() {
		l.at.Store(time.Now().UnixNano())
		l.healed.Store(l.began.Load())
	}()
	address := strings.TrimPrefix(l.url, "http://")
	heir, url := l.Launch("--replace", "--no-auth", "--listen", address)
	time.Sleep(time.Duration(rng.Int64N(int64(90 * time.Millisecond)))) // the moment is what varies
	if rng.IntN(2) == 0 {
		l.gw.Kill()
		select {
		case heir.URL = <-url:
		case <-heir.Ended:
			l.t.Fatal("the old gateway was killed, and the new one has ended")
		case <-time.After(30 * time.Second):
			l.t.Fatal("the old gateway was killed, and the new one does not listen")
		}
		l.gw = heir
		return "new"
	}
	heir.Kill()
	for begun := time.Now(); time.Since(begun) < 30*time.Second; time.Sleep(5 * time.Millisecond) {
		select {
		case <-l.gw.Ended: // it had handed over
			l.again()
			return "neither"
		default:
		}
		if conn, err := net.Dial("tcp", address); err == nil {
			conn.Close()
			return "old"
		}
	}
	l.t.Fatal("the new gateway was killed, and the old one neither listens nor ends")
	return ""
}

// keepSleeping calls a tool that takes its time.
func (l *load) keepSleeping(c *client, long string) {
	for !l.over.Load() {
		status, m, err := c.tryAsk("tools/call", `"name":"sleep","arguments":{"for":"`+long+`"}`)
		if err != nil || status != http.StatusOK || m.Kind != jsonrpc.Response {
			l.t.Errorf("a call that takes long: status %d, %s, %v", status, m.Error, err)
			return
		}
	}
}

// What is open while the gateway is replaced goes on at the next one: a stream of a
// legacy session by its Last-Event-ID, a connection of the transport of 2024-11-05
// from the start.
func TestUpgradeWithOpenStreams(t *testing.T) {
	p := newPier(t, released.Build(t), "legacy")
	c := p.legacy()
	c.tool("echo", `"message":"x"`)
	stream, err := c.request(http.MethodGet, "")
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Body.Close()
	sse, err := http.Get(p.url + "/servers/one/sse")
	if err != nil {
		t.Fatal(err)
	}
	defer sse.Body.Close()
	before := p.gw
	p.gw = p.Replace()
	text, err := io.ReadAll(stream.Body)
	if err != nil {
		t.Errorf("the stream of a session does not end as it should: %v", err)
	}
	if _, err := io.ReadAll(sse.Body); err != nil {
		t.Errorf("the stream of a session of 2024-11-05 does not end as it should: %v", err)
	}
	last := ""
	for line := range strings.Lines(string(text)) {
		if id, ok := strings.CutPrefix(line, "id: "); ok {
			last = strings.TrimSpace(id)
		}
	}
	if last == "" {
		t.Fatalf("the stream had no event: %q", text)
	}
	again, err := c.request(http.MethodGet, "", "Last-Event-ID", last)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Body.Close()
	if again.StatusCode != http.StatusOK {
		t.Errorf("the stream at the next gateway: %s", again.Status)
	}
	c.tool("echo", `"message":"the session is the same"`)
	again.Body.Close()
	<-before.Ended // a stream ends before all is handed over
}

// An upgrade that fails at its last step leaves the gateway that was to be replaced
// all that it had: its lock, its socket, its address and its sessions.
func TestUpgradeThatFails(t *testing.T) {
	p := newPier(t, released.Build(t), "legacy")
	c := p.legacy()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	if _, err := p.Try("up", "--replace", "--no-auth", "--listen", taken.Addr().String()); err == nil || !strings.Contains(err.Error(), "is taken") {
		t.Fatalf("an address that is taken: %v", err)
	}
	if _, err := p.Try("up"); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("process %d keeps", p.gw.PID)) {
		t.Errorf("another gateway is told %v", err)
	}
	c.tool("echo", `"message":"the session is the same"`)
	x := p.proxy("one")
	x.shake()
	x.send(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{"message":"by the socket"}}}`)
	x.want("by the socket")
}
