//go:build linux

package chaos

import (
	"context"
	"fmt"
	"time"

	"github.com/berth-run/berth/internal/home"
	"github.com/berth-run/berth/internal/shim"
	"github.com/berth-run/berth/supervisor"
)

// attach says one line to the server and waits for the answer. Every server
// here answers a line with {"pong":…}.
func attach(ctx context.Context, m *supervisor.Manager, name string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	h, err := home.Open(m.Dir(), nil)
	if err != nil {
		return err
	}
	a, err := shim.Attach(ctx, h, name, nil)
	if err != nil {
		return err
	}
	defer a.Close()
	if err := a.Write(ctx, []byte(`{"ping":1}`), []byte(`{"owner":"chaos"}`)); err != nil {
		return err
	}
	line, err := a.Read(ctx)
	if err != nil {
		return err
	}
	if string(line) != `{"pong":1}` {
		return fmt.Errorf("the server answered %q", line)
	}
	return nil
}
