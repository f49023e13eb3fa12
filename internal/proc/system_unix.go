//go:build unix

package proc

// killedSignal is the signal in the Exit of a process that Kill ended.
const killedSignal = "SIGKILL"

// holdCommand is a program that waits for the end of its stdin.
func holdCommand(exe string) (path string, argv []string) {
	return executable(exe), []string{ExecName, hold}
}

// clip shortens foreign bytes for an error message. It copies them, so that the
// buffer that they are in may be on the stack.
func clip(b []byte) string {
	const most = 80
	return string(b[:min(len(b), most)])
}

// lockPath is the name by which the tree lock was opened, or "".
func (s *Spec) lockPath() string {
	if s.TreeLock == nil {
		return ""
	}
	return s.TreeLock.Name()
}
