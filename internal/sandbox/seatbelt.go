//go:build darwin || linux

// On Linux it is only tested.

package sandbox

import (
	"fmt"
	"slices"
	"strings"
)

// seatbelt returns the plan as a profile for macOS's sandbox, in which the last rule
// that matches wins: so what is hidden comes after what is granted, and what a server
// owns of that comes last.
func (p *Plan) seatbelt() string {
	var s strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&s, format+"\n", args...) }
	paths := func(verb, operation string, list ...string) {
		if len(list) == 0 {
			return
		}
		line("(%s %s", verb, operation)
		for _, path := range list {
			line("  (subpath %s)", quoteSeatbelt(path))
		}
		line(")")
	}
	own := func(list []string) []string {
		var in []string
		for _, path := range list {
			if slices.ContainsFunc(p.Hide, func(dir string) bool { return within(path, dir) }) {
				in = append(in, path)
			}
		}
		return in
	}
	line("(version 1)")
	line("(deny default)")
	line("; its own processes")
	line("(allow process-fork)")
	line("(allow signal (target same-sandbox))")
	line("(allow process-info* (target same-sandbox))")
	line("(allow sysctl-read)")
	line("(allow ipc-posix-sem)")
	line("(allow ipc-posix-shm*)")
	line("; users and groups, notifications of the C library, certificates")
	for _, name := range []string{
		"com.apple.system.opendirectoryd.libinfo", "com.apple.system.opendirectoryd.membership",
		"com.apple.system.notification_center", "com.apple.system.logger", "com.apple.logd",
		"com.apple.trustd.agent", "com.apple.SystemConfiguration.configd",
	} {
		line("(allow mach-lookup (global-name %s))", quoteSeatbelt(name))
	}
	line("; files: where one is, is no secret, what is in it is")
	line("(allow file-read-metadata)")
	line("(allow file-read* (literal \"/\"))")
	line("(allow file-read* file-write-data file-ioctl")
	for _, path := range []string{"/dev/null", "/dev/zero", "/dev/random", "/dev/urandom", "/dev/tty"} {
		line("  (literal %s)", quoteSeatbelt(path))
	}
	line(")")
	if p.AllFiles {
		line("(allow file-read* file-write*)")
	}
	paths("allow", "file-read*", p.Read...)
	paths("allow", "file-read* file-map-executable", p.Exec...)
	write := p.Write
	if p.Tmp != "" {
		write = append(slices.Clip(write), p.Tmp)
	}
	paths("allow", "file-read* file-write* file-map-executable", write...)
	if p.AllPrograms {
		line("(allow process-exec)")
	} else {
		paths("allow", "process-exec", p.Exec...)
	}
	paths("deny", "file-read* file-write* process-exec", p.Hide...)
	paths("allow", "file-read* process-exec file-map-executable", own(p.Exec)...)
	paths("allow", "file-read* file-write*", own(write)...)

	line("; network")
	switch p.Net {
	case NetOpen:
		line("(allow system-socket)")
		line("(allow network-outbound (remote ip))")
		line("(allow network-inbound (local ip))")
		line("(allow network-bind (local ip))")
		line("(allow network-outbound (literal \"/private/var/run/mDNSResponder\"))")
	case NetNames:
		if p.Proxy != 0 {
			line("(allow system-socket)")
			line("(allow network-outbound (remote ip \"localhost:%d\"))", p.Proxy)
		}
	}
	if p.Net != NetOpen {
		for _, port := range p.Ports {
			line("(allow network-bind (local ip \"localhost:%d\"))", port)
			line("(allow network-inbound (local ip \"localhost:%d\"))", port)
		}
	}
	paths("allow", "network-bind network-outbound", write...)
	for _, path := range p.Sockets {
		line("(allow network-outbound (literal %s))", quoteSeatbelt(path))
	}
	return s.String()
}

// quoteSeatbelt writes a string of the profile's language.
func quoteSeatbelt(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}
