//go:build unix

package proc

import berth "github.com/berth-run/berth"

// unlimited is a quota that nothing here can keep.
func unlimited(name, gap string) quota {
	return quota{Name: name, Guarantee: berth.Guarantee{State: berth.None, How: "nothing", Gap: gap}}
}
