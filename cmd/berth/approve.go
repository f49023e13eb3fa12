package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/gateway"
	"github.com/berth-run/berth/internal/mcp"
	"github.com/berth-run/berth/internal/pin"
	"github.com/berth-run/berth/internal/shim"
	"github.com/spf13/cobra"
)

// approveOptions are the flags of approve.
type approveOptions struct {
	all, diff, asJSON bool
	tools             []string
}

func newApprove(a *app) *cobra.Command {
	var o approveOptions
	cmd := &cobra.Command{
		Use:   "approve NAME [--all|--tool T…] [--diff] [--json]",
		Short: "Show what a server has changed of its tools, and approve it",
		Long: `Show the tools of a server that are withheld, and how they differ from what was
approved; at a terminal, ask whether to approve them. --all approves them without a
question, --tool some of them; --diff shows them only. Clients that are connected are
told.

What a server says of a tool goes to a model, and a server can say something else
tomorrow. So what it lists the first time after berth add is approved, and from then on
a tool that is new, or has another title, description, schema or annotations, is in no
list and its calls are refused. A tool that is gone needs no approval, and is still
approved when it comes back as it was. For a server that describes its tools anew each
time: berth config NAME --set berth.tool-changes=allow, or in berth.toml
[security] tool_changes = "allow" for all that do not say withhold.

Files: approvals/NAME.json.

Exit codes: 0 shown or approved, also if nothing is withheld, 1 failed, 3 no such
server or tool.`,
		Example:           "  berth approve github\n  berth approve github --tool create_issue\n  berth approve github --all",
		Args:              oneName,
		ValidArgsFunction: a.completeNames(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.all && len(o.tools) > 0 || o.diff && (o.all || len(o.tools) > 0) {
				return usagef("one of --all, --tool and --diff")
			}
			return a.approve(cmd.Context(), args[0], o)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&o.all, "all", false, "approve all that is withheld")
	f.StringArrayVar(&o.tools, "tool", nil, "approve this `tool`; may be repeated")
	f.BoolVar(&o.diff, "diff", false, "show what is withheld, and ask nothing")
	f.BoolVar(&o.asJSON, "json", false, "print JSON")
	return cmd
}

// toolChange is a tool that is withheld, as it is shown.
type toolChange struct {
	Tool string    `json:"tool"`
	New  bool      `json:"new"`
	Seen time.Time `json:"seen"`
	// Diff are lines that begin with "- ", "+ " or two blanks.
	Diff     []string `json:"diff"`
	Approved bool     `json:"approved"`
	digest   string
}

func (a *app) approve(ctx context.Context, name string, o approveOptions) error {
	s, err := a.open(false)
	if err != nil {
		return err
	}
	if _, err := s.server(name); err != nil {
		return err
	}
	b, err := s.readBook(name)
	if err != nil {
		return err
	}
	changes := changesIn(b)
	for _, tool := range o.tools {
		if !slices.ContainsFunc(changes, func(c toolChange) bool { return c.Tool == tool }) {
			return &exitError{code: exitNoServer, err: berth.WithHint(fmt.Errorf("no tool %q of %s is withheld", tool, name), "`berth approve "+name+" --diff` shows those that are")}
		}
	}
	if !o.asJSON {
		s.showChanges(name, changes)
	}
	if !o.all && len(o.tools) == 0 && !o.diff && !o.asJSON && len(changes) > 0 {
		if isTerminal(a.stdin) {
			o.all = a.yes(fmt.Sprintf("approve %s? [y/N] ", plural(len(changes), "tool", "as it is", "as they are")))
		} else {
			s.ui.say("berth: hint: berth approve %s --all approves what is shown", name)
		}
	}
	if err := s.approveTools(ctx, name, changes, o); err != nil {
		return err
	}
	if o.asJSON {
		return s.ui.json(struct {
			Server string       `json:"server"`
			Tools  []toolChange `json:"tools"`
		}{name, changes})
	}
	return nil
}

// changesIn are the tools of a book that wait.
func changesIn(b *pin.Book) []toolChange {
	changes := []toolChange{}
	if b == nil {
		return changes
	}
	for _, tool := range b.Waiting() {
		e := b.Pending[tool]
		_, was := b.Approved[tool]
		changes = append(changes, toolChange{Tool: tool, New: !was, Seen: e.At, Diff: b.Diff(tool), digest: e.Digest})
	}
	return changes
}

func (s *site) showChanges(name string, changes []toolChange) {
	if len(changes) == 0 {
		s.ui.print("%s: no tool is withheld", name)
		return
	}
	for _, c := range changes {
		what := "changed"
		if c.New {
			what = "new"
		}
		s.ui.print("%s: %s, %s", name, printable(c.Tool), what)
		for _, line := range c.Diff {
			s.ui.print("  %s", printable(line))
		}
	}
}

// approveTools approves what was shown, and nothing else.
func (s *site) approveTools(ctx context.Context, name string, changes []toolChange, o approveOptions) error {
	var done []string
	err := s.home.UpdateApprovals(name, func(old []byte) ([]byte, error) {
		if old == nil {
			return nil, nil
		}
		b, err := pin.Parse(old)
		if err != nil {
			return nil, err
		}
		for i, c := range changes {
			if !o.all && !slices.Contains(o.tools, c.Tool) {
				continue
			}
			if !b.Approve(c.Tool, c.digest, time.Now()) {
				return nil, fmt.Errorf("the tool %q is another again: look at it once more", c.Tool)
			}
			changes[i].Approved = true
			done = append(done, c.Tool)
		}
		if len(done) == 0 {
			return nil, nil
		}
		return b.Encode()
	})
	if err != nil || len(done) == 0 {
		return err
	}
	if !o.asJSON {
		s.ui.print("%s: approved: %s", name, printable(strings.Join(done, ", ")))
	}
	return s.record(ctx, berth.Record{Server: name, Action: berth.ActionApprove, Detail: strings.Join(done, ", ")})
}

// readBook returns what is approved of a server's tools, nil if nothing is yet.
func (s *site) readBook(name string) (*pin.Book, error) {
	b, err := gateway.ReadBook(s.home, berth.ServerOf(name))
	if err != nil {
		err = berth.WithHint(err, "delete "+filepath.Join(s.Dir(), "approvals", berth.ServerOf(name)+".json")+": what the server lists next is approved then")
	}
	return b, err
}

// pinsTools says whether a server's tools are compared with what was approved. What
// cannot be read does not switch it off.
func (s *site) pinsTools(name string) bool {
	server, err := s.home.ReadServer(berth.ServerOf(name))
	return err != nil || comparesTools(s.home, server)
}

// approvedTools are those of a server's tools that are not withheld, and how many are.
// What came through the gateway has been looked at there.
func (s *site) approvedTools(name string, c *client, tools []mcp.Tool) (kept []mcp.Tool, withheld int, err error) {
	if _, direct := c.carrier.(*shim.Attachment); !s.pinsTools(name) {
		return tools, 0, nil
	} else if !direct {
		b, err := s.readBook(name)
		if err != nil || b == nil {
			return tools, 0, err
		}
		return tools, len(b.Pending), nil
	}
	var all []pin.Tool
	for _, t := range tools {
		if p, err := pin.Of(t.Raw); err == nil {
			all = append(all, p)
		}
	}
	b, err := gateway.SeeTools(s.home, berth.ServerOf(name), all, true)
	if err != nil {
		if _, readErr := s.readBook(name); readErr != nil {
			err = readErr
		}
		return nil, 0, err
	}
	for _, t := range tools {
		if p, err := pin.Of(t.Raw); err == nil && b.Allows(p) {
			kept = append(kept, t)
		}
	}
	return kept, len(tools) - len(kept), nil
}

// isApproved returns why a tool may not be called by this command, of which the gateway
// does not know.
func (s *site) isApproved(ctx context.Context, name, tool string, c *client, input json.RawMessage) error {
	a, direct := c.carrier.(*shim.Attachment)
	if !direct || !s.pinsTools(name) {
		return nil
	}
	listed, err := c.Tools(ctx)
	if err != nil {
		return err
	}
	kept, _, err := s.approvedTools(name, c, listed)
	if err != nil {
		return err
	}
	is := func(t mcp.Tool) bool { return t.Name == tool }
	if slices.ContainsFunc(kept, is) {
		return nil
	}
	b, err := s.readBook(name)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(listed, is) {
		if _, ever := b.Approved[tool]; ever || len(listed) == 0 && len(b.Approved) == 0 {
			return nil // the server says that it has none of that name
		}
	}
	const why = "what the server says of it is not what was approved"
	call := callOf(tool, input, nil, nil, 0)
	call.Outcome = berth.CallRefused
	r := berth.Record{Server: name, Action: berth.ActionToolCallDenied, PID: a.Status().PID, Call: call, Detail: why}
	err = berth.WithHint(fmt.Errorf("the tool %q is not allowed: %s", tool, why), "`berth approve "+name+"` shows what is new")
	return errors.Join(err, s.record(ctx, r))
}
