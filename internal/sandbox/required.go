package sandbox

import berth "github.com/berth-run/berth"

// Required are the guarantees that a profile requires on this system, and the least
// that each must be; docs/threat-model.md has them as a table.
func Required(profile berth.Profile) map[string]berth.GuaranteeState {
	switch profile {
	case berth.ProfileStandard:
		return required()
	case berth.ProfileStrict:
		all := map[string]berth.GuaranteeState{}
		for _, name := range Names() {
			all[name] = berth.Enforced
		}
		return all
	}
	return nil
}

// Names are the guarantees of this package.
func Names() []string {
	return []string{
		berth.GuaranteeFSRead, berth.GuaranteeFSWrite, berth.GuaranteeEgress, berth.GuaranteeUnixSockets,
		berth.GuaranteeSignals, berth.GuaranteeProc, berth.GuaranteeDevices, berth.GuaranteePrivileges,
	}
}

// Missing returns the names of the guarantees that are less than a profile requires.
func Missing(profile berth.Profile, kept map[string]berth.Guarantee) []string {
	var missing []string
	least := Required(profile)
	for _, name := range Names() {
		if want, ok := least[name]; ok && rank(kept[name].State) < rank(want) {
			missing = append(missing, name)
		}
	}
	return missing
}

// rank orders states.
func rank(s berth.GuaranteeState) int {
	switch s {
	case berth.Enforced:
		return 2
	case berth.Partial:
		return 1
	}
	return 0
}
