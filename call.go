package berth

// Call is what a record of ActionToolCall says of one call of a tool, once it
// was answered.
type Call struct {
	Tool string `json:"tool"`
	// Principal is who sent it, such as "uid:1000" or "token:NAME"; Caller is the name
	// that Berth knows the client by, that of its token or of `berth proxy --as`;
	// Client is what the client calls itself, which nobody has checked.
	Principal string      `json:"principal,omitzero"`
	Caller    string      `json:"caller,omitzero"`
	Client    string      `json:"client,omitzero"`
	Outcome   CallOutcome `json:"outcome"`
	// Code is that of the JSON-RPC error, if the answer was one.
	Code int64 `json:"code,omitzero"`
	// BytesIn is the size of the request, BytesOut that of the answer.
	BytesIn  int `json:"bytesIn"`
	BytesOut int `json:"bytesOut"`
	// How long it waited for its turn, for the server to be up, and for the
	// server's answer, in microseconds.
	QueueMicros int64 `json:"queueMicros"`
	StartMicros int64 `json:"startMicros"`
	RunMicros   int64 `json:"runMicros"`
	// Restarts is how often the server's process had been restarted. The process
	// itself is Record.PID; none if the call reached none.
	Restarts int `json:"restarts"`
	// ArgumentsSHA256 is the hash, in hex, of the arguments' bytes as the client
	// sent them; empty if there were none. Arguments is their text, masked, if it
	// was asked for and is not too long.
	ArgumentsSHA256 string `json:"argumentsSha256,omitzero"`
	Arguments       string `json:"arguments,omitzero"`
}

// CallOutcome is how a call ended.
type CallOutcome string

const (
	// CallDone: the tool answered.
	CallDone CallOutcome = "done"
	// CallFailed: the tool answered that it failed.
	CallFailed CallOutcome = "failed"
	// CallError: the server answered with an error of the protocol.
	CallError CallOutcome = "error"
	// CallAsks: the answer is a question to the client, which is to call again.
	CallAsks CallOutcome = "input-required"
	// CallRefused: it did not reach the server, which was busy or could not be
	// brought up.
	CallRefused CallOutcome = "refused"
	// CallCancelled: the client took it back, or left.
	CallCancelled CallOutcome = "cancelled"
	// CallTimeout: there was no answer in time.
	CallTimeout CallOutcome = "timeout"
	// CallLost: the server's process ended first. It may have been carried out.
	CallLost CallOutcome = "lost"
)
