package proc

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	berth "github.com/berth-run/berth"
)

// Tree is a started process and all its descendants. Its methods may be called
// concurrently.
type Tree struct {
	id          ID
	incarnation string
	mechanism   berth.TreeMechanism
	leader      *outcome
	holder      holder
	memory      memory
	rest        []quota
}

// holder keeps the members of a tree together: one implementation for each
// mechanism.
type holder interface {
	// terminate asks every member to end.
	terminate() error
	// kill ends every member and waits until none is left, or ctx ends: then
	// it returns the survivors.
	kill(ctx context.Context) ([]ID, error)
	// members lists the live processes of the tree.
	members() ([]ID, error)
	// empty says whether there are none; it is cheaper than members.
	empty() (bool, error)
	// guarantee says how far the end of the tree is certain.
	guarantee() berth.Guarantee
	// cgroups are the directories that the record of the server must name.
	cgroups() []string
	// handover stops watching the leader, so that its exit is left for the
	// next image of this process, and writes down what that one needs.
	handover(h *Handover) error
	// close releases what is held. The tree is empty.
	close() error
}

// memory is the limit on the memory of a tree.
type memory interface {
	guarantee() berth.Guarantee
	// usage is the memory of the tree; false if this limit does not measure it.
	usage() (uint64, bool)
	// exceeded says whether the kernel ended a process because of the limit.
	exceeded() bool
	cgroups() []string
	handover(h *Handover)
	close() error
}

// outcome is how the leader ended, once it has.
type outcome struct {
	done chan struct{}
	once sync.Once
	exit berth.Exit // written before done is closed
}

func newOutcome() *outcome { return &outcome{done: make(chan struct{})} }

func (o *outcome) resolve(e berth.Exit) {
	o.once.Do(func() {
		o.exit = e
		close(o.done)
	})
}

func (o *outcome) resolved() bool {
	select {
	case <-o.done:
		return true
	default:
		return false
	}
}

// Start starts the program and returns when it was executed. The leader has a
// session of its own, default signal dispositions, an empty signal mask, and no
// descriptors but the three standard ones and the tree lock.
func Start(s Spec) (*Tree, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	if s.Dir == "" {
		s.Dir = rootDir
	}
	if s.Mechanism == berth.TreeAuto {
		p := Prober{Key: s.Key, Executable: s.Executable}
		chosen, _ := p.Choose()
		s.Mechanism = chosen
	}
	return start(s)
}

// ID returns the leader.
func (t *Tree) ID() ID { return t.id }

// PID returns the leader's pid.
func (t *Tree) PID() int { return t.id.PID }

// Mechanism returns what holds the tree together.
func (t *Tree) Mechanism() berth.TreeMechanism { return t.mechanism }

// Exited is closed when the leader has exited. Other members may live on.
func (t *Tree) Exited() <-chan struct{} { return t.leader.done }

// Exit returns how the leader ended; it is valid after Exited was closed.
func (t *Tree) Exit() berth.Exit {
	if !t.leader.resolved() {
		return berth.Exit{}
	}
	return t.leader.exit
}

// Terminate asks every process of the tree to end: SIGTERM, or CTRL_BREAK on
// Windows. An empty tree is no error.
func (t *Tree) Terminate() error { return t.holder.terminate() }

// Kill ends every process of the tree and waits until it is empty. It returns
// the processes that are alive when ctx ends, which is no error: they escaped.
// It may be called at any time, also after the leader's exit, and again; on an
// empty tree it is cheap. When it returns without survivors, Exited is closed.
func (t *Tree) Kill(ctx context.Context) ([]ID, error) {
	survivors, err := t.holder.kill(ctx)
	if err != nil {
		return survivors, fmt.Errorf("kill the tree of %v: %w", t.id, err)
	}
	if len(survivors) > 0 {
		return survivors, nil
	}
	select {
	case <-t.leader.done:
		return nil, nil
	case <-ctx.Done():
		return []ID{t.id}, nil
	}
}

// Empty says whether no process of the tree lives.
func (t *Tree) Empty() (bool, error) { return t.holder.empty() }

// Members lists the live processes of the tree.
func (t *Tree) Members() ([]ID, error) { return t.holder.members() }

// Memory returns the memory of the whole tree in bytes.
func (t *Tree) Memory() (uint64, error) {
	if t.memory != nil {
		if n, ok := t.memory.usage(); ok {
			return n, nil
		}
	}
	members, err := t.Members()
	if err != nil {
		return 0, err
	}
	var sum uint64
	for _, m := range members {
		sum += residentBytes(m.PID)
	}
	return sum, nil
}

// Guarantee says how far the end of the whole tree is certain, and how far its
// memory limit holds (the zero Guarantee if it has none).
func (t *Tree) Guarantee() (treeKill, memory berth.Guarantee) {
	if t.memory != nil {
		memory = t.memory.guarantee()
	}
	return t.holder.guarantee(), memory
}

// Quotas says how far the limits beside that of memory hold, by the names of
// berth.GuaranteeProcesses and berth.GuaranteeCPU.
func (t *Tree) Quotas() map[string]berth.Guarantee {
	all := map[string]berth.Guarantee{}
	for _, q := range t.rest {
		all[q.Name] = q.Guarantee
	}
	return all
}

// CgroupPath returns the directory of the cgroup that holds the tree, or "".
func (t *Tree) CgroupPath() string {
	if paths := t.holder.cgroups(); len(paths) > 0 {
		return paths[0]
	}
	return ""
}

// CgroupPaths returns every cgroup directory that belongs to the tree, for the
// record by which a successor finds its leftovers.
func (t *Tree) CgroupPaths() []string {
	paths := t.holder.cgroups()
	if t.memory != nil {
		paths = append(paths, t.memory.cgroups()...)
	}
	for _, q := range t.rest {
		if q.Dir != "" && !slices.Contains(paths, q.Dir) {
			paths = append(paths, q.Dir)
		}
	}
	return paths
}

// Close releases what the tree holds in this process and in the system. It is
// an error to close a tree that is not empty; nothing is released then.
func (t *Tree) Close() error {
	empty, err := t.Empty()
	if err != nil {
		return err
	}
	if !empty {
		return fmt.Errorf("close the tree of %v: %w", t.id, errNotEmpty)
	}
	err = t.holder.close()
	if t.memory != nil {
		err = errors.Join(err, t.memory.close())
	}
	return errors.Join(err, closeQuotas(t.rest))
}

var errNotEmpty = errors.New("it is not empty")

// Handover is what the next image of this process needs to go on with a tree
// after an in-place exec: it has the same pid, so it is still the parent. Keep
// lists the descriptors that must stay open across the exec.
type Handover struct {
	Mechanism   berth.TreeMechanism `json:"mechanism"`
	ID          ID                  `json:"id"`
	Incarnation string              `json:"incarnation"`
	// Exit is set if the leader's exit was known already.
	Exit *berth.Exit `json:"exit,omitempty"`
	// Init is the init of a PID namespace.
	Init ID `json:"init,omitzero"`
	// Cgroup and MemoryCgroup are directories.
	Cgroup       string `json:"cgroup,omitzero"`
	MemoryCgroup string `json:"memoryCgroup,omitzero"`
	MemoryHow    string `json:"memoryHow,omitzero"`
	// Quotas are the limits beside that of memory.
	Quotas []quota `json:"quotas,omitempty"`
	// TreeLock is the path of the tree lock.
	TreeLock string `json:"treeLock,omitzero"`
	// How is a detail of the mechanism that the guarantee mentions.
	How string `json:"how,omitzero"`
	// Handles are the descriptors to keep, by name.
	Handles map[string]int `json:"handles,omitempty"`
}

// Keep returns the descriptors that must stay open across the exec. They are
// close-on-exec until the caller changes that, right before it.
func (h Handover) Keep() []int {
	fds := make([]int, 0, len(h.Handles))
	for _, fd := range h.Handles {
		fds = append(fds, fd)
	}
	return fds
}

// Handover stops following the tree and returns what Adopt needs to go on with
// it. The Tree must not be used afterwards; if the exec fails, Adopt the result
// in this process.
func (t *Tree) Handover() (Handover, error) {
	h := Handover{Mechanism: t.mechanism, ID: t.id, Incarnation: t.incarnation, Quotas: t.rest, Handles: map[string]int{}}
	if err := t.holder.handover(&h); err != nil {
		return Handover{}, err
	}
	if t.memory != nil {
		t.memory.handover(&h)
	}
	if t.leader.resolved() {
		e := t.leader.exit
		h.Exit = &e
	}
	return h, nil
}

// Adopt goes on with a tree that an earlier image of this process handed over.
func Adopt(h Handover) (*Tree, error) { return adopt(h) }
