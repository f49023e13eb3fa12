// Package berth holds the nouns of Berth, the safe runtime for MCP servers:
// what a server is ([ProcessSpec]), how it is ([Status]), what happened to it
// ([Record], [Event]), and the errors that a caller may branch on.
//
// The JSON of these types is what `berth … --json` prints. The package imports
// the standard library only and does nothing: package supervisor starts, stops
// and watches servers.
package berth

// Version is the version of Berth, in semver without a leading "v".
const Version = "0.2.0-dev"
