package gateway

import (
	"context"
	"errors"
	"io/fs"
	"time"

	"github.com/berth-run/berth/internal/bridge"
	"github.com/berth-run/berth/internal/home"
	"github.com/berth-run/berth/internal/jsonrpc"
	"github.com/berth-run/berth/internal/mcp"
)

// face is what a server says of itself, by its process or by its manifest.
type face struct {
	era  mcp.Era
	info mcp.Info
}

func faceOf(m *mcp.Manifest) face { return face{m.Era, m.Info()} }

// declares says whether the server declared a capability, or a member of one.
func (f *face) declares(path ...string) bool {
	v := jsonrpc.Get(f.info.Capabilities, path...)
	return v != nil && string(v) != "false" && string(v) != "null"
}

// initializeResult is what the server says of itself, in words of a legacy
// revision.
func (f *face) initializeResult(version string) []byte {
	if f.era == mcp.Modern {
		return bridge.InitializeResult(f.info.Synopsis(), version)
	}
	return bridge.InitializeFor(f.info.Synopsis(), version)
}

// identity is what a modern answer says of the server.
func (f *face) identity() bridge.Server { return bridge.ServerOf(f.info.Synopsis()) }

// demand is what a slot knows of its server for those who ask while there is no
// process. It is guarded by server.mu.
type demand struct {
	manifest *mcp.Manifest // nil: none
	read     home.Stamp    // of the files, when the manifest was read
	complete bool          // the manifest is of a process of this gateway's: it has been compared
	rested   bool          // its last process was stopped since nobody used it
	owes     bool          // clients were told what may not be so: they are to be told when it is known
}

// manifestOf returns the manifest of the process that a slot has, nil if there is
// none of a server that is run as this one is.
func (s *server) manifestOf(sl *slot) *mcp.Manifest {
	if sl.session != nil {
		return nil // what it says may depend on its client
	}
	instance := s.instance(sl)
	stamp := s.g.home.StampOf(s.name, instance)
	s.mu.Lock()
	m, current := sl.manifest, sl.read == stamp && stamp.Settled
	s.mu.Unlock()
	if current {
		return m
	}
	set, err := s.g.o.Settings(s.name)
	if err != nil || set.Manifest == "" {
		return nil
	}
	m = nil
	if s.g.o.Manager.CheckPolicy(s.name) == nil { // else who asks is to hear why not
		m = s.g.readManifest(instance, set.Manifest)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	sl.manifest, sl.read = m, stamp
	if s.unused() {
		s.take(set)
	}
	if m != nil && sl.tag == "" {
		s.single = s.single || m.Era == mcp.Legacy
	}
	return m
}

// readManifest reads a manifest; what is not one of this key is none.
func (g *Gateway) readManifest(instance, key string) *mcp.Manifest {
	data, err := g.home.ReadManifest(instance, mcp.MaxManifest+1)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var m *mcp.Manifest
	if err == nil {
		m, err = mcp.ParseManifest(data)
	}
	switch {
	case err != nil:
		g.log.Warn("a manifest is not used; the next run of the server writes another", "server", instance, "error", err)
		return nil
	case m.Key != key:
		g.log.Debug("a manifest is of another command line", "server", instance)
		return nil
	}
	return m
}

// Bounds on the survey of a process: how long it may take, and how long a list
// that has changed is left alone, since more may follow.
const (
	surveyTimeout = 60 * time.Second
	surveyAfter   = time.Second
)

// survey keeps the manifest of the server what the child says, as long as it
// lives, and tells clients of lists that are not what they were shown.
func (c *child) survey() {
	if own := c.slot.session; own != nil {
		c.srv.mu.Lock()
		owes := c.slot.owes
		c.slot.owes = false
		c.srv.mu.Unlock()
		if owes {
			own.missed(c)
		}
		return
	}
	for first := true; ; first = false {
		if !c.surveyOnce(first) {
			return
		}
		select {
		case <-c.session.Ended():
			return
		case <-c.news:
		}
		if pause(c.srv.ctx, surveyAfter) != nil {
			return
		}
	}
}

// surveyOnce is one round. It returns false if there is nothing to keep.
func (c *child) surveyOnce(first bool) bool {
	s := c.srv
	key, known := c.manifestKey()
	if !known {
		s.settle(c, nil, first)
		return false
	}
	ctx, cancel := context.WithTimeoutCause(s.ctx, surveyTimeout, errTimeout)
	defer cancel()
	m, err := c.session.Survey(ctx, key)
	if err != nil {
		if !c.gone() {
			s.g.log.Info("the server's lists are not known", "server", c.instance, "error", err)
		}
		s.settle(c, nil, first)
		return true
	}
	s.pinAll(m)
	if s.settle(c, m, first) {
		return true
	}
	data, err := m.Encode()
	if err == nil {
		err = s.g.home.WriteManifest(c.instance, data)
	}
	if err != nil {
		s.g.log.Warn("the manifest of the server is not kept", "server", c.instance, "error", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.slot.child == c || c.slot.child == nil {
		c.slot.read = s.g.home.StampOf(s.name, c.instance)
	}
	return true
}

// manifestKey returns what a manifest of this process is known by: that of the
// server's file, if the process was started from that.
func (c *child) manifestKey() (key string, known bool) {
	set, err := c.srv.g.o.Settings(c.srv.name)
	if err != nil || set.Manifest == "" {
		return "", false
	}
	st, found, err := c.srv.g.home.ReadState(c.instance)
	if err != nil || !found || st.SpecDigest != set.Spec || st.Generation != c.generation {
		return "", false
	}
	return set.Manifest, true
}

// settle compares what the child lists with what clients were shown, tells them,
// and says whether the manifest is the one that is kept already. Nil is a child
// whose lists are not known.
func (s *server) settle(c *child, m *mcp.Manifest, first bool) (kept bool) {
	s.mu.Lock()
	sl := c.slot
	if sl.child != c && sl.child != nil {
		s.mu.Unlock()
		return true // the next process says what is so
	}
	ended := sl.child == nil
	last, owes, compared := sl.manifest, sl.owes, sl.complete
	if m != nil {
		sl.owes = ended && (owes || last != nil && len(last.Changes(m)) > 0)
		sl.manifest, sl.complete = m, true
	}
	s.mu.Unlock()
	var kinds []string
	switch {
	case ended:
		// Who is told now would ask another process: the next one owes it.
	case !first:
		// The child has said so itself.
	case owes || m == nil && (last != nil || compared):
		for _, kind := range listKinds() {
			if c.declares(kind) {
				kinds = append(kinds, kind)
			}
		}
	case m != nil && last != nil:
		kinds = last.Changes(m)
	}
	for _, kind := range kinds {
		s.announce(c, "notifications/"+kind+"/list_changed")
	}
	return m == nil || last != nil && last.Same(m)
}

// stale: a list of the child's has changed.
func (c *child) stale() {
	select {
	case c.news <- struct{}{}:
	default:
	}
}

// shelved is the answer to a list by the manifest, nil if it does not know.
func (s *server) shelved(m *mcp.Manifest, x exchange) ([]byte, error) {
	cursor := ""
	if raw := jsonrpc.Get(x.m.Params, "cursor"); raw != nil {
		var ok bool
		if cursor, ok = jsonrpc.Text(raw); !ok || cursor == "" {
			return nil, nil
		}
	}
	result, refused := m.Page(x.m.Method, cursor)
	if refused != nil {
		return jsonrpc.NewError(x.m.ID, jsonrpc.DecodeError(refused))
	}
	if result == nil {
		return nil, nil
	}
	if x.m.Method == "tools/list" {
		var err error
		if result, err = s.screened(result); err != nil {
			return nil, err
		}
	}
	f := faceOf(m)
	return jsonrpc.NewResult(x.m.ID, f.listFor(x, result))
}

// listFor is a page of a list in the words of who asks for it.
func (f *face) listFor(x exchange, result []byte) []byte {
	switch {
	case x.by.modern && f.era == mcp.Modern:
		return notToCache(result)
	case x.by.modern:
		return bridge.ResultToModern(x.m.Method, result, f.identity())
	case f.era == mcp.Modern:
		result = bridge.ResultToLegacy(x.m.Method, result)
	}
	return bridge.Downgrade(x.by.session.version, x.m.Method, result)
}

// notToCache is a modern result that its client may use once: nobody knows for
// how long it is still true.
func notToCache(result []byte) []byte {
	out, err := jsonrpc.Edit(result,
		jsonrpc.Member{Name: "ttlMs", Value: []byte("0")},
		jsonrpc.Member{Name: "cacheScope", Value: []byte(`"private"`)})
	if err != nil {
		return result // cannot happen
	}
	return out
}
