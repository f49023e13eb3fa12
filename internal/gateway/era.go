package gateway

import (
	"context"
	"errors"
	"fmt"

	"github.com/berth-run/berth/internal/home"
	"github.com/berth-run/berth/internal/jsonrpc"
	"github.com/berth-run/berth/internal/mcp"
)

// Belief is what is remembered of the era of a server: that one which is run in the
// same way speaks the legacy era only, so that it need not be asked.
type Belief struct {
	home *home.Home
	key  string // "" where nothing is to be remembered
	said string // what the server said of itself when it was asked
	held bool
}

// Believe returns what is remembered by a key that home.Server.EraKey made; "" is
// nothing.
func Believe(h *home.Home, key string) Belief {
	b := Belief{home: h, key: key}
	if key != "" {
		b.said, b.held = h.LegacyServer(key)
	}
	return b
}

// Legacy says whether the server speaks the legacy era only.
func (b *Belief) Legacy() bool { return b.held }

// Learn takes what became of a handshake: a session, or the error with which it
// failed. A server that is another than it was is asked the next time; one that
// could not be spoken to at once: then the error, which is returned, wraps
// mcp.ErrNeedsFresh. Died says that the server does not survive to be asked.
func (b *Belief) Learn(ctx context.Context, session *mcp.Session, died bool, failed error) (why error, unwritten error) {
	if b.key == "" {
		return failed, nil
	}
	switch {
	case failed != nil && b.held && ctx.Err() == nil && !errors.Is(failed, mcp.ErrNeedsFresh):
		b.held = false
		if errors.As(failed, new(*jsonrpc.Error)) {
			failed = fmt.Errorf("%w: %w", mcp.ErrNeedsFresh, failed)
		}
		return failed, b.home.ForgetLegacy(b.key)
	case failed != nil:
		return failed, nil
	case b.held && (b.said != session.Said() || session.Info().Era != mcp.Legacy):
		return nil, b.home.ForgetLegacy(b.key)
	case !b.held && session.Info().Era == mcp.Legacy && (session.Probed() || died):
		return nil, b.home.RememberLegacy(b.key, session.Said())
	}
	return nil, nil
}

// believes returns what is remembered of the server that has a slot.
func (s *server) believes(sl *slot) Belief {
	s.mu.Lock()
	key, doubts, era := s.settings.EraKey, s.doubts || s.noProbe, sl.era
	s.mu.Unlock()
	if era != "" {
		return Belief{} // its user knows
	}
	b := Believe(s.g.home, key)
	b.held = b.held && !doubts
	return b
}

// learn is Belief.Learn.
func (s *server) learn(ctx context.Context, b Belief, session *mcp.Session, failed error) error {
	held := b.held
	why, unwritten := b.Learn(ctx, session, s.skipsProbe(), failed)
	if unwritten != nil {
		s.g.log.Warn("the era of the server is not remembered", "server", s.name, "error", unwritten)
	}
	if held && !b.held {
		s.mu.Lock()
		s.doubts = true // also where that could not be written down
		s.mu.Unlock()
	}
	return why
}
