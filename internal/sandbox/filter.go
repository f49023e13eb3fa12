package sandbox

// The program that the kernel runs for each system call of a server (seccomp(2)). It
// decides by the number, and for some by an argument. Each call that is not simply
// allowed has one block, which begins with the number in the accumulator, loads what
// it compares itself, and returns on every path: so no block can meet what another
// one left in the accumulator.

// instruction is struct sock_filter.
type instruction struct {
	code   uint16
	jt, jf uint8
	k      uint32
}

// The parts of the machine that are used (linux/bpf_common.h).
const (
	opLoad         = 0x20 // ld [k]
	opAnd          = 0x54 // and #k
	opEqual        = 0x15 // jeq #k
	opAtLeast      = 0x35 // jge #k
	opAnyBit       = 0x45 // jset #k
	opReturn       = 0x06 // ret #k
	offsetNumber   = 0    // struct seccomp_data
	offsetArch     = 4
	offsetArgument = 16
)

// What the program returns (linux/seccomp.h).
const (
	retKill   = 0x80000000
	retError  = 0x00050000
	retNotify = 0x7fc00000
	retAllow  = 0x7fff0000
)

// The numbers of Linux that are the same on both architectures: the program can be
// made, and is tested, on any system.
const (
	errPerm         = 1
	errAccess       = 13
	errNoSys        = 38
	errNoProtocol   = 93
	errNotSupported = 95

	familyUnix    = 1
	familyInet    = 2
	familyInet6   = 10
	familyNetlink = 16

	sockStream   = 1
	sockDatagram = 2
	sockTypeMask = 0xf

	protocolTCP = 6
	protocolUDP = 17

	netlinkRoute = 0

	messageFastOpen = 0x20000000

	// CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET.
	cloneNamespaces = 0x00020000 | 0x02000000 | 0x04000000 | 0x08000000 | 0x10000000 | 0x20000000 | 0x40000000

	ioctlTIOCSTI   = 0x5412
	ioctlTIOCLINUX = 0x541c
	ioctlTIOCSETD  = 0x5423

	x32Bit = 0x40000000
)

func deny(errno uint32) uint32 { return retError | errno }

// rules are the part of a Plan that the filter is made of.
type rules struct {
	net         Net
	ownNet      bool // a network namespace
	listens     bool
	notify      bool
	unixSockets bool
	ownIPC      bool
	ownPID      bool
	learn       bool // what is tried with files is put before the supervisor
}

// program assembles the filter.
func (r rules) program(a architecture) []instruction {
	out := []instruction{
		// seccomp(2): "it is therefore necessary to check the architecture": the
		// numbers of another one mean other calls.
		{opLoad, 0, 0, offsetArch},
		{opEqual, 1, 0, a.audit},
		{opReturn, 0, 0, retKill},
		{opLoad, 0, 0, offsetNumber},
	}
	if a.x32 {
		out = append(out, instruction{opAtLeast, 0, 1, x32Bit}, instruction{opReturn, 0, 0, deny(errNoSys)})
	}
	on := func(c call, block ...instruction) {
		if n, ok := a.number(c); ok {
			out = append(out, instruction{opEqual, 0, uint8(len(block)), n})
			out = append(out, block...)
		}
	}
	always := func(c call, result uint32) { on(c, instruction{opReturn, 0, 0, result}) }

	r.network(on, always)
	if r.learn {
		for _, c := range learned() {
			always(c.name, retNotify)
		}
		if r.seesSockets() {
			always("connect", retNotify)
		}
	}
	// glibc and Go go on with clone, whose flags can be looked at.
	always("clone3", deny(errNoSys))
	on("clone", argument(0), instruction{opAnyBit, 0, 1, cloneNamespaces}, ret(deny(errPerm)), ret(retAllow))
	// The kernel takes the low half of the request, whatever is in the high one.
	on("ioctl", argument(1),
		instruction{opEqual, 2, 0, ioctlTIOCSTI}, instruction{opEqual, 1, 0, ioctlTIOCLINUX},
		instruction{opEqual, 0, 1, ioctlTIOCSETD}, ret(deny(errPerm)), ret(retAllow))
	for _, c := range deniedAlways() {
		always(c, deny(errPerm))
	}
	if !r.ownIPC {
		for _, c := range sharedIPC() {
			always(c, deny(errPerm))
		}
	}
	if !r.ownPID {
		// A limit on another process's time ends it as a signal does. Zero is the caller
		// itself, by which libraries ask.
		on("prlimit64", argument(0), instruction{opEqual, 1, 0, 0}, ret(deny(errPerm)), ret(retAllow))
	}
	return append(out, ret(retAllow))
}

// network adds the blocks of the calls that have to do with sockets.
func (r rules) network(on func(call, ...instruction), always func(call, uint32)) {
	on("socket", r.socket()...)
	if !r.unixSockets {
		// One end of a pair of datagram sockets can be connected elsewhere, or send
		// to any address; those of streams cannot.
		on("socketpair", argument(0), instruction{opEqual, 1, 0, familyUnix}, ret(deny(errAccess)),
			argument(1), instruction{opAnd, 0, 0, sockTypeMask},
			instruction{opEqual, 0, 1, sockDatagram}, ret(deny(errAccess)), ret(retAllow))
	}
	if r.net == NetOpen {
		return
	}
	// TCP Fast Open is a connect that no check of connect sees.
	for _, c := range []struct {
		name  call
		flags int
	}{{"sendto", 3}, {"sendmsg", 2}, {"sendmmsg", 3}} {
		on(c.name, argument(c.flags), instruction{opAnyBit, 0, 1, messageFastOpen}, ret(deny(errNotSupported)), ret(retAllow))
	}
	if r.ownNet {
		return
	}
	if !r.listens {
		always("listen", deny(errAccess))
	}
	switch {
	case r.notify:
		always("connect", retNotify)
	case !r.unixSockets:
		always("connect", deny(errAccess))
	}
}

// socket decides which sockets can be made.
func (r rules) socket() []instruction {
	unix := retOf(r.unixSockets, errAccess)
	// Addresses of interfaces are read by it, by getaddrinfo for one; nothing leaves
	// the machine.
	block := []instruction{
		argument(0),
		{opEqual, 0, 1, familyUnix}, ret(unix),
		{opEqual, 0, 4, familyNetlink},
		argument(2), {opEqual, 0, 1, netlinkRoute}, ret(retAllow), ret(deny(errAccess)),
	}
	inet := r.inet()
	// Not a jump over all of inet, whose length is its own affair: the two families
	// lead to it, all others end here.
	block = append(block,
		instruction{opEqual, 2, 0, familyInet}, instruction{opEqual, 1, 0, familyInet6},
		ret(deny(errAccess)))
	return append(block, inet...)
}

// inet decides which sockets of the internet families can be made.
func (r rules) inet() []instruction {
	kind := []instruction{argument(1), {opAnd, 0, 0, sockTypeMask}}
	tcp := []instruction{
		{opEqual, 0, 4, sockStream},
		argument(2), {opEqual, 1, 0, 0}, {opEqual, 0, 1, protocolTCP}, ret(retAllow),
	}
	switch {
	case r.net == NetOpen:
		return []instruction{ret(retAllow)}
	case r.ownNet:
		// Names are asked for by UDP, and answered by the supervisor.
		return append(kind, append(tcp, []instruction{
			// The type is no longer in the accumulator where the protocol did not fit.
			argument(1), {opAnd, 0, 0, sockTypeMask},
			{opEqual, 0, 4, sockDatagram},
			argument(2), {opEqual, 1, 0, 0}, {opEqual, 0, 1, protocolUDP}, ret(retAllow),
			ret(deny(errNoProtocol)),
		}...)...)
	case r.notify || r.listens:
		return append(kind, append(tcp, ret(deny(errNoProtocol)))...)
	}
	return []instruction{ret(deny(errAccess))}
}

// seesSockets says whether connect is one of the calls by which is learned: elsewhere it
// is denied, or asked for already.
func (r rules) seesSockets() bool { return r.ownNet || r.net == NetOpen }

func retOf(allowed bool, errno uint32) uint32 {
	if allowed {
		return retAllow
	}
	return deny(errno)
}

func ret(result uint32) instruction { return instruction{opReturn, 0, 0, result} }

// argument loads the low half of an argument; both architectures are little-endian. All
// that is looked at are numbers of 32 bits, of which the kernel takes this half too.
func argument(n int) instruction { return instruction{opLoad, 0, 0, uint32(offsetArgument + 8*n)} }
