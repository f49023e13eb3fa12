package berth

import "time"

// Token is what is kept of a token by which a client of the gateway is known: all
// but the token itself.
type Token struct {
	// Name is the client's.
	Name string `json:"name"`
	// Profile is the name of the profile that the client is held to; "" is none.
	Profile string    `json:"profile,omitzero"`
	Created time.Time `json:"created"`
	// Expires is when it stops working; zero is never.
	Expires time.Time `json:"expires,omitzero"`
}

// Expired says whether the token has stopped working by now.
func (t Token) Expired(now time.Time) bool { return !t.Expires.IsZero() && !now.Before(t.Expires) }
