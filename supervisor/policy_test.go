//go:build unix

package supervisor_test

import (
	"strings"
	"testing"

	"github.com/berth-run/berth"
)

// TestEachPolicyRuleAtEachGate: what a rule forbids is not started, not started again
// by its user, by a client or by its shim, and neither after its shim was killed. With
// another rule of the kind, which forbids it not, all of that goes on.
func TestEachPolicyRuleAtEachGate(t *testing.T) {
	const file = "[server]\ntrust_level = 'community'\n[source]\npackage = '@evil/server@1.2.3'\n[runtime]\ncommand = 'sh'\n"
	allowed := func(entry string) *berth.Confinement {
		return &berth.Confinement{Profile: berth.ProfileOff, Allow: []string{"env:HOME", entry}}
	}
	for _, rule := range []struct {
		forbids, lets string
		confine       *berth.Confinement
	}{
		{"servers.deny = ['A']", "servers.deny = ['b']", nil},
		{"servers.allow = ['b']", "servers.allow = ['a']", nil},
		{"servers.deny_packages = ['@evil/*']", "servers.deny_packages = ['@other/*']", nil},
		{"servers.allow_packages = ['@good/*']", "servers.allow_packages = ['@evil/server']", nil},
		{"servers.deny_trust = ['community']", "servers.deny_trust = ['untrusted']", nil},
		{"servers.allow_trust = ['official']", "servers.allow_trust = ['official', 'community']", nil},
		{"permissions.deny_network_wildcard = true", "permissions.deny_network_wildcard = false", allowed("network:*")},
		{"permissions.deny_env_wildcard = true", "permissions.deny_exec_wildcard = true", allowed("env:*")},
		{"permissions.deny_filesystem_write = true", "permissions.deny_env_wildcard = true", allowed("filesystem:write:/srv")},
		{"permissions.deny_exec_wildcard = true", "permissions.deny_filesystem_write = true", allowed("exec:*")},
		{"confinement.minimum = 'standard'", "confinement.minimum = 'off'", nil},
		{"confinement.require = 'enforce'", "confinement.require = 'prefer'", &berth.Confinement{Profile: berth.ProfileStandard, Require: berth.RequirePrefer, Allow: []string{"exec:sleep"}}},
	} {
		key, _, _ := strings.Cut(rule.forbids, " ")
		table, key, _ := strings.Cut(key, ".")
		spec := func(s berth.ProcessSpec) berth.ProcessSpec { s.Confine = rule.confine; return s }
		t.Run(key, func(t *testing.T) {
			w := newWorld(t)
			w.write(file, "servers", "a.toml")
			says := []string{w.path("policy.toml"), "[" + table + "] " + key}
			denied := func(err error) { t.Helper(); is(t, err, berth.ErrDenied, says...) }

			w.write(rule.forbids+"\n", "policy.toml")
			_, err := w.m.Start(w.ctx, "a", spec(idle()))
			denied(err)
			denied(w.m.Restart(w.ctx, "a", spec(idle())))
			w.hasNotStarted("a")
			w.hasActions("a", "policy-denied", "policy-denied")

			w.write(rule.lets+"\n", "policy.toml")
			was := w.start("a", restarting(spec(deaf()), 5))
			w.kill(was.PID)
			st := w.awaitNext("a", was.Generation) // by its shim
			if err := w.m.Renew(w.ctx, "a", st.Generation); err != nil {
				t.Error(err)
			}

			w.write(rule.forbids+"\n", "policy.toml")
			st = w.status("a")
			denied(w.m.Restart(w.ctx, "a", spec(idle())))
			denied(w.m.Renew(w.ctx, "a", st.Generation))
			if now := w.status("a"); now.PID != st.PID {
				t.Errorf("what ran was ended: %+v", now)
			}
			w.kill(st.PID)
			w.awaitShimEnd("a")
			if st := w.status("a"); st.Status != berth.Stopped || !strings.Contains(st.Error, key) {
				t.Errorf("after the shim was asked: %+v", st)
			}

			w.write(rule.lets+"\n", "policy.toml")
			again := restarting(spec(deaf()), 5)
			w.orphan("a", again)
			w.write(rule.forbids+"\n", "policy.toml")
			if _, err := w.m.Reconcile(w.ctx, "a", &again); err != nil {
				is(t, err, berth.ErrDenied, says...)
			}
			w.awaitShimEnd("a")
			if st := w.status("a"); st.Status != berth.Stopped {
				t.Errorf("healed: %+v", st)
			}
		})
	}
}
