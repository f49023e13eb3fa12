// Package chaos holds no code, only tests: they kill Berth's processes, at every
// named point and at random, and count what was lost, doubled or left over.
//
// The servers tell on themselves. Each holds a lock for its life and writes
// TWIN into a report if it finds it taken, and START when it begins, so nothing
// depends on looking at process lists.
package chaos
