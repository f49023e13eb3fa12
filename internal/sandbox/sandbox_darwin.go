package sandbox

import (
	"os"
	"os/exec"
	"path/filepath"

	berth "github.com/berth-run/berth"
)

// sandboxExec is the system's own, whatever PATH says.
const sandboxExec = "/usr/bin/sandbox-exec"

// carves: a later rule of a profile takes away what an earlier one gave.
const carves = true

// readable are the files and directories of the system that programs need.
func readable() []string {
	return []string{
		"/usr/bin", "/usr/sbin", "/usr/lib", "/usr/libexec", "/usr/share", "/usr/local/bin", "/usr/local/lib",
		"/usr/local/share", "/usr/local/Cellar", "/usr/local/opt", "/opt/homebrew", "/bin", "/sbin",
		"/System/Library", "/System/Volumes/Preboot/Cryptexes", "/Library/Frameworks", "/Library/Developer/CommandLineTools",
		"/private/etc/hosts", "/private/etc/resolv.conf", "/private/etc/protocols", "/private/etc/services",
		"/private/etc/passwd", "/private/etc/group", "/private/etc/ssl", "/private/etc/localtime",
		"/private/var/db/timezone", "/private/var/db/dyld", "/private/var/run/resolv.conf",
	}
}

// Mounts does nothing: there are no mount namespaces here.
func (p *Plan) Mounts() error { return nil }

// Enter does nothing: the program that Wrap puts before the server confines it.
func (p *Plan) Enter() (notify int, err error) { return -1, nil }

// SelfTest does nothing: this process is not confined, sandbox-exec confines what it
// executes. It ends with an error where it cannot.
func (p *Plan) SelfTest() error { return nil }

// Wrap returns the command that runs a program under the plan.
func (p *Plan) Wrap(path string, argv []string) (string, []string, error) {
	if _, err := os.Stat(sandboxExec); err != nil {
		return "", nil, err
	}
	args := []string{sandboxExec, "-p", p.seatbelt(), path}
	if len(argv) > 0 {
		args = append(args, argv[1:]...)
	}
	return sandboxExec, args, nil
}

// Probe runs a program under a profile, and looks that it reads what it may and nothing
// else.
func Probe(string) Report {
	var r Report
	dir, err := os.MkdirTemp("", "berth-probe-")
	if err != nil {
		r.Missing = append(r.Missing, err.Error())
		return r
	}
	defer os.RemoveAll(dir)
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		r.Missing = append(r.Missing, err.Error())
		return r
	}
	allowed, secret := filepath.Join(dir, "allowed"), filepath.Join(dir, "secret")
	for _, path := range []string{allowed, secret} {
		if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
			r.Missing = append(r.Missing, err.Error())
			return r
		}
	}
	plan := Plan{Net: NetNone, Exec: []string{"/bin/cat"}, Read: append(readable(), allowed)}
	run := func(path string) error {
		name, argv, err := plan.Wrap("/bin/cat", []string{"cat", path})
		if err != nil {
			return err
		}
		return exec.Command(name, argv[1:]...).Run()
	}
	if err := run(allowed); err != nil {
		r.Missing = append(r.Missing, "sandbox-exec: "+err.Error())
		return r
	}
	if run(secret) == nil {
		r.Missing = append(r.Missing, "sandbox-exec: a file that is not allowed was read")
		return r
	}
	r.Guarantees = plan.Guarantees(Report{Seccomp: true})
	return r
}

// ProbeMain: there is no such role here, Probe runs the system's programs.
func ProbeMain([]string) { os.Exit(2) }

// Guarantees are what the profile keeps. None of it was shown on macOS yet.
func (p *Plan) Guarantees(r Report) map[string]berth.Guarantee {
	const how = "Seatbelt"
	g := map[string]berth.Guarantee{}
	if len(r.Missing) > 0 {
		for _, name := range Names() {
			g[name] = berth.Guarantee{State: berth.None, Gap: r.Missing[0]}
		}
		return g
	}
	for _, name := range Names() {
		g[name] = berth.Guarantee{State: berth.Enforced, How: how}
	}
	g[berth.GuaranteeFSRead] = berth.Guarantee{State: berth.Partial, How: how, Gap: "names, sizes and times of files"}
	g[berth.GuaranteeProc] = berth.Guarantee{State: berth.Partial, How: how, Gap: "which processes there are, by sysctl"}
	g[berth.GuaranteePrivileges] = berth.Guarantee{State: berth.Partial, How: how, Gap: "system services that are not denied by name"}
	return g
}

func required() map[string]berth.GuaranteeState {
	return map[string]berth.GuaranteeState{
		berth.GuaranteeFSRead:      berth.Partial,
		berth.GuaranteeFSWrite:     berth.Partial,
		berth.GuaranteeEgress:      berth.Partial,
		berth.GuaranteeUnixSockets: berth.Partial,
	}
}
