package shim

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/proc"
	"github.com/berth-run/berth/internal/sandbox"
)

// jail is what confines one incarnation of the server.
//
//	spec ─ Compile ─▶ plan ──channel──▶ berth-init: network, mounts ─▶ berth-exec: the rest
//	                   ▲                    │ listeners                   │ notify
//	         report ───┘                    └─────────▶ WayOut ◀──────────┘
type jail struct {
	plan   sandbox.Plan
	report sandbox.Report
	// allow are the permissions that its way out goes by.
	allow []string
	rules Rules
	// kept are the guarantees, but for those of the tree.
	kept map[string]berth.Guarantee
	// need are those that the start is refused without.
	need   map[string]berth.GuaranteeState
	wayOut WayOut
	denied *denials
	// learner hears of what it tries with files; nil unless that is to be learned. Where
	// connects are put before the way out, that hears for it, and gives it to other.
	learner io.Closer
	other   Heard
	// home is that of the server's user, publish the ports by which it is reached.
	home    string
	publish []uint16
}

// newJail decides how the command that is about to be started is confined. It
// refuses what it can tell before: nothing was started then.
func (s *shim) newJail(path string, argv, env []string, dir string) (*jail, error) {
	report, fresh := s.probe()
	j, err := s.compile(report, path, argv, env, dir)
	if err != nil {
		return nil, err
	}
	err = s.refuse(j, j.kept)
	if err == nil || fresh {
		return j, err
	}
	// What was missing may have been mended since it was looked at.
	if j, err = s.compile(s.probeAfresh(), path, argv, env, dir); err != nil {
		return nil, err
	}
	return j, s.refuse(j, j.kept)
}

func (s *shim) compile(report sandbox.Report, path string, argv, env []string, dir string) (*jail, error) {
	c := s.spec.Confine
	rules, err := s.network.Rules(c.Allow)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", berth.ErrInvalidSpec, err)
	}
	j := &jail{report: report, allow: c.Allow, rules: rules, denied: s.denials(), home: homeOf(env), publish: s.spec.Ports}
	j.denied.close()
	facts := sandbox.Facts{
		Path: path, Argv: argv, Env: env, Dir: dir,
		Home: j.home, BerthHome: s.home.Dir(), Ports: s.spec.Ports,
		Namespaces: s.namespaces(j), Landlock: j.report.Landlock, Notify: j.report.Notify, Learn: c.Learn,
		Test: sandbox.Test{Unix: s.socket.path},
	}
	if !facts.Namespaces.Mount {
		if facts.Tmp, err = s.freshTmp(); err != nil {
			return nil, fmt.Errorf("make a directory for temporary files: %w", err)
		}
	}
	if j.plan, err = sandbox.Compile(*c, facts); err != nil {
		return nil, err
	}
	if err := j.freePorts(); err != nil {
		return nil, err
	}
	j.kept = j.plan.Guarantees(j.report)
	if c.Require != berth.RequirePrefer {
		j.need = sandbox.Required(c.Profile)
	}
	return j, nil
}

// freePorts refuses ports that the server cannot listen on: those of what it was granted
// are listened on for it.
func (j *jail) freePorts() error {
	for _, port := range j.publish {
		if j.plan.Namespaces.Net && slices.Contains(j.rules.Ports(), port) {
			return berth.WithHint(fmt.Errorf("%w: the server is to listen on port %d, which is also one that it may connect to", berth.ErrInvalidSpec, port),
				"have it listen on another port")
		}
	}
	return nil
}

// namespaces are those of the report that are of use: not the network's where the
// server has the whole network, and none without the init that prepares them.
func (s *shim) namespaces(j *jail) sandbox.Namespaces {
	n := j.report.Namespaces
	if !n.PID || s.spec.TreeKill != berth.TreeAuto && s.spec.TreeKill != berth.TreePIDNamespace {
		return sandbox.Namespaces{}
	}
	n.Net = n.Net && !j.rules.Open()
	return n
}

// environ adds what the server needs to find its way out. What it has already is its
// own affair.
func (j *jail) environ(env []string) []string {
	has := map[string]bool{}
	for _, kv := range env {
		name, _, _ := strings.Cut(kv, "=")
		has[name] = true
	}
	add := func(more []string, replace bool) {
		for _, kv := range more {
			name, _, _ := strings.Cut(kv, "=")
			if replace {
				env = slices.DeleteFunc(env, func(old string) bool { return strings.HasPrefix(old, name+"=") })
			} else if has[name] {
				continue
			}
			env = append(env, kv)
		}
	}
	add(j.plan.Environ(), true)
	if j.plan.Net == sandbox.NetNames {
		add(j.rules.Environ(j.plan.Notify), false)
	}
	return env
}

// serve begins to serve the server's way out, on what its roles sent.
func (j *jail) serve(files []*os.File, notify *os.File, state []byte) error {
	wayOut, err := j.rules.Serve(files, notify, state, j.publish, j.denied.add, j.other)
	if err != nil {
		return fmt.Errorf("serve the network of a confined server: %w", err)
	}
	j.wayOut = wayOut
	return nil
}

// close ends the way out: the server has ended, or will.
func (j *jail) close() {
	if j != nil && j.wayOut != nil {
		j.wayOut.Close()
		j.wayOut = nil
	}
	if j != nil && j.learner != nil {
		j.learner.Close()
		j.learner = nil
	}
}

// discard ends a tree that must not be.
func discard(tree *proc.Tree) error {
	ctx, cancel := context.WithTimeout(context.Background(), clearTimeout)
	defer cancel()
	left, err := tree.Kill(ctx)
	if len(left) > 0 {
		return fmt.Errorf("%w: %s", berth.ErrEscaped, describeLeft(left, err))
	}
	return errors.Join(err, tree.Close())
}

// guaranteed is the whole vector for a confined server, all ten names of it.
func (j *jail) guaranteed(treeKill, memory berth.Guarantee) map[string]berth.Guarantee {
	all := map[string]berth.Guarantee{}
	for _, name := range guaranteeNames() {
		all[name] = berth.Guarantee{State: berth.None, How: "nothing", Gap: "this system has no means that Berth knows"}
	}
	for name, g := range j.kept {
		all[name] = g
	}
	if j.wayOut != nil {
		// What was found open stays so, whoever serves it.
		if g := j.wayOut.Guarantee(); rank(g.State) <= rank(all[berth.GuaranteeEgress].State) {
			all[berth.GuaranteeEgress] = g
		}
	}
	all[berth.GuaranteeTreeKill] = treeKill
	if memory.State == "" {
		memory = berth.Guarantee{State: berth.None, How: "nothing", Gap: "no limit is set: berth.max-memory"}
	}
	all[berth.GuaranteeMemory] = memory
	return all
}

// guaranteeNames are those of a confined server.
func guaranteeNames() []string {
	return []string{
		berth.GuaranteeFSRead, berth.GuaranteeFSWrite, berth.GuaranteeEgress, berth.GuaranteeUnixSockets, berth.GuaranteeSignals,
		berth.GuaranteeProc, berth.GuaranteeDevices, berth.GuaranteePrivileges, berth.GuaranteeMemory, berth.GuaranteeTreeKill,
	}
}

// refuse returns why the server may not be started with these guarantees, nil if it
// may. A limit that nobody asked for is not missed.
func (s *shim) refuse(j *jail, have map[string]berth.Guarantee) error {
	var missing []string
	for _, name := range guaranteeNames() {
		g, known := have[name]
		if !known || name == berth.GuaranteeMemory && s.spec.MaxMemoryBytes == 0 {
			continue
		}
		if least, needed := j.need[name]; needed && rank(g.State) < rank(least) {
			text := name + " is " + string(g.State)
			if g.Gap != "" {
				text += " (" + g.Gap + ")"
			}
			missing = append(missing, text)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	err := fmt.Errorf("server %q was not started: %w: %s", s.name, berth.ErrUnenforced, strings.Join(missing, "; "))
	return berth.WithHint(err, mend(j.report))
}

func rank(g berth.GuaranteeState) int {
	return slices.Index([]berth.GuaranteeState{berth.None, berth.Partial, berth.Enforced}, g)
}

// mend says what the user can do about what is missing.
func mend(r sandbox.Report) string {
	otherwise := "to start it with what can be kept, set berth.require=prefer; `berth doctor` says what this system can do"
	if len(r.Missing) > 0 {
		return r.Missing[0] + "; " + otherwise
	}
	return otherwise
}

// confined starts a confined server.
func (s *shim) confined(spec proc.Spec) (*proc.Tree, *jail, error) {
	if s.network == nil { // its caller sees to it that this cannot be
		return nil, nil, fmt.Errorf("server %q was not started: %w: its supervisor confines nothing", s.name, berth.ErrUnenforced)
	}
	j, err := s.newJail(spec.Path, spec.Argv, spec.Env, spec.Dir)
	if err != nil {
		return nil, nil, err
	}
	if j.plan.Namespaces.PID {
		spec.Mechanism = berth.TreePIDNamespace
	} else {
		spec.Mechanism = s.mechanism()
	}
	spec.Env = j.environ(spec.Env)
	if spec.Path, spec.Argv, err = j.plan.Wrap(spec.Path, spec.Argv); err != nil {
		return nil, nil, err
	}
	tree, err := j.start(spec)
	if errors.Is(err, proc.ErrUnconfined) {
		// What was found to work does not: the next start looks again.
		s.forgetProbe()
		err = berth.WithHint(fmt.Errorf("server %q was not started: %w: %w", s.name, berth.ErrUnenforced, err), mend(j.report))
	}
	if err != nil {
		j.close()
		return nil, nil, err
	}
	treeKill, memory := tree.Guarantee()
	if err := s.refuse(j, j.guaranteed(treeKill, memory)); err != nil {
		j.close()
		return nil, nil, errors.Join(err, discard(tree))
	}
	j.denied.open()
	// What the plan was made of is a megabyte of garbage: it is worth a collection, as
	// if there had been one already.
	s.canary.collected.Store(true)
	return tree, j, nil
}

// freshTmp is the empty directory for temporary files of the next process. The last
// one, which could write into it, has ended.
func (s *shim) freshTmp() (string, error) {
	dir := s.home.TempDir(s.name)
	if err := os.RemoveAll(dir); err != nil {
		return "", err
	}
	return dir, os.MkdirAll(dir, 0o700)
}

// jailState is a jail in a handover.
type jailState struct {
	Allow  []string                   `json:"allow"`
	Kept   map[string]berth.Guarantee `json:"kept"`
	Denied []berth.Denial             `json:"denied,omitempty"`
	Egress bool                       `json:"egress"`
	State  []byte                     `json:"state"`
	Files  []int                      `json:"files"`

	files []*os.File
}

// pause stops serving without ending what is under way.
func (j *jail) pause() (*jailState, error) {
	if j == nil {
		return nil, nil
	}
	if j.learner != nil {
		return nil, errors.New("what it needs is being learned: try again later")
	}
	h := &jailState{Allow: j.allow, Kept: j.kept, Denied: j.denied.list()}
	if j.wayOut == nil {
		return h, nil
	}
	var err error
	if h.State, h.files, err = j.wayOut.Handover(); err != nil {
		return nil, err
	}
	h.Egress = true
	j.wayOut = nil
	for _, f := range h.files {
		h.Files = append(h.Files, int(f.Fd()))
	}
	return h, nil
}

// resume goes on where pause stopped, in the same image.
func (j *jail) resume(h *jailState) error {
	if h == nil || !h.Egress {
		return nil
	}
	return j.serve(h.files, nil, h.State)
}

// adoptJail goes on in the next image.
func (s *shim) adoptJail(h *jailState, inherit func(fd int, name string) *os.File) (*jail, error) {
	if h == nil {
		return nil, nil
	}
	if s.network == nil {
		return nil, errHandover
	}
	rules, err := s.network.Rules(h.Allow)
	if err != nil {
		return nil, err
	}
	j := &jail{allow: h.Allow, rules: rules, kept: h.Kept, denied: s.denials()}
	j.denied.last = h.Denied
	j.denied.open()
	if !h.Egress {
		return j, nil
	}
	for _, fd := range h.Files {
		h.files = append(h.files, inherit(fd, "egress"))
	}
	return j, j.serve(h.files, nil, h.State)
}

// guaranteesChanged says in words which guarantees hold otherwise than for the process
// before, those together that changed in the same way; "" if none does. A promise that
// is not kept at all is as none.
func guaranteesChanged(before, now map[string]berth.Guarantee) string {
	state := func(g berth.Guarantee) berth.GuaranteeState { return cmp.Or(g.State, berth.None) }
	var texts []string
	for _, is := range []berth.GuaranteeState{berth.Enforced, berth.Partial, berth.None} {
		for _, was := range []berth.GuaranteeState{berth.Enforced, berth.Partial, berth.None} {
			var names []string
			for _, name := range append(guaranteeNames(), berth.GuaranteeProcesses, berth.GuaranteeCPU) {
				if was != is && state(before[name]) == was && state(now[name]) == is {
					if gap := now[name].Gap; gap != "" {
						name += " (" + gap + ")"
					}
					names = append(names, name)
				}
			}
			if len(names) > 0 {
				texts = append(texts, fmt.Sprintf("%s, not %s: %s", is, was, strings.Join(names, ", ")))
			}
		}
	}
	return strings.Join(texts, "; ")
}
