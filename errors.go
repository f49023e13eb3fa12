package berth

import "errors"

// The errors that a caller may branch on, by errors.Is.
var (
	// ErrInvalidName: the name cannot be a server's; see CheckName.
	ErrInvalidName = errors.New("invalid server name")
	// ErrInvalidSpec: the ProcessSpec cannot be run; see ProcessSpec.Check.
	ErrInvalidSpec = errors.New("invalid spec")
	// ErrNoServer: the home has no server of that name.
	ErrNoServer = errors.New("no such server")
	// ErrExists: the home has a server of that name already.
	ErrExists = errors.New("server exists")
	// ErrDenied: the organisation's policy forbids it.
	ErrDenied = errors.New("denied by policy")
	// ErrUnenforced: what the server is confined to cannot be enforced here, and its
	// Confinement requires that it is.
	ErrUnenforced = errors.New("confinement cannot be enforced")
	// ErrBadState: a runtime state file does not parse. The message names the
	// file and the line.
	ErrBadState = errors.New("bad state file")
	// ErrBadConfig: a file that the user writes does not parse or holds a value
	// that cannot be used. The message names the file and, where it is known,
	// the line.
	ErrBadConfig = errors.New("bad configuration")
	// ErrNoShim: the executable that should become a server's shim did not
	// greet; it does not import package supervisor, or its start was too slow.
	ErrNoShim = errors.New("no shim")
	// ErrNotRunning: the operation needs a running server.
	ErrNotRunning = errors.New("not running")
	// ErrHeld: another client is attached to the server.
	ErrHeld = errors.New("held by another client")
	// ErrUnfitHome: the home directory cannot be used: locks do not work in it,
	// it belongs to someone else, or it is on a network filesystem.
	ErrUnfitHome = errors.New("unfit home directory")
	// ErrEscaped: processes of a server outlived its stop. The message names
	// them.
	ErrEscaped = errors.New("processes escaped")
)

// Hinted is an error together with what the user can do about it. The command
// line prints Hint on a line of its own.
type Hinted struct {
	Err  error
	Hint string
}

// Error returns the message of the error without the hint.
func (h *Hinted) Error() string { return h.Err.Error() }

// Unwrap returns the error.
func (h *Hinted) Unwrap() error { return h.Err }

// WithHint adds a hint to err; it returns nil if err is nil.
func WithHint(err error, hint string) error {
	if err == nil {
		return nil
	}
	return &Hinted{Err: err, Hint: hint}
}
