//go:build linux

package chaos

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"testing"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/supervisor"
)

// The roles in which this binary starts itself.
const (
	roleVar    = "BERTH_CHAOS_ROLE"
	roleKeeper = "keeper"
	roleCaller = "caller"
	roleMCP    = "mcp"
)

func TestMain(m *testing.M) {
	switch os.Getenv(roleVar) {
	case roleKeeper:
		os.Exit(keep(os.Args[1], os.Args[2]))
	case roleCaller:
		os.Exit(call(os.Args[1], os.Args[2], os.Args[3], os.Args[4]))
	case roleMCP:
		os.Exit(serveMCP(os.Getenv(dirVar)))
	}
	os.Exit(m.Run())
}

// keep is `berth up` without what does not matter here. It ends with the test's
// process, which holds the other end of its stdin.
func keep(home, specs string) int {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt)
	defer cancel()
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	m, err := supervisor.Open(&supervisor.Options{Home: home})
	if err != nil {
		fmt.Fprintln(os.Stderr, "keeper:", err)
		return 1
	}
	m.Keep(ctx, supervisor.KeepOptions{
		Spec: func(name string) (berth.ProcessSpec, bool, error) {
			spec, err := readSpec(specs, name)
			return spec, err == nil, err
		},
		OnError: func(name string, err error) { fmt.Fprintf(os.Stderr, "keeper: %s: %v\n", name, err) },
	})
	return 0
}

// call is one command of a user.
func call(home, specs, op, name string) int {
	ctx := context.Background()
	m, err := supervisor.Open(&supervisor.Options{Home: home})
	if err == nil {
		var spec berth.ProcessSpec
		if spec, err = readSpec(specs, name); err == nil {
			err = perform(ctx, m, op, name, spec)
		}
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s %s: %v\n", op, name, err)
		return 1
	}
	return 0
}

func perform(ctx context.Context, m *supervisor.Manager, op, name string, spec berth.ProcessSpec) (err error) {
	switch op {
	case "start":
		_, err = m.Start(ctx, name, spec)
	case "stop":
		_, err = m.Stop(ctx, name)
	case "restart":
		err = m.Restart(ctx, name, spec)
	case "status":
		_, err = m.Status(ctx, name)
	case "reconcile":
		_, err = m.Reconcile(ctx, name, &spec)
	case "upgrade":
		err = m.Upgrade(ctx, name, "")
	case "attach":
		err = attach(ctx, m, name)
	default:
		err = fmt.Errorf("no operation %q", op)
	}
	return err
}

func specPath(dir, name string) string { return filepath.Join(dir, name+".json") }

func readSpec(dir, name string) (spec berth.ProcessSpec, err error) {
	data, err := os.ReadFile(specPath(dir, name))
	if err == nil {
		err = json.Unmarshal(data, &spec)
	}
	return spec, err
}
