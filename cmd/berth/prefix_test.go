//go:build linux

package main

import (
	"fmt"
	"strings"
	"sync"
	"testing"
)

// However many servers are added at once with one prefix, one has it.
func TestOnePrefixForOneServer(t *testing.T) {
	b := newBench(t)
	var (
		adding sync.WaitGroup
		mu     sync.Mutex // guards the fields below
		added  int
	)
	for n := range 6 {
		adding.Go(func() {
			code, said := b.process("add", fmt.Sprintf("s%d", n), "--no-run", "--prefix", "one", "--", "testserver")
			mu.Lock()
			defer mu.Unlock()
			switch {
			case code == exitOK:
				added++
			case code != exitFailed || !strings.Contains(said, `the prefix "one" is that of server "s`):
				t.Errorf("exit code %d: %s", code, said)
			}
		})
	}
	adding.Wait()
	if added != 1 {
		t.Errorf("%d servers have the prefix", added)
	}
}
