package shim

import (
	"errors"
	"fmt"
	"os"
)

// canTurn: a shim cannot become one that confines, and so is one from its start.
const canTurn = false

// checkExecutable: Windows has no exec in place, so a shim keeps its binary
// until its server is restarted.
func checkExecutable(string) error {
	return fmt.Errorf("upgrade a shim in place: %w: restart the server instead", errors.ErrUnsupported)
}

// checkOwn: a shim stays what it is.
func checkOwn(path string) error { return checkExecutable(path) }

func execInPlace(string, []string, []string, []int) error { return errors.ErrUnsupported }

// closeOnExec is a no-op: nothing is handed over on Windows.
func closeOnExec(int) {}

func inMemory([]byte) (*os.File, error) { return nil, errors.ErrUnsupported }
