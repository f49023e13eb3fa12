package egress

import "github.com/berth-run/berth"

// Guarantee says how far berth.GuaranteeEgress is kept.
func (s *Server) Guarantee() berth.Guarantee {
	g := berth.Guarantee{State: berth.Enforced, How: "a network namespace of its own, names answered and dialled outside"}
	if s.notify != nil {
		g = s.notify.guarantee()
	}
	return g
}
