package home

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"time"

	"github.com/berth-run/berth"
)

// State is what was last known of a server: runtime/NAME.toml. The first eight
// fields are the reference's, which reads what is written here; it passes over
// the others.
type State struct {
	Status             string // "running" or "stopped"
	UpdatedAt          int64  // seconds since 1970; WriteState sets it
	PID                int    // 0 is none
	Command            string // "" is none
	Args               []string
	AutoRestartEnabled bool
	MaxRestarts        int
	RestartAttempts    int

	// The process and its supervisor, by more than a number.
	StartTime     uint64
	BootID        string
	PIDNamespace  uint64
	Host          string
	ShimPID       int
	ShimStartTime uint64

	// Generation counts the incarnations; Incarnation marks the processes of
	// the last one, NextIncarnation those that the shim may have started after
	// it wrote this.
	Generation      uint64
	Incarnation     string
	NextIncarnation string
	// Engine is the client of the container engine that runs the server, after the
	// variables (KEY=VALUE) that say where that is; nil for one that is not in a container.
	Engine []string

	Phase   string
	Desired string // "running" or "stopped", as a user last asked for
	Reason  string // of a phase that needs one
	Failure string // the kind of error, if it could not be started
	// AtRest: nobody used the server, so it was stopped until somebody does;
	// Desired stays what it was.
	AtRest    bool
	StartedAt time.Time
	Transport string
	// SpecDigest stands for how it is run; see the function SpecDigest.
	SpecDigest string

	LastExit     *berth.Exit
	StderrTail   []string
	RestartTimes []time.Time
	NextRestart  time.Time

	Mechanism    string
	Cgroup       string
	MemoryCgroup string
	Guarantees   map[string]berth.Guarantee
	// Denied are the last things that it tried and may not.
	Denied []berth.Denial
}

// stateFile is the form of a state file. Its times are read by hand: the
// library's error about a value that is no time has no place.
type stateFile struct {
	Status             *string  `toml:"status"`
	UpdatedAt          *uint64  `toml:"updated_at_epoch_secs"`
	PID                uint32   `toml:"pid"`
	Command            string   `toml:"command"`
	Args               []string `toml:"args"`
	AutoRestartEnabled bool     `toml:"auto_restart_enabled"`
	MaxRestarts        uint32   `toml:"max_restarts"`
	RestartAttempts    uint32   `toml:"restart_attempts"`

	StartTime       uint64   `toml:"start_time"`
	BootID          string   `toml:"boot_id"`
	PIDNamespace    uint64   `toml:"pid_namespace"`
	Host            string   `toml:"host"`
	ShimPID         uint32   `toml:"shim_pid"`
	ShimStartTime   uint64   `toml:"shim_start_time"`
	Generation      uint64   `toml:"generation"`
	Incarnation     string   `toml:"incarnation"`
	NextIncarnation string   `toml:"next_incarnation"`
	Engine          []string `toml:"container_engine"`
	Phase           string   `toml:"phase"`
	Desired         string   `toml:"desired"`
	Reason          string   `toml:"reason"`
	Failure         string   `toml:"failure"`
	AtRest          bool     `toml:"at_rest"`
	SpecDigest      string   `toml:"spec_digest"`
	StartedAt       any      `toml:"started_at"`
	Transport       string   `toml:"transport"`

	LastExitCode   *int   `toml:"last_exit_code"`
	LastExitSignal string `toml:"last_exit_signal"`
	LastExitOOM    bool   `toml:"last_exit_oom"`
	LastExitAt     any    `toml:"last_exit_at"`

	StderrTail   []string `toml:"stderr_tail"`
	RestartTimes []any    `toml:"restart_times"`
	NextRestart  any      `toml:"next_restart"`

	Mechanism    string                   `toml:"mechanism"`
	Cgroup       string                   `toml:"cgroup"`
	MemoryCgroup string                   `toml:"memory_cgroup"`
	Guarantees   map[string]guaranteeFile `toml:"guarantees"`
	Denied       []denialFile             `toml:"denied"`
}

type denialFile struct {
	What  string `toml:"what"`
	Grant string `toml:"grant"`
	Why   string `toml:"why"`
	Times uint32 `toml:"times"`
	At    any    `toml:"at"`
}

type guaranteeFile struct {
	State berth.GuaranteeState `toml:"state"`
	How   string               `toml:"how"`
	Gap   string               `toml:"gap"`
}

// StatePath returns the path of a server's state file.
func (h *Home) StatePath(name string) (string, error) {
	if err := berth.CheckInstance(name); err != nil {
		return "", err
	}
	return h.path(runtimeDir, name+".toml"), nil
}

// ReadState returns the state that was last written; found is false if there is
// none. A file that does not parse is berth.ErrBadState: nothing is changed,
// and SetAside makes room for a new one.
func (h *Home) ReadState(name string) (st State, found bool, err error) {
	path, err := h.StatePath(name)
	if err != nil {
		return st, false, err
	}
	doc, err := readFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return st, false, nil
	}
	if err != nil {
		return st, false, fmt.Errorf("read the state of %q: %w", name, err)
	}
	st, err = decodeState(path, doc)
	return st, err == nil, err
}

// WriteState replaces the state of a server, durably, with the present time as
// that of the update. A string that is not UTF-8 is written with U+FFFD in the
// place of each bad byte: the state shows a command, nothing is run from it.
func (h *Home) WriteState(name string, st State) error {
	path, err := h.StatePath(name)
	if err != nil {
		return err
	}
	st.UpdatedAt = time.Now().Unix()
	doc, err := encodeState(st)
	if err == nil {
		err = h.replace(path, doc)
	}
	if err != nil {
		return fmt.Errorf("write the state of %q: %w", name, err)
	}
	return nil
}

// SetAside renames a state file that does not parse to NAME.toml.bad-TIME and
// returns its new path.
func (h *Home) SetAside(name string) (string, error) {
	path, err := h.StatePath(name)
	if err != nil {
		return "", err
	}
	to, err := h.setAside(path, "bad")
	if err != nil {
		return "", fmt.Errorf("set the state of %q aside: %w", name, err)
	}
	return to, nil
}

// RemoveState forgets the state of a server.
func (h *Home) RemoveState(name string) error {
	path, err := h.StatePath(name)
	if err == nil {
		err = h.remove(path)
	}
	if err != nil {
		return fmt.Errorf("remove the state of %q: %w", name, err)
	}
	return nil
}

// States lists the servers that have a state, in alphabetical order.
func (h *Home) States() ([]string, error) {
	names, _, err := h.names(runtimeDir, berth.CheckInstance)
	if err != nil {
		return nil, fmt.Errorf("list the states: %w", err)
	}
	return names, nil
}

func decodeState(file string, doc []byte) (State, error) {
	var f stateFile
	err := decodeTOML(file, doc, &f, berth.ErrBadState)
	if err != nil {
		return State{}, err
	}
	bad := func(line int, text string) (State, error) {
		return State{}, fmt.Errorf("%w: %s: %s", berth.ErrBadState, atLine(file, line), text)
	}
	end := 1 + bytes.Count(doc, []byte("\n"))
	switch {
	case f.Status == nil:
		return bad(end, "the file ends without the key status")
	case *f.Status != string(berth.Running) && *f.Status != string(berth.Stopped):
		return bad(lineOf(doc, "", "status"), fmt.Sprintf("status is %q, neither running nor stopped", *f.Status))
	case f.UpdatedAt == nil:
		return bad(end, "the file ends without the key updated_at_epoch_secs")
	}
	st := f.state()
	moment := func(key string, value any, into *time.Time) {
		t, ok := utc(value)
		if !ok && err == nil {
			_, err = bad(lineOf(doc, "", key), key+" is not a date and time with its offset")
		}
		*into = t
	}
	moment("started_at", f.StartedAt, &st.StartedAt)
	moment("next_restart", f.NextRestart, &st.NextRestart)
	for _, value := range f.RestartTimes {
		var at time.Time
		moment("restart_times", value, &at)
		st.RestartTimes = append(st.RestartTimes, at)
	}
	if f.LastExitAt != nil {
		st.LastExit = &berth.Exit{Code: f.LastExitCode, Signal: f.LastExitSignal, OutOfMemory: f.LastExitOOM}
		moment("last_exit_at", f.LastExitAt, &st.LastExit.At)
	}
	for _, d := range f.Denied {
		one := berth.Denial{What: d.What, Grant: d.Grant, Why: d.Why, Times: int(d.Times)}
		moment("denied", d.At, &one.At)
		st.Denied = append(st.Denied, one)
	}
	if err != nil {
		return State{}, err
	}
	return st, nil
}

// utc takes a value for a moment; nil is the zero one. It must have the same
// form in UTC, in which it is written, and that has no room for a fifth digit
// of the year.
func utc(value any) (time.Time, bool) {
	if value == nil {
		return time.Time{}, true
	}
	t, ok := value.(time.Time)
	t = t.UTC()
	return t, ok && 0 <= t.Year() && t.Year() <= 9999
}

func (f *stateFile) state() State {
	st := State{
		Status: *f.Status, UpdatedAt: int64(*f.UpdatedAt), PID: int(f.PID), Command: f.Command, Args: f.Args,
		AutoRestartEnabled: f.AutoRestartEnabled, MaxRestarts: int(f.MaxRestarts), RestartAttempts: int(f.RestartAttempts),
		StartTime: f.StartTime, BootID: f.BootID, PIDNamespace: f.PIDNamespace, Host: f.Host,
		ShimPID: int(f.ShimPID), ShimStartTime: f.ShimStartTime,
		Generation: f.Generation, Incarnation: f.Incarnation, NextIncarnation: f.NextIncarnation, Engine: f.Engine,
		Phase: f.Phase, Desired: f.Desired, Reason: f.Reason, Failure: f.Failure, Transport: f.Transport, StderrTail: f.StderrTail,
		AtRest: f.AtRest, SpecDigest: f.SpecDigest,
		Mechanism: f.Mechanism, Cgroup: f.Cgroup, MemoryCgroup: f.MemoryCgroup,
	}
	for name, g := range f.Guarantees {
		if st.Guarantees == nil {
			st.Guarantees = map[string]berth.Guarantee{}
		}
		st.Guarantees[name] = berth.Guarantee(g)
	}
	return st
}

// encodeState writes the document. The key status is the last line: of a file
// that lost its end no more than the last newline, nothing can be read but
// that it did.
func encodeState(st State) ([]byte, error) {
	w := stateWriter{doc: make([]byte, 0, 1<<10)} // most fit
	w.always("updated_at_epoch_secs", w.number("updated_at_epoch_secs", st.UpdatedAt, math.MaxInt64))
	w.count("pid", st.PID)
	w.text("command", st.Command)
	w.always("args", st.Args)
	w.always("auto_restart_enabled", st.AutoRestartEnabled)
	w.always("max_restarts", w.number("max_restarts", int64(st.MaxRestarts), math.MaxUint32))
	w.always("restart_attempts", w.number("restart_attempts", int64(st.RestartAttempts), math.MaxUint32))

	w.big("start_time", st.StartTime)
	w.text("boot_id", st.BootID)
	w.big("pid_namespace", st.PIDNamespace)
	w.text("host", st.Host)
	w.count("shim_pid", st.ShimPID)
	w.big("shim_start_time", st.ShimStartTime)
	w.big("generation", st.Generation)
	w.text("incarnation", st.Incarnation)
	w.text("next_incarnation", st.NextIncarnation)
	if len(st.Engine) > 0 {
		w.always("container_engine", st.Engine)
	}
	w.text("phase", st.Phase)
	w.text("desired", st.Desired)
	w.text("reason", st.Reason)
	w.text("failure", st.Failure)
	w.time("started_at", st.StartedAt)
	w.text("transport", st.Transport)
	w.text("spec_digest", st.SpecDigest)
	if st.AtRest {
		w.always("at_rest", true)
	}
	if e := st.LastExit; e != nil {
		if e.Code != nil {
			w.always("last_exit_code", *e.Code)
		}
		w.text("last_exit_signal", e.Signal)
		if e.OutOfMemory {
			w.always("last_exit_oom", true)
		}
		w.always("last_exit_at", w.moment("last_exit_at", e.At)) // also if it is zero: there was an exit
	}
	if len(st.StderrTail) > 0 {
		w.always("stderr_tail", st.StderrTail)
	}
	if len(st.RestartTimes) > 0 {
		times := make([]time.Time, len(st.RestartTimes))
		for i, t := range st.RestartTimes {
			times[i] = w.moment("restart_times", t)
		}
		w.always("restart_times", times)
	}
	w.time("next_restart", st.NextRestart)
	w.text("mechanism", st.Mechanism)
	w.text("cgroup", st.Cgroup)
	w.text("memory_cgroup", st.MemoryCgroup)
	if len(st.Guarantees) > 0 {
		table := map[string]any{}
		for name, g := range st.Guarantees {
			entry := map[string]string{"state": string(g.State), "how": g.How}
			if g.Gap != "" {
				entry["gap"] = g.Gap
			}
			table[name] = entry
		}
		w.always("guarantees", table)
	}
	if len(st.Denied) > 0 {
		list := make([]any, len(st.Denied))
		for i, d := range st.Denied {
			list[i] = map[string]any{
				"what": d.What, "grant": d.Grant, "why": d.Why,
				"times": w.number("times", int64(d.Times), math.MaxUint32), "at": w.moment("at", d.At),
			}
		}
		w.always("denied", list)
	}

	if st.Status != string(berth.Running) && st.Status != string(berth.Stopped) {
		return nil, fmt.Errorf("status is %q, neither running nor stopped", st.Status)
	}
	w.always("status", st.Status)
	return w.doc, w.err
}

// stateWriter appends the lines of a state file. A number that the reference or
// TOML cannot hold is an error: with such a line nobody could read the file.
type stateWriter struct {
	doc []byte
	err error
}

func (w *stateWriter) always(key string, value any) { w.doc = appendLine(w.doc, key, value) }

func (w *stateWriter) text(key, value string) {
	if value != "" {
		w.always(key, value)
	}
}

func (w *stateWriter) time(key string, value time.Time) {
	if !value.IsZero() {
		w.always(key, w.moment(key, value))
	}
}

func (w *stateWriter) moment(key string, value time.Time) time.Time {
	t, ok := utc(value)
	if !ok {
		w.err = fmt.Errorf("%s is in the year %d, which TOML cannot hold", key, t.Year())
	}
	return t
}

func (w *stateWriter) count(key string, value int) {
	if value != 0 {
		w.always(key, w.number(key, int64(value), math.MaxUint32))
	}
}

func (w *stateWriter) big(key string, value uint64) {
	if value > math.MaxInt64 {
		w.err = fmt.Errorf("%s is %d, which TOML cannot hold", key, value)
	} else if value != 0 {
		w.always(key, int64(value))
	}
}

func (w *stateWriter) number(key string, value, most int64) int64 {
	if value < 0 || value > most {
		w.err = fmt.Errorf("%s is %d, not between 0 and %d", key, value, most)
	}
	return value
}
