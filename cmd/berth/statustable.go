package main

import (
	"fmt"
	"io"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/berth-run/berth"
)

// printStatus writes the table, and below it what is wrong with which server.
func printStatus(u *ui, w io.Writer, rows []berth.Status, now time.Time) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(colour, name, status, phase, pid, up, restarts, memory, profile, mcp string) {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n",
			name, status, u.paint(colour, phase), pid, up, restarts, memory, profile, printable(mcp))
	}
	row(plain, "NAME", "STATUS", "PHASE", "PID", "UP", "RESTARTS", "MEMORY", "PROFILE", "MCP")
	for _, st := range rows {
		row(phaseColour(st.Phase), st.Name, string(st.Status), phaseText(st),
			pidText(st.PID), upText(st, now), restartsText(st), sizeText(st.MemoryBytes), profileText(st), mcpText(st.MCP))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, st := range rows {
		if st.URL != "" {
			fmt.Fprintf(w, "%s: at %s\n", st.Name, printable(st.URL))
		}
		if st.Disabled {
			fmt.Fprintf(w, "%s: disabled: no client may use it until `berth enable %s`\n", st.Name, berth.ServerOf(st.Name))
		}
		if st.Error != "" {
			fmt.Fprintf(w, "%s: %s\n", st.Name, u.paint(red, printable(troubleText(st, now))))
		}
		if st.Warning != "" {
			fmt.Fprintf(w, "%s: warning: %s\n", st.Name, printable(st.Warning))
		}
		for _, line := range st.Stderr {
			fmt.Fprintf(w, "%s: stderr: %s\n", st.Name, printable(line))
		}
		for _, line := range deniedLines(berth.ServerOf(st.Name), st.Denied, now, "berth permissions "+berth.ServerOf(st.Name)) {
			fmt.Fprintf(w, "%s: %s\n", st.Name, printable(line))
		}
		for _, gap := range gapsOf(st) {
			fmt.Fprintf(w, "%s: %s\n", st.Name, printable(gap))
		}
		// Of one that nobody set there is nothing to tell.
		if g := st.Guarantees[berth.GuaranteeMemory]; g.State == berth.Partial {
			fmt.Fprintf(w, "%s: memory limit: %s\n", st.Name, printable(g.Gap))
		}
	}
	return nil
}

// profileText is how tightly a server is confined, and whether all of that is kept.
func profileText(st berth.Status) string {
	switch {
	case st.Profile == "":
		return "-"
	case len(gapsOf(st)) > 0:
		return string(st.Profile) + "*"
	}
	return string(st.Profile)
}

// gapsOf are the promises of confinement that are not kept to a server that runs.
func gapsOf(st berth.Status) (gaps []string) {
	if st.Profile == "" || st.Profile == berth.ProfileOff || st.Status != berth.Running {
		return nil
	}
	for _, name := range confining() {
		g, ok := st.Guarantees[name]
		if st.Profile == berth.ProfileContainer && g.State == berth.Partial {
			continue // it is in the engine's hands, which is what the word says
		}
		if ok && g.State != berth.Enforced {
			gaps = append(gaps, guaranteeText(name, g))
		}
	}
	return gaps
}

// confining are the promises of confinement, in the order in which to name them.
func confining() []string {
	return []string{
		berth.GuaranteeFSRead, berth.GuaranteeFSWrite, berth.GuaranteeEgress, berth.GuaranteeUnixSockets,
		berth.GuaranteeSignals, berth.GuaranteeProc, berth.GuaranteeDevices, berth.GuaranteePrivileges,
	}
}

// phaseText is the phase, and of a server that is stopped whether a call starts it.
func phaseText(st berth.Status) string {
	if st.AtRest {
		return "at rest"
	}
	return string(st.Phase)
}

func phaseColour(p berth.Phase) string {
	switch p {
	case berth.PhaseReady:
		return green
	case berth.PhaseFailed:
		return red
	case berth.PhaseBackoff, berth.PhaseStopping, berth.PhaseStarting:
		return yellow
	}
	return plain
}

// troubleText is the error and when something will be done about it.
func troubleText(st berth.Status, now time.Time) string {
	text := st.Error
	if st.Phase == berth.PhaseBackoff && st.NextRestart.After(now) {
		text += "; next restart in " + spanText(st.NextRestart.Sub(now))
	}
	return text
}

func pidText(pid int) string {
	if pid == 0 {
		return "-"
	}
	return strconv.Itoa(pid)
}

func upText(st berth.Status, now time.Time) string {
	if st.Status != berth.Running || st.StartedAt.IsZero() {
		return "-"
	}
	return spanText(now.Sub(st.StartedAt))
}

func restartsText(st berth.Status) string {
	if st.MaxRestarts == 0 {
		return strconv.Itoa(st.Restarts)
	}
	return fmt.Sprintf("%d/%d", st.Restarts, st.MaxRestarts)
}

func mcpText(m *berth.MCPInfo) string {
	if m == nil {
		return "-"
	}
	return fmt.Sprintf("%s %s (%s)", m.ServerInfo.Name, m.ServerInfo.Version, m.ProtocolVersion)
}

// spanText is a time span as people say it: its largest unit that fits twice.
func spanText(d time.Duration) string {
	switch {
	case d < 0:
		return "0s"
	case d < time.Second:
		return fmt.Sprintf("%dms", d.Milliseconds())
	case d < 2*time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}

func sizeText(n uint64) string {
	switch {
	case n == 0:
		return "-"
	case n < 1<<20:
		return fmt.Sprintf("%dK", n>>10)
	case n < 10<<30:
		return fmt.Sprintf("%dM", n>>20)
	}
	return fmt.Sprintf("%dG", n>>30)
}
