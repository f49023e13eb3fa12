package berth

import (
	"encoding/json"
	"fmt"
	"time"
)

// RunState says whether a process of the server's current incarnation lives.
type RunState string

const (
	Running RunState = "running"
	Stopped RunState = "stopped"
)

// Phase says what the server's shim is doing, or what its last act was.
type Phase string

const (
	// PhaseStarting: the process is being started.
	PhaseStarting Phase = "starting"
	// PhaseRunning: alive; no client has completed a handshake with this
	// incarnation.
	PhaseRunning Phase = "running"
	// PhaseReady: alive, and this incarnation completed a handshake.
	PhaseReady Phase = "ready"
	// PhaseBackoff: it exited and waits for its next automatic restart.
	PhaseBackoff Phase = "backoff"
	// PhaseFailed: it is down (or unsupervised) and stays so until someone
	// acts; Status.Error says why.
	PhaseFailed Phase = "failed"
	// PhaseExited: it ended by itself and was not to be restarted.
	PhaseExited Phase = "exited"
	// PhaseStopping: a stop is under way, or it exited, is not to be restarted,
	// and what is left of its tree is being ended.
	PhaseStopping Phase = "stopping"
	// PhaseStopped: it was stopped, or never ran.
	PhaseStopped Phase = "stopped"
)

// Status is what is known of a server at one moment.
type Status struct {
	Name        string    `json:"name"`
	Status      RunState  `json:"status"`
	Phase       Phase     `json:"phase"`
	PID         int       `json:"pid,omitzero"`
	ShimPID     int       `json:"shimPid,omitzero"`
	StartedAt   time.Time `json:"startedAt,omitzero"`
	Restarts    int       `json:"restarts"`
	MaxRestarts int       `json:"maxRestarts"`
	LastExit    *Exit     `json:"lastExit,omitempty"`
	Error       string    `json:"error,omitzero"`
	Stderr      []string  `json:"stderr,omitempty"`
	Warning     string    `json:"warning,omitzero"`
	// URL is where a remote server is, without its query.
	URL string `json:"url,omitzero"`
	// Disabled: no client may use it until `berth enable`.
	Disabled    bool                 `json:"disabled,omitzero"`
	MemoryBytes uint64               `json:"memoryBytes,omitzero"`
	MCP         *MCPInfo             `json:"mcp,omitempty"`
	Guarantees  map[string]Guarantee `json:"guarantees,omitempty"`
	// Denied are the last things that the server tried and may not, the oldest first.
	Denied []Denial `json:"denied,omitempty"`
	// Profile is how tightly the server is to be confined by its file; "" where that
	// cannot be told.
	Profile Profile `json:"profile,omitzero"`
	// NextRestart is when the automatic restart of PhaseBackoff is due.
	NextRestart time.Time `json:"nextRestart,omitzero"`
	// AtRest: nobody used the server, so it was stopped until somebody does.
	AtRest bool `json:"atRest,omitzero"`
	// Generation counts the incarnations of the server in this home.
	Generation uint64 `json:"generation,omitzero"`
	// StalledMillis is how long the server has not read what waits on its stdin,
	// in milliseconds.
	StalledMillis int64 `json:"stalledMs,omitzero"`
	// Dropped counts what reached no client since the shim started.
	Dropped *Dropped `json:"dropped,omitempty"`
}

// Dropped counts lines of a server's stdout that no client received.
type Dropped struct {
	// NotJSON went to the log instead.
	NotJSON uint64 `json:"notJson,omitzero"`
	// Unattached came while no client was attached.
	Unattached uint64 `json:"unattached,omitzero"`
	// TooLong exceeded the cap on a line.
	TooLong uint64 `json:"tooLong,omitzero"`
}

// MCPInfo is what a handshake told about the server.
type MCPInfo struct {
	ProtocolVersion string     `json:"protocolVersion"`
	ServerInfo      ServerInfo `json:"serverInfo"`
}

// ServerInfo is the server's own name and version.
type ServerInfo struct {
	Name    string `json:"name"`
	Version string `json:"version"`
}

// GuaranteeState says how far a promise is kept for one server.
type GuaranteeState string

const (
	Enforced GuaranteeState = "enforced"
	Partial  GuaranteeState = "partial"
	None     GuaranteeState = "none"
)

// The names of guarantees.
const (
	// GuaranteeTreeKill: when the server is stopped, its whole process tree is.
	GuaranteeTreeKill = "tree-kill"
	// GuaranteeMemory: the memory limit holds.
	GuaranteeMemory = "memory"
	// The rest are those of a Confinement. GuaranteeFSRead: it reads no file that it
	// may not.
	GuaranteeFSRead = "fs-read"
	// GuaranteeFSWrite: it changes no file that it may not.
	GuaranteeFSWrite = "fs-write"
	// GuaranteeEgress: it reaches no host and port that it may not.
	GuaranteeEgress = "egress"
	// GuaranteeUnixSockets: it connects to no Unix socket that it may not.
	GuaranteeUnixSockets = "unix-sockets"
	// GuaranteeSignals: it signals no process but its own.
	GuaranteeSignals = "signals"
	// GuaranteeProc: it sees nothing of other processes.
	GuaranteeProc = "proc"
	// GuaranteeDevices: it opens no device but the harmless ones.
	GuaranteeDevices = "devices"
	// GuaranteeProcesses and GuaranteeCPU: the limits on the number of processes and on
	// the time of processors hold; only of a server that has one.
	GuaranteeProcesses = "processes"
	GuaranteeCPU       = "cpu"
	// GuaranteePrivileges: it gains no privilege, and has none that it does not need.
	GuaranteePrivileges = "privileges"
)

// Guarantee says by what mechanism a promise is kept and, unless it is
// enforced, what is missing.
type Guarantee struct {
	State GuaranteeState `json:"state"`
	How   string         `json:"how"`
	Gap   string         `json:"gap,omitzero"`
}

// Denial is something that a confined server tried and may not.
type Denial struct {
	// What is the host and port, or the file, and what was tried with that.
	What string `json:"what"`
	// Grant is the permission that would allow it; "" if none would.
	Grant string `json:"grant,omitzero"`
	// Why says what is wrong with it.
	Why string `json:"why,omitzero"`
	// Times is how often it was tried, At when it last was.
	Times int       `json:"times"`
	At    time.Time `json:"at"`
}

// Exit is how a process ended. Exactly one of Code and Signal is set, or
// neither when nobody could see it (its supervisor was killed first).
type Exit struct {
	Code   *int   `json:"code,omitempty"`
	Signal string `json:"signal,omitzero"`
	// OutOfMemory: the kernel ended it because it exceeded its memory limit.
	OutOfMemory bool      `json:"outOfMemory,omitzero"`
	At          time.Time `json:"at"`
}

// String returns the exit in words: "exit code 1", "signal SIGKILL (out of
// memory)", "unknown exit".
func (e Exit) String() string {
	s := "unknown exit"
	switch {
	case e.Signal != "":
		s = "signal " + e.Signal
	case e.Code != nil:
		s = fmt.Sprintf("exit code %d", *e.Code)
	}
	if e.OutOfMemory {
		s += " (out of memory)"
	}
	return s
}

// StartOutcome is what a start did.
type StartOutcome int

const (
	Started StartOutcome = iota + 1
	AlreadyRunning
)

// String returns "started" or "already running", and "not started" of the zero
// value, which comes with an error.
func (o StartOutcome) String() string {
	switch o {
	case Started:
		return "started"
	case AlreadyRunning:
		return "already running"
	}
	return "not started"
}

// StopOutcome is what a stop did.
type StopOutcome int

const (
	StopDone StopOutcome = iota + 1
	AlreadyStopped
)

// String returns "stopped" or "already stopped", and "not stopped" of the zero
// value, which comes with an error.
func (o StopOutcome) String() string {
	switch o {
	case StopDone:
		return "stopped"
	case AlreadyStopped:
		return "already stopped"
	}
	return "not stopped"
}

// Record is one record of the audit trail. The reference's members come first,
// under its names; a member that is not known is left out, never null.
type Record struct {
	TimestampEpochSecs int64    `json:"timestampEpochSecs"`
	Server             string   `json:"server"`
	Action             string   `json:"action"`
	PID                int      `json:"pid,omitzero"`
	Command            string   `json:"command,omitzero"`
	Args               []string `json:"args,omitempty"`

	// Time is the precise time, RFC 3339 with nanoseconds.
	Time time.Time `json:"time,omitzero"`
	// Seq numbers the records of a home from 1, without a gap.
	Seq uint64 `json:"seq,omitzero"`
	// Code and Signal are the exit that the record is about.
	Code   *int   `json:"code,omitempty"`
	Signal string `json:"signal,omitzero"`
	// DurationMillis is how long the process had lived, in milliseconds.
	DurationMillis int64 `json:"durationMs,omitzero"`
	// Detail says in words what the other members do not.
	Detail string `json:"detail,omitzero"`
	// Call is set in records of ActionToolCall.
	Call *Call `json:"call,omitempty"`
	// Prev is the SHA-256, in hex, of the line before this one, its newline
	// left out; empty in the first record. A line that has no Seq of its own
	// (the reference's, the rest of a write that was cut off) counts as the text
	// "<what Prev would be in it>\n<its SHA-256>", so that nothing is left
	// uncovered. The very first line counts as it is.
	Prev string `json:"prev,omitzero"`
}

// The actions of audit records.
const (
	ActionStart        = "start"
	ActionStop         = "stop"
	ActionRestart      = "restart"
	ActionExit         = "exit"
	ActionAutoRestart  = "auto-restart"
	ActionPolicyDenied = "policy-denied"
	ActionProxyStart   = "proxy-start"
	ActionProxyEnd     = "proxy-end"
	ActionProxyError   = "proxy-error"
	ActionToolCall     = "tool-call"
	// ActionNetworkDenied is that a confined server tried to reach a host that it may
	// not; ActionGuarantees, that other guarantees hold for a server than for its
	// process before.
	ActionNetworkDenied = "permission-network-denied"
	ActionGuarantees    = "guarantees"
	// ActionToolCallDenied is a call that was refused, since its tool is not allowed.
	ActionToolCallDenied = "tool-call-denied"
	// ActionResourceRenamed is that two servers at one address have the same
	// resource: clients know that of the second by another URI.
	ActionResourceRenamed = "resource-renamed"
	ActionConfig          = "config"
	// ActionPermissions and ActionPolicy: somebody changed what a server may do, or the
	// home's policy.
	ActionPermissions = "permissions"
	ActionPolicy      = "policy"
	ActionAdd         = "add"
	ActionRemove      = "remove"
	// ActionSecret: a secret was kept or deleted, or the key of all was moved. The
	// detail has names, never a value.
	ActionSecret = "secret"
	// ActionApprove: what a server says of its tools was approved.
	ActionApprove = "approve"
	// ActionLogin and ActionLogout: somebody logged in to a remote server, or
	// deleted what that brought.
	ActionLogin  = "login"
	ActionLogout = "logout"
	// ActionLink and ActionUnlink: Berth was put into a client's settings, or taken out.
	ActionLink   = "link"
	ActionUnlink = "unlink"
	// ActionImport: an entry whose server was taken over went out of a client's settings.
	ActionImport = "import"
	// ActionServiceInstall and ActionServiceUninstall: what starts programs at login was
	// told to start Berth, or no longer to.
	ActionServiceInstall   = "service-install"
	ActionServiceUninstall = "service-uninstall"
	// ActionRenew: a fresh incarnation was started because the handshake of the
	// one before belonged to another client. Not a restart of a failed server.
	ActionRenew = "renew"
	// ActionHung: the server read nothing and said nothing for too long; what
	// follows is a renew.
	ActionHung = "hung"
	// ActionUpgrade: the shim replaced itself by a newer binary; the server
	// went on.
	ActionUpgrade = "upgrade"
	// ActionTokenCreate and ActionTokenRevoke: a client was given a token, or it was
	// taken back.
	ActionTokenCreate = "token-create"
	ActionTokenRevoke = "token-revoke"
	// ActionCallerRefused: somebody who showed no token that works was not let in. One
	// record stands for many; the detail says how many.
	ActionCallerRefused = "caller-refused"
	// ActionAuditRepaired: a fragment at the end of the trail was closed.
	ActionAuditRepaired = "audit-repaired"
	// ActionAuditGap: records before this one could not be written in time.
	ActionAuditGap = "audit-gap"
)

// Event is one change of a server's status.
type Event struct {
	At     time.Time `json:"at"`
	Status Status    `json:"status"`
}

// Raw is JSON that passes through unparsed.
type Raw = json.RawMessage
