// Package catalog resolves what can be installed to a pinned local copy.
//
//	npx -y PKG ARGS ──Parse──▶ Request ──Fetch──▶ Copy ──▶ node …/bin.js ARGS
//	                                        │
//	           resolve: the tool of its kind says which versions, with hashes
//	           lock:    packages/ID.json, the whole tree
//	           install: frozen to the lock, in a directory of its own, renamed
//
// A package runner asks the network at each start what it is to run. Here that
// is a step of its own: the package and all that it needs are resolved once,
// written down with the hash of each, fetched by these hashes into the home, and
// from then on its program is executed directly.
//
// What is promised:
//   - A copy is whole or it is not there. It is made in a directory that nobody
//     uses, and renamed; what a killed process leaves there is removed by the next.
//   - Nothing of a package is executed while it is fetched, unless the user named
//     it.
//   - What a lock says is what was resolved: its digest is in the name of the copy
//     and in the server's file, and one that was edited is refused.
//   - A copy that a server's file, or the record of a process that may run, names
//     is not removed, and neither is one that holds files which were not fetched.
package catalog
