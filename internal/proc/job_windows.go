package proc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"time"
	"unsafe"

	berth "github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/fail"
	"golang.org/x/sys/windows"
)

// messageEmpty is JOB_OBJECT_MSG_ACTIVE_PROCESS_ZERO.
const messageEmpty = 4

// killedCode is the exit code of processes that Kill ends.
const killedCode = 137

// job holds a tree in a job object. Only this process has its handle, so the
// kernel ends the tree when this process ends, however that comes about.
type job struct {
	handle windows.Handle
	port   windows.Handle // where the job reports
	limit  uint64

	leader   int
	deserted chan struct{}  // closed when the job reported that it is empty
	watch    sync.WaitGroup // the goroutines of follow

	mu     sync.Mutex // guards closed
	closed bool
}

// completionPort is JOBOBJECT_ASSOCIATE_COMPLETION_PORT.
type completionPort struct {
	key  uintptr
	port windows.Handle
}

func newJob(s *Spec) (*job, error) {
	memory := s.MaxMemoryBytes
	handle, err := windows.CreateJobObject(nil, nil)
	if err != nil {
		return nil, err
	}
	j := &job{handle: handle, limit: memory, deserted: make(chan struct{})}
	var info windows.JOBOBJECT_EXTENDED_LIMIT_INFORMATION
	info.BasicLimitInformation.LimitFlags = windows.JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE
	if memory != 0 {
		info.BasicLimitInformation.LimitFlags |= windows.JOB_OBJECT_LIMIT_JOB_MEMORY
		info.JobMemoryLimit = uintptr(memory)
	}
	if s.MaxProcesses != 0 {
		info.BasicLimitInformation.LimitFlags |= windows.JOB_OBJECT_LIMIT_ACTIVE_PROCESS
		info.BasicLimitInformation.ActiveProcessLimit = uint32(min(s.MaxProcesses, 1<<32-1))
	}
	_, err = windows.SetInformationJobObject(handle, windows.JobObjectExtendedLimitInformation,
		uintptr(unsafe.Pointer(&info)), uint32(unsafe.Sizeof(info)))
	if err == nil && s.MaxCPUPercent != 0 {
		err = limitRate(handle, s.MaxCPUPercent)
	}
	if err == nil {
		j.port, err = windows.CreateIoCompletionPort(windows.InvalidHandle, 0, 0, 1)
	}
	if err == nil {
		port := completionPort{key: uintptr(handle), port: j.port}
		_, err = windows.SetInformationJobObject(handle, windows.JobObjectAssociateCompletionPortInformation,
			uintptr(unsafe.Pointer(&port)), uint32(unsafe.Sizeof(port)))
	}
	if err != nil {
		j.release()
		return nil, err
	}
	return j, nil
}

// cpuRate is JOBOBJECT_CPU_RATE_CONTROL_INFORMATION: the rate is in hundredths of a
// percent of all processors together.
type cpuRate struct{ flags, rate uint32 }

func limitRate(handle windows.Handle, percent uint64) error {
	const enable, hardCap, all = 0x1, 0x4, 100 * 100
	rate := cpuRate{enable | hardCap, uint32(min(max(percent*100/uint64(runtime.NumCPU()), 1), all))}
	_, err := windows.SetInformationJobObject(handle, windows.JobObjectCpuRateControlInformation,
		uintptr(unsafe.Pointer(&rate)), uint32(unsafe.Sizeof(rate)))
	return err
}

// jobQuotas are those that a job was made with.
func (s *Spec) jobQuotas() []quota {
	var all []quota
	for _, name := range s.quotas() {
		q := quota{Name: name, Guarantee: berth.Guarantee{State: berth.Enforced, How: "job object"}}
		if name == berth.GuaranteeProcesses {
			q.Guarantee.State, q.Guarantee.Gap = berth.Partial, "threads are not counted"
		}
		all = append(all, q)
	}
	return all
}

// follow waits for the leader's exit and for the job's becoming empty.
func (j *job) follow(process windows.Handle, pid int, o *outcome) {
	j.leader = pid
	j.watch.Go(func() {
		_, _ = windows.WaitForSingleObject(process, windows.INFINITE)
		e := berth.Exit{At: time.Now()}
		var code uint32
		if windows.GetExitCodeProcess(process, &code) == nil {
			c := int(code)
			e.Code = &c
		}
		windows.CloseHandle(process)
		o.resolve(e)
	})
	j.watch.Go(func() {
		for {
			var message uint32
			var key uintptr
			var about *windows.Overlapped
			if windows.GetQueuedCompletionStatus(j.port, &message, &key, &about, windows.INFINITE) != nil {
				return
			}
			if message == messageEmpty {
				close(j.deserted)
				return
			}
		}
	})
}

// terminate sends CTRL_BREAK to the leader's process group. It reaches only
// processes that share a console with this one, so an error says nothing about
// the tree: the kill that follows does not depend on it.
func (j *job) terminate() error {
	err := windows.GenerateConsoleCtrlEvent(windows.CTRL_BREAK_EVENT, uint32(j.leader))
	if errors.Is(err, windows.ERROR_INVALID_HANDLE) || errors.Is(err, windows.ERROR_INVALID_PARAMETER) {
		return nil
	}
	return os.NewSyscallError("GenerateConsoleCtrlEvent", err)
}

func (j *job) kill(ctx context.Context) ([]ID, error) {
	if empty, err := j.empty(); empty || err != nil {
		return nil, err
	}
	fail.Point("proc.kill.job-before")
	if err := windows.TerminateJobObject(j.handle, killedCode); err != nil {
		return nil, os.NewSyscallError("TerminateJobObject", err)
	}
	fail.Point("proc.kill.job-sent")
	select {
	case <-j.deserted:
		return nil, nil
	case <-ctx.Done():
		return j.members()
	}
}

// empty goes by the job's own report: a list of processes could be taken
// between a leader's exit and the birth of its child.
func (j *job) empty() (bool, error) {
	select {
	case <-j.deserted:
		return true, nil
	default:
		return false, nil
	}
}

// members reads JOBOBJECT_BASIC_PROCESS_ID_LIST with as much room as it needs.
func (j *job) members() ([]ID, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.closed {
		return nil, nil
	}
	const header = 2 // the two counts take as much room as one pid
	for room := 64; ; room *= 2 {
		list := make([]uintptr, header+room)
		err := windows.QueryInformationJobObject(j.handle, windows.JobObjectBasicProcessIdList,
			uintptr(unsafe.Pointer(&list[0])), uint32(uintptr(len(list))*unsafe.Sizeof(list[0])), nil)
		if errors.Is(err, windows.ERROR_MORE_DATA) {
			continue
		}
		if err != nil {
			return nil, os.NewSyscallError("QueryInformationJobObject", err)
		}
		counts := (*[2]uint32)(unsafe.Pointer(&list[0]))
		first := int(unsafe.Sizeof(*counts) / unsafe.Sizeof(list[0]))
		var ids []ID
		for _, pid := range list[first : first+int(counts[1])] {
			if id, err := Identify(int(pid)); err == nil {
				ids = append(ids, id)
			}
		}
		return ids, nil
	}
}

func (j *job) guarantee() berth.Guarantee {
	return berth.Guarantee{State: berth.Enforced, How: "job object"}
}

func (j *job) cgroups() []string { return nil }

func (j *job) handover(*Handover) error {
	return fmt.Errorf("hand over a job: %w", errors.ErrUnsupported)
}

func (j *job) close() error {
	j.watch.Wait()
	j.release()
	return nil
}

func (j *job) release() {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.closed {
		return
	}
	j.closed = true
	windows.CloseHandle(j.handle)
	if j.port != 0 {
		windows.CloseHandle(j.port)
	}
}

// jobMemory is the job's limit on the memory that its processes committed.
type jobMemory struct{ j *job }

func (m jobMemory) guarantee() berth.Guarantee {
	return berth.Guarantee{State: berth.Enforced, How: "job object"}
}

func (m jobMemory) usage() (uint64, bool) { return 0, false }

// exceeded: an allocation beyond the limit fails, nothing is killed.
func (m jobMemory) exceeded() bool     { return false }
func (m jobMemory) cgroups() []string  { return nil }
func (m jobMemory) handover(*Handover) {}
func (m jobMemory) close() error       { return nil }
