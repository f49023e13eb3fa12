package shim

import (
	"errors"
	"fmt"
	"os"
)

// checkExecutable: Windows has no exec in place, so a shim keeps its binary
// until its server is restarted.
func checkExecutable(string) error {
	return fmt.Errorf("upgrade a shim in place: %w: restart the server instead", errors.ErrUnsupported)
}

func execInPlace(string, []string, []string, []int) error { return errors.ErrUnsupported }

// closeOnExec is a no-op: nothing is handed over on Windows.
func closeOnExec(int) {}

func inMemory([]byte) (*os.File, error) { return nil, errors.ErrUnsupported }
