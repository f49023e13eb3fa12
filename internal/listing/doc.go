// Package listing is the servers that there are to install: what each is, what it
// asks its user for, and what is run once that is answered.
//
//	servers.toml ──BuiltIn──▶ ┌───────┐
//	server.json ──ParseServerJSON──▶ │ Entry │ ──Fill(values)──▶ Plan: arguments, variables, permissions
//	                          └───────┘
//	                          Query.Score ranks entries by words
//
// What an entry says comes from others and is checked before it is used: names are
// names, values go where their declaration says and never through a shell, and a
// secret never into an argument.
package listing
