package main

import (
	"fmt"
	"net"
	"os"
	"strconv"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/autostart"
)

// firstSocket is the first descriptor of sockets that systemd passes on
// (SD_LISTEN_FDS_START).
const firstSocket = 3

// takeSocket takes the socket that systemd has opened for this process, nil if it has
// opened none. What says so is removed from the environment: what this process
// starts gets no socket.
func takeSocket() (*os.File, error) {
	names, err := passedSockets(os.Getenv, os.Getpid())
	for _, key := range []string{"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID"} {
		_ = os.Unsetenv(key)
	}
	if err != nil || len(names) == 0 {
		return nil, err
	}
	return openPassed(firstSocket, names[0])
}

// passedSockets are the names of the sockets that the environment says are passed to
// a process, by sd_listen_fds(3): LISTEN_PID says to which, LISTEN_FDS how many, and
// LISTEN_FDNAMES, which may be missing, how they are called.
func passedSockets(getenv func(string) string, pid int) ([]string, error) {
	to := getenv("LISTEN_PID")
	if to == "" || to != strconv.Itoa(pid) {
		return nil, nil // they were for a process that has started us
	}
	text := getenv("LISTEN_FDS")
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		return nil, fmt.Errorf("LISTEN_FDS=%s is not a number of sockets", printable(text))
	}
	switch {
	case n == 0:
		return nil, nil
	case n > 1:
		return nil, berth.WithHint(fmt.Errorf("systemd passes %d sockets on, and berth up serves one", n), "one ListenStream= in the socket unit")
	}
	name := getenv("LISTEN_FDNAMES")
	if name != "" && name != autostart.Socket {
		return nil, berth.WithHint(fmt.Errorf("systemd passes a socket on that is called %s", printable(name)),
			"FileDescriptorName="+autostart.Socket+" in the socket unit, if it is for berth up")
	}
	return []string{autostart.Socket}, nil
}

// takes has the door be a socket that listens already.
func (d *door) takes(socket *os.File) error {
	l, err := net.FileListener(socket) // of a copy
	if err != nil {
		return fmt.Errorf("use the socket that systemd has opened: %w", err)
	}
	defer l.Close()
	if _, ok := l.(*net.TCPListener); !ok {
		return berth.WithHint(fmt.Errorf("the socket that systemd has opened is one of %s, not of TCP", l.Addr().Network()), "ListenStream=127.0.0.1:7077")
	}
	if d.listen != "" && !listensAt(l, d.listen) {
		return berth.WithHint(fmt.Errorf("systemd has opened %s, and --listen says %s", l.Addr(), d.listen), "leave --listen out, or say the same in the socket unit")
	}
	d.listen, d.given = l.Addr().String(), socket
	return nil
}
