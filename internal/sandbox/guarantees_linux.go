package sandbox

import (
	"fmt"
	"strings"

	berth "github.com/berth-run/berth"
)

// Guarantees are what is kept for a server with this plan where the system can do what
// is in the report. What the probe found open is never called enforced.
func (p *Plan) Guarantees(r Report) map[string]berth.Guarantee {
	landlock := fmt.Sprintf("Landlock %d", r.Landlock)
	ns := p.Namespaces
	g := map[string]berth.Guarantee{}
	set := func(name, how string, gaps ...string) {
		var open []string
		for _, gap := range append(gaps, p.Gaps[name]) {
			if gap != "" {
				open = append(open, gap)
			}
		}
		g[name] = berth.Guarantee{State: berth.Enforced, How: how}
		if len(open) > 0 {
			g[name] = berth.Guarantee{State: berth.Partial, How: how, Gap: strings.Join(open, "; ")}
		}
	}
	unless := func(ok bool, gap string) string {
		if ok {
			return ""
		}
		return gap
	}
	none := func(name, gap string) { g[name] = berth.Guarantee{State: berth.None, Gap: gap} }

	files := landlock
	if ns.Mount {
		files += ", mount namespace"
	}
	set(berth.GuaranteeFSRead, files, unless(ns.Mount, "names, sizes and times of files, and shared memory of the user's programs (/dev/shm)"))
	set(berth.GuaranteeFSWrite, files,
		unless(ns.Mount, "modes, owners, times and attributes of the user's files, and shared memory of the user's programs (/dev/shm)"),
		unless(ns.Mount || r.Landlock >= landlockTruncate, "files can be cut to nothing"))

	switch {
	case p.Net == NetOpen:
		set(berth.GuaranteeEgress, "network:* allows all")
	case ns.Net:
		set(berth.GuaranteeEgress, "network namespace")
	case p.Notify:
		set(berth.GuaranteeEgress, "seccomp, each connect asks")
	default:
		set(berth.GuaranteeEgress, "seccomp")
	}

	switch {
	case r.Landlock >= landlockUnix:
		g[berth.GuaranteeUnixSockets] = berth.Guarantee{State: berth.Enforced, How: landlock}
	case !p.UnixSockets:
		set(berth.GuaranteeUnixSockets, "seccomp")
	case ns.Mount:
		set(berth.GuaranteeUnixSockets, "mount namespace",
			unless(ns.Net || r.Landlock >= landlockScope, "abstract sockets"))
	default:
		set(berth.GuaranteeUnixSockets, landlock)
	}

	switch {
	case ns.PID:
		set(berth.GuaranteeSignals, "PID namespace")
	case r.Landlock >= landlockScope:
		set(berth.GuaranteeSignals, landlock)
	default:
		none(berth.GuaranteeSignals, "every process of this user can be signalled")
	}
	if ns.PID {
		set(berth.GuaranteeProc, "PID namespace")
	} else {
		set(berth.GuaranteeProc, landlock, "which processes there are, and whose")
	}
	set(berth.GuaranteeDevices, files, unless(ns.Mount || r.Landlock >= landlockDevices, "ioctl on devices that the user may open"))
	set(berth.GuaranteePrivileges, "no capabilities, no_new_privs, seccomp")

	if r.Landlock == 0 || !r.Seccomp {
		for name := range g {
			none(name, "this system has no Landlock or no seccomp, so nothing is confined")
		}
	}
	for name, found := range r.Guarantees {
		if worse(found.State, g[name].State) && !p.allows(name) {
			g[name] = found
		}
	}
	return g
}

// allows says whether what the probe tried is a thing that this plan allows.
func (p *Plan) allows(guarantee string) bool {
	return guarantee == berth.GuaranteeEgress && p.Net == NetOpen
}

func worse(a, b berth.GuaranteeState) bool { return rank(a) < rank(b) }

// required are the guarantees of ProfileStandard: those that stock systems give,
// containers without namespaces and Ubuntu's restriction of them included.
func required() map[string]berth.GuaranteeState {
	return map[string]berth.GuaranteeState{
		berth.GuaranteeFSRead:      berth.Partial,
		berth.GuaranteeFSWrite:     berth.Partial,
		berth.GuaranteeEgress:      berth.Partial,
		berth.GuaranteeUnixSockets: berth.Partial,
		berth.GuaranteeDevices:     berth.Partial,
		berth.GuaranteeProc:        berth.Partial,
		berth.GuaranteePrivileges:  berth.Enforced,
	}
}
