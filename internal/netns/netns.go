// Package netns prepares a network namespace in which every address of the world is this
// host. What listens there is handed out, so that nothing of ours stays within; package
// egress serves it.
//
// It does without package net, which the small process that prepares a namespace would
// otherwise initialise at each start of a server.
package netns

const (
	// DNSPort is answered whatever address is asked.
	DNSPort = 53
	// ProxyPort is that of a proxy on ProxyHost.
	ProxyPort = 3128
)

// ProxyHost is the address at which a proxy listens for clients that would rather ask
// one: one of the world within, so that NO_PROXY lists of loopback do not meet it and
// loopback's port stays free.
func ProxyHost() [4]byte { return [4]byte{198, 18, 0, 1} }
