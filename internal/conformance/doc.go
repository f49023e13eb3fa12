// Package conformance holds no code, only tests: what programs of other people
// say about Berth. The official conformance suite and the clients of the SDKs
// talk to real servers through the released binary, and the servers tell how
// often they were started.
//
// CONTRIBUTING.md names the variables that switch these tests on. To run the
// suite at a gateway, or anything else, that is up already:
//
//	go test ./internal/conformance -run TestSuiteAt -v -args -url http://127.0.0.1:7077/servers/conf/mcp
package conformance
