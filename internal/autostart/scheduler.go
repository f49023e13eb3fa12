package autostart

import (
	"path/filepath"
	"strings"
)

// scheduler is the plan for a task of Windows' Task Scheduler, which runs while its
// user is logged in.
func scheduler(j Job, s System) Plan {
	path := filepath.Join(filepath.Dir(j.Log), j.Name+"-task.xml")
	var words []string
	for _, w := range j.Args {
		words = append(words, windowsWord(w))
	}
	task := []string{"/TN", j.Name}
	schtasks := func(verb string, more ...string) []string {
		return append(append([]string{"schtasks.exe", verb}, task...), more...)
	}
	create := schtasks("/Create", "/XML", path, "/F")
	return Plan{
		Manager: "the Task Scheduler", Units: []string{j.Name},
		Probe:     []string{"schtasks.exe", "/Query", "/TN", `\`},
		NoManager: "the service Schedule has to run: `sc query Schedule` shows it",
		Files: []File{{Path: path, Wide: true, Text: `<?xml version="1.0" encoding="UTF-16"?>
<!-- Written by berth service install. -->
<Task version="1.2" xmlns="http://schemas.microsoft.com/windows/2004/02/mit/task">
  <RegistrationInfo>
    <Description>Berth keeps MCP servers up</Description>
  </RegistrationInfo>
  <Triggers>
    <LogonTrigger>
      <Enabled>true</Enabled>
      <UserId>` + xmlText(s.User) + `</UserId>
    </LogonTrigger>
  </Triggers>
  <Principals>
    <Principal id="Author">
      <UserId>` + xmlText(s.User) + `</UserId>
      <LogonType>InteractiveToken</LogonType>
      <RunLevel>LeastPrivilege</RunLevel>
    </Principal>
  </Principals>
  <Settings>
    <MultipleInstancesPolicy>IgnoreNew</MultipleInstancesPolicy>
    <DisallowStartIfOnBatteries>false</DisallowStartIfOnBatteries>
    <StopIfGoingOnBatteries>false</StopIfGoingOnBatteries>
    <ExecutionTimeLimit>PT0S</ExecutionTimeLimit>
    <RestartOnFailure>
      <Interval>PT1M</Interval>
      <Count>999</Count>
    </RestartOnFailure>
    <Hidden>true</Hidden>
  </Settings>
  <Actions Context="Author">
    <Exec>
      <Command>` + xmlText(j.Program) + `</Command>
      <Arguments>` + xmlText(strings.Join(words, " ")) + `</Arguments>
    </Exec>
  </Actions>
</Task>
`}},
		Load:   [][]string{create, schtasks("/Run")},
		Reload: [][]string{schtasks("/End"), create, schtasks("/Run")},
		Unload: [][]string{schtasks("/End"), schtasks("/Delete", "/F")},
		Show:   schtasks("/Query", "/FO", "LIST"),
	}
}

// windowsWord is a word of a command line as CommandLineToArgvW reads it.
func windowsWord(w string) string {
	if w != "" && !strings.ContainsAny(w, " \t\"") {
		return w
	}
	var b strings.Builder
	b.WriteByte('"')
	slashes := 0
	for i := range len(w) {
		switch c := w[i]; c {
		case '\\':
			slashes++
			continue
		case '"':
			b.WriteString(strings.Repeat(`\`, 2*slashes+1))
		default:
			b.WriteString(strings.Repeat(`\`, slashes))
		}
		slashes = 0
		b.WriteByte(w[i])
	}
	b.WriteString(strings.Repeat(`\`, 2*slashes) + `"`)
	return b.String()
}
