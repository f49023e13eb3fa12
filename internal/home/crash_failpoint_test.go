//go:build failpoint

package home

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// arm returns the environment in which a process dies at the point.
func armPoint(t *testing.T, point string) (env string, hit func() bool) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, point), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return "BERTH_FAILPOINTS=" + dir, func() bool {
		_, err := os.Stat(filepath.Join(dir, point+".hit"))
		return err == nil
	}
}

func TestAuditKilledAtEachPoint(t *testing.T) {
	for _, point := range []string{"home.audit.write", "home.audit.written", "home.audit.synced", "home.audit.acknowledged", "home.audit.rotated"} {
		t.Run(point, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			tr := testTrail(t)
			tr.maxBytes = 300
			mustAppend(t, tr, action("before"))
			env, hit := armPoint(t, point)
			w := startAuditWriter(t, ctx, tr, "w", 1, env)
			for ack := range w.acks {
				w.acked = append(w.acked, ack)
			}
			w.kill()
			if !hit() {
				t.Fatal("the process did not come to the point")
			}
			wantAcked(t, tr, append(w.acked, "before"))
			mustAppend(t, tr, action("after"))
			wantAcked(t, tr, append(w.acked, "before", "after"))
		})
	}
}

// TestLogWriterProcess is not a test: it is the process that the test below
// kills.
func TestLogWriterProcess(t *testing.T) {
	path := os.Getenv("BERTH_TEST_LOG")
	if path == "" {
		t.Skip("this is run by another test")
	}
	l := newLog(path, LogOptions{MaxBytes: 4 << 10, Keep: 5, BytesPerSecond: -1})
	for i := 0; ; i++ {
		l.Output(fmt.Appendf(nil, "line %d%s\n", i, strings.Repeat(".", 90)))
	}
}

// A log that was being rotated has all its lines, none twice, and goes on.
func TestLogKilledAtEachPoint(t *testing.T) {
	for _, point := range []string{"home.log.write", "home.log.rotate-between", "home.log.rotate-done"} {
		t.Run(point, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			exe, err := os.Executable()
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(t.TempDir(), "s.log")
			env, hit := armPoint(t, point)
			cmd := exec.CommandContext(ctx, exe, "-test.run=^TestLogWriterProcess$")
			cmd.Env = append(os.Environ(), "BERTH_TEST_LOG="+path, env)
			if out, err := cmd.CombinedOutput(); err == nil || !hit() {
				t.Fatalf("the process did not come to the point: %v, %s", err, out)
			}
			l := newLog(path, LogOptions{MaxBytes: 4 << 10, Keep: 5, BytesPerSecond: -1})
			if err := l.Lifecycle(time.Unix(1, 0), LogStart(1)); err != nil {
				t.Fatal(err)
			}
			lines := tailStrings(t, path, 1000)
			for i, line := range lines[:len(lines)-1] {
				if !strings.HasPrefix(line, fmt.Sprintf("line %d.", i)) {
					t.Fatalf("line %d is %q", i, line)
				}
			}
			if got := lines[len(lines)-1]; got != "[1] START pid=1" {
				t.Errorf("the last line is %q", got)
			}
			if point != "home.log.write" && len(lines) < 40 {
				t.Errorf("%d lines: the log was not rotated", len(lines))
			}
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}
