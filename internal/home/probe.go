package home

import (
	"errors"
	"io/fs"
	"os"
)

// What this system can confine is found out by trying, which takes longer than a
// start; so it is remembered, by who tries. What cannot be read is tried again.

// probeMost bounds the file.
const probeMost = 64 << 10

func (h *Home) probePath() string { return h.path("probe.json") }

// ReadProbe returns what was remembered, nil if nothing was.
func (h *Home) ReadProbe() []byte {
	info, err := os.Stat(h.probePath())
	if err != nil || info.Size() > probeMost {
		return nil
	}
	data, err := os.ReadFile(h.probePath())
	if err != nil {
		return nil
	}
	return data
}

// WriteProbe remembers.
func (h *Home) WriteProbe(data []byte) error { return h.replace(h.probePath(), data) }

// ForgetProbe has the next one try again.
func (h *Home) ForgetProbe() error {
	err := h.remove(h.probePath())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// TempDir is where a server that has no /tmp of its own has its temporary files.
func (h *Home) TempDir(name string) string { return h.path("tmp", h.Key(name)) }
