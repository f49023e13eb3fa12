package link

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// A program empties the file and is held up before it writes: what it writes stays.
func TestAnEmptiedFileIsWaitedFor(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mcp.json")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	written := make(chan error, 1)
	time.AfterFunc(100*time.Millisecond, func() {
		_, err := f.WriteString("theirs")
		written <- errors.Join(err, f.Close())
	})
	change := func(s *snapshot) ([]byte, error) {
		return append(s.data[:len(s.data):len(s.data)], " and ours"...), nil
	}
	if _, err := edit(context.Background(), path, 0o600, change, func() error { return nil }); err != nil {
		t.Fatal(err)
	}
	if err := <-written; err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != "theirs and ours" {
		t.Errorf("the file is %q, %v", text, err)
	}
}
