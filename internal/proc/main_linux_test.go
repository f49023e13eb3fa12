package proc

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
)

// rolePrefix begins argv[0] of this test binary in a role of its own; see
// roles.
const rolePrefix = "proc-test-"

// roles are what the test binary can be besides a test: servers that a shell
// cannot play, and supervisors that can be killed.
var roles = map[string]func(args []string){
	"deaf":       deafRole,
	"headless":   headlessRole,
	"bomb":       bombRole,
	"supervisor": supervisorRole,
	"reexec":     reexecRole,
	"launcher":   launcherRole,
	"reuse":      reuseRole,
	"docker":     dockerRole,
	"many":       manyRole,
}

// init keeps the roles on the main thread, as initialisation is, in which a released
// binary plays them.
func init() {
	if os.Args[0] == InitName || os.Args[0] == ExecName {
		runtime.LockOSThread()
	}
}

func TestMain(m *testing.M) {
	switch os.Args[0] {
	case InitName, ExecName:
		hooks := testHooks
		if os.Getenv(withoutHooksVariable) != "" {
			hooks = Hooks{}
		}
		InitMain(os.Args, hooks)
	}
	if name, ok := strings.CutPrefix(os.Args[0], rolePrefix); ok {
		role := roles[name]
		if role == nil {
			fmt.Fprintf(os.Stderr, "no role %q\n", name)
			os.Exit(2)
		}
		role(os.Args[1:])
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// die ends a role that failed.
func die(format string, args ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", args...)
	os.Exit(1)
}
