//go:build linux

package chaos

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/berth-run/berth/internal/released"
)

// muchSize is how long an answer or a request is that must not be held in memory, in bytes.
const muchSize = 64 << 20

// TestMuchThroughProxy: an answer of 64 MB reaches a client of `berth proxy`, an
// argument of 64 MB its server, and none of the three processes between them ever had
// much of it in memory.
func TestMuchThroughProxy(t *testing.T) {
	p := newPier(t, released.Build(t), "legacy")
	x := p.proxy("one")
	x.shake()
	x.send(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{"message":"little"}}}`)
	x.want(`"id":1`)
	pids := map[string]int{"the proxy": x.cmd.Process.Pid, "the gateway": p.gw.PID, "the shim": p.status("one").ShimPID}
	before := map[string]int{}
	for who, pid := range pids {
		before[who] = mostMemory(t, pid)
	}
	x.send(`{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"much"}}`)
	if !x.out.Scan() || len(x.out.Bytes()) < muchSize || strings.Count(x.out.Text(), "much ") != muchSize/5 {
		t.Fatalf("the answer has %d bytes: %v\n%s", len(x.out.Bytes()), x.out.Err(), &x.err)
	}
	x.send(`{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"name":"echo","arguments":{"message":"` + strings.Repeat("many ", muchSize/5) + `"}}}`)
	if !x.out.Scan() || strings.Count(x.out.Text(), "many ") != muchSize/5 || !strings.Contains(x.out.Text(), `"id":3`) {
		t.Fatalf("the echo has %d bytes: %v\n%s", len(x.out.Bytes()), x.out.Err(), &x.err)
	}
	for who, pid := range pids {
		now := mostMemory(t, pid)
		t.Logf("%s: %d KiB at most, %d before", who, now, before[who])
		if now > before[who]+muchSize>>10/4 {
			t.Errorf("%s had %d KiB in memory, %d before", who, now, before[who])
		}
	}
}

// mostMemory is the most that a process ever had in memory, in KiB.
func mostMemory(t *testing.T, pid int) (size int) {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if n, _ := fmt.Sscanf(line, "VmHWM: %d kB", &size); n == 1 {
			return size
		}
	}
	t.Fatalf("process %d has no VmHWM", pid)
	return 0
}
