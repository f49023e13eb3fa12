package home

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
)

// sealKeySize is the size of the key that SealKey returns, in bytes.
const sealKeySize = 32

// SealKey returns the key of this home by which the gateway seals what clients
// keep for it. It is drawn at random when it is first asked for, and readable by
// this user alone. One that is damaged is replaced: what it sealed is worth
// minutes.
func (h *Home) SealKey() ([]byte, error) {
	path := h.path(runDir, "seal.key")
	key, err := readFile(path)
	if err == nil && len(key) == sealKeySize {
		return key, nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read the gateway's key: %w", err)
	}
	if err := h.canWrite(); err != nil {
		return nil, err
	}
	key = make([]byte, sealKeySize)
	_, _ = rand.Read(key) // it never fails
	if err := h.replace(path, key); err != nil {
		return nil, fmt.Errorf("write the gateway's key: %w", err)
	}
	return key, nil
}
