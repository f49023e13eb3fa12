// Package sandbox decides what a server may touch and holds it to that.
//
//	Confinement ─┐                       ┌─ Mounts: a root directory with what is
//	             ├─ Compile ──▶ Plan ────┤  planned in it (init of the namespace)
//	Facts ───────┘             (JSON)    ├─ Enter: capabilities, Landlock, seccomp
//	                                     │  (the thread that then executes)
//	Probe ──▶ Report ──▶ what is kept    └─ SelfTest: what is forbidden, tried
//
// The supervisor compiles; the plan travels to the processes between it and the
// server, which do what it says in the order Mounts, Enter, SelfTest, exec. What is
// planned but cannot be done is an error, never a weaker confinement: what a system
// can do is known beforehand, by Probe, which tries it.
//
// What is promised, and by which of the layers, is in docs/threat-model.md.
package sandbox

import (
	berth "github.com/berth-run/berth"
)

// Net is what of the network a server has.
type Net string

const (
	// NetNone: nothing but its own loopback, where it has a network namespace.
	NetNone Net = "none"
	// NetNames: the hosts and ports that are allowed, by way of the supervisor.
	NetNames Net = "names"
	// NetOpen: the network as it is.
	NetOpen Net = "open"
)

// Namespaces are those that a server is started in.
type Namespaces struct {
	// Mount has a root directory that Mounts makes.
	Mount bool `json:"mount,omitzero"`
	// PID has a /proc of its own.
	PID bool `json:"pid,omitzero"`
	// Net has no way out but what the supervisor listens on.
	Net bool `json:"net,omitzero"`
	// IPC has its own System V IPC and message queues.
	IPC bool `json:"ipc,omitzero"`
}

// Plan is all that the processes between the supervisor and a server must know to
// confine it. Every path in it is absolute, clean and without symbolic links but for
// the keys of Links. It holds no secrets.
type Plan struct {
	// Read are files and directories that may be read; Exec those that may be
	// executed as well; Write those that may be changed as well, though not executed
	// unless they are in Exec too.
	Read  []string `json:"read,omitempty"`
	Exec  []string `json:"exec,omitempty"`
	Write []string `json:"write,omitempty"`
	// Sockets are Unix sockets that may be connected to.
	Sockets []string `json:"sockets,omitempty"`
	// Links are symbolic links on the way to the paths above, and what they point to.
	Links map[string]string `json:"links,omitempty"`
	// Dir is the working directory.
	Dir string `json:"dir,omitzero"`
	// Hide are directories of which nothing may be seen but what of Read, Exec and
	// Write is in them.
	Hide []string `json:"hide,omitempty"`
	// AllFiles and AllPrograms are filesystem:* and exec:*. Hide still holds where
	// there is a mount namespace.
	AllFiles    bool `json:"all_files,omitzero"`
	AllPrograms bool `json:"all_programs,omitzero"`
	// Tmp is a directory for temporary files that is the server's alone, where it has
	// no mount namespace, in which /tmp is.
	Tmp string `json:"tmp,omitzero"`

	Net Net `json:"net"`
	// Ports are the TCP ports on which it listens.
	Ports []uint16 `json:"ports,omitempty"`
	// Proxy is the port on loopback by which allowed hosts are reached where there is
	// neither a network namespace nor Notify. macOS.
	Proxy uint16 `json:"proxy,omitzero"`
	// Notify has each connect of the server put before the supervisor, by the
	// descriptor that Enter returns.
	Notify bool `json:"notify,omitzero"`
	// Learn has what the server tries with files put before the supervisor as well, which
	// lets all of it go on to what the plan decides.
	Learn bool `json:"learn,omitzero"`
	// UnixSockets lets the server make Unix sockets other than connected pairs.
	UnixSockets bool `json:"unix_sockets,omitzero"`

	Namespaces Namespaces `json:"namespaces"`
	Test       Test       `json:"test,omitzero"`

	// Warnings are what a user should know of what was asked: a granted path that does
	// not exist, a program that was not found.
	Warnings []string `json:"-"`
	// Gaps are what the plan itself does not keep, by guarantee, whatever the system
	// can do.
	Gaps map[string]string `json:"-"`
}

// Test is what SelfTest tries, and what must fail.
type Test struct {
	// Read is a file that must not open.
	Read string `json:"read,omitzero"`
	// Connect is the address of something that listens by TCP, of IPv4, and must not be
	// reached.
	Connect string `json:"connect,omitzero"`
	// Unix is the path of a Unix socket on which something listens, and must not be
	// reached.
	Unix string `json:"unix,omitzero"`
}

// Facts are what Compile must know beside the permissions.
type Facts struct {
	// Path is the absolute path of the program, Argv its arguments with argv[0], Env
	// its environment, Dir its working directory.
	Path string
	Argv []string
	Env  []string
	Dir  string
	// Home is the user's home directory, BerthHome that of Berth.
	Home      string
	BerthHome string
	// Tmp is a directory for temporary files that was made for this server.
	Tmp string
	// Ports are the TCP ports on which the server is expected to listen.
	Ports []uint16
	// Namespaces are those that it will be started in.
	Namespaces Namespaces
	// Landlock is the version of Landlock's interface here; see Report.
	Landlock int
	// Notify: connects can be put before the supervisor where there is no network
	// namespace.
	Notify bool
	// Learn: what it tries is to be known.
	Learn bool
	// Proxy is as in Plan.
	Proxy uint16
	// Test is what SelfTest is to try. Read defaults to a file of BerthHome.
	Test Test
}

// Report is what works on this machine for this user, found by doing.
type Report struct {
	// Namespaces are those that can be made and are worth something when they are.
	Namespaces Namespaces
	// User: they need a user namespace, since this process has no right to make the
	// others.
	User bool
	// Landlock is the version of its interface, 0 where it is not there.
	Landlock int
	// Seccomp and Notify: filters can be set, and can ask the supervisor.
	Seccomp, Notify bool
	// Guarantees are what a server without any permission is kept from.
	Guarantees map[string]berth.Guarantee
	// Missing says, in words, why what is not there is not.
	Missing []string
}

// ProbeName is the value of argv[0] for which a binary must call ProbeMain.
const ProbeName = "berth-probe"
