package home

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/berth-run/berth"
)

// Which servers speak the legacy era only is remembered by what is run: such a
// server need not be asked for its era again, which some take long to refuse, or
// do not survive. It is a hint: what it says is tried, and forgotten if it fails.

// EraKey stands for the package and the arguments of a server.
func (s *Server) EraKey(spec berth.ProcessSpec) string {
	return digest("era 2", []string{spec.Command}, spec.Args, []string{s.Source.Type, s.Source.Package, s.Info.Version, s.Source.Digest})
}

const (
	// eraFor is how long a server is believed to speak no other era: it may be a
	// package that changes.
	eraFor = 7 * 24 * time.Hour
	// erasMost bounds how many are remembered, and erasBytes the file.
	erasMost  = 256
	erasBytes = 256 << 10
)

// legacyServer is one that was asked.
type legacyServer struct {
	Said string    `json:"said"` // of itself: another version is another server
	At   time.Time `json:"at"`
}

func (h *Home) erasPath() string { return h.path("eras.json") }

// eras reads what is remembered; what cannot be read is nothing.
func (h *Home) eras() map[string]legacyServer {
	var all map[string]legacyServer
	info, err := os.Stat(h.erasPath())
	if err != nil || info.Size() > erasBytes {
		return map[string]legacyServer{}
	}
	data, err := os.ReadFile(h.erasPath())
	if err != nil || json.Unmarshal(data, &all) != nil || all == nil {
		return map[string]legacyServer{}
	}
	return all
}

// LegacyServer says whether a server is known to speak the legacy era only, and
// what it said of itself then.
func (h *Home) LegacyServer(key string) (said string, known bool) {
	e, ok := h.eras()[key]
	if age := time.Since(e.At); !ok || age > eraFor || age < -time.Minute {
		return "", false
	}
	return e.Said, true
}

// RememberLegacy notes that a server was asked and speaks the legacy era only.
func (h *Home) RememberLegacy(key, said string) error {
	return h.changeEras(func(all map[string]legacyServer) bool {
		all[key] = legacyServer{said, time.Now().UTC()}
		for len(all) > erasMost {
			oldest := key
			for k, e := range all {
				if e.At.Before(all[oldest].At) {
					oldest = k
				}
			}
			delete(all, oldest)
		}
		return true
	})
}

// ForgetLegacy has a server be asked again.
func (h *Home) ForgetLegacy(key string) error {
	return h.changeEras(func(all map[string]legacyServer) bool {
		_, there := all[key]
		delete(all, key)
		return there
	})
}

func (h *Home) changeEras(change func(map[string]legacyServer) bool) error {
	if err := h.canWrite(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), changePatience)
	defer cancel()
	lock, err := WaitLock(ctx, h.RunLock("eras"))
	if err != nil {
		return fmt.Errorf("remember the era of a server: %w", h.writeError(err))
	}
	defer func() { _ = lock.Unlock() }()
	all := h.eras()
	if !change(all) {
		return nil
	}
	data, err := json.Marshal(all)
	if err == nil {
		err = h.replace(h.erasPath(), data)
	}
	if err != nil {
		return fmt.Errorf("remember the era of a server: %w", err)
	}
	return nil
}
