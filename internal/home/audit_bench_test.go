package home

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/berth-run/berth"
)

// BenchmarkAudit compares Append with what cannot be avoided: an append of the
// same bytes and a sync. Each turn is one of each by every writer at the same
// time, on the disk of the temporary directory.
func BenchmarkAudit(b *testing.B) {
	rec := berth.Record{Server: "everything", Action: berth.ActionStart, PID: 4711, Command: "/usr/bin/npx",
		Args: []string{"-y", "@modelcontextprotocol/server-everything", "stdio"}}
	line, _, err := auditEncode(mustAppend(b, testTrail(b), action("first"), rec)[1])
	if err != nil {
		b.Fatal(err)
	}
	for _, writers := range []int{1, 8} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			tr := testTrail(b)
			path := filepath.Join(b.TempDir(), "bare")
			appendRecord := func() error {
				_, err := tr.append([]berth.Record{rec})
				return err
			}
			bare := func() error {
				f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
				if err != nil {
					return err
				}
				if _, err := f.Write(line); err != nil {
					return errors.Join(err, f.Close())
				}
				return errors.Join(f.Sync(), f.Close())
			}
			benchInTurns(b, "append", allWriters(writers, appendRecord), "bare", allWriters(writers, bare))
		})
	}
}

// BenchmarkJournal compares a record that a journal writes with a bare append of
// the same bytes, without a sync of either.
func BenchmarkJournal(b *testing.B) {
	rec := berth.Record{Server: "everything", Action: berth.ActionToolCall, PID: 4711, Detail: "echo"}
	line, _, err := auditEncode(mustAppend(b, testTrail(b), action("first"), rec)[1])
	if err != nil {
		b.Fatal(err)
	}
	for _, writers := range []int{1, 32} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			j := testJournal(b, testTrail(b))
			f, err := os.OpenFile(filepath.Join(b.TempDir(), "bare"), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
			if err != nil {
				b.Fatal(err)
			}
			defer f.Close()
			benchInTurns(b, "journal", allWriters(writers, func() error { return j.Append(rec) }),
				"bare", allWriters(writers, func() error { _, err := f.Write(line); return err }))
		})
	}
}

// allWriters returns a function that runs one in n goroutines at once.
func allWriters(n int, one func() error) func() error {
	return func() error {
		errs := make([]error, n)
		var all sync.WaitGroup
		for i := range n {
			all.Go(func() { errs[i] = one() })
		}
		all.Wait()
		return errors.Join(errs...)
	}
}
