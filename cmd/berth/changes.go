package main

import (
	"fmt"
	"sync"

	"github.com/berth-run/berth"
)

// changes prints a line for each change of a server's status that a person
// would call one.
type changes struct {
	ui   *ui
	mu   sync.Mutex // guards last
	last map[string]string
}

func newChanges(u *ui) *changes { return &changes{ui: u, last: map[string]string{}} }

func (c *changes) show(ev berth.Event) {
	line := changeLine(ev.Status)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.last[ev.Status.Name] == line {
		return
	}
	c.last[ev.Status.Name] = line
	c.ui.print("%s %s", ev.At.Local().Format("15:04:05"), printable(line))
}

func changeLine(st berth.Status) string {
	text := fmt.Sprintf("%s: %s", st.Name, phaseText(st))
	if st.PID != 0 {
		text += fmt.Sprintf(", process %d", st.PID)
	}
	if st.Restarts > 0 {
		text += fmt.Sprintf(", restart %d of %d", st.Restarts, st.MaxRestarts)
	}
	if st.LastExit != nil && st.Phase != berth.PhaseReady {
		text += fmt.Sprintf(", last ended with %v", st.LastExit)
	}
	if st.Error != "" {
		text += ": " + st.Error
	}
	return text
}
