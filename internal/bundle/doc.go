// Package bundle reads the archives that servers are handed out in: MCPB bundles, which
// are zip files with a manifest.json, and zip or tar.gz files with a program.
//
// What is in such a file was written by a stranger. So nothing of it is written outside of
// one directory, nothing that is no file, directory or link within that directory is
// written at all, and what is read is counted while it is read: what a header says of a
// size is not relied on.
package bundle
