package proc

import (
	"errors"
	"fmt"

	berth "github.com/berth-run/berth"
)

// start starts the tree by the mechanism of the spec, which is not TreeAuto.
func start(s Spec) (*Tree, error) {
	at, err := ownPlaces()
	if err != nil {
		return nil, fmt.Errorf("start %q: %w", s.Path, err)
	}
	switch s.Mechanism {
	case berth.TreeCgroup:
		return startCgroup(&s, at)
	case berth.TreePIDNamespace:
		return startPIDNamespace(&s, at)
	case berth.TreeSubreaper, berth.TreeProcessGroup:
		return startSwept(&s, at)
	}
	return nil, fmt.Errorf("start %q: tree mechanism %q on Linux: %w", s.Path, s.Mechanism, errors.ErrUnsupported)
}

// mechanisms are those of this system, strongest first.
func mechanisms() []berth.TreeMechanism {
	return []berth.TreeMechanism{berth.TreeCgroup, berth.TreePIDNamespace, berth.TreeSubreaper, berth.TreeProcessGroup}
}
