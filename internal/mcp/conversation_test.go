package mcp

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/berth-run/berth"
)

var update = flag.Bool("update", false, "write what was seen into testdata")

// TestConversations plays the conversations of testdata against a Session, on a
// clock of their own, and compares what the Session does with what is written
// there. The lines of a conversation are
//
//	epoch 7, note JSON          of the attachment; before connect
//	connect [skip-probe] [5s]   begin to connect, for at most 90 s if not said
//	tools, call NAME [ARGS]     begin a request
//	dropped                     ask what was dropped
//	< LINE                      the server says
//	wait 10s                    time passes
//	break TEXT                  the server's end: reading fails
//	stall                       the server reads no more
//	cancel                      give up what was begun
//	close                       close the session
//
// and what comes of them:
//
//	> LINE                      we say; "+ note" before it came in the same frame
//	+ note, + ready             we tell the attachment
//	= …                         something begun has ended
func TestConversations(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal("no conversations", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for i := range archive.Files {
				f := &archive.Files[i]
				t.Run(f.Name, func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						got := play(t, string(f.Data))
						if *update {
							f.Data = []byte(got)
						} else if got != string(f.Data) {
							t.Errorf("this was said:\n%s\ninstead of:\n%s", got, f.Data)
						}
					})
				})
			}
			if *update {
				if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// play runs the directions of a conversation and returns it with what came.
func play(t *testing.T, text string) string {
	ctx, cancel := context.WithCancelCause(t.Context())
	p := &player{t: t, wire: newWire()}
	defer func() { // after Close, or reading would not end
		cancel(nil)
		p.begun.Wait()
	}()
	var out strings.Builder
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if strings.HasPrefix(line, ">") || strings.HasPrefix(line, "+") || strings.HasPrefix(line, "=") {
			continue
		}
		out.WriteString(line + "\n")
		if line == "cancel" {
			cancel(errors.New("interrupted"))
		} else if line != "" && line[0] != '#' {
			p.direct(ctx, line)
		}
		synctest.Wait()
		out.WriteString(p.wire.take())
	}
	if p.session != nil {
		p.session.Close()
		select {
		case <-p.session.Ended():
		default:
			t.Error("a closed session has not ended")
		}
	}
	return out.String()
}

// player is the reader of one conversation.
type player struct {
	t       *testing.T
	wire    *wire
	session *Session
	begun   sync.WaitGroup
}

func (p *player) direct(ctx context.Context, line string) {
	word, rest, _ := strings.Cut(line, " ")
	switch word {
	case "epoch":
		if _, err := fmt.Sscan(rest, &p.wire.epoch); err != nil {
			p.t.Fatal(err)
		}
	case "note":
		p.wire.note = []byte(rest)
	case "connect":
		p.connect(ctx, rest)
	case "tools":
		p.begin(func() string {
			tools, err := p.session.Tools(ctx)
			if err != nil {
				return describe(err)
			}
			var names []string
			for _, tool := range tools {
				names = append(names, tool.Name+" "+string(tool.Raw))
			}
			return fmt.Sprintf("%d tools: %s", len(tools), strings.Join(names, ", "))
		})
	case "call":
		name, args, _ := strings.Cut(rest, " ")
		p.begin(func() string {
			result, err := p.session.Call(ctx, name, json.RawMessage(args))
			if err != nil {
				return describe(err)
			}
			if Failed(result) {
				return "failed: " + string(result)
			}
			return string(result)
		})
	case "dropped":
		p.begin(func() string { return fmt.Sprintf("dropped %+v", p.session.Dropped()) })
	case "<":
		p.wire.in <- said{line: []byte(rest)}
	case "break":
		p.wire.in <- said{err: errors.New(rest)}
	case "stall":
		p.wire.stalled.Store(true)
	case "wait":
		d, err := time.ParseDuration(rest)
		if err != nil {
			p.t.Fatal(err)
		}
		time.Sleep(d) // on the bubble's clock
	case "close":
		p.session.Close()
	default:
		p.t.Fatalf("a conversation knows no %q", line)
	}
}

func (p *player) begin(f func() string) {
	p.begun.Go(func() { p.wire.record("= " + f()) })
}

func (p *player) connect(ctx context.Context, rest string) {
	var opts *Options
	timeout := 90 * time.Second
	for word := range strings.FieldsSeq(rest) {
		if word == "skip-probe" {
			opts = &Options{SkipProbe: true}
		} else if d, err := time.ParseDuration(word); err == nil {
			timeout = d
		} else {
			p.t.Fatal(err)
		}
	}
	p.begin(func() string {
		ctx, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		s, err := Connect(ctx, p.wire, opts)
		if err != nil {
			return "no connection: " + describe(err)
		}
		p.session = s
		info := s.Info()
		server := info.MCP.ServerInfo
		return fmt.Sprintf("%s %s %q %q instructions=%q capabilities=%s", info.Era, info.MCP.ProtocolVersion, server.Name, server.Version, info.Instructions, info.Capabilities)
	})
}

// describe is an error with the sentinels that it wraps.
func describe(err error) string {
	text := err.Error()
	for name, sentinel := range map[string]error{
		"ErrNeedsFresh": ErrNeedsFresh, "ErrNotMCP": ErrNotMCP, "ErrDiedOnProbe": ErrDiedOnProbe,
		"ErrInputRequired": ErrInputRequired, "ErrClosed": ErrClosed, "DeadlineExceeded": context.DeadlineExceeded,
	} {
		if errors.Is(err, sentinel) {
			text += " [" + name + "]"
		}
	}
	if h := new(berth.Hinted); errors.As(err, &h) {
		text += " [hint: " + h.Hint + "]"
	}
	return text
}
