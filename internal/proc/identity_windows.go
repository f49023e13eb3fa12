package proc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/windows"
)

// here: a creation time is unique over boots, and there are no namespaces.
func here(ID) (bool, error) { return true, nil }

// Self returns this process.
func Self() (ID, error) { return Identify(os.Getpid()) }

// Identify returns the process that has the pid now. One that has ended is
// ErrGone.
func Identify(pid int) (ID, error) {
	h, err := open(pid, windows.PROCESS_QUERY_LIMITED_INFORMATION|windows.SYNCHRONIZE)
	if err != nil {
		return ID{}, fmt.Errorf("identify pid %d: %w", pid, err)
	}
	defer windows.CloseHandle(h)
	// A process object outlives its process as long as someone holds a handle.
	if ended(h) {
		return ID{}, fmt.Errorf("identify pid %d: %w", pid, ErrGone)
	}
	id, err := identifyHandle(h, pid)
	if err != nil {
		return ID{}, fmt.Errorf("identify pid %d: %w", pid, err)
	}
	return id, nil
}

func open(pid int, access uint32) (windows.Handle, error) {
	h, err := windows.OpenProcess(access, false, uint32(pid))
	if errors.Is(err, windows.ERROR_INVALID_PARAMETER) {
		err = ErrGone
	}
	return h, err
}

func ended(h windows.Handle) bool {
	event, err := windows.WaitForSingleObject(h, 0)
	return err == nil && event == windows.WAIT_OBJECT_0
}

func identifyHandle(h windows.Handle, pid int) (ID, error) {
	var created, exited, kernel, user windows.Filetime
	if err := windows.GetProcessTimes(h, &created, &exited, &kernel, &user); err != nil {
		return ID{}, os.NewSyscallError("GetProcessTimes", err)
	}
	return ID{PID: pid, Start: uint64(created.HighDateTime)<<32 | uint64(created.LowDateTime)}, nil
}

// Describe returns what the system tells of a live process. Its arguments and
// user are not asked for: records that lack a start time are not of Windows.
func Describe(pid int) (Info, error) {
	id, err := Identify(pid)
	if err != nil {
		return Info{}, err
	}
	created := windows.Filetime{HighDateTime: uint32(id.Start >> 32), LowDateTime: uint32(id.Start)}
	return Info{ID: id, UID: -1, Started: time.Unix(0, created.Nanoseconds())}, nil
}

// Descendants lists the live descendants of a process.
func Descendants(id ID) ([]ID, error) {
	snapshot, err := windows.CreateToolhelp32Snapshot(windows.TH32CS_SNAPPROCESS, 0)
	if err != nil {
		return nil, os.NewSyscallError("CreateToolhelp32Snapshot", err)
	}
	defer windows.CloseHandle(snapshot)
	below := map[int][]int{}
	entry := windows.ProcessEntry32{Size: uint32(unsafe.Sizeof(windows.ProcessEntry32{}))}
	for err = windows.Process32First(snapshot, &entry); err == nil; err = windows.Process32Next(snapshot, &entry) {
		parent := int(entry.ParentProcessID)
		below[parent] = append(below[parent], int(entry.ProcessID))
	}
	if !errors.Is(err, windows.ERROR_NO_MORE_FILES) {
		return nil, os.NewSyscallError("Process32Next", err)
	}
	var found []ID
	queue := []ID{id}
	for len(queue) > 0 {
		parent := queue[0]
		queue = queue[1:]
		for _, pid := range below[parent.PID] {
			// The parent's pid may have been reused since: a child is younger.
			child, err := Identify(pid)
			if err != nil || child.Start < parent.Start {
				continue
			}
			found = append(found, child)
			queue = append(queue, child)
		}
	}
	return found, nil
}

// Leftovers: there are none. The kernel ends a job with the supervisor that
// held it.
func Leftovers(Query) ([]ID, error) { return nil, nil }

// Sweep has nothing to do; see Leftovers.
func Sweep(context.Context, Query) ([]ID, error) { return nil, nil }

// residentBytes is the working set.
func residentBytes(int) uint64 { return 0 }

// Pinned is a process that cannot be mistaken for another.
type Pinned struct {
	id     ID
	handle windows.Handle

	mu     sync.Mutex // guards the fields below
	done   chan struct{}
	closed bool
}

// Pin opens the process, then verifies that it is the one meant. ErrGone: it
// has ended.
func Pin(id ID) (*Pinned, error) {
	const access = windows.PROCESS_QUERY_LIMITED_INFORMATION | windows.PROCESS_TERMINATE | windows.SYNCHRONIZE
	h, err := open(id.PID, access)
	if err != nil {
		return nil, fmt.Errorf("pin %v: %w", id, err)
	}
	now, err := identifyHandle(h, id.PID)
	if err == nil && (now.Start != id.Start || ended(h)) {
		err = ErrGone
	}
	if err != nil {
		windows.CloseHandle(h)
		return nil, fmt.Errorf("pin %v: %w", id, err)
	}
	return &Pinned{id: id, handle: h}, nil
}

// ID returns the process that was pinned.
func (p *Pinned) ID() ID { return p.id }

// Signal ends the process with SIGKILL, and sends CTRL_BREAK to its group with
// SIGTERM; there are no other signals.
func (p *Pinned) Signal(sig syscall.Signal) error {
	var err error
	switch sig {
	case syscall.SIGKILL:
		err = windows.TerminateProcess(p.handle, killedCode)
		if err != nil && ended(p.handle) {
			err = ErrGone
		}
	case syscall.SIGTERM:
		err = windows.GenerateConsoleCtrlEvent(windows.CTRL_BREAK_EVENT, uint32(p.id.PID))
	default:
		err = errors.ErrUnsupported
	}
	if err != nil {
		return fmt.Errorf("signal %v with %v: %w", p.id, sig, err)
	}
	return nil
}

// Kill ends the process.
func (p *Pinned) Kill() error { return p.Signal(syscall.SIGKILL) }

// Done is closed when the process has ended.
func (p *Pinned) Done() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.done != nil {
		return p.done
	}
	done := make(chan struct{})
	p.done = done
	self := windows.CurrentProcess()
	var own windows.Handle
	// A handle of the goroutine's own: Close may come first.
	if windows.DuplicateHandle(self, p.handle, self, &own, 0, false, windows.DUPLICATE_SAME_ACCESS) == nil {
		go func() {
			_, _ = windows.WaitForSingleObject(own, windows.INFINITE)
			windows.CloseHandle(own)
			close(done)
		}()
	}
	return done
}

// Close releases the handle; it does nothing to the process.
func (p *Pinned) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil
	}
	p.closed = true
	return windows.CloseHandle(p.handle)
}
