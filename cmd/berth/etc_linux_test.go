package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

// etcStage marks the process that is in the namespaces.
const etcStage = "BERTH_TEST_ETC_STAGE"

// withEtc runs a command to which a directory is /etc/berth, by a mount namespace of
// its own: nothing else can have Berth look elsewhere for the policy of the machine.
//
//	withetc DIR COMMAND [ARG…]
func withEtc(args []string) int {
	if len(args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: withetc DIR COMMAND [ARG…]")
		return 2
	}
	if os.Getenv(etcStage) == "" {
		return inNamespaces(args)
	}
	os.Unsetenv(etcStage)
	fmt.Fprintln(os.Stderr, "withetc:", becomeWithEtc(args))
	return 126
}

func inNamespaces(args []string) int {
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Args[0] = os.Args[0]
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), etcStage+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	if err := cmd.Run(); cmd.ProcessState == nil {
		fmt.Fprintln(os.Stderr, "withetc:", err)
		return 126
	}
	return cmd.ProcessState.ExitCode()
}

// etcWorks says whether withEtc can: root's rights to the machine are needed, and its
// directories have to be root's.
func etcWorks() bool {
	cmd := exec.Command("/proc/self/exe", "/", "true")
	cmd.Args[0] = "withetc"
	return os.Geteuid() == 0 && cmd.Run() == nil
}

// becomeWithEtc returns only if it could not.
func becomeWithEtc(args []string) error {
	dir, err := filepath.Abs(args[0])
	if err != nil {
		return err
	}
	path, err := exec.LookPath(args[1])
	if err != nil {
		return err
	}
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return err
	}
	if err := syscall.Mount("tmpfs", "/etc", "tmpfs", 0, "mode=755"); err != nil {
		return err
	}
	if err := os.Mkdir("/etc/berth", 0o755); err != nil {
		return err
	}
	if err := syscall.Mount(dir, "/etc/berth", "", syscall.MS_BIND, ""); err != nil {
		return err
	}
	return syscall.Exec(path, args[1:], os.Environ())
}
