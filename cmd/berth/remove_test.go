package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/home"
	"github.com/berth-run/berth/internal/proc"
)

// forgotten fails the test unless nothing of a server is left, but its log.
func (b bench) forgotten(name string) {
	b.Helper()
	if code, out := b.process("status", name); code != exitNoServer {
		b.Errorf("status: exit code %d\n%s", code, out)
	}
	for _, file := range []string{"servers/" + name + ".toml", "runtime/" + name + ".toml"} {
		if _, err := os.Stat(filepath.Join(b.dir, file)); !errors.Is(err, os.ErrNotExist) {
			b.Errorf("%s is left: %v", file, err)
		}
	}
	h, err := home.Open(b.dir, nil)
	if err != nil {
		b.Fatal(err)
	}
	left, err := proc.Leftovers(proc.Query{Key: h.Key(name)})
	if err != nil || len(left) > 0 {
		b.Errorf("processes are left: %v, %v", left, err)
	}
}

// tree is a server that leaves processes wherever it can.
const tree = `sleep 1001 & (setsid sleep 1002 &) ; sh -c 'trap "" TERM; while :; do sleep 1003; done' & exec cat >/dev/null`

// The reference removes the files of a server that runs on, and nothing can
// stop it any more.
func TestFault21_RemoveEndsTheServer(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("needs a Unix shell")
	}
	for what, ready := range map[string]func(b bench){
		"running": func(b bench) { b.do("start", "one", "--wait=false") },
		"its supervisor was killed": func(b bench) {
			b.do("start", "one", "--wait=false")
			b.kill(b.status("one").ShimPID)
		},
		"its file does not parse": func(b bench) {
			b.do("start", "one", "--wait=false")
			b.damage("servers", "one.toml")
		},
		"its state does not parse": func(b bench) {
			b.do("start", "one", "--wait=false")
			b.damage("runtime", "one.toml")
		},
		"a damaged orphan": func(b bench) {
			b.do("start", "one", "--wait=false")
			b.kill(b.status("one").ShimPID)
			b.damage("servers", "one.toml")
			b.damage("runtime", "one.toml")
		},
		"only its state is left": func(b bench) {
			b.do("start", "one", "--wait=false")
			if err := os.Remove(filepath.Join(b.dir, "servers", "one.toml")); err != nil {
				b.Fatal(err)
			}
		},
		"stopped":   func(b bench) { b.do("start", "one", "--wait=false"); b.do("stop", "one") },
		"never ran": func(bench) {},
	} {
		t.Run(what, func(t *testing.T) {
			b := newBench(t)
			b.do("add", "one", "--no-run", "--grace", "50ms", "--", "/bin/sh", "-c", tree)
			ready(b)
			b.do("remove", "one")
			b.forgotten("one")
			if code, out := b.process("remove", "one"); code != exitNoServer {
				t.Errorf("another remove: exit code %d\n%s", code, out)
			}
			if code, out := b.process("audit", "one", "--action", "remove"); code != exitOK || strings.Count(out, " remove ") != 1 {
				t.Errorf("audit: exit code %d\n%s", code, out)
			}
		})
	}
}

func (b bench) damage(elem ...string) {
	b.Helper()
	if err := os.WriteFile(filepath.Join(append([]string{b.dir}, elem...)...), []byte("= nothing\n"), 0o600); err != nil {
		b.Fatal(err)
	}
}

// TestFault21_InterruptedRemove: whenever a remove is killed, the server can be
// stopped and removed, nothing is left in the end, and no keeper brings it back.
func TestFault21_InterruptedRemove(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("needs a Unix shell")
	}
	rounds := 18
	if testing.Short() {
		rounds = 6
	}
	for _, kept := range []bool{false, true} {
		t.Run(map[bool]string{false: "alone", true: "under a keeper"}[kept], func(t *testing.T) {
			b := newBench(t)
			b.do("version") // so that the first round is no slower than the others
			if kept {
				ctx, stop := context.WithCancel(t.Context())
				said := &waitFor{text: "keeping the servers", found: make(chan struct{})}
				ended := make(chan int, 1)
				go func() { ended <- run(ctx, []string{"--home", b.dir, "up"}, strings.NewReader(""), said, said) }()
				t.Cleanup(func() { stop(); <-ended })
				<-said.found
			}
			whole := 100 * time.Millisecond // how long a remove takes
			found := map[string]int{}
			for i := range rounds {
				b.do("add", "one", "--no-run", "--grace", "20ms", "--", "/bin/sh", "-c", tree)
				b.do("start", "one", "--wait=false")
				cmd := exec.Command("berth", "--home", b.dir, "remove", "one")
				begin := time.Now()
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				switch i % 6 {
				case 0:
				case 1:
					b.await("one", berth.PhaseStopping)
				case 2:
					b.await("one", berth.PhaseStopped)
				case 3:
					b.awaitGone("servers", "one.toml")
				case 4:
					time.Sleep(rand.N(whole)) // the kill falls anywhere
				case 5:
					_ = cmd.Wait()
					whole = time.Since(begin)
				}
				_ = cmd.Process.Kill()
				_ = cmd.Wait()

				code, out := b.process("status", "one")
				left := "nothing"
				if m := regexp.MustCompile(`(?m)^one +(\w+) +(\w+)`).FindStringSubmatch(out); m != nil {
					left = m[1] + ", " + m[2]
				}
				found[left]++
				if code != exitNoServer && i%2 == 0 {
					b.do("stop", "one")
				}
				if code, out := b.process("remove", "one"); code != exitOK && code != exitNoServer {
					t.Errorf("round %d, after a kill: remove: exit code %d\n%s", i, code, out)
				}
				b.forgotten("one")
				if t.Failed() {
					t.Fatalf("in round %d", i)
				}
			}
			t.Logf("what the kills left: %v", found)
			if !testing.Short() && len(found) < 3 {
				t.Errorf("the kills met too little of a remove: %v", found)
			}
		})
	}
}

// await waits until a server is in a phase, or beyond it.
func (b bench) await(name string, phase berth.Phase) {
	b.Helper()
	err := awaitStatus(b, name, func(st berth.Status) bool { return st.Phase == phase || st.Status == berth.Stopped })
	if err != nil {
		b.Fatal(err)
	}
}

// awaitGone waits until a file is gone, and comes as soon after as can be.
func (b bench) awaitGone(elem ...string) {
	b.Helper()
	path := filepath.Join(append([]string{b.dir}, elem...)...)
	for deadline := time.Now().Add(time.Minute); ; runtime.Gosched() {
		if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
			return
		}
		if time.Now().After(deadline) {
			b.Fatalf("%s is still there", path)
		}
	}
}
