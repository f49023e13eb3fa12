//go:build linux

package gateway

import (
	"context"
	"io"
	"net"
	"os"
	"testing"

	"github.com/berth-run/berth/internal/demo"
)

// The roles in which this binary starts itself, as a server: the demo server, or
// a puppet of the test.
const (
	roleVar    = "BERTH_GATEWAY_ROLE"
	roleDemo   = "demo"
	rolePuppet = "puppet"
	stringsVar = "BERTH_GATEWAY_STRINGS" // the socket of the puppet's test
)

func TestMain(m *testing.M) {
	switch os.Getenv(roleVar) {
	case roleDemo:
		if demo.Serve(context.Background(), os.Stdin, os.Stdout, os.Stderr) != nil {
			os.Exit(7)
		}
		os.Exit(0)
	case rolePuppet:
		os.Exit(dance(os.Getenv(stringsVar)))
	}
	// The race detector makes every exit of a process a second longer.
	os.Setenv("GORACE", "atexit_sleep_ms=0")
	os.Exit(m.Run())
}

// dance is a server whose words are a test's: what it is sent goes to the test,
// what the test sends it says. It ends when either does.
func dance(socket string) int {
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return 9
	}
	ended := make(chan int, 2)
	go func() {
		_, _ = io.Copy(conn, os.Stdin) // the end of either is the end
		ended <- 0
	}()
	go func() {
		_, _ = io.Copy(os.Stdout, conn)
		ended <- 7
	}()
	return <-ended
}
