package proc

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	berth "github.com/berth-run/berth"
)

// TestHandover: a supervisor that replaces itself by exec goes on with its
// tree, and no exit is lost, whenever it happens.
func TestHandover(t *testing.T) {
	const server = `(setsid ` + one + ` &); echo up; read x; exit 7`
	eachMechanism(t, func(t *testing.T, m berth.TreeMechanism) {
		for _, order := range []string{"exit first", "exit between", "exit after", "twice"} {
			t.Run(order, func(t *testing.T) {
				checkLeaks(t)
				cmd := exec.Command("/proc/self/exe")
				cmd.Args = []string{rolePrefix + "reexec", string(m), server}
				cmd.Stderr = os.Stderr
				orders, err := cmd.StdinPipe()
				if err != nil {
					t.Fatal(err)
				}
				defer orders.Close()
				out, w := mustPipe(t)
				defer out.Close()
				cmd.Stdout = w
				err = cmd.Start()
				w.Close()
				if err != nil {
					t.Fatal(err)
				}
				out.SetReadDeadline(time.Now().Add(deadline))
				lines := bufio.NewReader(out)
				for range 2 {
					if line, err := lines.ReadString('\n'); line != "up\n" {
						t.Fatalf("the server said %q, %v", line, err)
					}
				}
				if _, err := io.WriteString(orders, order+"\n"); err != nil {
					t.Fatal(err)
				}
				// The output ends only when the tree is gone.
				rest, err := io.ReadAll(lines)
				if err != nil {
					t.Error(err)
				}
				memory := "partial"
				if os.Geteuid() == 0 {
					memory = "enforced"
				}
				want := "ended with exit code 7, memory " + memory + "\nclosed\n"
				if got := string(rest); got != want {
					t.Errorf("got %q, want %q", got, want)
				}
				if err := cmd.Wait(); err != nil {
					t.Error(err)
				}
			})
		}
	})
}

func TestAdoptRefusesNonsense(t *testing.T) {
	f, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for name, h := range map[string]Handover{
		"no mechanism": {},
		"not a handle": {Mechanism: berth.TreeCgroup, ID: ID{PID: 1}, Handles: map[string]int{"leader": int(f.Fd())}},
		"closed":       {Mechanism: berth.TreeProcessGroup, ID: ID{PID: 1}, Handles: map[string]int{"leader": 9999}},
		"no socket":    {Mechanism: berth.TreePIDNamespace, ID: ID{PID: 1}, Handles: map[string]int{"init": int(f.Fd())}},
	} {
		if _, err := Adopt(h); err == nil || !strings.Contains(err.Error(), "adopt") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
