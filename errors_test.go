package berth

import (
	"errors"
	"fmt"
	"io/fs"
	"testing"
)

func TestWithHint(t *testing.T) {
	if err := WithHint(nil, "do something"); err != nil {
		t.Errorf("a hint about nothing is %v", err)
	}
	cause := fmt.Errorf("%w: %w", ErrUnfitHome, fs.ErrPermission)
	err := WithHint(cause, "chmod it")
	if err.Error() != cause.Error() {
		t.Errorf("the message became %q", err)
	}
	if !errors.Is(err, ErrUnfitHome) || !errors.Is(err, fs.ErrPermission) || errors.Is(err, ErrDenied) || errors.Unwrap(err) != cause {
		t.Errorf("the kind of %v is lost", err)
	}
	// The hint is found through whatever is wrapped around it; the outermost
	// knows best.
	for want, err := range map[string]error{
		"chmod it":  fmt.Errorf("open: %w", fmt.Errorf("again: %w", err)),
		"ask first": WithHint(fmt.Errorf("open: %w", err), "ask first"),
		"":          WithHint(cause, ""),
	} {
		var hinted *Hinted
		if !errors.As(err, &hinted) || hinted.Hint != want {
			t.Errorf("%v: the hint is %+v, want %q", err, hinted, want)
		}
	}
	if joined := errors.Join(errors.New("x"), err); !errors.As(joined, new(*Hinted)) {
		t.Error("a joined error loses its hint")
	}
}

// Callers branch on these: none is another.
func TestErrorsDiffer(t *testing.T) {
	all := []error{
		ErrInvalidName, ErrInvalidSpec, ErrNoServer, ErrExists, ErrDenied, ErrBadState, ErrBadConfig,
		ErrNoShim, ErrNotRunning, ErrHeld, ErrUnfitHome, ErrEscaped,
	}
	texts := map[string]bool{}
	for i, a := range all {
		if texts[a.Error()] || a.Error() == "" {
			t.Errorf("two errors say %q", a)
		}
		texts[a.Error()] = true
		for j, b := range all {
			if errors.Is(fmt.Errorf("x: %w", a), b) != (i == j) {
				t.Errorf("is %q a %q?", a, b)
			}
		}
	}
}
