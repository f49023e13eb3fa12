package supervisor_test

import (
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
)

// caller is this test binary as a program that uses the library.
func caller(t testing.TB, exe string, r request) *exec.Cmd {
	t.Helper()
	arg, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, rolePrefix+"caller", string(arg))
	cmd.Stderr = os.Stderr
	return cmd
}

// call runs a caller to its end.
func (w *world) call(r request) answer {
	w.Helper()
	self, err := os.Executable()
	if err != nil {
		w.Fatal(err)
	}
	r.Options.Home = w.dir
	return ask(w.T, caller(w.T, self, r))
}

func ask(t testing.TB, cmd *exec.Cmd) answer {
	t.Helper()
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("the caller: %v", err)
	}
	var a answer
	if err := json.Unmarshal(out, &a); err != nil {
		t.Fatalf("the caller said %q: %v", out, err)
	}
	return a
}

// is says whether the answer is an error of a kind.
func (a answer) is(kind string) bool { return slices.Contains(a.Kinds, kind) }

// guest is a home of a user without rights, in which callers of that user work.
type guest struct {
	world // without a manager: root is refused in another user's home
	exe   string
	uid   int
}

// nobody is the user without rights.
const nobody = 65534

// newGuest needs root. What it starts is stopped when the test ends.
func newGuest(t *testing.T) *guest {
	t.Helper()
	needs(t, os.Getuid() == 0, "root")
	before := lookAround(t)
	dir := shortDir(t)
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	g := &guest{world: world{T: t, dir: filepath.Join(dir, "home")}, exe: filepath.Join(dir, "caller"), uid: nobody}
	copySelf(t, g.exe)
	if err := os.Mkdir(g.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(g.dir, g.uid, g.uid); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, name := range g.servers() {
			if a := g.call(request{Verb: "stop", Name: name}); a.Error != "" {
				t.Errorf("at the end of the test: %s", a.Error)
			}
			g.awaitShimEnd(name)
		}
		g.nothingLeft(before)
	})
	return g
}

func (g *guest) call(r request) answer {
	g.Helper()
	r.Options.Home = g.dir
	cmd := caller(g.T, g.exe, r)
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "GORACE=" + os.Getenv("GORACE")}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(g.uid), Gid: uint32(g.uid)}}
	return ask(g.T, cmd)
}

// copySelf copies this test binary to a place where others can execute it.
func copySelf(t testing.TB, to string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	in, err := os.Open(self)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(out, in); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
}
