package sandbox

import (
	"encoding/binary"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"sync"

	"github.com/berth-run/berth/internal/unotify"
	"golang.org/x/sys/unix"
)

// Learner hears of what a server tries with files, by a plan with Learn. It lets all of
// it go on, to what the kernel decides, and tells of what the plan does not allow.
type Learner struct {
	plan  *Plan
	home  string
	calls *unotify.Listener // nil where somebody else hears
	tell  func(what, grant string)
	known map[int]learnedCall // by number
	done  chan struct{}

	mu   sync.Mutex // guards seen, and that one call is judged at a time
	seen map[touch]struct{}
}

type touch struct {
	path   string
	access Access
}

// mostTouches bounds what is remembered; beyond it what was seen may be told again.
const mostTouches = 50_000

// Learning begins to hear. home is the user's home directory; the file is what Enter
// returned, and is taken over. With Notify it is nil: there is one listener for a filter,
// and whoever connects for the server gives what is not for it to Heard. tell is called
// by one goroutine at a time, and may be called often.
func (p *Plan) Learning(f *os.File, home string, tell func(what, grant string)) (*Learner, error) {
	l := &Learner{plan: p, home: home, tell: tell, known: map[int]learnedCall{}, seen: map[touch]struct{}{}, done: make(chan struct{})}
	if a, ok := architectureOf(runtime.GOARCH); ok {
		for _, c := range learned() {
			if n, ok := a.number(c.name); ok {
				l.known[int(n)] = c
			}
		}
	}
	if f == nil {
		close(l.done)
		return l, nil
	}
	var err error
	if l.calls, err = unotify.Open(f); err != nil {
		return nil, err
	}
	go l.hear()
	return l, nil
}

// Close ends it. What the server then tries fails: it has ended, or is about to.
func (l *Learner) Close() (err error) {
	if l.calls != nil {
		err = l.calls.Close()
	}
	<-l.done
	return err
}

func (l *Learner) hear() {
	defer close(l.done)
	for {
		call, err := l.calls.Next()
		if err != nil {
			return
		}
		l.Heard(l.calls, call)
	}
}

// Heard takes a call, and answers it.
func (l *Learner) Heard(calls *unotify.Listener, call unotify.Call) {
	t, ok := l.read(calls, call)
	calls.Continue(call)
	if !ok {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, again := l.seen[t]; again {
		return
	}
	if len(l.seen) >= mostTouches {
		clear(l.seen)
	}
	l.seen[t] = struct{}{}
	l.judge(t)
}

// read returns what a call is about, as a full path.
func (l *Learner) read(calls *unotify.Listener, call unotify.Call) (t touch, ok bool) {
	if call.Number == unix.SYS_CONNECT {
		b := make([]byte, unix.SizeofSockaddrUnix)
		n, _ := calls.Memory(call, call.Args[1], b[:min(uint64(len(b)), call.Args[2])])
		if n < 3 || binary.NativeEndian.Uint16(b) != unix.AF_UNIX || b[2] == 0 {
			return t, false
		}
		return l.full(call, -1, unix.ByteSliceToString(b[2:n]), AccessConnect)
	}
	c, ok := l.known[call.Number]
	if !ok {
		return t, false
	}
	path, err := calls.Text(call, call.Args[c.path])
	if err != nil || path == "" { // of a descriptor that it has
		return t, false
	}
	a := c.access
	if c.flags >= 0 {
		flags := call.Args[c.flags]
		if c.name == "openat2" {
			var b [8]byte
			if n, err := calls.Memory(call, flags, b[:]); err != nil || n != len(b) {
				return t, false
			}
			flags = binary.NativeEndian.Uint64(b[:])
		}
		a = accessOf(int(flags))
	}
	dir := -1
	if c.dir >= 0 && int32(call.Args[c.dir]) != unix.AT_FDCWD {
		dir = int(int32(call.Args[c.dir]))
	}
	return l.full(call, dir, path, a)
}

// accessOf is what open's flags ask for.
func accessOf(flags int) Access {
	switch {
	case flags&unix.O_PATH != 0:
		return AccessLook
	case flags&unix.O_ACCMODE != unix.O_RDONLY, flags&(unix.O_CREAT|unix.O_TRUNC) != 0, flags&unix.O_TMPFILE == unix.O_TMPFILE:
		return AccessWrite
	}
	return AccessRead
}

// full makes a path one from the root, which is the same directory within and outside.
func (l *Learner) full(call unotify.Call, dir int, path string, a Access) (touch, bool) {
	if !filepath.IsAbs(path) {
		from := "/proc/" + strconv.Itoa(call.PID)
		if dir < 0 {
			from += "/cwd"
		} else {
			from += "/fd/" + strconv.Itoa(dir)
		}
		at, err := os.Readlink(from)
		if err != nil || !filepath.IsAbs(at) {
			return touch{}, false
		}
		path = at + "/" + path
	}
	return touch{filepath.Clean(path), a}, true
}

// judge tells of what the plan does not allow, if there is such a thing outside.
func (l *Learner) judge(t touch) {
	real, info := outside(t.path)
	if info == nil && t.access == AccessWrite {
		// It is to be made, in the nearest directory that there is.
		for dir := filepath.Dir(t.path); info == nil; dir = filepath.Dir(dir) {
			real, info = outside(dir)
			if dir == "/" {
				break
			}
		}
		if info != nil && !info.IsDir() {
			return
		}
	}
	if info == nil || !l.plan.Denies(real, t.access) || real == l.plan.Test.Read || real == l.plan.Test.Unix {
		return // what SelfTest tries is not the server's wish
	}
	mode, need := info.Mode(), uint32(unix.R_OK)
	switch {
	case t.access == AccessConnect && mode&fs.ModeSocket == 0, t.access != AccessConnect && !mode.IsRegular() && !mode.IsDir():
		return
	case t.access == AccessExec:
		need = unix.X_OK
	case t.access == AccessWrite, t.access == AccessConnect:
		need = unix.W_OK
	}
	if unix.Access(real, need) != nil {
		return // nor could it without any confinement
	}
	l.tell(string(t.access)+" "+real, l.plan.Permission(real, t.access, l.home))
}

// outside is where a path of the server's leads for this process; info is nil if nothing
// is there.
func outside(path string) (real string, info fs.FileInfo) {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return "", nil
	}
	if info, err = os.Stat(real); err != nil {
		return "", nil
	}
	return real, info
}

// Denies says whether the plan keeps the server from a path, which is a full one without
// symbolic links, that it knows the name of.
func (p *Plan) Denies(path string, a Access) bool {
	if within(path, "/proc") || within(path, "/dev") || within(path, "/sys") {
		return false // of these a program is shown what it may see, and asks for more
	}
	writable := slices.Concat(p.Write, p.scratch())
	switch a {
	case AccessExec:
		return !p.shows(path, p.Exec) && !(p.AllPrograms && p.shows(path, p.readable()))
	case AccessWrite:
		return !p.shows(path, writable)
	case AccessConnect:
		return !p.shows(path, slices.Concat(p.Sockets, writable))
	case AccessLook:
		if !p.Namespaces.Mount {
			return false // nothing keeps it from that
		}
		// What is on the way to what may be seen is there.
		if slices.ContainsFunc(p.readable(), func(one string) bool { return within(one, path) }) || path == "/" {
			return false
		}
		for link := range p.Links {
			if within(link, path) {
				return false
			}
		}
	}
	return !p.shows(path, p.readable())
}

// readable are all paths that may be read.
func (p *Plan) readable() []string {
	return slices.Concat(p.Read, p.Exec, p.Write, p.scratch(), p.Sockets)
}

// Permission is the one that would allow what is tried, and "" where none would or
// should: what is Berth's own, and directories that hold everything.
func (p *Plan) Permission(path string, a Access, home string) string {
	if path == "/" || path == home || home != "" && within(home, path) || slices.ContainsFunc(p.Hide, func(dir string) bool {
		return within(path, dir) || within(dir, path)
	}) {
		return ""
	}
	switch a {
	case AccessExec:
		return "exec:" + path
	case AccessWrite, AccessConnect:
		return "filesystem:write:" + filepath.Clean(path)
	}
	return "filesystem:read:" + filepath.Clean(path)
}
