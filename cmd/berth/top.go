package main

import (
	"context"
	"errors"
	"io"
	"os"
	"sync"
	"time"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/home"
	"github.com/spf13/cobra"
	"golang.org/x/term"
)

const (
	// topEvery is how often the view is drawn again.
	topEvery = time.Second
	// topMost bounds the calls that are kept for it.
	topMost = 100_000
)

func newTop(a *app) *cobra.Command {
	var once, asJSON bool
	cmd := &cobra.Command{
		Use:   "top [--once] [--json]",
		Short: "Watch servers, their callers and calls",
		Long: `Show on a terminal, and again each second, what goes on: servers, who has called
them in the last minute, and the latest calls. q or Ctrl-C ends it.

CALLS, FAILED, DENIED and the times are those of the last minute; FAILED counts
all that are neither done nor a question to the client. P50 and P95 are what half
of the calls, and 95 of 100, took at most, from arrival to answer. NOW is how many
requests are at the server, and WAIT how many wait for their turn: "-" where no
gateway runs. A client is called as berth audit --client has it.

A narrow terminal leaves columns out. Without a terminal it prints what there is
once, as with --once.

--json prints one object, {"time", "windowSeconds", "gateway"?, "servers",
"clients", "calls"}, with times in microseconds.

Exit codes: 0 printed, or ended by its user.`,
		Example: `  berth top
  berth top --once
  berth top --json`,
		Args:              noArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := a.open(true)
			if err != nil {
				return err
			}
			switch {
			case asJSON:
				v, err := s.topOnce(cmd.Context())
				if err != nil {
					return err
				}
				return a.ui.json(v)
			case once || !a.ui.outTerm || os.Getenv("TERM") == "dumb":
				v, err := s.topOnce(cmd.Context())
				if err != nil {
					return err
				}
				for _, line := range v.lines(a.ui, wide, wide) {
					a.ui.print("%s", line)
				}
				return nil
			}
			return s.topLive(cmd.Context(), a.stdin)
		},
	}
	cmd.Flags().BoolVar(&once, "once", false, "print it once")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON, once")
	return cmd
}

// window is the calls of the last minute.
type window struct {
	mu    sync.Mutex // guards the field below
	calls []berth.Record
}

func (w *window) add(rec berth.Record) {
	if rec.Call == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.calls) >= topMost {
		w.calls = append(w.calls[:0], w.calls[topMost/10:]...)
	}
	w.calls = append(w.calls, rec)
}

// since forgets the calls of before, and returns the others.
func (w *window) since(start time.Time) []berth.Record {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for n < len(w.calls) && w.calls[n].Time.Before(start) {
		n++
	}
	w.calls = append(w.calls[:0], w.calls[n:]...)
	return append([]berth.Record(nil), w.calls...)
}

// topSince is of which records the view is at a time.
func topSince(now time.Time) home.AuditFilter {
	return home.AuditFilter{Since: now.Add(-topWindow), Recent: true}
}

// topOnce is the view of now.
func (s *site) topOnce(ctx context.Context) (topView, error) {
	now := time.Now()
	var w window
	for rec, err := range s.home.Audit(topSince(now)) {
		var line *home.AuditLineError
		switch {
		case errors.As(err, &line): // berth audit tells
		case err != nil:
			return topView{}, err
		default:
			w.add(rec)
		}
	}
	return s.top(ctx, now, &w)
}

// topLive draws the view again and again until its user or ctx ends it, which is
// how it ends.
func (s *site) topLive(ctx context.Context, stdin io.Reader) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var (
		w        window
		reading  sync.WaitGroup
		unread   = make(chan error, 1)
		redrawn  = time.NewTicker(topEvery)
		out, _   = s.ui.out.(*os.File) // it is a terminal
		restores = func() {}
	)
	defer redrawn.Stop()
	reading.Go(func() {
		unread <- s.home.FollowAudit(ctx, topSince(time.Now()), func(rec berth.Record, err error) error {
			if err == nil {
				w.add(rec)
			}
			return nil
		})
	})
	defer reading.Wait()
	defer cancel()
	screen := &screen{out: out}
	defer func() { screen.leave(); restores() }() // also where this panics
	if in, ok := stdin.(*os.File); ok && term.IsTerminal(int(in.Fd())) {
		// Without this, keys would be shown, and come with the end of a line only.
		before, err := term.MakeRaw(int(in.Fd()))
		if err != nil {
			return err
		}
		restores = func() { _ = term.Restore(int(in.Fd()), before) }
		go awaitQuit(in, cancel) // a read of a terminal cannot be ended: the process ends first
	}
	screen.enter()
	for {
		v, err := s.top(ctx, time.Now(), &w)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		width, height, err := term.GetSize(int(out.Fd()))
		if err != nil {
			return err
		}
		screen.draw(v.lines(s.ui, width, height))
		select {
		case <-ctx.Done():
			return nil
		case err := <-unread:
			if ctx.Err() == nil && !errors.Is(err, os.ErrNotExist) { // a home without a trail has no calls
				return err
			}
			unread = nil
		case <-redrawn.C:
		}
	}
}
