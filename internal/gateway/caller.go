package gateway

import (
	"context"
	"sync"

	"github.com/berth-run/berth/internal/bridge"
)

// Caller is who sends a request, as the gateway has found out: nothing in it is
// what a client merely says of itself.
type Caller struct {
	// Principal is what is kept apart from others': "uid:1000" by the home's socket,
	// "anyone" where nobody is asked.
	Principal string
	// Client is the name of the client, "" if it has none: for records, for lists of
	// what it may use and for limits. Clients of one principal may be many.
	Client string
	// Profile is the name of the profile that it is held to, "" if it is to none.
	Profile string
}

// callerKey is the key of the caller in the context of a request.
type callerKey struct{}

// withCaller returns a context whose caller is c.
func withCaller(ctx context.Context, c Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, c)
}

// callerIn is who sends the request of that context.
func callerIn(ctx context.Context) Caller {
	c, _ := ctx.Value(callerKey{}).(Caller)
	return c
}

// caller is who asks a child something: a legacy session, or one request of a
// modern client, which has no session.
type caller struct {
	Caller
	modern  bool
	session *session      // nil if modern
	client  bridge.Client // of a modern request
	unruled bool          // what it asks is the gateway's own business: it hears nothing that it must not
	patient bool          // it rather waits for the server than be told what may not be so

	labelled sync.Once // that labelIs is set
	labelIs  string
}

// capabilities are what the client declared.
func (c *caller) capabilities() []byte {
	if c.session != nil {
		return c.session.client.Capabilities
	}
	return c.client.Capabilities
}

// level is the least severe log level that the client wants; "" is none. A
// session that asked for no level leaves it to the server; a modern request asks
// each time or gets none.
func (c *caller) level() string {
	if c.session != nil {
		if level := c.session.askedLevel(); level != "" {
			return level
		}
		return "debug"
	}
	return stringOf(c.client.LogLevel)
}
