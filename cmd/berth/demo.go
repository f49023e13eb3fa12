package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/home"
	"github.com/berth-run/berth/internal/proc"
	"github.com/berth-run/berth/supervisor"
)

// demo is `berth up --demo`. Everything in it hangs on this process: however it
// ends, its shims end, and their servers with them.
func (a *app) demo(ctx context.Context) (err error) {
	dir, err := os.MkdirTemp("", "berth-demo-")
	if err != nil {
		return fmt.Errorf("make a throw-away home: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	s, err := openSite(a.ui, &supervisor.Options{Home: dir, Leashed: true})
	if err != nil {
		return err
	}
	const name = "demo"
	defer func() {
		_, stopErr := s.Stop(context.WithoutCancel(ctx), name)
		err = errors.Join(err, stopErr, s.Close())
		a.ui.say("demo: ended, and nothing is left")
	}()

	spec := berth.ProcessSpec{
		Command:     home.OwnProgram(),
		Args:        []string{"demo-server"},
		AutoRestart: &berth.RestartPolicy{Enabled: true, MaxRestarts: 10},
	}
	a.ui.print("demo: home %s", dir)
	if _, err := s.Start(ctx, name, spec); err != nil {
		return err
	}
	st, err := s.greeted(ctx, name)
	if err != nil {
		return err
	}
	a.ui.print("demo: started %s %s, process %d under supervisor %d", st.MCP.ServerInfo.Name, st.MCP.ServerInfo.Version, st.PID, st.ShimPID)
	if socket, err := s.home.ReadSocketPath(name); err == nil {
		a.ui.print("demo: socket %s", socket)
	}
	if held := st.Guarantees[berth.GuaranteeTreeKill]; held.State != "" {
		a.ui.print("demo: its process tree is held by %s (%s)", held.How, held.State)
	}
	if _, err := s.echo(ctx, name, "hello"); err != nil {
		return err
	}
	if err := s.killAndSee(ctx, name, st); err != nil {
		return err
	}
	took, err := s.echo(ctx, name, "hi")
	if err != nil {
		return err
	}
	if st, err = s.Status(ctx, name); err != nil {
		return err
	}
	if err := printStatus(a.ui, a.ui.out, []berth.Status{st}, time.Now()); err != nil {
		return err
	}
	a.ui.say("demo: Ctrl-C ends it; until then it is kept up: kill process %d and see", st.PID)
	a.ui.print(`demo: echo answered "hi" in %d ms`, took.Milliseconds())

	lines := newChanges(a.ui)
	lines.last[name] = changeLine(st)
	err = s.Keep(ctx, supervisor.KeepOptions{
		Spec:    func(string) (berth.ProcessSpec, bool, error) { return spec, true, nil },
		OnEvent: lines.show,
		OnError: func(_ string, err error) { a.ui.fail(err) },
	})
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// greeted makes the server's handshake and returns its status.
func (s *site) greeted(ctx context.Context, name string) (berth.Status, error) {
	c, err := s.reach(ctx, name, reachOptions{})
	if err != nil {
		return berth.Status{}, err
	}
	info := c.Info().MCP
	c.Close()
	st, err := s.Status(ctx, name)
	st.MCP = &info
	return st, err
}

// echo calls the tool of that name and says how long it took.
func (s *site) echo(ctx context.Context, name, message string) (time.Duration, error) {
	c, err := s.reach(ctx, name, reachOptions{})
	if err != nil {
		return 0, err
	}
	defer c.Close()
	arguments, err := json.Marshal(map[string]string{"message": message})
	if err != nil {
		return 0, err
	}
	begun := time.Now()
	if _, err := c.Call(ctx, "echo", arguments); err != nil {
		return 0, err
	}
	return time.Since(begun), nil
}

// killAndSee kills the server's process and waits for the next one.
func (s *site) killAndSee(ctx context.Context, name string, st berth.Status) error {
	back := make(chan berth.Status, 1)
	watching, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	var begun time.Time
	victim, err := proc.Identify(st.PID)
	if err != nil {
		return err
	}
	pinned, err := proc.Pin(victim)
	if err != nil {
		return err
	}
	defer pinned.Close()
	first := true
	go func() {
		ended <- s.Events(watching, func(ev berth.Event) {
			switch {
			case first:
				first = false
				begun = time.Now()
				if err := pinned.Signal(syscall.SIGKILL); err != nil {
					s.ui.fail(err)
				}
			case ev.Status.PID != 0 && ev.Status.PID != st.PID:
				select {
				case back <- ev.Status:
				default:
				}
			}
		})
	}()
	select {
	case now := <-back:
		s.ui.print("demo: killed process %d (SIGKILL); process %d took its place after %.1f ms", st.PID, now.PID,
			float64(time.Since(begun).Microseconds())/1000)
		stop()
		<-ended
		return nil
	case err := <-ended:
		return err
	}
}
