//go:build !linux && !darwin

package sandbox

import (
	"os"

	berth "github.com/berth-run/berth"
)

// whyNot is why nothing is confined here.
const whyNot = "there is no confinement on this system yet; run the server in a container or in WSL 2"

const carves = false

// readable has nothing: what programs need of the system is asked of nobody here.
func readable() []string { return nil }

// Mounts does nothing: there are no mount namespaces here.
func (p *Plan) Mounts() error { return nil }

// Enter does nothing; Guarantees says so for each.
func (p *Plan) Enter() (notify int, err error) { return -1, nil }

// SelfTest does nothing: what is not confined cannot be tested for it.
func (p *Plan) SelfTest() error { return nil }

// Wrap returns the command itself.
func (p *Plan) Wrap(path string, argv []string) (string, []string, error) { return path, argv, nil }

// Probe has nothing to try.
func Probe(string) Report { return Report{Missing: []string{whyNot}} }

// ProbeMain: there is no such role here.
func ProbeMain([]string) { os.Exit(2) }

// Guarantees are none.
func (p *Plan) Guarantees(Report) map[string]berth.Guarantee {
	g := map[string]berth.Guarantee{}
	for _, name := range Names() {
		g[name] = berth.Guarantee{State: berth.None, Gap: whyNot}
	}
	return g
}

// required: a profile that required what is not there could not be used, so that people
// would switch it off; status says for each guarantee that it is not kept.
func required() map[string]berth.GuaranteeState { return map[string]berth.GuaranteeState{} }
