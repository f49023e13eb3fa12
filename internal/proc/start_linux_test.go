package proc

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	berth "github.com/berth-run/berth"
	"golang.org/x/sys/unix"
)

func program1(path string, args ...string) options {
	return func(s *Spec) { s.Path, s.Argv = path, append([]string{filepath.Base(path)}, args...) }
}

func writeFile(t testing.TB, name, text string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestStartErrors: every way in which a start fails keeps the system's kind,
// says what is missing, and leaves nothing.
func TestStartErrors(t *testing.T) {
	script := writeFile(t, "script", "#!/no/such/interpreter -x\n", 0o755)
	garbage := writeFile(t, "garbage", "\x00\x01\x02\x03", 0o755)
	plain := writeFile(t, "plain", "#!/bin/sh\n", 0o644)
	dir := t.TempDir()
	cases := []struct {
		name string
		run  options
		dir  string
		kind error
		says string
	}{
		{"no program", program1("/no/such/program"), "", fs.ErrNotExist, `"/no/such/program": the program cannot be found`},
		{"no interpreter", program1(script), "", fs.ErrNotExist, `its interpreter "/no/such/interpreter" cannot be found`},
		{"no directory", program1("/bin/true"), "/no/such/dir", fs.ErrNotExist, `working directory "/no/such/dir"`},
		{"directory is a file", program1("/bin/true"), plain, syscall.ENOTDIR, "working directory"},
		{"not executable", program1(plain), "", fs.ErrPermission, "not executable"},
		{"is a directory", program1(dir), "", fs.ErrPermission, "it is a directory"},
		{"neither program nor script", program1(garbage), "", syscall.ENOEXEC, "neither a program"},
		{"too much", program1("/bin/true", strings.Repeat("x", 1<<20)), "", syscall.E2BIG, "/bin/true"},
	}
	eachMechanism(t, func(t *testing.T, m berth.TreeMechanism) {
		for _, limited := range []bool{false, true} {
			for _, c := range cases {
				t.Run(fmt.Sprintf("%s limited=%v", c.name, limited), func(t *testing.T) {
					checkLeaks(t)
					_, err := tryRig(t, withMechanism(m), c.run, func(s *Spec) {
						s.Dir = c.dir
						if limited {
							s.MaxFileDescriptors = 200
						}
					})
					if err == nil {
						t.Fatal("it started")
					}
					if !errors.Is(err, c.kind) || !strings.Contains(err.Error(), c.says) {
						t.Errorf("error %q is not %v or does not say %q", err, c.kind, c.says)
					}
				})
			}
		}
	})
}

// TestStartRefusesNonsense: misuse is an error too, and starts nothing.
func TestStartRefusesNonsense(t *testing.T) {
	cases := map[string]options{
		"relative path":   program1("true"),
		"no argv":         func(s *Spec) { s.Path = "/bin/true" },
		"no stdout":       func(s *Spec) { s.Path, s.Argv, s.Stdout = "/bin/true", []string{"true"}, nil },
		"bad key":         func(s *Spec) { s.Path, s.Argv, s.Key = "/bin/true", []string{"true"}, "../../etc" },
		"bad incarnation": func(s *Spec) { s.Path, s.Argv, s.Incarnation = "/bin/true", []string{"true"}, "x" },
		"foreign mechanism": func(s *Spec) {
			s.Path, s.Argv, s.Mechanism = "/bin/true", []string{"true"}, berth.TreeJob
		},
	}
	for name, o := range cases {
		t.Run(name, func(t *testing.T) {
			checkLeaks(t)
			if _, err := tryRig(t, o); err == nil {
				t.Error("it started")
			}
		})
	}
}

func TestWrongExecutable(t *testing.T) {
	// A binary that does not know the roles: it ends, or says nothing.
	for _, m := range []berth.TreeMechanism{berth.TreePIDNamespace, berth.TreeProcessGroup} {
		t.Run(string(m), func(t *testing.T) {
			needMechanism(t, m)
			checkLeaks(t)
			_, err := tryRig(t, withMechanism(m), shell("echo up"), func(s *Spec) {
				s.Executable, s.MaxFileDescriptors = "/bin/true", 100
			})
			if err == nil {
				t.Fatal("it started")
			}
			if _, err := tryRig(t, withMechanism(m), shell("echo up"), func(s *Spec) {
				s.Executable, s.MaxFileDescriptors = "/no/such/berth", 100
			}); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("missing executable: %v", err)
			}
		})
	}
}

func TestExit(t *testing.T) {
	cases := []struct {
		script, want string
	}{
		{"exit 0", "exit code 0"},
		{"exit 3", "exit code 3"},
		{"exit 255", "exit code 255"},
		{"kill -KILL $$", "signal SIGKILL"},
		{"kill -TERM $$", "signal SIGTERM"},
		{"ulimit -c 0; kill -SEGV $$", "signal SIGSEGV"},
		{"kill -40 $$", "signal SIG40"},
	}
	eachMechanism(t, func(t *testing.T, m berth.TreeMechanism) {
		for _, c := range cases {
			t.Run(c.script, func(t *testing.T) {
				checkLeaks(t)
				r := startRig(t, withMechanism(m), shell("read x; "+c.script))
				mustBe(t, "exit while it runs", r.Exit(), berth.Exit{})
				r.stdin.Close()
				e := r.awaitExit()
				mustBe(t, "exit", e.String(), c.want)
				if e.At.IsZero() {
					t.Error("no time of the exit")
				}
				r.mustKill()
				mustBe(t, "exit after Kill", r.Exit(), e)
			})
		}
	})
}

// TestShortLived: a server that is gone before Start returns is started and
// exited all the same, not an error.
func TestShortLived(t *testing.T) {
	eachMechanism(t, func(t *testing.T, m berth.TreeMechanism) {
		checkLeaks(t)
		for range 20 {
			r := startRig(t, withMechanism(m), program1("/bin/false"))
			mustBe(t, "exit", r.awaitExit().String(), "exit code 1")
			r.mustKill()
		}
	})
}

// TestChild looks at what the server finds: a fresh session, default signals,
// no stray descriptors, its environment.
func TestChild(t *testing.T) {
	// Signals that are ignored or caught here must be default there.
	signal.Ignore(syscall.SIGUSR2, syscall.SIGHUP)
	defer signal.Reset(syscall.SIGUSR2, syscall.SIGHUP)
	stray, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer stray.Close()
	// As one that was inherited.
	if _, err := unix.FcntlInt(stray.Fd(), unix.F_SETFD, 0); err != nil {
		t.Fatal(err)
	}
	const look = `
		exec 2>/dev/null
		echo "pid $$ session $(ps -o sid= -p $$ 2>/dev/null || cut -d' ' -f6 /proc/$$/stat)"
		for f in /proc/$$/fd/*; do [ -L $f ] && printf 'fd %s ' ${f##*/}; done; echo
		grep -E '^Sig(Blk|Ign)|^ShdPnd' /proc/$$/status | tr -s '\t\n' '  '; echo
		echo "limit $(ulimit -S -n) $(ulimit -H -n)"
		echo "incarnation $BERTH_INCARNATION"
		echo "dir $(pwd)"
		echo "own $OWN"
		echo end; read x`
	eachMechanism(t, func(t *testing.T, m berth.TreeMechanism) {
		for _, limit := range []uint64{0, 64} {
			t.Run(fmt.Sprint("limit ", limit), func(t *testing.T) {
				checkLeaks(t)
				var incarnation string
				r := startRig(t, withMechanism(m), shell(look), func(s *Spec) {
					s.Dir, s.MaxFileDescriptors = "/usr", limit
					s.Env = []string{"PATH=/usr/bin:/bin", "OWN=1", IncarnationVariable + "=stale"}
					incarnation = s.Incarnation
				})
				said := map[string]string{}
				for line := r.line(); line != "end"; line = r.line() {
					word, rest, _ := strings.Cut(line, " ")
					said[word] = strings.TrimSpace(rest)
				}
				pid, session, _ := strings.Cut(said["pid"], " session ")
				mustBe(t, "session", strings.TrimSpace(session), pid)
				if m != berth.TreePIDNamespace {
					mustBe(t, "pid", pid, strconv.Itoa(r.PID()))
				}
				if pid == "1" {
					t.Error("the server is process 1 of its namespace: its signals have no default")
				}
				mustBe(t, "descriptors", said["fd"], "0 fd 1 fd 2 fd 3")
				for name, value := range parseSignals(said) {
					mustBe(t, name, value, "0000000000000000")
				}
				mustBe(t, "incarnation", said["incarnation"], incarnation)
				mustBe(t, "dir", said["dir"], "/usr")
				mustBe(t, "own", said["own"], "1")
				want := originalLimit(t)
				if limit != 0 {
					want = "64 64"
				}
				mustBe(t, "limit of open files", said["limit"], want)
				r.mustKill()
			})
		}
	})
}

// TestEnvironment: what the server is given is all that it has; what our own
// roles are told on the way does not reach it.
func TestEnvironment(t *testing.T) {
	eachMechanism(t, func(t *testing.T, m berth.TreeMechanism) {
		for _, limit := range []uint64{0, 64} {
			for _, env := range [][]string{nil, {"A=1"}, {"GOMAXPROCS=1"}, {"A=1", "GOMAXPROCS=3"}} {
				r := startRig(t, withMechanism(m), program1("/bin/cat"), func(s *Spec) { s.Env, s.MaxFileDescriptors = env, limit })
				text, err := os.ReadFile(procPath(r.PID(), "environ"))
				if err != nil {
					t.Fatal(err)
				}
				got := strings.Split(strings.TrimSuffix(string(text), "\x00"), "\x00")
				got = slices.DeleteFunc(got, func(kv string) bool { return strings.HasPrefix(kv, IncarnationVariable+"=") })
				if !slices.Equal(got, env) {
					t.Errorf("of %q, limit %d, it has %q", env, limit, got)
				}
				r.mustKill()
			}
		}
	})
}

func parseSignals(said map[string]string) map[string]string {
	found := map[string]string{}
	fields := strings.Fields("SigBlk: " + strings.TrimPrefix(said["SigBlk:"], "SigBlk: "))
	for i := 0; i+1 < len(fields); i += 2 {
		found[fields[i]] = fields[i+1]
	}
	return found
}

// originalLimit is the limit on open files that an ordinary child of this
// process has; the Go runtime raised our own.
func originalLimit(t testing.TB) string {
	t.Helper()
	out, err := exec.Command("/bin/sh", "-c", `echo "$(ulimit -S -n) $(ulimit -H -n)"`).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

func TestLimitTooHigh(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root may raise limits: see TestAsNobody")
	}
	_, err := tryRig(t, shell("read x"), func(s *Spec) { s.MaxFileDescriptors = 1 << 30 })
	if !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), "limit open files to 1073741824") {
		t.Errorf("a limit beyond what is allowed: %v", err)
	}
}

// TestManyTreesAtOnce: trees of one process do not mistake each other's
// members, whatever the mechanisms.
func TestManyTreesAtOnce(t *testing.T) {
	checkLeaks(t)
	var rigs []*rig
	for _, m := range mechanisms() {
		var p Prober
		if !p.try(m).Works {
			continue
		}
		for range 3 {
			rigs = append(rigs, startRig(t, withMechanism(m), shell(one+` & (setsid `+one+` &); echo up; wait`)))
		}
	}
	for _, r := range rigs {
		r.awaitUp(3)
	}
	for i, r := range rigs {
		r.mustKill()
		for _, other := range rigs[i+1:] {
			if members, err := other.Members(); err != nil || len(members) < 3 {
				t.Fatalf("ending a tree of %s left %d members of one of %s (%v)", r.Mechanism(), len(members), other.Mechanism(), err)
			}
		}
	}
}

// TestOrphansAreReaped: under a subreaper, processes that lost their parent
// leave no zombies while the server lives.
func TestOrphansAreReaped(t *testing.T) {
	checkLeaks(t)
	r := startRig(t, withMechanism(berth.TreeSubreaper),
		shell(`i=0; while [ $i -lt 100 ]; do (true &); i=$((i+1)); done; echo up; read x; (sleep 0.05; echo late) & exit 0`))
	r.awaitUp(1)
	// Each zombie goes by an event of its own, so look until they are gone.
	for ctx := deadlineContext(t); ; {
		if n := zombies(t); n == 0 {
			break
		} else if ctx.Err() != nil {
			t.Fatalf("%d zombies", n)
		}
	}
	r.stdin.Close()
	r.awaitExit()
	mustBe(t, "said", r.line(), "late")
	for ctx := deadlineContext(t); zombies(t) > 0; {
		if ctx.Err() != nil {
			t.Fatal("an orphan that died after the leader stayed a zombie")
		}
	}
	r.mustKill()
}

func zombies(t *testing.T) int {
	t.Helper()
	stats, err := processes()
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, s := range stats {
		if s.ppid == os.Getpid() && s.zombie() {
			n++
		}
	}
	return n
}

// TestSubreaperLeavesOtherChildren: what somebody else started here is for him
// to wait for.
func TestSubreaperLeavesOtherChildren(t *testing.T) {
	checkLeaks(t)
	r := startRig(t, withMechanism(berth.TreeSubreaper), shell(one+` & echo up; wait`))
	r.awaitUp(2)
	cmd := exec.Command("/bin/sh", "-c", "read x; exit 5")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	members, err := r.Members()
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range members {
		if id.PID == cmd.Process.Pid {
			t.Error("a child of somebody else counts as a member")
		}
	}
	r.mustKill()
	in.Close()
	err = cmd.Wait()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 5 {
		t.Errorf("the other child: %v", err)
	}
}

// TestStreamsEnd: the server's stdout ends with the server, also where a
// process of ours stands between.
func TestStreamsEnd(t *testing.T) {
	eachMechanism(t, func(t *testing.T, m berth.TreeMechanism) {
		checkLeaks(t)
		r := startRig(t, withMechanism(m), shell(`echo up; exec >&- 2>&-; read x`))
		r.awaitUp(1)
		if rest, err := io.ReadAll(r.stdout); err != nil || len(rest) > 0 {
			t.Errorf("after the server closed its stdout: %q, %v", rest, err)
		}
		r.mustKill()
	})
}
