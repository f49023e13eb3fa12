package mcp

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/jsonrpc"
)

// secondAnswer is how long the answer to server/discover is waited for when
// that to initialize has come first. Requests may be handled side by side, but
// then their answers are milliseconds apart.
const secondAnswer = 5 * time.Second

// Connect finds out which era the server speaks and makes the handshake, or
// goes on with the one that this generation has in its note, sending nothing.
// It waits as long as ctx lets it: a server may need minutes to start.
//
// The Session uses conn until it is closed; conn itself stays open.
func Connect(ctx context.Context, conn Conn, o *Options) (*Session, error) {
	opts := o.withDefaults()
	old := conn.Note()
	note, done, err := resume(old, opts.Owner)
	if err != nil {
		return nil, err
	}
	if done && opts.Era != "" && note.Era != opts.Era {
		return nil, fmt.Errorf("%w: its process is %s", ErrNeedsFresh, note.Era)
	}
	s := newSession(ctx, conn, opts)
	if done {
		info := note.info()
		s.setInfo(info)
		// Whoever wrote the note may have died before it said so in the status.
		err = conn.SetNote(ctx, old, &info.MCP)
	} else {
		h := handshake{s: s, opts: opts, began: time.Now()}
		err = h.run(ctx)
	}
	if err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// handshake is one attempt at finding the era.
//
// A server that starts slowly (npx: up to 90 s) reads nothing at first, so the
// time-out of server/discover says nothing about its era: then initialize is
// sent as well, and both wait in the server's stdin. What it does with the pair
// depends on what it is. It may refuse discover; or accept it and refuse
// initialize ("duplicate"); or accept both, because it handles the two side by
// side (go-sdk) or minds neither (TypeScript SDK v2). So the answer to discover
// decides, whichever comes first: a server that offers the modern era serves
// each modern request whatever was said before, while a go-sdk server that was
// asked for its era no longer treats a legacy client as one.
type handshake struct {
	s     *Session
	opts  Options
	began time.Time

	discover   *pending // nil if not sent
	initialize *pending // nil if not sent
	// initialized: initialize was answered.
	initialized bool
	// What became of server/discover: an offer of the modern era, or an error.
	modern      *Info
	discoverErr error
}

func (h *handshake) run(ctx context.Context) error {
	if h.opts.SkipProbe {
		h.discoverErr = errors.New("not asked")
	} else {
		if err := h.probe(ctx); err != nil {
			return err
		}
		if h.modern != nil {
			return h.settle(ctx, *h.modern)
		}
	}
	if h.opts.Era == Modern {
		return h.onlyModern(ctx)
	}
	return h.negotiate(ctx)
}

// ask sends a request of the handshake, its intent in the note.
func (h *handshake) ask(ctx context.Context, method string, params []byte) (*pending, error) {
	note, err := Note{Owner: h.opts.Owner, Asked: method}.Encode()
	if err != nil {
		return nil, err
	}
	p, err := h.s.begin(ctx, method, params, note)
	if err != nil && h.discover != nil {
		err = h.fate(err)
	}
	return p, err
}

// probe asks server/discover, a second time if it is told to.
func (h *handshake) probe(ctx context.Context) error {
	err := h.askDiscover(ctx)
	var refused *jsonrpc.Error
	if err == nil && errors.As(h.discoverErr, &refused) && refused.Code == jsonrpc.CodeUnsupportedProtocolVersion && offersModern(refused.Data) {
		// "The client SHOULD retry with a version that the server supports": the
		// only one of the era that there is, and the one that was asked for.
		h.s.forget(h.discover)
		h.discoverErr = nil
		err = h.askDiscover(ctx)
	}
	return err
}

// askDiscover asks server/discover and waits for the answer, but not for long.
func (h *handshake) askDiscover(ctx context.Context) error {
	var err error
	if h.discover, err = h.ask(ctx, methodDiscover, discoverParams()); err != nil {
		return err
	}
	h.s.asked()
	timer := time.NewTimer(h.opts.ProbeTimeout)
	defer timer.Stop()
	select {
	case a := <-h.discover.answer:
		return h.discovered(a)
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return h.silence(ctx)
	}
}

// onlyModern waits for the answer to server/discover as long as it takes.
func (h *handshake) onlyModern(ctx context.Context) error {
	if h.discoverErr == nil {
		select {
		case a := <-h.discover.answer:
			if err := h.discovered(a); err != nil {
				return err
			}
		case <-ctx.Done():
			return h.silence(ctx)
		}
	}
	if h.modern != nil {
		return h.settle(ctx, *h.modern)
	}
	return fmt.Errorf("%w (%s): %v", ErrWrongEra, Modern, h.discoverErr)
}

// discovered takes the answer to server/discover. The error is one that ends
// the handshake.
func (h *handshake) discovered(a answer) error {
	var refused *jsonrpc.Error
	switch {
	case errors.As(a.err, &refused):
		// Whatever the error is: "never key on one code".
		h.discoverErr = refused
	case a.err != nil:
		return h.fate(a.err)
	default:
		if info, ok := modernInfo(a.result); ok {
			h.modern = &info
		} else {
			h.discoverErr = errors.New("its result offers no revision that Berth speaks")
		}
	}
	return nil
}

// negotiate asks initialize, while the answer to server/discover may still be
// under way, and decides by what comes back.
func (h *handshake) negotiate(ctx context.Context) error {
	var err error
	if h.initialize, err = h.ask(ctx, methodInitialize, initializeParams(h.opts)); err != nil {
		return err
	}
	var (
		discovered chan answer // nil once it is known
		legacy     *Info       // initialize's result
		refused    error       // initialize's error
		grace      <-chan time.Time
	)
	if h.discoverErr == nil {
		discovered = h.discover.answer
	}
	for {
		switch {
		case h.modern != nil:
			return h.settle(ctx, *h.modern)
		case h.discoverErr != nil && legacy != nil:
			return h.settle(ctx, *legacy)
		case h.discoverErr != nil && refused != nil:
			return h.refused(refused)
		case (legacy != nil || refused != nil) && grace == nil:
			timer := time.NewTimer(secondAnswer)
			defer timer.Stop()
			grace = timer.C
		}
		select {
		case a := <-h.initialize.answer: // comes once
			switch {
			case a.err == nil:
				info, err := legacyInfo(a.result)
				if err != nil {
					return err
				}
				legacy, h.initialized = &info, true
			case errors.As(a.err, new(*jsonrpc.Error)):
				refused, h.initialized = a.err, true
			default:
				return h.fate(a.err)
			}
		case a := <-discovered:
			discovered = nil
			if err := h.discovered(a); err != nil {
				return err
			}
		case <-grace:
			h.discoverErr = errors.New("no answer")
		case <-ctx.Done():
			return h.silence(ctx)
		}
	}
}

// settle ends the handshake: the era is known.
func (h *handshake) settle(ctx context.Context, info Info) error {
	h.s.forget(h.discover)
	h.s.forget(h.initialize)
	h.s.setInfo(info)
	note, err := noteOf(h.opts.Owner, info).Encode()
	if err != nil {
		return err
	}
	if info.Era == Legacy {
		line, err := jsonrpc.NewNotification(methodInitialized, nil)
		if err != nil {
			return err
		}
		if err := h.s.write(ctx, line, note); err != nil {
			return fmt.Errorf("send %s: %w", methodInitialized, err)
		}
	}
	return h.s.conn.SetNote(ctx, note, &info.MCP)
}

// refused is the error when the server refused both.
func (h *handshake) refused(initialize error) error {
	err := fmt.Errorf("the server refused initialize: %w", initialize)
	if h.discover != nil {
		err = fmt.Errorf("%w; and %s: %v", err, methodDiscover, h.discoverErr)
	}
	return err
}

// fate explains an error that ended the session during the handshake.
func (h *handshake) fate(err error) error {
	switch open := h.open(); {
	case errors.Is(err, ErrNotMCP):
		return err
	case h.discover != nil && !h.s.heard():
		return fmt.Errorf("%w: %w", ErrDiedOnProbe, err)
	case open != "":
		return fmt.Errorf("no answer to %s: %w", open, err)
	}
	return err
}

// open names the requests that were sent and have no answer.
func (h *handshake) open() string {
	var methods []string
	if h.discover != nil && h.discoverErr == nil && h.modern == nil {
		methods = append(methods, methodDiscover)
	}
	if h.initialize != nil && !h.initialized {
		methods = append(methods, methodInitialize)
	}
	return strings.Join(methods, " and ")
}

// silence is the error when ctx ended before the server had answered.
func (h *handshake) silence(ctx context.Context) error {
	waited := time.Since(h.began).Round(time.Millisecond)
	err := fmt.Errorf("the server runs, but did not answer %s in %s; %s: %w", h.open(), waited, h.s.sofar(), context.Cause(ctx))
	return berth.WithHint(err, "its log shows what else it printed; if it only starts slowly, wait longer")
}

// asked notes that the server was asked for its era.
func (s *Session) asked() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.probed = true
}

// Probed says whether the server was asked for its era by this session: one that
// turned out to be legacy speaks no other.
func (s *Session) Probed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.probed
}

// Said is what the server calls itself, its version included.
func (s *Session) Said() string {
	info := s.Info().MCP.ServerInfo
	return info.Name + " " + info.Version
}

// setInfo stores what the server is.
func (s *Session) setInfo(info Info) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.info = info
}
