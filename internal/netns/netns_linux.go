package netns

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"
)

// InwardSockets is how many connections there can be at a time to what the server
// listens on, by IPv4 and by IPv6.
const InwardSockets = 16

// backlog is how many connections wait for the shim to accept them.
const backlog = 128

// maxPorts keeps what is sent to the shim within one message (SCM_MAX_FD is 253).
const maxPorts = 200

// Prepare makes every address of the fresh network namespace that the caller is in
// this host, and returns listeners on port 53 (UDP and TCP), on the given ports and
// on that of the proxy, sockets for dialling inward, and ones that see what is tried
// elsewhere. The caller needs CAP_NET_ADMIN and CAP_NET_RAW there, and to be on one
// thread; it sends the files to the shim and closes them before the server runs.
//
// Ports below 1024 cannot be the server's own, which has no capability to listen on
// them. A server that listens on one of the others that it was granted as a
// destination finds it in use.
func Prepare(ports []uint16) (files []*os.File, err error) {
	if len(ports) > maxPorts {
		return nil, fmt.Errorf("%d ports are granted, of which a server can have %d", len(ports), maxPorts)
	}
	defer func() {
		if err != nil {
			for _, f := range files {
				f.Close()
			}
			files = nil
		}
	}()
	six, err := everywhere()
	if err != nil {
		return nil, err
	}
	add := func(fd int, err error, what string) error {
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		files = append(files, os.NewFile(uintptr(fd), what))
		return nil
	}
	listen := func(kind int, at unix.Sockaddr, port uint16) error {
		fd, err := bound(kind, at)
		return add(fd, err, fmt.Sprintf("listen on port %d inside", port))
	}
	if err := listen(unix.SOCK_DGRAM, anyAddr(six, DNSPort), DNSPort); err != nil {
		return files, err
	}
	if err := listen(unix.SOCK_STREAM, anyAddr(six, DNSPort), DNSPort); err != nil {
		return files, err
	}
	if !slices.Contains(ports, ProxyPort) { // the listener on all addresses is on its own as well
		if err := listen(unix.SOCK_STREAM, &unix.SockaddrInet4{Addr: ProxyHost(), Port: ProxyPort}, ProxyPort); err != nil {
			return files, err
		}
	}
	for _, port := range ports {
		if port == DNSPort {
			continue
		}
		if err := listen(unix.SOCK_STREAM, anyAddr(six, port), port); err != nil {
			return files, err
		}
	}
	families := []int{unix.AF_INET}
	if six {
		families = append(families, unix.AF_INET6)
	}
	for _, family := range families {
		for range InwardSockets {
			fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.IPPROTO_TCP)
			if err := add(fd, err, "make a socket inside"); err != nil {
				return files, err
			}
		}
	}
	for _, w := range watched(six) {
		fd, err := w.socket()
		if err := add(fd, err, "watch what is tried inside"); err != nil {
			return files, err
		}
	}
	return files, nil
}

func anyAddr(six bool, port uint16) unix.Sockaddr {
	if six {
		return &unix.SockaddrInet6{Port: int(port)}
	}
	return &unix.SockaddrInet4{Port: int(port)}
}

// bound returns a socket that listens at an address. One of :: is for both kinds of
// addresses.
func bound(kind int, at unix.Sockaddr) (int, error) {
	family := unix.AF_INET
	if _, six := at.(*unix.SockaddrInet6); six {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	set := func(level, name, value int) {
		if err == nil {
			err = os.NewSyscallError("setsockopt", unix.SetsockoptInt(fd, level, name, value))
		}
	}
	if family == unix.AF_INET6 {
		set(unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 0)
	}
	if kind == unix.SOCK_DGRAM {
		// The answer has to come from the address that was asked, whichever it was.
		if family == unix.AF_INET6 {
			set(unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1)
			// Of IPv6, an address that is only routed here is not one to send from.
			set(unix.IPPROTO_IPV6, unix.IPV6_FREEBIND, 1)
		} else {
			set(unix.IPPROTO_IP, unix.IP_PKTINFO, 1)
		}
	}
	if err == nil {
		err = os.NewSyscallError("bind", unix.Bind(fd, at))
	}
	if err == nil && kind == unix.SOCK_STREAM {
		err = os.NewSyscallError("listen", unix.Listen(fd, backlog))
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// everywhere brings the loopback interface up and makes all addresses local to it.
// It says whether there is IPv6.
func everywhere() (six bool, err error) {
	nl, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return false, fmt.Errorf("netlink: %w", err)
	}
	defer unix.Close(nl)
	lo, err := loopback()
	if err != nil {
		return false, err
	}
	up := unix.IfInfomsg{Index: lo, Flags: unix.IFF_UP, Change: unix.IFF_UP}
	if err := tell(nl, unix.RTM_NEWLINK, 0, bytesOf(&up)); err != nil {
		return false, fmt.Errorf("bring lo up: %w", err)
	}
	route := func(family uint8) error {
		m := unix.RtMsg{Family: family, Table: unix.RT_TABLE_LOCAL, Protocol: unix.RTPROT_BOOT, Scope: unix.RT_SCOPE_HOST, Type: unix.RTN_LOCAL}
		oif := unix.RtAttr{Len: unix.SizeofRtAttr + 4, Type: unix.RTA_OIF}
		return tell(nl, unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, bytesOf(&m), bytesOf(&oif), bytesOf(&lo))
	}
	if err := route(unix.AF_INET); err != nil {
		return false, fmt.Errorf("route every address to lo: %w", err)
	}
	// A kernel without IPv6, or told not to use it, has none inside either.
	return route(unix.AF_INET6) == nil && haveSix(), nil
}

func haveSix() bool {
	fd, err := bound(unix.SOCK_STREAM, &unix.SockaddrInet6{Addr: [16]byte{15: 1}})
	if err == nil {
		unix.Close(fd)
	}
	return err == nil
}

func loopback() (index int32, err error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	req, err := unix.NewIfreq("lo")
	if err != nil {
		return 0, err
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, req); err != nil {
		return 0, fmt.Errorf("find lo: %w", err)
	}
	return int32(req.Uint32()), nil
}

// bytesOf is the memory of a message's part, as the kernel reads it.
func bytesOf[T any](v *T) []byte { return unsafe.Slice((*byte)(unsafe.Pointer(v)), unsafe.Sizeof(*v)) }

// tell sends one netlink message and waits for the kernel's word on it.
func tell(nl int, kind, flags uint16, parts ...[]byte) error {
	h := unix.NlMsghdr{Type: kind, Flags: unix.NLM_F_REQUEST | unix.NLM_F_ACK | flags, Seq: 1}
	body := slices.Concat(parts...)
	h.Len = uint32(unix.SizeofNlMsghdr + len(body))
	if err := unix.Sendto(nl, append(bytesOf(&h), body...), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return os.NewSyscallError("sendto", err)
	}
	buf := make([]byte, 4096)
	n, _, err := unix.Recvfrom(nl, buf, 0)
	if err != nil {
		return os.NewSyscallError("recvfrom", err)
	}
	if n < unix.SizeofNlMsghdr+4 || binary.NativeEndian.Uint16(buf[4:]) != unix.NLMSG_ERROR {
		return errors.New("an answer of netlink that is none")
	}
	if code := int32(binary.NativeEndian.Uint32(buf[unix.SizeofNlMsghdr:])); code != 0 {
		return unix.Errno(-code)
	}
	return nil
}
