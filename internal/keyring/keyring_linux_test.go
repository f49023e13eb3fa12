package keyring

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// TestNoBus: without a session bus the keyring is not there, at once, and no bus is
// started for it.
func TestNoBus(t *testing.T) {
	t.Setenv("DBUS_SESSION_BUS_ADDRESS", "")
	t.Setenv("XDG_RUNTIME_DIR", t.TempDir())
	began := time.Now()
	for what, err := range map[string]error{
		"available": Keyring{}.Available(), "set": Keyring{}.Set("a", "b"), "delete": Keyring{}.Delete("a"),
	} {
		if err == nil || !strings.Contains(err.Error(), "no D-Bus") {
			t.Errorf("%s: %v", what, err)
		}
	}
	for _, address := range []string{"unix:path=/nonexistent/bus", "autolaunch:"} {
		t.Setenv("DBUS_SESSION_BUS_ADDRESS", address)
		if (Keyring{}).Available() == nil {
			t.Errorf("%s passes for a bus", address)
		}
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
}

// TestSecretService is the keyring of GNOME, where that is installed: on a bus and in a
// home of its own.
func TestSecretService(t *testing.T) {
	for _, program := range []string{"dbus-run-session", "gnome-keyring-daemon"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("%s is not installed", program)
		}
	}
	if testing.Short() {
		t.Skip("it starts a bus")
	}
	dir := t.TempDir()
	if inSession() {
		roundTrip(t)
		return
	}
	cmd := exec.CommandContext(t.Context(), "dbus-run-session", "--", "sh", "-c",
		`printf pw | gnome-keyring-daemon --foreground --unlock --components=secrets >/dev/null 2>&1 & k=$!; "$0" -test.run '^TestSecretService$' -test.v; r=$?; kill $k; exit $r`, self(t))
	cmd.Env = append(cmd.Environ(), "HOME="+dir, "XDG_RUNTIME_DIR="+dir, "XDG_DATA_HOME="+dir, sessionVariable+"=1")
	cmd.WaitDelay = 10 * time.Second
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS") {
		t.Errorf("%v\n%s", err, out)
	}
}

func roundTrip(t *testing.T) {
	var k Keyring
	// The daemon may still be coming up: then the name has no owner yet.
	deadline := time.Now().Add(20 * time.Second)
	err := k.Set("one", "value one")
	for err != nil && time.Now().Before(deadline) {
		err = k.Set("one", "value one")
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := k.Set("one", "value two"); err != nil {
		t.Fatal(err)
	}
	if got, err := k.Get("one"); err != nil || got != "value two" {
		t.Errorf("got %q, %v", got, err)
	}
	if err := k.Delete("one"); err != nil {
		t.Error(err)
	}
	if _, err := k.Get("one"); !errors.Is(err, ErrNotFound) {
		t.Errorf("what was deleted: %v", err)
	}
}

const sessionVariable = "BERTH_TEST_SESSION"

func inSession() bool { return os.Getenv(sessionVariable) != "" }

func self(t *testing.T) string {
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return path
}
