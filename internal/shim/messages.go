package shim

import (
	"github.com/berth-run/berth"
)

// The fields of each message, by the numbers that are theirs for good: a new one
// gets a new number.

func (m *request) fields(c *coder) {
	integer(c, 1, &m.Version)
	text(c, 2, &m.Op)
	maybe(c, 3, &m.Spec, specFields)
	c.texts(4, &m.Environ)
	c.flag(5, &m.Steal)
	integer(c, 6, &m.Generation)
	text(c, 7, &m.Executable)
	text(c, 8, &m.Reason)
}

func (m *reply) fields(c *coder) {
	integer(c, 1, &m.Version)
	maybe(c, 2, &m.Error, (*wireError).fields)
	maybe(c, 3, &m.Status, statusFields)
	integer(c, 4, &m.Outcome)
	c.flag(5, &m.Busy)
	maybe(c, 6, &m.Failure, (*wireError).fields)
	integer(c, 7, &m.Epoch)
	c.blob(8, &m.Note)
}

func (m *statusFrame) fields(c *coder) {
	c.inner(1, func(c *coder) { statusFields(&m.Status, c) })
	maybe(c, 2, &m.Failure, (*wireError).fields)
}

func (m *noteFrame) fields(c *coder) {
	integer(c, 1, &m.Generation)
	c.blob(2, &m.Note)
	maybe(c, 3, &m.Ready, mcpFields)
}

func (m *boot) fields(c *coder) {
	integer(c, 1, &m.Version)
	text(c, 2, &m.Home)
	text(c, 3, &m.Name)
	text(c, 4, &m.Mode)
	c.inner(5, func(c *coder) { specFields(&m.Spec, c) })
	c.texts(6, &m.Environ)
	c.flag(7, &m.Leash)
}

func (w *wireError) fields(c *coder) {
	text(c, 1, &w.Kind)
	c.texts(2, &w.Also)
	text(c, 3, &w.Message)
	text(c, 4, &w.Hint)
}

func specFields(s *berth.ProcessSpec, c *coder) {
	text(c, 1, &s.Command)
	c.texts(2, &s.Args)
	table(c, 3, &s.Env, func(v *string, c *coder) { text(c, 1, v) })
	maybe(c, 4, &s.AutoRestart, func(p *berth.RestartPolicy, c *coder) {
		c.flag(1, &p.Enabled)
		integer(c, 2, &p.MaxRestarts)
		integer(c, 3, &p.Window)
		integer(c, 4, &p.MinDelay)
		integer(c, 5, &p.MaxDelay)
		integer(c, 6, &p.Healthy)
	})
	integer(c, 5, &s.MaxMemoryBytes)
	integer(c, 6, &s.MaxFileDescriptors)
	text(c, 7, &s.Dir)
	integer(c, 8, &s.Grace)
	text(c, 9, &s.Transport)
	text(c, 10, &s.TreeKill)
	maybe(c, 11, &s.Confine, func(p *berth.Confinement, c *coder) {
		text(c, 1, &p.Profile)
		text(c, 2, &p.Require)
		c.texts(3, &p.Allow)
		c.texts(4, &p.Program)
		text(c, 5, &p.Data)
		c.flag(6, &p.Learn)
	})
	integer(c, 12, &s.MaxProcesses)
	integer(c, 13, &s.MaxCPUPercent)
	c.texts(14, &s.Secrets)
	c.texts(15, &s.Unset)
	list(c, 16, &s.Ports, func(n *uint16, c *coder) { integer(c, 1, n) })
	c.flag(17, &s.Container)
}

func statusFields(s *berth.Status, c *coder) {
	text(c, 1, &s.Name)
	text(c, 2, &s.Status)
	text(c, 3, &s.Phase)
	integer(c, 4, &s.PID)
	integer(c, 5, &s.ShimPID)
	c.moment(6, &s.StartedAt)
	integer(c, 7, &s.Restarts)
	integer(c, 8, &s.MaxRestarts)
	maybe(c, 9, &s.LastExit, func(e *berth.Exit, c *coder) {
		maybe(c, 1, &e.Code, func(n *int, c *coder) { integer(c, 1, n) })
		text(c, 2, &e.Signal)
		c.flag(3, &e.OutOfMemory)
		c.moment(4, &e.At)
	})
	text(c, 10, &s.Error)
	c.texts(11, &s.Stderr)
	text(c, 12, &s.Warning)
	integer(c, 13, &s.MemoryBytes)
	maybe(c, 14, &s.MCP, mcpFields)
	table(c, 15, &s.Guarantees, func(g *berth.Guarantee, c *coder) {
		text(c, 1, &g.State)
		text(c, 2, &g.How)
		text(c, 3, &g.Gap)
	})
	c.moment(16, &s.NextRestart)
	integer(c, 17, &s.Generation)
	integer(c, 18, &s.StalledMillis)
	maybe(c, 19, &s.Dropped, func(d *berth.Dropped, c *coder) {
		integer(c, 1, &d.NotJSON)
		integer(c, 2, &d.Unattached)
		integer(c, 3, &d.TooLong)
	})
	c.flag(20, &s.AtRest)
	text(c, 21, &s.URL)
	text(c, 22, &s.Profile)
	c.flag(23, &s.Disabled)
	list(c, 24, &s.Denied, func(d *berth.Denial, c *coder) {
		text(c, 1, &d.What)
		text(c, 2, &d.Grant)
		text(c, 3, &d.Why)
		integer(c, 4, &d.Times)
		c.moment(5, &d.At)
	})
}

func mcpFields(m *berth.MCPInfo, c *coder) {
	text(c, 1, &m.ProtocolVersion)
	text(c, 2, &m.ServerInfo.Name)
	text(c, 3, &m.ServerInfo.Version)
}
