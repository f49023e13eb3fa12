package main

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
)

// gatewayLog says the gateway's warnings, which no client can be told. Of one that
// comes again and again the first is said.
type gatewayLog struct {
	ui *ui

	mu   *sync.Mutex // guards what last points to
	last *string
}

func newGatewayLog(u *ui) *slog.Logger {
	return slog.New(gatewayLog{u, new(sync.Mutex), new(string)})
}

// Enabled implements slog.Handler.
func (gatewayLog) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelWarn }

// Handle implements slog.Handler.
func (l gatewayLog) Handle(_ context.Context, r slog.Record) error {
	var text strings.Builder
	text.WriteString(r.Message)
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "error" {
			fmt.Fprintf(&text, ": %v", a.Value)
		} else {
			fmt.Fprintf(&text, " (%s %v)", a.Key, a.Value)
		}
		return true
	})
	l.mu.Lock()
	news := *l.last != text.String()
	*l.last = text.String()
	l.mu.Unlock()
	if news {
		l.ui.warn("%s", text.String())
	}
	return nil
}

// WithAttrs implements slog.Handler; the gateway uses none.
func (l gatewayLog) WithAttrs([]slog.Attr) slog.Handler { return l }

// WithGroup implements slog.Handler; the gateway uses none.
func (l gatewayLog) WithGroup(string) slog.Handler { return l }
