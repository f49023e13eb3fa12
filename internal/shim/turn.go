package shim

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/berth-run/berth"
)

// A shim has one of two roles: with a Network, or without, which is a third smaller.
// Which it is to be is told by its last argument. One without that is asked to confine
// its server executes itself in the other role.

// confining is the last argument of a shim with a Network.
const confining = "confined"

func confines(args []string) bool { return len(args) > 2 && args[len(args)-1] == confining }

// roleArgs are the arguments of an image that is told its work by a descriptor.
func roleArgs(name, prefix string, f *os.File, confined bool) []string {
	args := []string{ShimName, name, prefix + strconv.Itoa(int(f.Fd()))}
	if confined {
		args = append(args, confining)
	}
	return args
}

// fdArg returns that descriptor, if there is one of this prefix.
func fdArg(args []string, prefix string) (fd int, ok bool) {
	if len(args) < 3 {
		return 0, false
	}
	text, ok := strings.CutPrefix(args[2], prefix)
	if !ok {
		return 0, false
	}
	fd, err := strconv.Atoi(text)
	return fd, err == nil && fd > 2
}

func readFrom(fd int) ([]byte, error) {
	f := os.NewFile(uintptr(fd), "handover")
	defer f.Close()
	return io.ReadAll(f)
}

// turnWith has this process, which has done nothing yet, begin again with a Network and
// the same text. It returns only if that failed. keep are the descriptors beside those
// that stay open as it is.
func turnWith(text []byte, args []string, prefix string, keep ...int) error {
	exe, err := ownExecutable()
	if err != nil {
		return err
	}
	f, err := inMemory(text)
	if err != nil {
		return err
	}
	defer f.Close()
	return execInPlace(exe, roleArgs(args[1], prefix, f, true), os.Environ(), append(keep, int(f.Fd())))
}

// unfit says whether this shim would have to be another for the spec.
func (s *shim) unfit(spec *berth.ProcessSpec) bool {
	return s.network == nil && spec != nil && spec.Confine.Confined()
}

// turn has this process become one that can do what the request asks, its server
// untouched. Who asked asks again: the connection ends with this image. What is under
// way is waited for, and so are the records.
func (s *shim) turn(req request, done func(reply)) {
	records := s.records
	s.records = nil
	s.scribe.write(records, true, func(failed error) {
		go s.post(func() {
			if failed != nil {
				s.decline(done, fmt.Errorf("the audit trail cannot be written, so server %q goes on as it is: %w", s.name, failed))
				return
			}
			s.deferred = append(s.deferred, func() { s.turnNow(req, done) })
			s.resumeDeferred()
		})
	})
}

// turnNow is turn at a moment when nothing is under way. Where this process cannot turn,
// done is told ErrReplace.
func (s *shim) turnNow(req request, done func(reply)) {
	switch {
	case s.m.stage == stageUp && req.Op == opStart:
		s.change(req, done) // what was asked for has come about
	case s.stateStale:
		s.decline(done, fmt.Errorf("the state of server %q cannot be written, so it goes on as it is", s.name))
	default:
		s.decline(done, fmt.Errorf("%w by one that confines: %w", ErrReplace, s.becomeConfining()))
	}
}

func (s *shim) decline(done func(reply), err error) {
	st := s.status(false)
	done(reply{Error: toWire(err), Status: &st})
}

// resumeDeferred takes up the requests that wait, if nothing is under way.
func (s *shim) resumeDeferred() {
	if !s.quiescent() {
		return
	}
	deferred := s.deferred
	s.deferred = nil
	for _, ask := range deferred {
		ask()
	}
}

// quiescent says whether nothing is being started or ended, and all is on record.
func (s *shim) quiescent() bool {
	return (s.m.stage == stageUp || s.m.stage == stageDown || s.m.stage == stageBackoff) && s.scribe.idle()
}

// becomeConfining executes this program in the role with a Network. It returns only if
// that failed.
func (s *shim) becomeConfining() error {
	err := s.mayChange()
	if err != nil {
		return err
	}
	exe, err := ownExecutable()
	if err != nil {
		return err
	}
	if err := checkOwn(exe); err != nil {
		return err
	}
	return s.become(image{path: exe, turns: true})
}
