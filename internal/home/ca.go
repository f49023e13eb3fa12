package home

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
)

const tlsDir = "tls"

// CAPath is where the certificate is of the home's own certificate authority, which
// clients are to trust.
func (h *Home) CAPath() string { return h.path(tlsDir, "ca.pem") }

// CAKeyPath is where its key is, which nobody but Berth needs.
func (h *Home) CAKeyPath() string { return h.path(tlsDir, "ca.key") }

// CA returns the certificate and the key of the home's own certificate authority, as
// PEM. Where there is none, create makes one, which is kept in files of mode 0600.
func (h *Home) CA(create func() (cert, key []byte, err error)) (cert, key []byte, err error) {
	if cert, key, err = h.readCA(); !errors.Is(err, fs.ErrNotExist) {
		return cert, key, err
	}
	if err := h.canWrite(); err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), changePatience)
	defer cancel()
	lock, err := WaitLock(ctx, h.RunLock("ca"))
	if err != nil {
		return nil, nil, fmt.Errorf("make a CA: %w", h.writeError(err))
	}
	defer func() { _ = lock.Unlock() }()
	if cert, key, err = h.readCA(); !errors.Is(err, fs.ErrNotExist) {
		return cert, key, err // another was faster
	}
	if cert, key, err = create(); err != nil {
		return nil, nil, err
	}
	// The certificate comes last: where it is, the key is, too.
	if err = h.replace(h.CAKeyPath(), key); err == nil {
		err = h.replace(h.CAPath(), cert)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("make a CA: %w", err)
	}
	return cert, key, nil
}

// readCA returns fs.ErrNotExist if there is no CA. A certificate whose key is gone is
// another matter: clients trust it.
func (h *Home) readCA() (cert, key []byte, err error) {
	if cert, err = readFile(h.CAPath()); err != nil {
		return nil, nil, fmt.Errorf("read the CA: %w", err)
	}
	if key, err = readFile(h.CAKeyPath()); err != nil {
		return nil, nil, fmt.Errorf("read the key of the CA: %v", err)
	}
	return cert, key, nil
}
