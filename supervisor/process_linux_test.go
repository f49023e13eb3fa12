package supervisor_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/supervisor"
)

// procFile returns a file of /proc/PID.
func procFile(t testing.TB, pid int, name string) string {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// environOf returns the environment with which a process was executed, sorted,
// but for the mark of its incarnation.
func environOf(t testing.TB, pid int) []string {
	t.Helper()
	var env []string
	for _, kv := range strings.Split(strings.TrimSuffix(procFile(t, pid, "environ"), "\x00"), "\x00") {
		if !strings.HasPrefix(kv, "BERTH_INCARNATION=") {
			env = append(env, kv)
		}
	}
	slices.Sort(env)
	return env
}

// descriptorsOf returns what a process has open, by number.
func descriptorsOf(t testing.TB, pid int) map[string]string {
	t.Helper()
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	open := map[string]string{}
	for _, e := range entries {
		target, err := os.Readlink(filepath.Join(dir, e.Name()))
		if err != nil {
			continue // closed meanwhile
		}
		open[e.Name()] = target
	}
	return open
}

// cat is a server of which nothing changes what it was started with.
func cat() berth.ProcessSpec { return berth.ProcessSpec{Command: "cat"} }

// Stdin of the reference is /dev/null, at which every stdio server ends. Ours
// is a pipe that somebody holds: a server that asks, hears neither data nor end.
func TestFault1_StdinStaysOpen(t *testing.T) {
	w := newWorld(t)
	st := w.start("a", asRole(t, "ask-stdin"))
	w.awaitLog("a", "stdin: nothing yet")
	if got := descriptorsOf(t, st.PID)["0"]; !strings.HasPrefix(got, "pipe:") {
		t.Errorf("stdin is %s", got)
	}
	equal(t, "pid", w.status("a").PID, st.PID)
	w.stop("a") // whose first step is the end of stdin
	w.awaitLog("a", "stdin: end")
}

// Also when whoever started it is gone.
func TestFault1_StdinStaysOpenWithoutTheCaller(t *testing.T) {
	w := newWorld(t)
	a := w.call(request{Verb: "start", Name: "a", Spec: asRole(t, "ask-stdin")})
	w.awaitLog("a", "stdin: nothing yet")
	equal(t, "pid", w.status("a").PID, a.Status.PID)
}

func TestA4_SessionOfItsOwn(t *testing.T) {
	w := newWorld(t)
	st := w.start("a", cat())
	for what, pid := range map[string]int{"server": st.PID, "shim": st.ShimPID} {
		f := statOf(pid) // state ppid pgrp session tty
		if f[2] != fmt.Sprint(pid) || f[3] != fmt.Sprint(pid) || f[4] != "0" {
			t.Errorf("the %s %d has group %s, session %s, terminal %s", what, pid, f[2], f[3], f[4])
		}
	}
}

// What a caller ignores or blocks is no business of a server's: one started
// under nohup would never end by SIGHUP.
func TestA4_SignalsAreReset(t *testing.T) {
	w := newWorld(t)
	for what, spec := range map[string]berth.ProcessSpec{
		"plain": cat(), "limited": {Command: "cat", MaxFileDescriptors: 64},
	} {
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		inner := caller(t, self, request{Options: supervisor.Options{Home: w.dir}, Verb: "start", Name: what, Spec: spec})
		cmd := exec.Command("/bin/sh", append([]string{"-c", `trap "" HUP INT TERM USR1; exec "$0" "$@"`}, inner.Args...)...)
		cmd.Stderr = os.Stderr
		a := ask(t, cmd)
		if a.Error != "" {
			t.Fatal(a.Error)
		}
		// Were it the shim's, each start would take another program in between.
		for who, pid := range map[string]int{"server": a.Status.PID, "shim": a.Status.ShimPID} {
			for line := range strings.Lines(procFile(t, pid, "status")) {
				key, value, _ := strings.Cut(strings.TrimSpace(line), ":\t")
				if (key == "SigIgn" || key == "SigBlk") && strings.Trim(value, "0") != "" {
					t.Errorf("%s: %s of the %s is %s", what, key, who, value)
				}
			}
		}
	}
}

func TestA4_WorkingDirectory(t *testing.T) {
	home, other := shortDir(t), shortDir(t)
	for what, c := range map[string]struct{ home, dir, want string }{
		"the user's home":   {home, "", home},
		"of the spec":       {home, other, other},
		"a home that is no": {home + "/missing", "", "/"},
	} {
		w := newWorldWith(t, supervisor.Options{Environ: []string{"HOME=" + c.home, "PATH=" + os.Getenv("PATH")}})
		spec := cat()
		spec.Dir = c.dir
		st := w.start("a", spec)
		for which, want := range map[int]string{st.PID: c.want, st.ShimPID: "/"} {
			got, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", which))
			if err != nil || got != want {
				t.Errorf("%s: the working directory is %s (%v), want %s", what, got, err, want)
			}
		}
	}
}

// A server is given what programs need to find themselves, and what its spec
// says; a token of the shell that started it must be named to arrive.
func TestFault10_EnvironmentIsAnAllowList(t *testing.T) {
	allowed := map[string]string{
		"PATH": os.Getenv("PATH"), "HOME": "/root/of/it", "USER": "u", "LOGNAME": "l", "SHELL": "/bin/s", "LANG": "C",
		"LC_ALL": "C", "LC_X": "y", "TZ": "UTC", "TERM": "dumb", "TMPDIR": "/tmp", "XDG_CONFIG_HOME": "/c", "XDG_CACHE_HOME": "/k",
		"HTTP_PROXY": "http://p", "https_proxy": "http://q", "NO_PROXY": "*", "SSL_CERT_FILE": "/f", "SSL_CERT_DIR": "/d",
		"NODE_EXTRA_CA_CERTS": "/n", "REQUESTS_CA_BUNDLE": "/r", "npm_config_registry": "http://npm", "UV_CACHE_DIR": "/uv",
	}
	withheld := map[string]string{
		"GITHUB_TOKEN": "ghp_secret", "AWS_SECRET_ACCESS_KEY": "s", "OPENAI_API_KEY": "s", "SSH_AUTH_SOCK": "/s", "LD_PRELOAD": "",
		"NODE_OPTIONS": "--x", "PYTHONPATH": "/x", "XDG_RUNTIME_DIR": "/run/x", "GOMAXPROCS": "7", "GOGC": "7", "DBUS_SESSION_BUS_ADDRESS": "x",
		"BERTH_HOME": "/x", "PATHS": "x", "LANGUAGE": "x", "_": "x",
	}
	t.Cleanup(restoreEnv(os.Environ()))
	os.Clearenv()
	var want []string
	for k, v := range allowed {
		os.Setenv(k, v)
		want = append(want, k+"="+v)
	}
	for k, v := range withheld {
		os.Setenv(k, v)
	}
	spec := cat()
	spec.Env = map[string]string{"TOKEN": "named", "LANG": "de_DE.UTF-8", "EMPTY": ""}
	want = append(slices.DeleteFunc(want, func(kv string) bool { return strings.HasPrefix(kv, "LANG=") }),
		"TOKEN=named", "LANG=de_DE.UTF-8", "EMPTY=")
	slices.Sort(want)

	w := newWorld(t)
	st := w.start("a", spec)
	if got := environOf(t, st.PID); !slices.Equal(got, want) {
		t.Errorf("the environment is\n%q, want\n%q", got, want)
	}
	for _, kv := range environOf(t, st.ShimPID) {
		key, value, _ := strings.Cut(kv, "=")
		// A shim has a place for its socket, and its own GOMAXPROCS and GOGC.
		if was, bad := withheld[key]; bad && value == was && key != "XDG_RUNTIME_DIR" {
			t.Errorf("the shim has %s", kv)
		}
	}
	// It is the same after a restart by the shim, whose own is another.
	spec = restarting(spec, 3)
	if err := w.m.Restart(w.ctx, "a", spec); err != nil {
		t.Fatal(err)
	}
	st = w.status("a")
	w.kill(st.PID)
	if got := environOf(t, w.awaitNext("a", st.Generation).PID); !slices.Equal(got, want) {
		t.Errorf("after a restart it is\n%q, want\n%q", got, want)
	}
}

// Nothing that a caller has open is open in what it starts: neither its files,
// nor a pipe that it was given without close-on-exec.
func TestNoDescriptorsAreInherited(t *testing.T) {
	var fds [2]int
	if err := syscall.Pipe(fds[:]); err != nil { // without O_CLOEXEC
		t.Fatal(err)
	}
	defer syscall.Close(fds[0])
	defer syscall.Close(fds[1])
	pipe, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fds[0]))
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.Create(filepath.Join(shortDir(t), "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := unix.FcntlInt(file.Fd(), unix.F_SETFD, 0); err != nil {
		t.Fatal(err)
	}

	w := newWorld(t)
	st := w.start("a", cat())
	lock := w.path("locks", "a.tree")
	server := descriptorsOf(t, st.PID)
	for fd, target := range server {
		switch fd {
		case "0", "1", "2":
			if !strings.HasPrefix(target, "pipe:") || target == pipe {
				t.Errorf("the server's descriptor %s is %s", fd, target)
			}
		default:
			if target != lock {
				t.Errorf("the server has descriptor %s open on %s", fd, target)
			}
		}
	}
	equal(t, "descriptors of the server", len(server), 4)

	for fd, target := range descriptorsOf(t, st.ShimPID) {
		switch {
		case fd == "0" || fd == "1" || fd == "2":
			equal(t, "the shim's descriptor "+fd, target, "/dev/null")
		case target == pipe || target == file.Name():
			t.Errorf("the shim has descriptor %s open on %s", fd, target)
		case strings.HasPrefix(target, "pipe:"), strings.HasPrefix(target, "socket:"), strings.HasPrefix(target, "anon_inode:"),
			strings.HasPrefix(target, w.dir+"/"):
		default:
			t.Errorf("the shim has descriptor %s open on %s", fd, target)
		}
	}
}

// A caller whose output is captured is not kept waiting: the end of its output
// comes with its own end, not with the server's.
func TestShimKeepsNoStreams(t *testing.T) {
	w := newWorld(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := caller(t, self, request{Options: supervisor.Options{Home: w.dir}, Verb: "start", Name: "a", Spec: deaf()})
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil { // returns when both streams have ended
		t.Fatal(err)
	}
	equal(t, "status", w.status("a").Status, berth.Running)
}

// restoreEnv puts the environment back.
func restoreEnv(environ []string) func() {
	return func() {
		os.Clearenv()
		for _, kv := range environ {
			key, value, _ := strings.Cut(kv, "=")
			os.Setenv(key, value)
		}
	}
}
