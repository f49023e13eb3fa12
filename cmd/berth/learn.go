package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/home"
	"github.com/berth-run/berth/internal/mcp"
	"github.com/berth-run/berth/internal/sandbox"
)

// learnedCall is a call by which a server is exercised.
type learnedCall struct {
	tool  string
	input json.RawMessage
}

// parseCalls reads "TOOL [JSON] [TOOL [JSON]]…".
func (a *app) parseCalls(args []string) (calls []learnedCall, err error) {
	for _, arg := range args {
		switch last := len(calls) - 1; {
		case arg == "":
			return nil, usagef("a tool without a name")
		case !strings.HasPrefix(strings.TrimSpace(arg), "{"):
			calls = append(calls, learnedCall{arg, json.RawMessage("{}")})
		case last < 0 || string(calls[last].input) != "{}":
			return nil, usagef("%s are the arguments of no tool", arg).hint("after --: TOOL '{…}' TOOL '{…}'")
		default:
			if calls[last].input, err = a.callInput(arg); err != nil {
				return nil, err
			}
		}
	}
	return calls, nil
}

// settleTime is how long a server must not be refused anything new before what it was
// refused is taken for all.
const settleTime = 3 * time.Second

// lesson is what a server was refused while it was exercised.
type lesson struct {
	Name string `json:"name"`
	// Grants would allow it, as far as a permission should.
	Grants []string `json:"grants"`
	// Kept are those that are not proposed: they would show the server what is secret.
	Kept []string `json:"kept"`
	// Denied is all that was refused.
	Denied []berth.Denial `json:"denied"`
	// Applied: the grants are in force from the next start on.
	Applied bool `json:"applied"`

	grants []berth.Permission
}

func (a *app) learn(ctx context.Context, name string, calls []learnedCall, o permissionsOptions) error {
	if runtime.GOOS != "linux" {
		return berth.WithHint(fmt.Errorf("--learn: %w on this system: nothing here tells what a server is refused", errors.ErrUnsupported),
			"`berth logs "+name+"` may have what the server says of it")
	}
	s, err := a.open(false)
	if err != nil {
		return err
	}
	server, err := s.server(name)
	if err != nil {
		return err
	}
	rights, spec, err := s.learnable(server)
	if err != nil {
		return err
	}
	was, err := s.Status(ctx, name)
	if err != nil {
		return err
	}
	found, exerciseErr := s.exercise(ctx, name, spec, calls, o.timeout, a.awaitUser)
	if exerciseErr != nil && len(found) == 0 {
		return errors.Join(exerciseErr, s.asBefore(ctx, name, was))
	}
	l := newLesson(name, found, rights)
	if exerciseErr != nil && len(l.Grants) > 0 {
		// That it fails without what it needs is what is learned.
		s.ui.note("%v", exerciseErr)
		exerciseErr = nil
	}
	if !o.asJSON {
		l.print(s.ui)
	}
	yes := o.apply
	if !yes && !o.asJSON && len(l.grants) > 0 {
		yes = a.yes(fmt.Sprintf("grant %s? [y/N] ", plural(len(l.grants), "permission", "this", "these")))
	}
	if yes && len(l.grants) > 0 {
		err = s.changePermissions(ctx, server, l.grants, nil, permissionsOptions{})
		l.Applied = err == nil
	}
	err = errors.Join(err, exerciseErr, s.asBefore(ctx, name, was))
	if o.asJSON {
		err = errors.Join(s.ui.json(l), err)
	} else if l.Applied {
		s.ui.say("%s: granted; what it tries once it may do that is seen by the next: berth permissions %s --learn", name, name)
	}
	return err
}

// learnable returns what a server may do and how it is run to learn what else it needs.
func (s *site) learnable(server home.Server) (home.Rights, berth.ProcessSpec, error) {
	user, _, err := s.home.ReadPermissions(server.Name)
	if err != nil {
		return home.Rights{}, berth.ProcessSpec{}, err
	}
	rights, _, err := server.Rights(user)
	if err != nil {
		return rights, berth.ProcessSpec{}, err
	}
	switch {
	case server.Remote():
		return rights, berth.ProcessSpec{}, usagef("%s is at a URL: what runs here is Berth's own, and is not confined", server.Name)
	case !rights.Confined():
		return rights, berth.ProcessSpec{}, usagef("%s is not confined, so nothing is refused it", server.Name).
			hint("berth permissions %s --apply confines it", server.Name)
	}
	spec, err := s.spec(server.Name)
	if err != nil {
		return rights, spec, err
	}
	c := *spec.Confine
	c.Learn = true
	spec.Confine, spec.AutoRestart = &c, nil
	return rights, spec, nil
}

// exercise runs a server, as strictly as ever, has it do what it can, ends it, and
// returns what it was refused, also after an error.
func (s *site) exercise(ctx context.Context, name string, spec berth.ProcessSpec, calls []learnedCall, timeout time.Duration, awaitUser func(context.Context, string)) (found []berth.Denial, err error) {
	if _, err := s.Stop(ctx, name); err != nil {
		return nil, err
	}
	switch outcome, err := s.start(ctx, name, spec); {
	case err != nil:
		return nil, err
	case outcome == berth.AlreadyRunning:
		return nil, berth.WithHint(fmt.Errorf("server %q was started by somebody else meanwhile", name), "try again when nobody uses it")
	}
	defer func() {
		stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), restTimeout)
		defer cancel()
		st, statusErr := s.Status(stopping, name)
		_, stopErr := s.Stop(stopping, name)
		found, err = st.Denied, errors.Join(err, statusErr, stopErr)
	}()
	if spec.Transport != "http" {
		err = s.exerciseTools(ctx, name, calls, timeout)
	}
	if err == nil && len(calls) == 0 {
		awaitUser(ctx, name)
	}
	return nil, errors.Join(err, s.settle(ctx, name))
}

// exerciseTools lists a server's tools and makes the calls. That one fails is what is to
// be learnt from.
func (s *site) exerciseTools(ctx context.Context, name string, calls []learnedCall, timeout time.Duration) error {
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("the %v of --timeout are over", timeout))
	defer cancel()
	stop := s.tick(name)
	c, err := s.reach(ctx, name, reachOptions{patience: 3 * time.Second})
	stop()
	if err != nil {
		return err
	}
	defer c.Close()
	tools, err := c.Tools(ctx)
	if err != nil {
		return err
	}
	s.ui.say("%s: it runs, and lists %s", name, counted(len(tools), "tool"))
	for _, call := range calls {
		result, recordErr, err := s.callTool(ctx, name, call.tool, call.input, c)
		switch {
		case recordErr != nil:
			return recordErr
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil:
			s.ui.note("%s: %v", call.tool, err)
		case mcp.Failed(result):
			s.ui.note("%s: the tool failed", call.tool)
		default:
			s.ui.say("%s: answered", call.tool)
		}
	}
	return nil
}

// settle waits until a server is refused nothing new, or has ended.
func (s *site) settle(ctx context.Context, name string) error {
	count, since := -1, time.Now()
	for time.Since(since) < settleTime {
		st, err := s.Status(ctx, name)
		if err != nil || st.Status != berth.Running {
			return err
		}
		if len(st.Denied) != count {
			count, since = len(st.Denied), time.Now()
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

// asBefore has a server be up if it was.
func (s *site) asBefore(ctx context.Context, name string, was berth.Status) error {
	switch {
	case was.Status == berth.Running:
		spec, err := s.spec(name)
		if err == nil {
			_, err = s.start(context.WithoutCancel(ctx), name, spec)
		}
		if err != nil {
			return fmt.Errorf("%s ran before, and does not start again: %w", name, err)
		}
		s.ui.say("%s: started again", name)
	case was.AtRest:
		s.ui.say("%s: stopped; berth start %s", name, name)
	}
	return nil
}

// awaitUser lets a user at a terminal use the server as long as that takes.
func (a *app) awaitUser(ctx context.Context, name string) {
	f, ok := a.stdin.(*os.File)
	if !ok || !isTerminal(f) {
		return
	}
	fmt.Fprintf(a.ui.err, "use %s now, by its clients or berth call %s TOOL; then press Enter ", name, name)
	read := make(chan struct{})
	go func() { // it ends with the line, or with this program
		defer close(read)
		_, _ = bufio.NewReader(f).ReadString('\n')
	}()
	select {
	case <-read:
	case <-ctx.Done():
	}
}

// newLesson makes a proposal of what was refused.
func newLesson(name string, found []berth.Denial, rights home.Rights) lesson {
	l := lesson{Name: name, Grants: []string{}, Kept: []string{}, Denied: found}
	if found == nil {
		l.Denied = []berth.Denial{}
	}
	user, _ := os.UserHomeDir() // without it nothing of it is known to be secret
	var all, looked []berth.Permission
	for _, d := range found {
		p, err := berth.ParsePermission(d.Grant)
		switch {
		case err != nil || slices.ContainsFunc(rights.Effective, func(has berth.EffectivePermission) bool { return has.Covers(p) }):
		case strings.HasPrefix(d.What, string(sandbox.AccessLook)+" "):
			looked = append(looked, p)
		default:
			all = append(all, p)
		}
	}
	// A look at a directory on the way to what is needed is none at all that is in it.
	for _, p := range looked {
		if !slices.ContainsFunc(slices.Concat(all, looked), func(q berth.Permission) bool { return p.Target != q.Target && below(p, q) }) {
			all = append(all, p)
		}
	}
	for _, p := range fewest(all) {
		if secretive(p, user) {
			l.Kept = append(l.Kept, p.String())
			continue
		}
		l.grants = append(l.grants, p)
		l.Grants = append(l.Grants, p.String())
	}
	return l
}

// below says whether what q is about is in what p is about.
func below(p, q berth.Permission) bool {
	q.Access = p.Access
	return p.Covers(q)
}

// fewest are permissions without those that others of them cover, in order.
func fewest(all []berth.Permission) []berth.Permission {
	covers := func(p, q berth.Permission) bool {
		if p.Access == "write" && q.Access == "read" {
			q.Access = "write" // who may change a file may read it
		}
		return p.Covers(q)
	}
	order := []string{berth.PermissionNetwork, berth.PermissionFiles, berth.PermissionExec}
	slices.SortFunc(all, func(p, q berth.Permission) int {
		return cmp.Or(slices.Index(order, p.Kind)-slices.Index(order, q.Kind), strings.Compare(p.String(), q.String()))
	})
	all = slices.Compact(all)
	var kept []berth.Permission
	for _, q := range all {
		if !slices.ContainsFunc(all, func(p berth.Permission) bool { return p != q && covers(p, q) }) {
			kept = append(kept, q)
		}
	}
	return kept
}

// secretive says whether a permission would show a server what its user keeps from
// programs: keys, tokens, what a browser or a shell remembers.
func secretive(p berth.Permission, user string) bool {
	if p.Kind != berth.PermissionFiles || user == "" {
		return false
	}
	rel, err := filepath.Rel(user, p.Target)
	if err != nil {
		return false
	}
	first, rest, _ := strings.Cut(filepath.ToSlash(rel), "/")
	second, _, _ := strings.Cut(rest, "/")
	switch first {
	case ".ssh", ".aws", ".azure", ".gnupg", ".kube", ".docker", ".netrc", ".npmrc", ".pypirc", ".git-credentials",
		".password-store", ".mozilla", ".thunderbird", ".pki", ".vault-token", ".claude", ".codex":
		return true
	case ".config":
		return second == "" || slices.Contains([]string{"gcloud", "gh", "hub", "op", "google-chrome", "chromium", "BraveSoftware", "microsoft-edge"}, second)
	case ".local":
		return rest == "" || rest == "share" || strings.HasPrefix(rest, "share/keyrings")
	}
	return strings.HasSuffix(first, "_history")
}

func (l *lesson) print(u *ui) {
	for _, grant := range l.Grants {
		u.print("--grant %s", shellLine([]string{grant}))
	}
	for _, kept := range l.Kept {
		u.note("not proposed, since secrets may be there; only if it must be: --grant %s", shellLine([]string{kept}))
	}
	for _, d := range l.Denied {
		if d.Grant == "" {
			u.note("it was refused %s, which no permission should allow", d.What)
		}
	}
	switch {
	case len(l.Denied) == 0:
		u.say("%s: it was refused nothing", l.Name)
	case len(l.Grants) > 0:
		u.say("%s: that is what it was refused; --apply, or a yes, grants it", l.Name)
	}
}
