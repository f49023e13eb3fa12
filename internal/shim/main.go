package shim

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"time"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/fail"
	"github.com/berth-run/berth/internal/home"
	"github.com/berth-run/berth/internal/proc"
)

// Mode says what a new shim is to do.
type Mode string

const (
	// ModeStart has the server up, because someone asked for it.
	ModeStart Mode = "start"
	// ModeRestart is ModeStart, recorded as a restart as well.
	ModeRestart Mode = "restart"
	// ModeHeal brings a server up again whose shim was killed, within the
	// bounds of its restart policy.
	ModeHeal Mode = "heal"
)

// boot is what the launcher tells a new shim.
type boot struct {
	Version int               `json:"v"`
	Home    string            `json:"home"`
	Name    string            `json:"name"`
	Mode    Mode              `json:"mode"`
	Spec    berth.ProcessSpec `json:"spec"`
	Environ []string          `json:"environ"`
	// Leash ties the shim to its launcher: it ends, with its server, when the
	// launcher does. For a throw-away home.
	Leash bool `json:"leash,omitempty"`
}

// greeting is the first thing that a new shim says.
const greeting = ShimName + " 1\n"

// greetTimeout is how long the launcher of a shim may take for its part.
const greetTimeout = 30 * time.Second

// run is the whole life of a shim process. It returns the exit code.
//
// A shim catches no signals: package os/signal takes four threads, a quarter of
// a shim's memory. In a session of its own nothing sends it any, but for a
// system that goes down, and then its server gets one as well.
func run(args []string, network Network) int {
	proc.ResetSignals()
	if fd, ok := fdArg(args, adoptPrefix); ok {
		return runAdopted(fd, args, network)
	}
	var message []byte
	if fd, ok := fdArg(args, bootPrefix); ok {
		var err error
		if message, err = readFrom(fd); err != nil {
			return 1
		}
	}
	conn, err := inheritedConn()
	if err != nil {
		fmt.Fprintln(os.Stderr, "berth: a shim is started by berth itself")
		return 2
	}
	defer conn.Close()
	if message == nil {
		if message, err = greet(conn); err != nil {
			return 1 // the launcher was killed: nothing was started
		}
	}
	var b boot
	if err := decode(message, &b); err != nil || b.Version != versionFor(&b.Spec) {
		answer(conn, reply{Error: toWire(fmt.Errorf("%w: a boot message that this shim does not understand", ErrProtocol))})
		return 1
	}
	if network == nil && b.Spec.Confine.Confined() {
		err := turnWith(message, args, bootPrefix, greetFD)
		answer(conn, reply{Error: toWire(fmt.Errorf("become a shim that confines: %w", err))})
		return 1
	}
	fail.Point("shim.boot.greeted")

	s, err := newShim(b, network)
	if err != nil {
		answer(conn, reply{Error: toWire(err), Busy: errors.Is(err, home.ErrLocked)})
		return 1
	}
	// From here on the lock is held; it is the process's end that releases it.
	fail.Point("shim.boot.locked")
	if err := s.open(b, conn); err != nil {
		answer(conn, reply{Error: toWire(err)})
		return 1
	}
	s.live()
	return 0
}

// greet says what this process is, and returns what it is to do.
func greet(conn connection) ([]byte, error) {
	conn.SetDeadline(time.Now().Add(greetTimeout))
	if _, err := conn.Write([]byte(greeting)); err != nil {
		return nil, err
	}
	frames := &frameReader{r: conn}
	kind, payload, err := frames.next()
	if err == nil && kind != frameRequest {
		err = ErrProtocol
	}
	conn.SetDeadline(time.Time{})
	return payload, err
}

// runAdopted continues the life of a shim whose program this one replaced.
func runAdopted(fd int, args []string, network Network) int {
	text, err := readFrom(fd)
	if err != nil {
		return 1
	}
	h, err := parseHandover(text)
	if err != nil {
		return 1
	}
	if network == nil && h.confines() {
		// The image before this one did not know that there are two roles.
		turnWith(text, args, adoptPrefix)
		return 1
	}
	s, err := adoptShim(h, network)
	if err != nil {
		return 1
	}
	s.live()
	return 0
}

// live runs the owner until there is nothing left to do. The owner has a
// goroutine of its own: this one is bound to the main thread, as all
// initialisation is, and would cost a switch of threads for each event. It
// waits for what only the main thread may do.
func (s *shim) live() {
	go s.loop()
	for {
		select {
		case f := <-s.onMain:
			f()
		case <-s.leaving:
			s.close()
			return
		}
	}
}

// newShim takes the server's lock, the first act of a shim: a loser has started
// nothing and touched nothing.
func newShim(b boot, network Network) (*shim, error) {
	s, err := bareShim(b, network)
	if err != nil {
		return nil, err
	}
	path, err := s.home.ShimLock(b.Name)
	if err != nil {
		return nil, err
	}
	s.lock, err = home.TryLock(path)
	return s, err
}

// bareShim is a shim that holds nothing yet.
func bareShim(b boot, network Network) (*shim, error) {
	h, err := home.Open(b.Home, nil)
	if err != nil {
		return nil, err
	}
	self, err := proc.Self()
	if err != nil {
		return nil, err
	}
	host, _ := os.Hostname() // only compared with what the same call said
	s := &shim{
		home: h, name: b.Name, self: self, host: host, network: network, leashed: b.Leash,
		inbox:    make(chan func()),
		leaving:  make(chan struct{}),
		onMain:   make(chan func()),
		origin:   time.Now(),
		timer:    time.NewTimer(time.Hour),
		watchers: map[*watcher]struct{}{},
		prober:   &proc.Prober{Key: h.Key(b.Name)},
		canary:   newCanary(),
	}
	s.timer.Stop()
	s.setSpec(b.Spec, b.Environ)
	return s, nil
}

func (s *shim) startScribe() {
	s.scribe = newScribe(func(records []berth.Record) error {
		_, err := s.home.AppendAll(records)
		return err
	}, func() { s.post(s.resumeDeferred) })
	go s.scribe.run()
}

// open recovers what an earlier shim left, opens the socket and begins with
// what the launcher asked for. The answer to the launcher is sent when it is
// known.
func (s *shim) open(b boot, conn connection) error {
	found, err := Recover(s.home, s.name)
	if err != nil {
		return err
	}
	if found.Foreign {
		answer(conn, reply{Outcome: int(berth.AlreadyRunning), Status: &found.Status})
		os.Exit(0)
	}
	s.take(found.State)
	s.warning = found.Warning()
	path, err := s.home.TreeLock(s.name)
	if err != nil {
		return err
	}
	if s.treeLock, err = home.TryLock(path); err != nil {
		return err
	}
	if s.log, err = s.home.OpenLog(s.name, home.LogOptions{}); err != nil {
		return err
	}
	s.startScribe()
	if s.socket, err = listen(s.home, s.name); err != nil {
		return err
	}
	s.guard()
	fail.Point("shim.boot.listening")
	s.begun(b, conn)
	// Callers wait in the socket's queue until here: the launcher's request is
	// the first, so that of many starts at once one has started the server.
	go s.accept(s.socket)
	if b.Leash {
		go s.leash(conn)
	}
	return nil
}

// begun does what the launcher asked for, and answers it when that is on record.
func (s *shim) begun(b boot, conn connection) {
	launched := func(err error) {
		st := s.status(false)
		r := reply{Error: toWire(err), Status: &st, Outcome: int(berth.Started)}
		s.answers.Go(func() {
			answer(conn, r)
			if !b.Leash {
				conn.Close()
			}
		})
	}
	switch b.Mode {
	case ModeHeal:
		if s.state.Desired != string(berth.Running) || s.state.AtRest {
			launched(nil)
			return
		}
		s.apply(evHeal{at: s.now(), chance: rand.Float64()})
		// Answered once its records are on the disk, or cannot be put there.
		s.scribe.write(nil, true, func(error) { s.post(func() { launched(s.whyDown()) }) })
	case ModeRestart:
		s.upWaits = append(s.upWaits, launched)
		s.apply(evStop{at: s.now(), then: causeRestart})
	default:
		s.upWaits = append(s.upWaits, launched)
		s.apply(evStart{at: s.now()})
	}
}

// whyDown is why the last spawn failed, if nothing more is planned.
func (s *shim) whyDown() error {
	if s.m.stage != stageDown {
		return nil
	}
	return s.startError
}

// take continues from the state that the last shim left.
func (s *shim) take(st home.State) {
	s.state = st
	s.generation = st.Generation
	times := st.RestartTimes
	for len(times) < st.RestartAttempts {
		// The reference counts its restarts without their times: at worst
		// they were just before its last word.
		times = append(times, time.Unix(st.UpdatedAt, 0))
	}
	for _, at := range times {
		// Wall-clock times of a predecessor become moments of ours, which
		// may be before moment 0.
		s.m.restarts = append(s.m.restarts, min(0, at.Sub(s.origin)))
	}
	s.m.reason = st.Reason
}

// leash ends the server when the launcher ends.
func (s *shim) leash(conn connection) {
	var b [1]byte
	conn.Read(b[:]) // the launcher never writes: this is its end
	s.post(func() {
		s.shutdown = true
		s.apply(evStop{at: s.now()})
	})
}

// close lets go of what other processes see; the lock goes with the process.
func (s *shim) close() {
	fail.Point("shim.close")
	for w := range s.watchers {
		w.out.close(nil)
	}
	if s.attached != nil {
		s.attached.out.close(nil)
	}
	last := make(chan struct{})
	go func() {
		s.answers.Wait()
		close(last)
	}()
	select {
	case <-last:
	case <-time.After(answerTimeout): // of clients that do not read
	}
	s.socket.close()
	s.scribe.close()
	s.log.Close()
}
