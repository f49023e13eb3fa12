package main

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/gateway"
	"github.com/berth-run/berth/internal/otlp"
)

// collector is what calls are told to, nil if none is configured.
func (s *site) collector(log *slog.Logger) (*otlp.Calls, error) {
	config, warnings, err := s.home.ReadConfig()
	s.warn(warnings...)
	if err != nil {
		return nil, err
	}
	to, err := otlp.Configured(config.Telemetry.OTLPEndpoint)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", berth.ErrBadConfig, err)
	}
	var said atomic.Int64
	return otlp.Open(to, func(err error) {
		now := time.Now().Unix()
		if last := said.Load(); now-last >= saidEvery && said.CompareAndSwap(last, now) {
			log.Warn("calls are not told to the collector", "error", err)
		}
	})
}

// saidEvery is how often it is said that the collector cannot be told, in seconds.
const saidEvery = 60

// toCollector has a gateway tell of calls.
func toCollector(calls *otlp.Calls) func(gateway.Called) {
	if calls == nil {
		return nil
	}
	return func(c gateway.Called) {
		calls.Call(c.Record, otlp.Origin{Parent: c.TraceParent, State: c.TraceState}, c.Began, c.Ended)
	}
}

// sendRest sends what has not been sent yet, for a moment.
func sendRest(calls *otlp.Calls) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	calls.Close(ctx)
}
