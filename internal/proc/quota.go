package proc

import (
	"errors"

	berth "github.com/berth-run/berth"
)

// quota is a limit of a tree beside that of its memory.
type quota struct {
	// Name is that of the guarantee.
	Name      string          `json:"name"`
	Guarantee berth.Guarantee `json:"guarantee"`
	// Dir is a cgroup that is only for limits, or "". Several quotas may have one.
	Dir string `json:"dir,omitzero"`
}

// quotas are those that the spec asks for.
func (s *Spec) quotas() []string {
	var names []string
	if s.MaxProcesses != 0 {
		names = append(names, berth.GuaranteeProcesses)
	}
	if s.MaxCPUPercent != 0 {
		names = append(names, berth.GuaranteeCPU)
	}
	return names
}

// closeQuotas removes what was made for them. The tree is empty.
func closeQuotas(list []quota) error {
	var errs []error
	for _, q := range list {
		errs = append(errs, q.remove())
	}
	return errors.Join(errs...)
}
