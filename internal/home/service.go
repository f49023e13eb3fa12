package home

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/berth-run/berth"
)

// serviceMost bounds the file of the service, in bytes.
const serviceMost = 1 << 20

// Service is what was written for the system to start Berth at login.
type Service struct {
	Name   string `json:"name"`
	System string `json:"system"` // GOOS
	// Listen is the address of the gateway, "" for none; TLS says that it speaks HTTPS.
	Listen string        `json:"listen,omitempty"`
	TLS    bool          `json:"tls,omitempty"`
	Files  []ServiceFile `json:"files"`
}

// ServiceFile is a file that was written.
type ServiceFile struct {
	Path string `json:"path"`
	Sum  string `json:"sha256"` // of what was written
}

// ServicePath is the file that says what was written.
func (h *Home) ServicePath() string { return h.path("service.json") }

// LockService takes the lock under which the service is changed.
func (h *Home) LockService(ctx context.Context) (unlock func() error, err error) {
	if err := h.canWrite(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, changePatience, fmt.Errorf("another berth changes the service, and has for %v", changePatience))
	defer cancel()
	lock, err := WaitLock(ctx, h.RunLock("service"))
	if err != nil {
		return nil, h.writeError(err)
	}
	return lock.Unlock, nil
}

// ReadService returns what was written; found is false if nothing was.
func (h *Home) ReadService() (s Service, found bool, err error) {
	data, err := readMost(h.ServicePath(), serviceMost)
	if err != nil || data == nil {
		return s, false, err
	}
	if err := json.Unmarshal(data, &s); err != nil {
		return s, false, berth.WithHint(fmt.Errorf("%w %s: %w", berth.ErrBadState, h.ServicePath(), err),
			"move it away, remove the service's files by hand, and install it again")
	}
	return s, true, nil
}

// WriteService writes down what is about to be written. The caller has the lock.
func (h *Home) WriteService(s Service) error {
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	return h.replace(h.ServicePath(), append(data, '\n'))
}

// RemoveService forgets it. The caller has the lock.
func (h *Home) RemoveService() error {
	if _, err := os.Lstat(h.ServicePath()); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return h.remove(h.ServicePath())
}
