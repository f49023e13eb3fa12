package home

import (
	"errors"
	"io/fs"
	"time"
)

// Stamp tells whether the files that say what a server is, and what it said of
// itself, are those that they were: two that are settled and equal stand for the
// same files. To take one costs microseconds.
type Stamp struct {
	files [6]fileStamp
	// Settled: none of the files was written so recently that another change could
	// leave the same stamp.
	Settled bool
}

type fileStamp struct {
	at   int64
	size int64
}

// stampSettles is more than the step of a filesystem's clock.
const stampSettles = 50 * time.Millisecond

// StampOf returns the stamp of a server and the manifest of an instance of it.
func (h *Home) StampOf(name, instance string) Stamp {
	return h.stampOf(h.in(serversDir, name+".toml"), h.in(permissionsDir, name+".toml"), h.path("berth.toml"), h.PolicyPath(), organisationPolicy(),
		h.path(manifestsDir, instance+".json"))
}

// ProfileStamp returns the stamp of a profile's file alone; of a name that none can
// have, one that is not settled.
func (h *Home) ProfileStamp(name string) Stamp { return h.flatStamp(profiles(), name) }

// ClientStamp returns the stamp of a client's file alone; of a name that none can
// have, one that is not settled.
func (h *Home) ClientStamp(name string) Stamp { return h.flatStamp(clients(), name) }

func (h *Home) flatStamp(k kind, name string) Stamp {
	path, err := h.flatPath(k, name)
	if err != nil {
		return Stamp{}
	}
	return h.stampOf(path)
}

// PolicyStamp returns the stamp of the policies alone.
func (h *Home) PolicyStamp() Stamp { return h.stampOf(h.PolicyPath(), organisationPolicy()) }

// RightsStamp returns the stamp of what decides whether a server may start.
func (h *Home) RightsStamp(name string) Stamp {
	return h.stampOf(h.PolicyPath(), organisationPolicy(), h.in(serversDir, name+".toml"), h.in(permissionsDir, name+".toml"))
}

// stampOf returns the stamp of at most as many files as a Stamp has room for.
func (h *Home) stampOf(paths ...string) Stamp {
	s := Stamp{Settled: true}
	now := time.Now()
	for i, path := range paths {
		written, size, err := h.look.Look(path)
		if err != nil {
			s.Settled = s.Settled && errors.Is(err, fs.ErrNotExist)
			continue
		}
		s.files[i] = fileStamp{written, size}
		s.Settled = s.Settled && now.Sub(time.Unix(0, written)) > stampSettles
	}
	return s
}
