//go:build unix

package supervisor_test

import (
	"os"
	"strings"
	"testing"
)

// rolePrefix begins the first argument of this test binary when it is something
// else than a test: a server that a shell cannot play, or a program that uses
// the library and can be killed.
const rolePrefix = "role="

func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		if name, ok := strings.CutPrefix(os.Args[1], rolePrefix); ok {
			os.Exit(play(name, os.Args[2:]))
		}
	}
	if os.Getenv("GORACE") == "" {
		// A binary with the race detector sleeps for a second when it exits,
		// and each shim and each server of these tests is one.
		os.Setenv("GORACE", "atexit_sleep_ms=0")
	}
	os.Exit(m.Run())
}

// rounds is how often a loop runs: many times, or few with -short.
func rounds(many, few int) int {
	if testing.Short() {
		return few
	}
	return many
}
