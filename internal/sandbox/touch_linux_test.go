package sandbox

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	berth "github.com/berth-run/berth"
	"golang.org/x/sys/unix"
)

const learnRole = "sandbox-test-learn"

// learnMain confines itself, hands out the descriptor of what it tries, and tries what
// its arguments say, each in pairs of a verb and a path.
func learnMain(args []string) {
	runtime.LockOSThread()
	o := orderOf(args[1])
	fd, err := o.Plan.Enter()
	check("enter", err)
	check("hand out", unix.Sendmsg(3, []byte{'L'}, unix.UnixRights(fd), nil, 0))
	unix.Close(fd)
	for i := 2; i+1 < len(args); i += 2 {
		path := args[i+1]
		switch args[i] {
		case "read":
			_, err = os.ReadFile(path)
		case "write":
			err = os.WriteFile(path, nil, 0o600)
		case "mkdir":
			err = os.Mkdir(path, 0o700)
		case "rename":
			err = os.Rename(path, path+".new")
		case "run":
			err = unix.Exec(path, []string{path}, nil) // it is not to succeed
		case "below":
			var dir int
			if dir, err = unix.Open(filepath.Dir(path), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err == nil {
				_, err = unix.Openat(dir, filepath.Base(path), unix.O_RDONLY|unix.O_CLOEXEC, 0)
			}
		case "in":
			if err = os.Chdir(filepath.Dir(path)); err == nil {
				_, err = os.ReadFile(filepath.Base(path))
			}
		}
		fmt.Println(args[i], err == nil)
	}
}

// learn runs learnMain by a plan with allow, and returns what was told and what it said.
func (w *world) learn(t *testing.T, allow []string, tries ...string) (told []string, said string) {
	t.Helper()
	f := w.facts(Namespaces{}, self(t), learnRole)
	f.Learn = true
	plan, err := Compile(berth.Confinement{Allow: allow, Data: w.data}, f)
	if err != nil || !plan.Learn {
		t.Fatal(err, plan.Learn)
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pair[0])
	far := os.NewFile(uintptr(pair[1]), "far")
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", append([]string{textOf(t, order{Plan: plan})}, tries...)...)
	cmd.Args[0] = learnRole
	cmd.Dir = w.data
	cmd.ExtraFiles = []*os.File{far}
	cmd.WaitDelay = 5 * time.Second
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	far.Close()
	b, oob := make([]byte, 1), make([]byte, unix.CmsgSpace(4))
	n, oobn, _, _, err := unix.Recvmsg(pair[0], b, oob, unix.MSG_CMSG_CLOEXEC)
	if err != nil || n != 1 {
		t.Fatal(n, err, cmd.Wait())
	}
	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil {
		t.Fatal(err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil {
		t.Fatal(err)
	}
	l, err := plan.Learning(os.NewFile(uintptr(fds[0]), "learn"), w.home, func(what, grant string) {
		told = append(told, what+" | "+grant)
	})
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(out)
	if err = errors.Join(err, cmd.Wait()); err != nil {
		t.Error(err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	return told, string(text)
}

// TestLearning: what a server tries and may not is told, with what would allow it; what
// it may do goes on as ever, and what it may not does not succeed.
func TestLearning(t *testing.T) {
	w := newWorld(t)
	w.write(w.home+"/letter", "dear")
	real, err := filepath.EvalSymlinks(w.home)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(w.home+"/letter", w.data+"/link"); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		verb, path string
		ok         bool
		want       string // of what is told; "" is nothing
	}{
		{"read", w.home + "/letter", false, "read HOME/letter | filesystem:read:HOME/letter"},
		{"read", w.data + "/link", false, "read HOME/letter | filesystem:read:HOME/letter"},
		{"below", w.home + "/letter", false, "read HOME/letter | filesystem:read:HOME/letter"},
		{"in", w.home + "/letter", false, "read HOME/letter | filesystem:read:HOME/letter"},
		{"write", w.home + "/letter", false, "write HOME/letter | filesystem:write:HOME/letter"},
		{"write", w.home + "/new", false, "write HOME | "},
		{"write", w.home + "/.ssh/new", false, "write HOME/.ssh | filesystem:write:HOME/.ssh"},
		{"mkdir", w.home + "/.ssh/a/b", false, "write HOME/.ssh | filesystem:write:HOME/.ssh"},
		{"rename", w.shared + "/readable", false, "write HOME/shared | filesystem:write:HOME/shared"},
		{"run", "/usr/bin/env", false, "run ENV | exec:ENV"},
		{"read", w.berth + "/logs/s.log", false, "read HOME/.berth/logs/s.log | "},
		{"read", w.shared + "/readable", true, ""},
		{"read", w.home + "/nothing", false, ""},
		{"read", "/proc/1/environ", false, ""},
		{"write", w.data + "/mine", true, ""},
	} {
		t.Run(c.verb+" "+strings.TrimPrefix(c.path, w.home), func(t *testing.T) {
			env, err := filepath.EvalSymlinks("/usr/bin/env")
			if err != nil {
				t.Fatal(err)
			}
			told, said := w.learn(t, []string{"filesystem:read:" + w.shared}, c.verb, c.path)
			if said != fmt.Sprintln(c.verb, c.ok) {
				t.Errorf("it says %q", said)
			}
			want := strings.NewReplacer("HOME", real, "ENV", env).Replace(c.want)
			if c.want == "" && len(told) > 0 || c.want != "" && !slices.Contains(told, want) {
				t.Errorf("told %q, want %q", told, want)
			}
		})
	}
}

func TestAccessOf(t *testing.T) {
	for flags, want := range map[int]Access{
		unix.O_RDONLY: AccessRead, unix.O_RDONLY | unix.O_DIRECTORY: AccessRead, unix.O_RDWR: AccessWrite, unix.O_WRONLY | unix.O_APPEND: AccessWrite,
		unix.O_RDONLY | unix.O_CREAT: AccessWrite, unix.O_RDONLY | unix.O_TRUNC: AccessWrite, unix.O_TMPFILE | unix.O_RDWR: AccessWrite, unix.O_PATH: AccessLook,
	} {
		if got := accessOf(flags); got != want {
			t.Errorf("%#x: %s, want %s", flags, got, want)
		}
	}
}

// TestDenies: what a plan keeps from a server, as Mounts and Landlock do.
func TestDenies(t *testing.T) {
	p := Plan{
		Read: []string{"/usr/bin", "/home/u/docs"}, Exec: []string{"/opt/pkg"}, Write: []string{"/home/u/.berth/data/s", "/srv"},
		Sockets: []string{"/run/docker.sock"}, Hide: []string{"/home/u/.berth"}, Links: map[string]string{"/bin": "usr/bin"},
	}
	for _, c := range []struct {
		path   string
		access Access
		mount  bool
		want   bool
	}{
		{"/home/u/docs/a", AccessRead, false, false},
		{"/home/u/docs/a", AccessWrite, false, true},
		{"/home/u/other", AccessRead, false, true},
		{"/home/u/other", AccessLook, false, false}, // Landlock does not know of it
		{"/home/u/other", AccessLook, true, true},
		{"/home/u", AccessLook, true, false}, // on the way
		{"/home/u", AccessRead, true, true},
		{"/bin", AccessLook, true, false},
		{"/opt/pkg/run", AccessExec, false, false},
		{"/usr/bin/git", AccessExec, false, true},
		{"/usr/bin/git", AccessRead, false, false},
		{"/home/u/.berth/data/s/x", AccessWrite, false, false},
		{"/home/u/.berth/data/t", AccessRead, false, true},
		{"/run/docker.sock", AccessConnect, false, false},
		{"/run/dbus.sock", AccessConnect, false, true},
		{"/srv/own.sock", AccessConnect, false, false},
		{"/tmp/x", AccessWrite, true, false},
		{"/tmp/x", AccessWrite, false, true},
		{"/proc/1/environ", AccessRead, false, false},
	} {
		p.Namespaces.Mount = c.mount
		if got := p.Denies(c.path, c.access); got != c.want {
			t.Errorf("%s %s (mounts %v): %v", c.access, c.path, c.mount, got)
		}
	}
	p.AllPrograms = true
	if p.Denies("/usr/bin/git", AccessExec) || !p.Denies("/home/u/other", AccessExec) {
		t.Error("of exec:*, what may be read may be run")
	}
	for path, want := range map[string]string{
		"/": "", "/home": "", "/home/u": "", "/home/u/.berth/logs": "", "/home/u/a": "filesystem:write:/home/u/a",
	} {
		if got := p.Permission(path, AccessWrite, "/home/u"); got != want {
			t.Errorf("%s: %q", path, got)
		}
	}
}
