package main

import (
	"context"
	"fmt"
	"sync"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/home"
	"github.com/berth-run/berth/internal/jsonrpc"
	"github.com/berth-run/berth/internal/policy"
	"github.com/berth-run/berth/internal/shim"
)

// rulebook answers for each call what the policies say, and reads them again when
// their files, or what they speak of, are others than before. It may be used by
// several goroutines.
type rulebook struct {
	home *home.Home

	mu       sync.Mutex // guards the fields below
	rules    kept[policy.Rules]
	verdicts map[string]kept[error]
	compares map[string]kept[bool]
}

// kept is what was found out by files of that stamp.
type kept[T any] struct {
	stamp home.Stamp
	value T
}

func (k *kept[T]) holds(stamp home.Stamp) bool { return stamp.Settled && k.stamp == stamp }

func newRulebook(h *home.Home) *rulebook {
	return &rulebook{home: h, verdicts: map[string]kept[error]{}, compares: map[string]kept[bool]{}}
}

// tools are what the policies say of tools.
func (b *rulebook) tools() (policy.Rules, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	stamp := b.home.PolicyStamp()
	if b.rules.holds(stamp) {
		return b.rules.value, nil
	}
	all, _, err := shim.ReadPolicies(b.home)
	if err != nil {
		return nil, err
	}
	b.rules = kept[policy.Rules]{stamp, all.Rules()}
	return b.rules.value, nil
}

// server is why a server may not be called: it is disabled, or could not be started now.
func (b *rulebook) server(name string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	stamp := b.home.RightsStamp(name)
	if was, ok := b.verdicts[name]; ok && was.holds(stamp) {
		return was.value
	}
	err := notDisabled(b.home, name)
	if err == nil {
		err = shim.CheckPolicy(b.home, name)
	}
	b.verdicts[name] = kept[error]{stamp, err}
	return err
}

// notDisabled is an error for a server that nobody is to use. What is wrong with its file
// is not its to say.
func notDisabled(h *home.Home, name string) error {
	server, err := h.ReadServer(name)
	if err != nil || !server.Settings.Disabled {
		return nil
	}
	return &exitError{code: exitNotRunning, err: berth.WithHint(
		fmt.Errorf("server %q is disabled; `berth enable %s` lets clients use it again", name, name), "berth enable "+name)}
}

// pins says whether a server's tools are compared with what was approved now.
func (b *rulebook) pins(name string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	stamp := b.home.StampOf(name, name)
	if was, ok := b.compares[name]; ok && was.holds(stamp) {
		return was.value
	}
	server, err := b.home.ReadServer(name)
	yes := err != nil || comparesTools(b.home, server)
	b.compares[name] = kept[bool]{stamp, yes}
	return yes
}

// comparesTools says whether a server's tools are compared with what was approved: who
// demands it is, first to last, a policy, the server's own setting, that of all servers,
// and a policy that allows what it does not list. What cannot be read does not switch it
// off.
func comparesTools(h *home.Home, server home.Server) bool {
	config, _, err := h.ReadConfig()
	if err != nil {
		return true
	}
	if _, own := server.Config["berth.tool-changes"]; !own && config.Security.ToolChanges != "" {
		server.Config = with(server.Config, "berth.tool-changes", config.Security.ToolChanges)
	}
	sharing, err := server.Sharing()
	if err != nil {
		return true
	}
	policies, _, err := shim.ReadPolicies(h)
	switch {
	case err != nil: // then nothing starts, either
		return true
	case policies.ToolChanges() == policy.ChangesAllow && server.Config["berth.tool-changes"] == "":
		return false
	}
	return !sharing.FreeTools || policies.ToolChanges() == policy.ChangesWithhold
}

// mayCall refuses a call of this command's own that a policy forbids. The gateway
// refuses those of its clients.
func (s *site) mayCall(ctx context.Context, name, tool string, c *client) error {
	refuse := func(err error) error {
		call := &berth.Call{Tool: tool, Principal: ownPrincipal(), Client: "berth " + berth.Version, Outcome: berth.CallRefused, Code: jsonrpc.CodeInvalidParams}
		if unwritten := s.record(ctx, berth.Record{Server: name, Action: berth.ActionToolCallDenied, Call: call, Detail: err.Error()}); unwritten != nil {
			return unwritten
		}
		return err
	}
	book := newRulebook(s.home)
	if err := book.server(berth.ServerOf(name)); err != nil {
		return refuse(err)
	}
	rules, err := book.tools()
	if err != nil || len(rules) == 0 {
		return err
	}
	var said policy.Annotations
	if rules.AskAnnotations(name, tool) {
		if said, err = annotationsOf(ctx, c, tool); err != nil {
			return err
		}
	}
	if ok, why := rules.Allows(name, tool, said); !ok {
		return refuse(fmt.Errorf("call the tool %q of %s: %w: %s", tool, name, berth.ErrDenied, why))
	}
	return nil
}

// annotationsOf is what the server says of a tool; of one that it does not list,
// nothing.
func annotationsOf(ctx context.Context, c *client, tool string) (policy.Annotations, error) {
	tools, err := c.Tools(ctx)
	for _, t := range tools {
		if t.Name == tool {
			return policy.ParseAnnotations(jsonrpc.Get(t.Raw, "annotations")), nil
		}
	}
	return policy.Annotations{}, err
}
