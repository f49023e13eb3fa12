// Package registry asks the registry of MCP servers what there is, and keeps a copy of
// that to search and install from without the network.
//
//	Client.Pull ──pages──▶ Copy ──Encode──▶ one file: header, index, documents
//	                                          │ Open reads the header and the index,
//	                                          │ Search scans the index, Get reads one document
//
// It is the API of version v0.1. What it says was written by anybody: an entry that
// cannot be read is counted and passed over, and hides no other; texts have lost
// what would do something to a terminal before anybody sees them (internal/listing).
package registry
