// Package validate finds the faults of what authors publish of their servers: server.json
// of the MCP registry, and manifest.json of an MCPB bundle. It finds all of them, each with
// its place, and tells errors, for which a registry or a client refuses the document, from
// warnings.
package validate
