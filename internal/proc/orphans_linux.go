package proc

import (
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// orphanage makes this process the one to which orphaned descendants fall. A
// nil orphanage does nothing.
type orphanage struct{ once sync.Once }

func openOrphanage() (*orphanage, error) {
	children.mu.Lock()
	defer children.mu.Unlock()
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return nil, fmt.Errorf("become a subreaper: %w", err)
	}
	children.orphanages++
	return &orphanage{}, nil
}

// bury reaps orphans as they die, until this process has no child. It blocks in
// the kernel and so takes a thread, but package os/signal would take more: a
// signal is the only other way to hear of a child that one does not know.
func (r *registry) bury() {
	for {
		info, err := waitid(unix.P_ALL, 0, unix.WEXITED|unix.WNOWAIT)
		if err == nil {
			r.passBy(int(info.child.pid))
			continue
		}
		if r.idle() {
			return
		}
	}
}

// idle says whether there is nobody to wait for; fork starts bury again.
func (r *registry) idle() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, err := waitid(unix.P_ALL, 0, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT)
	r.burying = err == nil
	return err != nil
}

// passBy reaps a dead child if it is an orphan, and else waits for its owner to
// do so, for it hides other dead from waitid.
func (r *registry) passBy(pid int) {
	r.mu.Lock()
	reaped := r.owned[pid]
	if reaped == nil && isOrphan(pid) {
		_, _ = waitid(unix.P_PID, pid, unix.WEXITED|unix.WNOHANG)
	}
	r.mu.Unlock()
	if reaped != nil {
		<-reaped
		return
	}
	// A child that this package did not start: its owner is about to reap it.
	// Nothing tells when, and in a supervisor there is none.
	if _, err := waitid(unix.P_PID, pid, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT); err == nil {
		time.Sleep(time.Millisecond)
	}
}

// reap takes dead orphans out of the process table. It leaves children that
// somebody else waits for: those of a Tree, and any in this process' own
// session, where no orphan of a tree can be, for a tree has its own.
func (o *orphanage) reap() {
	if o == nil {
		return
	}
	children.mu.Lock()
	defer children.mu.Unlock()
	for {
		info, err := waitid(unix.P_ALL, 0, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT)
		if err != nil || info.child.pid == 0 {
			return
		}
		if !isOrphan(int(info.child.pid)) {
			// It hides the other dead from such a look, so look for them.
			reapListed()
			return
		}
		if _, err := waitid(unix.P_PID, int(info.child.pid), unix.WEXITED|unix.WNOHANG); err != nil {
			return
		}
	}
}

// reapListed finds the dead orphans by a scan.
func reapListed() {
	stats, err := processes()
	if err != nil {
		return
	}
	self := os.Getpid()
	for _, s := range stats {
		if s.ppid == self && s.zombie() && isOrphan(s.pid) {
			_, _ = waitid(unix.P_PID, s.pid, unix.WEXITED|unix.WNOHANG)
		}
	}
}

// isOrphan says whether a dead child is one that nobody waits for. children.mu
// is held.
func isOrphan(pid int) bool {
	if _, owned := children.owned[pid]; owned {
		return false
	}
	theirs, err := unix.Getsid(pid)
	if err != nil {
		return false
	}
	own, err := unix.Getsid(0)
	return err == nil && theirs != own
}

// none says whether this process has no child at all, dead or alive.
func (o *orphanage) none() (bool, error) {
	_, err := waitid(unix.P_ALL, 0, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT)
	if err == unix.ECHILD {
		return true, nil
	}
	if err != nil {
		return false, os.NewSyscallError("waitid", err)
	}
	return false, nil
}

// members lists the live processes below this one that are of the tree: in
// another session than this process, which no member can join, and not of
// another tree. A supervisor must not start anything else in a session of its
// own: nothing tells such a child from an orphan.
func (o *orphanage) members(leader int, incarnation string) ([]stat, error) {
	self := os.Getpid()
	own, err := unix.Getsid(0)
	if err != nil {
		return nil, os.NewSyscallError("getsid", err)
	}
	others := map[int]struct{}{}
	children.mu.Lock()
	for pid := range children.owned {
		if pid != leader {
			others[pid] = struct{}{}
		}
	}
	children.mu.Unlock()
	stats, err := processes()
	if err != nil {
		return nil, err
	}
	var members []stat
	marker, anyMarker := incarnationMarker(incarnation), incarnationMarker("")
	for _, s := range descendants(stats, self, others) {
		if s.zombie() || s.session == own {
			continue
		}
		// One that carries another incarnation is an orphan of another tree.
		if carries(s.pid, anyMarker) == yes && carries(s.pid, marker) == no {
			continue
		}
		members = append(members, s)
	}
	return members, nil
}

// leave gives up the orphanage, but orphans go on falling to this process.
func (o *orphanage) leave() {
	if o == nil {
		return
	}
	o.once.Do(func() {
		children.mu.Lock()
		defer children.mu.Unlock()
		children.orphanages--
	})
}

// close also makes the last one undo what the first one did to the process.
func (o *orphanage) close() {
	if o == nil {
		return
	}
	o.leave()
	children.mu.Lock()
	defer children.mu.Unlock()
	if children.orphanages == 0 {
		_ = unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
	}
}
