package autostart

import (
	"fmt"
	"path/filepath"
	"strings"
)

// Socket is the name under which systemd passes the socket on (FileDescriptorName=
// in systemd.socket(5)).
const Socket = "http"

// systemd is the plan for systemd's user manager.
//
// Of what systemd can take away from a service, these units take only what servers
// do not need. All other hardening either sets no_new_privs for a user's service
// (whatever is a filter of system calls does, systemd.exec(5)), so that no server
// could run sudo, ping, or podman without root, or it has the service run in
// namespaces of the manager's, in which a confined server could not be given its own.
// Servers are confined one by one, and more strictly, by their permissions.
func systemd(j Job, s System) (Plan, error) {
	config := s.Config
	if config == "" {
		config = filepath.Join(s.Home, ".config")
	}
	dir := filepath.Join(config, "systemd", "user")
	service, socket := j.Name+".service", j.Name+".socket"
	command, err := systemdWords(append([]string{j.Program}, j.Args...))
	if err != nil {
		return Plan{}, err
	}
	needs := ""
	p := Plan{
		Manager: "systemd's user manager", Units: []string{service},
		Probe:     []string{"systemctl", "--user", "show-environment"},
		NoManager: "log in as this user (not by su or sudo), or `loginctl enable-linger` as root; without systemd, start `berth up` by what starts programs here",
	}
	if j.Listen != "" {
		needs = "Requires=" + socket + "\nAfter=" + socket + "\n"
		p.Units = []string{socket, service}
		p.Files = append(p.Files, File{Path: filepath.Join(dir, socket), Text: fmt.Sprintf(`# Written by berth service install. Change it by: systemctl --user edit %s
[Unit]
Description=The address of Berth, for AI clients
Documentation=https://github.com/berth-run/berth

[Socket]
ListenStream=%s
FileDescriptorName=%s
NoDelay=yes

[Install]
WantedBy=sockets.target
`, socket, j.Listen, Socket)})
	}
	p.Files = append(p.Files, File{Path: filepath.Join(dir, service), Text: fmt.Sprintf(`# Written by berth service install. Change it by: systemctl --user edit %s
[Unit]
Description=Berth keeps MCP servers up
Documentation=https://github.com/berth-run/berth
%s
[Service]
Type=exec
ExecStart=%s
Restart=on-failure
RestartSec=2
TimeoutStopSec=30
# Servers and their shims are in the unit's cgroup, and stay up when Berth is restarted.
KillMode=process
# Each server gets a cgroup of its own in that of the unit.
Delegate=yes
# A server that runs out of memory does not take the others with it.
OOMPolicy=continue
# What clients and servers said is in no core dump.
LimitCORE=0

[Install]
WantedBy=default.target
`, service, needs, command)})
	systemctl := func(verb ...string) []string { return append([]string{"systemctl", "--user"}, verb...) }
	all := func(verb ...string) []string { return append(systemctl(verb...), p.Units...) }
	reload := systemctl("daemon-reload")
	p.Load = [][]string{reload, all("enable"), all("start")}
	p.Reload = [][]string{reload, all("enable"), all("restart")}
	p.Unload = [][]string{all("disable", "--now")}
	p.Forget = [][]string{reload}
	p.Show = all("show", "--property=Id,ActiveState,SubState,MainPID,UnitFileState")
	return p, nil
}

// systemdWords are the words of a command line, as systemd.service(5) reads them.
func systemdWords(words []string) (string, error) {
	quoted := make([]string, 0, len(words))
	for i, w := range words {
		if strings.ContainsFunc(w, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return "", fmt.Errorf("%q has a control character, which a unit cannot have", w)
		}
		// Specifiers are expanded within quotes, too; so are variables, but not in the
		// path of the program.
		w = strings.NewReplacer(`\`, `\\`, `"`, `\"`, `%`, `%%`).Replace(w)
		if i > 0 {
			w = strings.ReplaceAll(w, `$`, `$$`)
		}
		if w == "" || strings.ContainsAny(w, " '\"\\;") {
			w = `"` + w + `"`
		}
		quoted = append(quoted, w)
	}
	return strings.Join(quoted, " "), nil
}
