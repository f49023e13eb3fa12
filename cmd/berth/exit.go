package main

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/home"
)

// exitCode is what the process returns.
type exitCode int

// The exit codes. They are part of the interface: scripts branch on them.
const (
	exitOK         exitCode = 0 // done, also when there was nothing left to do
	exitFailed     exitCode = 1 // it failed
	exitUsage      exitCode = 2 // wrong usage
	exitNoServer   exitCode = 3 // no such server, profile or client
	exitRefused    exitCode = 4 // by the policy, or because a guarantee cannot be given
	exitNotRunning exitCode = 5 // the server is not running and may not be started
)

// exitError is an error that decides the exit code. Without an err, what is to
// be said has been said.
type exitError struct {
	code exitCode
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// hint adds what the user can do about it.
func (e *exitError) hint(format string, args ...any) *exitError {
	e.err = berth.WithHint(e.err, fmt.Sprintf(format, args...))
	return e
}

// hintFrom adds the hint of another error, if it has one.
func (e *exitError) hintFrom(err error) *exitError {
	if hint := hintOf(err); hint != "" {
		return e.hint("%s", hint)
	}
	return e
}

// usagef is an error in what the user typed.
func usagef(format string, args ...any) *exitError {
	return &exitError{code: exitUsage, err: fmt.Errorf(format, args...)}
}

// silent ends the command with a code when its output has said why.
func silent(code exitCode) error { return &exitError{code: code} }

// codeOf is the exit code that an error stands for.
func codeOf(err error) exitCode {
	var decided *exitError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &decided):
		return decided.code
	case errors.Is(err, berth.ErrBadConfig):
		return exitFailed // what is wrong stands in a file
	case errors.Is(err, berth.ErrInvalidName), errors.Is(err, berth.ErrInvalidSpec):
		return exitUsage
	case errors.Is(err, berth.ErrNoServer), errors.Is(err, home.ErrNoProfile), errors.Is(err, home.ErrNoClient):
		return exitNoServer
	case errors.Is(err, berth.ErrDenied), errors.Is(err, berth.ErrUnenforced), errors.Is(err, errors.ErrUnsupported):
		return exitRefused
	case errors.Is(err, berth.ErrNotRunning):
		return exitNotRunning
	}
	return exitFailed
}

// hintOf is the hint that an error carries, or one for its kind, or "".
func hintOf(err error) string {
	var hinted *berth.Hinted
	switch {
	case errors.As(err, &hinted):
		return hinted.Hint
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return "make room on that disk"
	case errors.Is(err, syscall.EROFS):
		return "set BERTH_HOME to a directory on a disk that can be written"
	}
	return ""
}
