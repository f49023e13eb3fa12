package home

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/berth-run/berth"
)

// GatewaySocket is what the socket functions call the gateway's socket: no
// server can have that name.
const GatewaySocket = "~gateway"

func checkSocketName(name string) error {
	if name == GatewaySocket {
		return nil
	}
	return berth.CheckInstance(name)
}

// SocketPath returns where the shim of a server binds its socket: run/KEY in
// the home or, where that path is too long for a socket, what FallbackSocket
// returns. It is for the holder of the server's shim.lock only: it forgets an
// address that a shim before it left.
func (h *Home) SocketPath(name string) (string, error) {
	if err := checkSocketName(name); err != nil {
		return "", err
	}
	path := h.path(runDir, h.Key(name))
	if len(path) > maxSocketPath {
		return h.FallbackSocket(name)
	}
	if err := h.remove(h.addressPath(name)); err != nil {
		return "", fmt.Errorf("forget the last socket of %q: %w", name, err)
	}
	return path, nil
}

// FallbackSocket returns where the shim binds its socket if it cannot be in the
// home: the path is too long, or the filesystem has no sockets. That is in a
// directory that only this user can enter, which is made if it is missing, and
// run/NAME.addr tells the path to ReadSocketPath.
func (h *Home) FallbackSocket(name string) (string, error) {
	if err := checkSocketName(name); err != nil {
		return "", err
	}
	if err := h.canWrite(); err != nil {
		return "", err
	}
	dir, err := h.socketDir(name)
	if err != nil {
		return "", fmt.Errorf("find a place for the socket of %q: %w", name, err)
	}
	path := filepath.Join(dir, h.Key(name))
	if err := h.replace(h.addressPath(name), []byte(path+"\n")); err != nil {
		return "", fmt.Errorf("write down the socket of %q: %w", name, err)
	}
	return path, nil
}

// ReadSocketPath returns where the socket of a server is, if it has one. It
// refuses one in a directory that others can enter.
func (h *Home) ReadSocketPath(name string) (string, error) {
	if err := checkSocketName(name); err != nil {
		return "", err
	}
	addr, err := readFile(h.addressPath(name))
	if errors.Is(err, fs.ErrNotExist) {
		return h.path(runDir, h.Key(name)), nil
	}
	if err != nil {
		return "", fmt.Errorf("find the socket of %q: %w", name, err)
	}
	path, err := h.checkAddress(name, addr)
	if err != nil {
		return "", fmt.Errorf("find the socket of %q: %s: %w", name, h.addressPath(name), err)
	}
	return path, nil
}

func (h *Home) addressPath(name string) string { return h.path(runDir, name+".addr") }

func (h *Home) checkAddress(name string, addr []byte) (string, error) {
	n := len(addr) - 1
	if n < 0 || addr[n] != '\n' {
		return "", errors.New("the path is cut off")
	}
	path := string(addr[:n])
	if !filepath.IsAbs(path) || filepath.Base(path) != h.Key(name) {
		return "", fmt.Errorf("%q is not the path of its socket", path)
	}
	err := checkPrivate(filepath.Dir(path))
	if errors.Is(err, fs.ErrNotExist) {
		err = nil // it was removed, and the socket with it
	}
	return path, err
}

// socketDir returns a private directory that is short enough: the one that is
// written down, else the first that can be had.
func (h *Home) socketDir(name string) (string, error) {
	if addr, err := readFile(h.addressPath(name)); err == nil {
		if path, err := h.checkAddress(name, addr); err == nil && makePrivate(filepath.Dir(path)) == nil {
			return filepath.Dir(path), nil
		}
	}
	sum := sha256.Sum256([]byte(h.dir))
	leaf := fmt.Sprintf("berth-%d-%s", os.Geteuid(), hex.EncodeToString(sum[:4]))
	var fault error
	for _, parent := range socketParents() {
		dir, err := privateIn(parent, leaf, maxSocketPath-1-len(h.Key(name)))
		if err == nil {
			return dir, nil
		}
		if fault != nil {
			err = fmt.Errorf("%w; %w", fault, err)
		}
		fault = err
	}
	return "", berth.WithHint(fault, "set TMPDIR to a directory of your own with a short path")
}

// privateIn makes a private directory of at most so many bytes in parent. Where
// someone else sits on its name it gets another: the path is written down.
func privateIn(parent, leaf string, most int) (string, error) {
	dir := filepath.Join(parent, leaf)
	if len(dir) > most {
		return "", fmt.Errorf("the path %s is too long for a socket", dir)
	}
	fault := makePrivate(dir)
	if fault == nil {
		return dir, nil
	}
	const random = "-1234567890" // what MkdirTemp adds, at most
	if len(dir)+len(random) <= most {
		if other, err := os.MkdirTemp(parent, leaf+"-"); err == nil { // mode 0700
			return other, nil
		}
	}
	return "", fault
}

// socketParents are the places for such a directory, best first.
func socketParents() []string {
	var parents []string
	if dir := os.Getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(dir) && checkPrivate(dir) == nil {
		parents = append(parents, dir)
	}
	parents = append(parents, os.TempDir())
	return append(parents, lastSocketParents()...)
}

// makePrivate makes a directory that only this user can enter, or finds that
// it is one.
func makePrivate(dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return checkPrivate(dir)
}
