package netns

import (
	"os"

	"golang.org/x/sys/unix"
)

// watch is a raw socket that gets a copy of what begins a connection, or of a
// datagram, to wherever within. Nobody may listen there, so that the kernel alone
// answers; this is how a violation is seen all the same.
type watch struct {
	family   int // AF_INET or AF_INET6
	protocol int // IPPROTO_TCP or IPPROTO_UDP
}

func watched(six bool) []watch {
	all := []watch{{unix.AF_INET, unix.IPPROTO_TCP}, {unix.AF_INET, unix.IPPROTO_UDP}}
	if six {
		all = append(all, watch{unix.AF_INET6, unix.IPPROTO_TCP}, watch{unix.AF_INET6, unix.IPPROTO_UDP})
	}
	return all
}

// socket makes one whose filter keeps no more than the first 60 bytes, of TCP only
// segments with SYN and without ACK, and of UDP nothing to or from port 53.
func (w watch) socket() (int, error) {
	fd, err := unix.Socket(w.family, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, w.protocol)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	filter := w.filter()
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	err = unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &prog)
	if err == nil {
		err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 4096)
	}
	if err == nil && w.family == unix.AF_INET6 {
		err = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1)
	}
	if err != nil {
		unix.Close(fd)
		return -1, os.NewSyscallError("setsockopt", err)
	}
	return fd, nil
}

// filter begins at the IP header of IPv4, and of IPv6 at that of TCP or UDP.
func (w watch) filter() []unix.SockFilter {
	const (
		loadX = unix.BPF_LDX | unix.BPF_B | unix.BPF_MSH
		byteX = unix.BPF_LD | unix.BPF_B | unix.BPF_IND
		halfX = unix.BPF_LD | unix.BPF_H | unix.BPF_IND
		and   = unix.BPF_ALU | unix.BPF_AND | unix.BPF_K
		equal = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		ret   = unix.BPF_RET | unix.BPF_K
	)
	first := unix.SockFilter{Code: loadX, K: 0} // X = the length of the header of IPv4
	if w.family == unix.AF_INET6 {
		first = unix.SockFilter{Code: unix.BPF_LDX | unix.BPF_W | unix.BPF_IMM, K: 0}
	}
	if w.protocol == unix.IPPROTO_TCP {
		return []unix.SockFilter{
			first,
			{Code: byteX, K: 13}, // flags
			{Code: and, K: 0x12}, // SYN and ACK
			{Code: equal, K: 0x02, Jt: 0, Jf: 1},
			{Code: ret, K: 60},
			{Code: ret, K: 0},
		}
	}
	return []unix.SockFilter{
		first,
		{Code: halfX, K: 2}, // to
		{Code: equal, K: DNSPort, Jt: 3, Jf: 0},
		{Code: halfX, K: 0}, // from
		{Code: equal, K: DNSPort, Jt: 1, Jf: 0},
		{Code: ret, K: 60},
		{Code: ret, K: 0},
	}
}
