package shim

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/fail"
	"github.com/berth-run/berth/internal/home"
	"github.com/berth-run/berth/internal/proc"
)

// An upgrade replaces the shim's program in place (execve(2)): the process, its
// locks, its children and the descriptors that are kept are the same after it,
// so the server notices nothing. What memory held, the secrets of the server's
// environment included, travels by a descriptor and is on no disk.

// handover is what the next image continues from.
type handover struct {
	Version int           `json:"v"`
	Boot    boot          `json:"boot"`
	Elapsed time.Duration `json:"elapsed"` // moment of the handover

	Stage    stage         `json:"stage"`
	Why      cause         `json:"why"`
	Then     cause         `json:"then"`
	BornAt   moment        `json:"bornAt"`
	Restarts []moment      `json:"restarts"`
	Streak   int           `json:"streak"`
	Ready    bool          `json:"ready"`
	Reason   string        `json:"reason"`
	Due      time.Duration `json:"due"` // of the timer, from the handover

	Generation  uint64         `json:"generation"`
	Incarnation string         `json:"incarnation"`
	Next        string         `json:"next"`
	Epoch       uint64         `json:"epoch"`
	Note        []byte         `json:"note"`
	MCP         *berth.MCPInfo `json:"mcp"`
	Stderr      []string       `json:"stderr"`
	Dropped     berth.Dropped  `json:"dropped"`
	Started     time.Time      `json:"started"`
	Skip        lineKind       `json:"skip"` // what to do with the rest of the present line

	// Confines: the next image is to be one with a network. Turned: it is the same
	// program.
	Confines bool `json:"confines,omitempty"`
	Turned   bool `json:"turned,omitempty"`

	Tree *proc.Handover `json:"tree"`
	Jail *jailState     `json:"jail,omitempty"`
	// Descriptors. Zero is none: a shim never keeps its stdin.
	Lock     int `json:"lock"`
	TreeLock int `json:"treeLock"`
	Listener int `json:"listener"`
	Stdin    int `json:"stdin"`
	Stdout   int `json:"stdout"`
	ErrPipe  int `json:"errPipe"`
}

// How the next image learns the descriptor of the handover, or of the boot message.
const (
	adoptPrefix = "adopt="
	bootPrefix  = "boot="
)

// upgrade becomes the executable, or calls done with why not. On success this
// image ends here; the next one answers at the same socket.
func (s *shim) upgrade(executable string, done func(error)) {
	err := s.mayChange()
	if err == nil {
		err = checkExecutable(executable)
	}
	if err == nil {
		err = s.become(image{path: executable})
	}
	done(err)
}

// mayChange says why the program of this process cannot be replaced now.
func (s *shim) mayChange() error {
	switch {
	case s.leashed:
		return fmt.Errorf("server %q ends with the program that started it, and so does its supervisor", s.name)
	case s.m.stage != stageUp && s.m.stage != stageBackoff:
		return fmt.Errorf("server %q is %s: try again when it runs", s.name, s.m.phase())
	case !s.scribe.idle() || s.stateStale:
		return fmt.Errorf("records of %q are not on the disk yet: try again", s.name)
	}
	return nil
}

// image is a program to become.
type image struct {
	path string
	// turns: it is this very program, which is to confine from now on.
	turns bool
}

// become executes the image in the place of this one, and returns only if that failed.
func (s *shim) become(i image) error {
	if s.attached != nil {
		// The attacher comes back to the next image; half a line of its would
		// be lost in this one.
		s.attached.conn.Close()
		s.detach(s.attached)
	}
	if c := s.child; c != nil && !c.relay.inMu.TryLock() {
		return fmt.Errorf("server %q does not read its input: try again", s.name)
	}
	h, err := s.pause()
	if err == nil {
		fail.Point("shim.upgrade.before-exec")
		h.Confines, h.Turned = s.network != nil || i.turns, i.turns
		err = s.execute(i, h)
	}
	// It failed, so this image goes on.
	s.resume(h)
	return fmt.Errorf("become %s: %w", i.path, err)
}

// pause stops every goroutine that holds something which the next image needs.
func (s *shim) pause() (handover, error) {
	now := s.now()
	h := handover{
		Version: versionFor(&s.spec),
		Boot:    boot{Version: wireVersion, Home: s.home.Dir(), Name: s.name, Spec: s.spec, Environ: s.environ},
		Elapsed: now, Stage: s.m.stage, Why: s.m.why, Then: s.m.then, BornAt: s.m.bornAt,
		Restarts: s.m.restarts, Streak: s.m.streak, Ready: s.m.ready, Reason: s.m.reason,
		Generation: s.generation, Next: s.next, Epoch: s.epoch, Note: s.note, MCP: s.mcp, Stderr: s.stderr.lines(),
	}
	if !s.due.IsZero() {
		h.Due = time.Until(s.due)
	}
	if d := s.dropped(); d != nil {
		h.Dropped = *d
	}
	c := s.child
	if c == nil {
		return h, nil
	}
	h.Incarnation, h.Started = c.incarnation, c.started
	past := time.Unix(1, 0)
	c.stdout.SetReadDeadline(past)
	c.stderrPipe.SetReadDeadline(past)
	c.pumps.Wait()
	c.flush()
	h.Skip = c.relay.rest.kind
	tree, err := c.tree.Handover()
	if err != nil {
		return h, err
	}
	h.Tree = &tree
	if c.jail != nil {
		h.Version = confinedVersion
	}
	if h.Jail, err = c.jail.pause(); err != nil {
		return h, fmt.Errorf("hand over the network of the server: %w", err)
	}
	return h, nil
}

// resume takes up what pause stopped.
func (s *shim) resume(h handover) {
	c := s.child
	if c == nil {
		return
	}
	if h.Tree != nil {
		if tree, err := proc.Adopt(*h.Tree); err == nil {
			c.tree = tree
		}
	}
	if err := c.jail.resume(h.Jail); err != nil {
		s.lifecycle(time.Now(), "NETWORK_LOST "+err.Error()) // it reaches nothing from now on
	}
	c.stdout.SetReadDeadline(time.Time{})
	c.stderrPipe.SetReadDeadline(time.Time{})
	c.relay.inMu.Unlock()
	s.begin(c)
}

// execute hands over to the next image. It returns only if that failed.
func (s *shim) execute(i image, h handover) error {
	keep, err := s.keepOpen(&h)
	if err != nil {
		return err
	}
	text, err := json.Marshal(h)
	if err != nil {
		return fmt.Errorf("write the handover: %w", err)
	}
	f, err := inMemory(text)
	if err != nil {
		return fmt.Errorf("write the handover: %w", err)
	}
	defer f.Close()
	// A program of another version may not know the roles: it is told in the handover
	// that it is to confine, and turns.
	args := roleArgs(s.name, adoptPrefix, f, i.turns)
	failed := make(chan error, 1)
	s.onMain <- func() {
		failed <- execInPlace(i.path, args, shimEnviron(os.Environ()), append(keep, int(f.Fd())))
	}
	return <-failed
}

// keepOpen notes the descriptors of everything that is handed over.
func (s *shim) keepOpen(h *handover) ([]int, error) {
	var keep []int
	note := func(where *int, f *os.File) {
		*where = int(f.Fd())
		keep = append(keep, *where)
	}
	note(&h.Lock, s.lock.File())
	note(&h.TreeLock, s.treeLock.File())
	l, err := s.socket.file()
	if err != nil {
		return nil, err
	}
	note(&h.Listener, l)
	if c := s.child; c != nil {
		note(&h.Stdin, c.stdin)
		note(&h.Stdout, c.stdout)
		note(&h.ErrPipe, c.stderrPipe)
		keep = append(keep, h.Tree.Keep()...)
		if h.Jail != nil {
			keep = append(keep, h.Jail.Files...)
		}
	}
	return keep, nil
}

// confines says whether the next image has to have a network. Those that knew of no
// other had the version of what it is about.
func (h *handover) confines() bool { return h.Confines || h.Version == confinedVersion }

// errHandover: the handover is not one that this image understands. The server
// cannot be kept then, and the next start clears it away.
var errHandover = errors.New("a handover that this version does not understand")

func parseHandover(text []byte) (h handover, err error) {
	if err := json.Unmarshal(text, &h); err != nil {
		return h, fmt.Errorf("%w: %v", errHandover, err)
	}
	if h.Version < wireVersion || h.Version > confinedVersion {
		return h, errHandover
	}
	return h, nil
}

// adoptShim rebuilds the owner from a handover.
func adoptShim(h handover, network Network) (*shim, error) {
	inherit := func(fd int, name string) *os.File {
		closeOnExec(fd)
		return os.NewFile(uintptr(fd), name)
	}
	s, err := bareShim(h.Boot, network)
	if err != nil {
		return nil, err
	}
	s.lock = home.LockOf(inherit(h.Lock, "shim.lock"))
	s.treeLock = home.LockOf(inherit(h.TreeLock, "tree.lock"))
	st, _, err := s.home.ReadState(s.name)
	if err != nil {
		return nil, err
	}
	s.state = st
	s.origin = time.Now().Add(-h.Elapsed)
	s.m.stage, s.m.why, s.m.then, s.m.bornAt = h.Stage, h.Why, h.Then, h.BornAt
	s.m.restarts, s.m.streak, s.m.ready, s.m.reason = h.Restarts, h.Streak, h.Ready, h.Reason
	s.generation, s.next, s.epoch, s.note, s.mcp = h.Generation, h.Next, h.Epoch, h.Note, h.MCP
	s.stderr.ring = h.Stderr
	s.counts.notJSON.Store(h.Dropped.NotJSON)
	s.counts.unattached.Store(h.Dropped.Unattached)
	s.counts.tooLong.Store(h.Dropped.TooLong)
	if s.log, err = s.home.OpenLog(s.name, home.LogOptions{}); err != nil {
		return nil, err
	}
	s.startScribe()
	path, err := s.home.ReadSocketPath(s.name)
	if err != nil {
		return nil, err
	}
	f := inherit(h.Listener, "socket")
	s.socket = adoptSocket(f, path)
	if h.Tree != nil {
		tree, err := proc.Adopt(*h.Tree)
		if err != nil {
			return nil, err
		}
		c := s.newChild(tree, pipes{
			in: inherit(h.Stdin, "pipe"), out: inherit(h.Stdout, "pipe"), err: inherit(h.ErrPipe, "pipe"),
		}, h.Incarnation, h.Started)
		c.generation, c.relay.generation = h.Generation, h.Generation
		c.relay.rest = line{kind: h.Skip, size: 1}
		s.child = c
		if c.jail, err = s.adoptJail(h.Jail, inherit); err != nil {
			return nil, err
		}
		s.keep(c)
	}
	if h.Due != 0 {
		s.timer.Reset(h.Due)
		s.due = time.Now().Add(h.Due)
	}
	if !h.Turned {
		s.record(time.Now(), berth.ActionUpgrade, s.state.PID, func(r *berth.Record) { r.Detail = "version " + berth.Version })
	}
	s.self, err = proc.Self()
	if err != nil {
		return nil, err
	}
	go s.accept(s.socket)
	s.guard()
	if s.child != nil {
		s.begin(s.child)
	}
	go s.post(s.settle)
	return s, nil
}
