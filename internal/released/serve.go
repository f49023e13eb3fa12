package released

import (
	"bytes"
	"net"
	"os/exec"
	"testing"
	"time"
)

// Serve runs a program that listens where it is told to, for comparison, and
// returns the address. It is killed with the test.
func Serve(t testing.TB, name string, args func(addr string) []string) string {
	t.Helper()
	// Few such programs take port 0 and say what they got, so this one gets a
	// port that was free a moment ago.
	for range 5 {
		addr := freeAddr(t)
		cmd := exec.Command(name, args(addr)...)
		var said bytes.Buffer
		cmd.Stdout, cmd.Stderr = &said, &said
		cmd.WaitDelay = 10 * time.Second
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan struct{})
		go func() {
			_ = cmd.Wait()
			close(ended)
		}()
		if listens(addr, ended) {
			t.Cleanup(func() {
				_ = cmd.Process.Kill()
				<-ended
			})
			return addr
		}
		t.Logf("%s on %s: %s", name, addr, &said)
	}
	t.Fatalf("%s does not listen", name)
	return ""
}

func freeAddr(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// listens waits until something listens at an address, or the program that is to
// has ended.
func listens(addr string, ended chan struct{}) bool {
	for {
		conn, err := net.Dial("tcp", addr)
		select {
		case <-ended:
			return false
		default:
		}
		if err == nil {
			conn.Close()
			return true
		}
		time.Sleep(5 * time.Millisecond) // it tells nobody when it listens
	}
}
