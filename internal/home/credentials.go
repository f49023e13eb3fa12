package home

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// credentialsDir holds the secret store. It is made when there is something to
// put there.
const credentialsDir = "credentials"

// credentialMost bounds a file of the secret store, in bytes.
const credentialMost = 4 << 20

// CredentialPath returns the path of a file of the secret store. The name is one
// that the code knows, never a user's.
func (h *Home) CredentialPath(name string) string { return h.path(credentialsDir, filepath.Base(name)) }

// ReadCredential returns a file of the secret store; fs.ErrNotExist if there is
// none. One that other users may read is refused.
func (h *Home) ReadCredential(name string) ([]byte, error) {
	path := h.CredentialPath(name)
	f, err := openShared(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if err := checkOwnOnly(path, info); err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(f, credentialMost+1))
	if err == nil && len(data) > credentialMost {
		err = fmt.Errorf("%s has more than %d bytes", path, credentialMost)
	}
	return data, err
}

// StatCredential returns what the system knows of a file of the secret store;
// fs.ErrNotExist if there is none. One that is as it was, and was settled then, has
// not been replaced.
func (h *Home) StatCredential(name string) (info fs.FileInfo, settled bool, err error) {
	info, err = os.Stat(h.CredentialPath(name))
	if err != nil {
		return nil, false, err
	}
	return info, time.Since(info.ModTime()) > stampSettles, nil
}

// WriteCredential replaces a file of the secret store, of mode 0600.
func (h *Home) WriteCredential(name string, data []byte) error {
	if err := h.canWrite(); err != nil {
		return err
	}
	dir := h.path(credentialsDir)
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return h.writeError(err)
	}
	return h.replace(h.CredentialPath(name), data)
}

// RemoveCredential removes a file of the secret store, if there is one.
func (h *Home) RemoveCredential(name string) error {
	if err := h.canWrite(); err != nil {
		return err
	}
	path := h.CredentialPath(name)
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return nil // the directory may not be there either
	}
	return h.remove(path)
}

// LockCredentials takes the lock named "credentials-" and a word of the code's. It
// waits as long as ctx allows.
func (h *Home) LockCredentials(ctx context.Context, word string) (unlock func() error, err error) {
	if err := h.canWrite(); err != nil {
		return nil, err
	}
	lock, err := WaitLock(ctx, h.RunLock(credentialsDir+"-"+word))
	if err != nil {
		return nil, h.writeError(err)
	}
	return lock.Unlock, nil
}
