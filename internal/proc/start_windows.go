package proc

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"unsafe"

	berth "github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/fail"
	"golang.org/x/sys/windows"
)

// rootDir is the root of the system's drive.
const rootDir = `C:\`

// killedSignal is the signal in the Exit of a process that Kill ended; Windows
// has exit codes only.
const killedSignal = ""

func mechanisms() []berth.TreeMechanism { return []berth.TreeMechanism{berth.TreeJob} }

// InitMain is for roles that Windows does not need: a job takes the limits, and
// CreateProcess places the child in it.
func InitMain([]string, Hooks) {
	fmt.Fprintf(os.Stderr, "berth: %s and %s are no roles on Windows\n", InitName, ExecName)
	os.Exit(2)
}

// ResetSignals is a no-op: Windows has no signals to ignore.
func ResetSignals() {}

// holdCommand is a program that waits for the end of its stdin.
func holdCommand(string) (path string, argv []string) {
	dir, err := windows.GetSystemDirectory()
	if err != nil {
		dir = `C:\Windows\System32`
	}
	return dir + `\more.com`, []string{"more"}
}

// start creates the process inside a fresh job, so that no descendant can be
// outside.
func start(s Spec) (*Tree, error) {
	if s.Mechanism != berth.TreeJob {
		return nil, fmt.Errorf("start %q: tree mechanism %q on Windows: %w", s.Path, s.Mechanism, errors.ErrUnsupported)
	}
	if s.Confine != nil {
		return nil, fmt.Errorf("start %q: hooks on Windows: %w", s.Path, errors.ErrUnsupported)
	}
	if s.MaxFileDescriptors != 0 {
		return nil, fmt.Errorf("start %q: a limit on open files on Windows: %w", s.Path, errors.ErrUnsupported)
	}
	j, err := newJob(&s)
	if err != nil {
		return nil, fmt.Errorf("start %q: make a job: %w", s.Path, err)
	}
	fail.Point("proc.start.job-made")
	process, pid, err := createProcess(&s, j.handle)
	if err != nil {
		j.release()
		return nil, s.explainCreate(err)
	}
	fail.Point("proc.start.job-executed")
	id, err := identifyHandle(process, pid)
	if err != nil {
		_ = windows.TerminateJobObject(j.handle, killedCode)
		windows.CloseHandle(process)
		j.release()
		return nil, fmt.Errorf("start %q: %w", s.Path, err)
	}
	t := &Tree{id: id, incarnation: s.Incarnation, mechanism: s.Mechanism, leader: newOutcome(), holder: j, rest: s.jobQuotas()}
	if s.MaxMemoryBytes != 0 {
		t.memory = jobMemory{j}
	}
	j.follow(process, pid, t.leader)
	return t, nil
}

// createProcess starts the program, suspended by nothing: the job and the three
// handles that it may inherit are attributes of the creation.
func createProcess(s *Spec, job windows.Handle) (windows.Handle, int, error) {
	attributes, err := windows.NewProcThreadAttributeList(2)
	if err != nil {
		return 0, 0, err
	}
	defer attributes.Delete()
	std, err := inheritable(s.Stdin, s.Stdout, s.Stderr)
	if err != nil {
		return 0, 0, err
	}
	defer func() {
		for _, h := range std {
			windows.CloseHandle(h)
		}
	}()
	jobs := []windows.Handle{job}
	// PROC_THREAD_ATTRIBUTE_JOB_LIST, which the package does not name.
	const jobList = 0x0002000d
	size := unsafe.Sizeof(job)
	if err := attributes.Update(jobList, unsafe.Pointer(&jobs[0]), size); err != nil {
		return 0, 0, fmt.Errorf("place the process in a job: %w", err)
	}
	if err := attributes.Update(windows.PROC_THREAD_ATTRIBUTE_HANDLE_LIST, unsafe.Pointer(&std[0]), uintptr(len(std))*size); err != nil {
		return 0, 0, err
	}
	path, err := windows.UTF16PtrFromString(s.Path)
	if err != nil {
		return 0, 0, err
	}
	line, err := windows.UTF16PtrFromString(windows.ComposeCommandLine(s.Argv))
	if err != nil {
		return 0, 0, err
	}
	dir, err := windows.UTF16PtrFromString(s.Dir)
	if err != nil {
		return 0, 0, err
	}
	env, err := environmentBlock(s.environ())
	if err != nil {
		return 0, 0, err
	}
	startup := windows.StartupInfoEx{
		StartupInfo: windows.StartupInfo{
			Flags:     windows.STARTF_USESTDHANDLES,
			StdInput:  std[0],
			StdOutput: std[1],
			StdErr:    std[2],
		},
		ProcThreadAttributeList: attributes.List(),
	}
	startup.Cb = uint32(unsafe.Sizeof(startup))
	const flags = windows.CREATE_UNICODE_ENVIRONMENT | windows.EXTENDED_STARTUPINFO_PRESENT |
		windows.CREATE_NEW_PROCESS_GROUP | windows.CREATE_NO_WINDOW
	var info windows.ProcessInformation
	err = windows.CreateProcess(path, line, nil, nil, true, flags, &env[0], dir, &startup.StartupInfo, &info)
	runtime.KeepAlive(jobs)
	runtime.KeepAlive(std)
	if err != nil {
		return 0, 0, err
	}
	windows.CloseHandle(info.Thread)
	return info.Process, int(info.ProcessId), nil
}

// inheritable duplicates the handles of files into ones that a child may have.
func inheritable(files ...*os.File) ([]windows.Handle, error) {
	self := windows.CurrentProcess()
	var handles []windows.Handle
	for _, f := range files {
		var h windows.Handle
		err := windows.DuplicateHandle(self, windows.Handle(f.Fd()), self, &h, 0, true, windows.DUPLICATE_SAME_ACCESS)
		if err != nil {
			for _, h := range handles {
				windows.CloseHandle(h)
			}
			return nil, os.NewSyscallError("DuplicateHandle", err)
		}
		handles = append(handles, h)
	}
	return handles, nil
}

// environmentBlock is each variable with a NUL behind it, and one more NUL.
func environmentBlock(env []string) ([]uint16, error) {
	var block []uint16
	for _, kv := range env {
		text, err := windows.UTF16FromString(kv) // ends in NUL
		if err != nil {
			return nil, err
		}
		block = append(block, text...)
	}
	return append(block, 0), nil
}

// explainCreate says whether it was the directory or the program.
func (s *Spec) explainCreate(err error) error {
	if info, dirErr := os.Stat(s.Dir); dirErr != nil || !info.IsDir() {
		return fmt.Errorf("start %q: working directory %q: %w", s.Path, s.Dir, err)
	}
	if strings.HasSuffix(strings.ToLower(s.Path), ".cmd") || strings.HasSuffix(strings.ToLower(s.Path), ".bat") {
		return fmt.Errorf("start %q: a batch file needs cmd.exe: %w", s.Path, err)
	}
	return fmt.Errorf("start %q: %w", s.Path, err)
}

// adopt: an image of a process cannot be replaced in place on Windows.
func adopt(h Handover) (*Tree, error) {
	return nil, fmt.Errorf("adopt the tree of %v: %w", h.ID, errors.ErrUnsupported)
}
