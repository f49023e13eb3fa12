package main

import (
	"context"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/berth-run/berth"
)

// userNamespaces runs this program in a user namespace of its own: settings
// that forbid it are many (sysctl, AppArmor, seccomp), and none tells for all.
func userNamespaces() finding {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/proc/self/exe", "version")
	cmd.Env = berth.AllowedEnv(os.Environ())
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	if err := cmd.Run(); err != nil {
		return finding{
			What: "user namespaces", State: berth.None,
			Gap: "they cannot be made here (" + err.Error() + "): without root, a PID namespace is not to be had either",
		}
	}
	return finding{What: "user namespaces", State: berth.Enforced, How: "they can be made"}
}
