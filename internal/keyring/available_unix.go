//go:build unix && !darwin

package keyring

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/berth-run/berth"
)

// available looks for the session's bus. Without the address of one the library would
// start a bus of its own, in which there is no keyring, and leave it running.
func available() error {
	address := os.Getenv("DBUS_SESSION_BUS_ADDRESS")
	if address == "" || address == "autolaunch:" {
		dir := os.Getenv("XDG_RUNTIME_DIR")
		if dir == "" {
			return errNoBus()
		}
		address = "unix:path=" + filepath.Join(dir, "bus")
	}
	path, isPath := strings.CutPrefix(address, "unix:path=")
	if !isPath {
		return nil // of a form that only the library knows
	}
	path, _, _ = strings.Cut(path, ",")
	conn, err := net.DialTimeout("unix", path, time.Second)
	if err != nil {
		return errNoBus()
	}
	conn.Close()
	return nil
}

func errNoBus() error {
	return berth.WithHint(errors.New("this session has no D-Bus, and so no keyring"),
		"BERTH_SECRET_BACKEND=file has the key in a file instead")
}
