package fail

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

const point = "test.point"

// TestMain makes the test binary the victim when it is asked to be.
func TestMain(m *testing.M) {
	if os.Getenv("FAIL_TEST_VICTIM") == "" {
		os.Exit(m.Run())
	}
	Point("test.another")
	Point(point)
	os.Stdout.WriteString("alive")
}

// victim runs a process through the point and returns what it printed.
func victim(t *testing.T, dir string) (string, error) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe)
	cmd.Env = append(os.Environ(), "FAIL_TEST_VICTIM=1", "BERTH_FAILPOINTS="+dir)
	var out bytes.Buffer
	cmd.Stdout = &out
	err = cmd.Run()
	return out.String(), err
}

func arm(t *testing.T) (dir, path string) {
	t.Helper()
	dir = t.TempDir()
	path = filepath.Join(dir, point)
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return dir, path
}

func exists(t *testing.T, path string) bool {
	t.Helper()
	_, err := os.Stat(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return err == nil
}
