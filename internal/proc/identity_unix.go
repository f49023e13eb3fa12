//go:build unix

package proc

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// world is the boot and the PID namespace that pids are counted in.
type world struct {
	boot      string
	namespace uint64
}

func (w world) id(s stat) ID {
	return ID{PID: s.pid, Start: s.start, Boot: w.boot, Namespace: w.namespace}
}

// here says whether the pid of an ID means something in this boot; in another
// PID namespace the error is ErrForeign.
func here(id ID) (bool, error) {
	w, err := thisWorld()
	if err != nil {
		return false, err
	}
	if id.Boot != w.boot {
		return false, nil
	}
	if id.Namespace != w.namespace {
		return false, fmt.Errorf("%v: %w", id, ErrForeign)
	}
	return true, nil
}

// Self returns this process.
func Self() (ID, error) { return Identify(os.Getpid()) }

// Identify returns the process that has the pid now. One that has ended is
// ErrGone, also while it waits to be reaped.
func Identify(pid int) (ID, error) {
	id, s, err := identify(pid)
	if err == nil && s.zombie() {
		err = ErrGone
	}
	if err != nil {
		return ID{}, fmt.Errorf("identify pid %d: %w", pid, err)
	}
	return id, nil
}

// identify accepts zombies.
func identify(pid int) (ID, stat, error) {
	w, err := thisWorld()
	if err != nil {
		return ID{}, stat{}, err
	}
	s, err := readStat(pid)
	if err != nil {
		return ID{}, stat{}, err
	}
	return w.id(s), s, nil
}

// Descendants lists the live descendants of a process.
func Descendants(id ID) ([]ID, error) {
	w, err := thisWorld()
	if err != nil {
		return nil, err
	}
	stats, err := processes()
	if err != nil {
		return nil, err
	}
	// The root must still be the same process after the scan.
	if alive, err := id.Alive(); !alive || err != nil {
		return nil, err
	}
	var ids []ID
	for _, s := range descendants(stats, id.PID, nil) {
		if !s.zombie() {
			ids = append(ids, w.id(s))
		}
	}
	return ids, nil
}

// descendants returns the processes below root, zombies too, but neither those
// in except nor what is below them.
func descendants(stats []stat, root int, except map[int]struct{}) []stat {
	below := make(map[int][]int, len(stats))
	for i, s := range stats {
		below[s.ppid] = append(below[s.ppid], i)
	}
	var found []stat
	queue := []int{root}
	for len(queue) > 0 {
		next := below[queue[0]]
		queue = queue[1:]
		for _, i := range next {
			if _, skip := except[stats[i].pid]; skip {
				continue
			}
			found = append(found, stats[i])
			queue = append(queue, stats[i].pid)
		}
		// A scan is not a snapshot: a reused pid could close a circle.
		if len(found) > len(stats) {
			break
		}
	}
	return found
}

// isGone says whether an error means that the process had ended already.
func isGone(err error) bool {
	return errors.Is(err, ErrGone) || errors.Is(err, unix.ESRCH)
}

// answer is what looking at a process told.
type answer int

const (
	no answer = iota
	yes
	unreadable
)

// incarnationMarker is how an environment begins to tell an incarnation; with
// "", any of them.
func incarnationMarker(incarnation string) []byte {
	return []byte(IncarnationVariable + "=" + incarnation)
}
