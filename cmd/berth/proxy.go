package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/jsonrpc"
	"github.com/berth-run/berth/internal/shim"
	"github.com/berth-run/berth/internal/spool"
	"github.com/spf13/cobra"
)

func newProxy(a *app) *cobra.Command {
	var (
		noStart bool
		e       errand
	)
	cmd := &cobra.Command{
		Use:   "proxy [NAME | --profile PROFILE] [--as CLIENT]",
		Short: "Be a server, or all of them, on stdin and stdout, for one client",
		Long: `Connect stdin and stdout to all servers as one, or to the one that is named: what
an AI client is given as the command of an MCP server. Any number of clients may do
so; they share one process of each server, whatever revision of MCP they and it
speak. A server that is down is started, at once or, if it ran before, when the
client first calls it.

Of all servers as one, the names of tools and prompts begin with that of their
server: everything_echo. Servers that are added, changed or removed meanwhile come
and go; berth.listed=false keeps one out (see ` + "`berth config`" + `).

It speaks to the gateway of this home: that of ` + "`berth up`" + `, or one that it starts in
the background, which ends by itself when nobody uses it. Where the gateway ends
or is killed, the conversation goes on with another, and the client notices at
most that a call in flight failed. Nothing but MCP is written to stdout.

--profile has the servers and tools of a profile and no others (see ` + "`berth profile`" + `).
--as says which client it is for: records of its calls name that, and what ` + "`berth client`" + `
says of it holds. A client that is known so needs no token in its settings, since only
your user can open the socket.

It ends when its client does: at the end of stdin, once what was asked is
answered. The server stays up.

Clients hand little of their environment on: where the home is not ~/.berth, say
--home rather than BERTH_HOME.

Exit codes: 0 the client ended, 1 failed, 2 a name that cannot be, 3 no such
server or profile, 4 a server that this client may not use, 5 not running and not
to be started, by the policy for one.`,
		Example:           "  berth proxy\n  berth proxy everything\n  berth proxy --as ide --home /srv/berth",
		Args:              names(1),
		ValidArgsFunction: a.completeNames(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if cmd.Flags().Changed("as") {
				if err := checkClient(e.as); err != nil {
					return err
				}
			}
			if cmd.Flags().Changed("profile") {
				if err := berth.CheckName(e.profile); err != nil {
					return err
				}
			}
			if len(args) > 0 {
				e.server = args[0]
			}
			if e.server != "" && e.profile != "" {
				return usagef("a server or a profile, not both")
			}
			return a.proxy(cmd.Context(), e, noStart)
		},
	}
	cmd.Flags().StringVar(&e.as, "as", "", "the name of the `client` that it is for")
	cmd.Flags().StringVar(&e.profile, "profile", "", "the servers and tools of this `profile`")
	cmd.Flags().BoolVar(&noStart, "no-start", false, "do not start a stopped server")
	return cmd
}

// proxy serves a client on stdin and stdout; without a name, all servers as one.
func (a *app) proxy(ctx context.Context, e errand, noStart bool) error {
	s, err := a.open(false)
	if err != nil {
		return err
	}
	if e.server != "" {
		if err := s.readyForProxy(ctx, e.server, !noStart); err != nil {
			return err
		}
	}
	if e.profile != "" {
		if _, _, err := s.home.ReadProfile(e.profile); err != nil {
			return err
		}
	}
	p := &proxy{site: s, stdin: a.stdin, errand: e, splice: newSplice(e.server), pieces: make(chan piece), spool: spool.New(spoolMost, s.home.Scratch), asked: spool.New(askedMost, s.home.Scratch)}
	defer p.spool.Close()
	defer p.asked.Close()
	p.splice.landed = p.asked.Release
	if p.lines, err = s.reachGateway(ctx, e); err != nil {
		return err
	}
	begun := time.Now()
	recorded := s.record(ctx, berth.Record{Server: e.server, Action: berth.ActionProxyStart, Detail: e.as})
	if recorded != nil {
		p.lines.Close()
		return recorded
	}
	err = p.run(ctx)
	p.lines.Close()
	end := berth.Record{Server: e.server, Action: berth.ActionProxyEnd, DurationMillis: time.Since(begun).Milliseconds()}
	if err != nil {
		end.Action, end.Detail = berth.ActionProxyError, err.Error()
	}
	return errors.Join(err, s.record(context.WithoutCancel(ctx), end))
}

// proxy carries one client's conversation. One goroutine, run, owns it; two
// others read.
type proxy struct {
	*site
	stdin    io.Reader
	errand   errand
	splice   *splice
	lines    *lines       // to the gateway
	spool    *spool.Store // what the client is told
	asked    *spool.Store // what it says
	pieces   chan piece
	held     [][]byte // of the client's, until its replayed handshake is answered
	resuming bool     // it is not
	ended    bool     // the client has ended its input
}

// piece is something that a reader read.
type piece struct {
	from *lines // nil: the client
	line []byte
	err  error
	// answer is what the client hears of a line that is not taken.
	answer []byte
}

// run carries the conversation until its client has ended.
func (p *proxy) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go p.readClient(ctx)
	p.longAnswers(p.lines)
	go p.readGateway(ctx, p.lines)
	for {
		var piece piece
		select {
		case <-ctx.Done():
			return nil // told to end
		case piece = <-p.pieces:
		}
		var err error
		switch {
		case piece.from == nil && piece.err == io.EOF:
			// The gateway answers what it still owes, and ends then.
			p.ended = true
			err = p.lines.End()
		case piece.from == nil && piece.err != nil:
			return fmt.Errorf("read stdin: %w", piece.err)
		case piece.answer != nil:
			err = p.say(piece.answer)
		case piece.from == nil:
			err = p.toGateway(ctx, piece.line)
		case piece.from != p.lines:
			// A connection that was given up.
		case piece.err != nil && p.ended:
			return nil
		case piece.err != nil:
			err = p.again(ctx)
		default:
			err = p.toClient(ctx, piece.line)
		}
		if err != nil {
			return err
		}
	}
}

func (p *proxy) hand(ctx context.Context, x piece) bool {
	select {
	case p.pieces <- x:
		return true
	case <-ctx.Done():
		return false
	}
}

// readClient reads lines as they are: what is no JSON is the gateway's to judge.
// It is left behind at a read when the proxy ends.
func (p *proxy) readClient(ctx context.Context) {
	r := jsonrpc.NewReader(p.stdin, shim.MaxLine)
	p.longRequests(ctx, r)
	for {
		line, err := r.Next()
		if errors.Is(err, jsonrpc.ErrTooLong) {
			p.ui.warn("a message of more than %d bytes was dropped", shim.MaxLine)
			continue
		}
		if !p.hand(ctx, piece{line: bytes.Clone(line), err: err}) || err != nil {
			return
		}
	}
}

func (p *proxy) readGateway(ctx context.Context, l *lines) {
	for {
		line, err := l.Read(ctx)
		if !p.hand(ctx, piece{from: l, line: line, err: err}) || err != nil {
			return
		}
	}
}

// toGateway passes a line of the client's on, now or when the gateway knows it.
func (p *proxy) toGateway(ctx context.Context, line []byte) error {
	if p.resuming {
		p.held = append(p.held, line)
		return nil
	}
	passes := p.splice.fromClient(line)
	if passes {
		p.tell(ctx, line)
	}
	if p.asked.Marked(line) && !p.splice.keeps(line) {
		p.asked.Release(line)
	}
	return nil
}

// tell sends lines to the gateway. One that is gone is noticed by the reader.
func (p *proxy) tell(ctx context.Context, lines ...[]byte) {
	for _, line := range lines {
		if p.asked.Marked(line) {
			_ = p.lines.writeLong(p.asked, line)
			continue
		}
		_ = p.lines.Write(ctx, line, nil)
	}
}

func (p *proxy) toClient(ctx context.Context, line []byte) error {
	if p.splice.compares() {
		var err error
		if line, err = p.spool.Whole(line); err != nil {
			return fmt.Errorf("read a long answer again: %w", err)
		}
	}
	v := p.splice.fromServer(line)
	if v.over != nil {
		return berth.WithHint(v.over, "clients start the command again, which begins a conversation of its own")
	}
	if v.forward {
		if err := p.sayLong(line); err != nil {
			return err
		}
	} else {
		p.spool.Release(line)
	}
	if err := p.say(v.missed...); err != nil {
		return err
	}
	p.tell(ctx, v.next...)
	if v.resumed {
		return p.resume(ctx)
	}
	return nil
}

func (p *proxy) say(lines ...[]byte) error {
	for _, line := range lines {
		if err := p.ui.writeRaw(line); err != nil {
			return fmt.Errorf("write to the client: %w", err)
		}
	}
	return nil
}

// resume passes on what the client said meanwhile.
func (p *proxy) resume(ctx context.Context) error {
	p.resuming = false
	held := p.held
	p.held = nil
	for _, line := range held {
		if err := p.toGateway(ctx, line); err != nil {
			return err
		}
	}
	return nil
}

// again goes on with another gateway, since the one there was has ended.
func (p *proxy) again(ctx context.Context) error {
	p.lines.Close()
	p.errand.session = p.splice.session
	l, err := p.reachGateway(ctx, p.errand)
	if err != nil {
		return err
	}
	p.lines = l
	p.longAnswers(l)
	go p.readGateway(ctx, l)
	answers, tell, resumed := p.splice.replaced("ended", l.goesOn)
	if err := p.say(answers...); err != nil {
		return err
	}
	p.resuming = !resumed
	p.tell(ctx, tell...)
	if resumed {
		return p.resume(ctx)
	}
	return nil
}
