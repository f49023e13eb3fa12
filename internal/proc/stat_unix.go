//go:build unix

package proc

// stat is what we need of what the system tells of a process.
type stat struct {
	pid     int
	state   byte
	ppid    int
	pgrp    int
	session int
	threads int
	start   uint64 // see ID.Start
}

// zombie says whether the process has ended and only waits to be reaped. While
// other threads go on after the first one has ended, the state is that of a
// zombie too, but the process lives.
func (s *stat) zombie() bool {
	return s.state == 'X' || s.state == 'Z' && s.threads <= 1
}
