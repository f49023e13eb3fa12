//go:build unix

package supervisor_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/supervisor"
)

// play is the main function of this test binary in a role.
func play(name string, args []string) int {
	roles := map[string]func([]string) error{
		"caller":    callerRole,
		"ask-stdin": askStdinRole,
		"witness":   witnessRole,

		"become-root": becomeRootRole,
	}
	maps.Copy(roles, systemRoles())
	role, ok := roles[name]
	if !ok {
		fmt.Fprintf(os.Stderr, "no role %q\n", name)
		return 2
	}
	if err := role(args); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// askStdinRole asks once what its stdin has, says so, and reads it to its end.
func askStdinRole([]string) error {
	ask := []unix.PollFd{{Fd: 0, Events: unix.POLLIN}}
	n, err := unix.Poll(ask, 0)
	for err == unix.EINTR {
		n, err = unix.Poll(ask, 0)
	}
	if err != nil {
		return err
	}
	if n != 0 {
		fmt.Fprintf(os.Stderr, "stdin: event %#x\n", ask[0].Revents)
		return nil
	}
	fmt.Fprintln(os.Stderr, "stdin: nothing yet")
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		return err
	}
	fmt.Fprintln(os.Stderr, "stdin: end")
	return nil
}

// becomeRootRole becomes the owner of its file, if that has the set-user-ID bit,
// writes to a pipe who it is, and does not end.
func becomeRootRole(args []string) error {
	_ = syscall.Setuid(0)
	text := fmt.Sprintf("user %d\n", syscall.Getuid())
	if err := os.WriteFile(args[0], []byte(text), 0); err != nil {
		return err
	}
	signal.Ignore(syscall.SIGTERM)
	for { // a select without cases ends a program that has nothing else to wait for
		time.Sleep(time.Hour)
	}
}

// witnessRole copies a file to DIR/eof when its input ends, to DIR/term when it
// is asked to end, and does not end.
func witnessRole(args []string) error {
	from, dir := args[0], args[1]
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGTERM)
	fmt.Fprintln(os.Stderr, "ready")
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		return err
	}
	if err := copyFile(from, filepath.Join(dir, "eof")); err != nil {
		return err
	}
	<-asked
	if err := copyFile(from, filepath.Join(dir, "term")); err != nil {
		return err
	}
	select {}
}

func copyFile(from, to string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, data, 0o600)
}

// request is what a caller, a process of its own that uses the library, is to
// do.
type request struct {
	Options supervisor.Options
	Verb    string
	Name    string
	Spec    berth.ProcessSpec
	// Stay has the caller wait for the end of its stdin after its answer.
	Stay bool
}

// answer is what came of it.
type answer struct {
	Outcome string
	Status  berth.Status
	Error   string
	Kinds   []string
	Hint    string
}

// kinds are the errors that an answer tells apart.
func kinds() map[string]error {
	return map[string]error{
		"not exist": fs.ErrNotExist, "permission": fs.ErrPermission, "escaped": berth.ErrEscaped,
		"no shim": berth.ErrNoShim, "denied": berth.ErrDenied, "unsupported": errors.ErrUnsupported,
		"unfit home": berth.ErrUnfitHome,
	}
}

// callerRole reads one request from its argument and answers on stdout.
func callerRole(args []string) error {
	var r request
	if err := json.Unmarshal([]byte(args[0]), &r); err != nil {
		return err
	}
	var a answer
	err := a.carryOut(r)
	if err != nil {
		a.Error = err.Error()
		var hinted *berth.Hinted
		if errors.As(err, &hinted) {
			a.Hint = hinted.Hint
		}
		for name, kind := range kinds() {
			if errors.Is(err, kind) {
				a.Kinds = append(a.Kinds, name)
			}
		}
	}
	if err := json.NewEncoder(os.Stdout).Encode(a); err != nil {
		return err
	}
	if r.Stay {
		_, err := io.Copy(io.Discard, os.Stdin)
		return err
	}
	return nil
}

func (a *answer) carryOut(r request) error {
	ctx := context.Background()
	m, err := supervisor.Open(&r.Options)
	if err != nil {
		return err
	}
	switch r.Verb {
	case "start":
		outcome, err := m.Start(ctx, r.Name, r.Spec)
		a.Outcome = outcome.String()
		if err != nil {
			return err
		}
	case "stop":
		outcome, err := m.Stop(ctx, r.Name)
		a.Outcome = outcome.String()
		if err != nil {
			a.Status, _ = m.Status(ctx, r.Name)
			return err
		}
	case "restart":
		if err := m.Restart(ctx, r.Name, r.Spec); err != nil {
			return err
		}
	case "supervise":
		if err := m.Supervise(ctx, r.Name, r.Spec); err != nil {
			return err
		}
	case "status":
	default:
		return fmt.Errorf("no verb %q", r.Verb)
	}
	a.Status, err = m.Status(ctx, r.Name)
	return err
}
