package home

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/berth-run/berth"
)

// TestAuditWriterProcess is not a test: it is the writer that the tests below
// run as a process of its own. It tells on its standard output what was
// acknowledged, until it is killed.
func TestAuditWriterProcess(t *testing.T) {
	dir := os.Getenv("BERTH_TEST_AUDIT_DIR")
	if dir == "" {
		t.Skip("this is run by other tests")
	}
	name := os.Getenv("BERTH_TEST_AUDIT_WRITER")
	maxBytes, err := strconv.ParseInt(os.Getenv("BERTH_TEST_AUDIT_MAX"), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	tr := trail{dir: dir, maxBytes: maxBytes}
	batch, err := strconv.Atoi(os.Getenv("BERTH_TEST_AUDIT_BATCH"))
	if err != nil {
		t.Fatal(err)
	}
	write := func(recs []berth.Record) error {
		_, err := tr.append(recs)
		return err
	}
	if os.Getenv("BERTH_TEST_AUDIT_JOURNAL") != "" {
		j := newJournal(&Home{}, tr)
		write = func(recs []berth.Record) error {
			for _, rec := range recs {
				if err := j.Append(rec); err != nil {
					return err
				}
			}
			return nil
		}
	}
	for i := 0; ; i++ {
		recs := []berth.Record{action(fmt.Sprintf("%s.%d", name, i))}
		if i%4 == 1 {
			recs[0].Detail = strings.Repeat("x", rand.IntN(100<<10))
			for len(recs) < batch {
				more := recs[0]
				more.Action = fmt.Sprintf("%s.%d.%d", name, i, len(recs))
				recs = append(recs, more)
			}
		}
		if err := write(recs); err != nil {
			fmt.Fprintln(os.Stderr, "append:", err)
			os.Exit(1)
		}
		for _, rec := range recs {
			// One write, so that the parent reads the line whole or not at all.
			if _, err := os.Stdout.Write([]byte("ack " + rec.Action + "\n")); err != nil {
				os.Exit(0) // the parent is gone
			}
		}
	}
}

// auditWriter is a writer process. Its acknowledged records are in acked when
// it has ended.
type auditWriter struct {
	cmd   *exec.Cmd
	acks  chan string
	acked []string
}

func startAuditWriter(t *testing.T, ctx context.Context, tr trail, name string, batch int, env ...string) *auditWriter {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	w := &auditWriter{cmd: exec.CommandContext(ctx, exe, "-test.run=^TestAuditWriterProcess$"), acks: make(chan string)}
	w.cmd.Env = append(os.Environ(), "BERTH_TEST_AUDIT_DIR="+tr.dir, "BERTH_TEST_AUDIT_WRITER="+name,
		fmt.Sprint("BERTH_TEST_AUDIT_MAX=", tr.maxBytes), fmt.Sprint("BERTH_TEST_AUDIT_BATCH=", batch))
	w.cmd.Env = append(w.cmd.Env, env...)
	w.cmd.Stderr = os.Stderr
	out, err := w.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := w.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(w.acks)
		for in := bufio.NewReader(out); ; {
			line, err := in.ReadString('\n')
			if err != nil {
				return
			}
			if ack, ok := strings.CutPrefix(line, "ack "); ok {
				w.acks <- strings.TrimSpace(ack)
			}
		}
	}()
	return w
}

// wait waits until the process has acknowledged n records.
func (w *auditWriter) wait(n int) {
	for range n {
		if ack, ok := <-w.acks; ok {
			w.acked = append(w.acked, ack)
		}
	}
}

// kill kills the process and waits until it has ended.
func (w *auditWriter) kill() {
	var late sync.WaitGroup
	late.Go(func() {
		for ack := range w.acks {
			w.acked = append(w.acked, ack)
		}
	})
	_ = w.cmd.Process.Kill()
	late.Wait() // all of the pipe, before Wait closes it
	_ = w.cmd.Wait()
}

// wantAcked fails the test unless the trail is whole and has each acknowledged
// record once.
func wantAcked(t *testing.T, tr trail, acked []string) {
	t.Helper()
	wantWhole(t, tr)
	count := map[string]int{}
	err := tr.each(AuditFilter{}, func(name string, l auditLine) bool {
		if l.err == nil {
			count[l.rec.Action]++
		}
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range acked {
		if count[a] != 1 {
			t.Errorf("the acknowledged record %s is there %d times", a, count[a])
		}
	}
}

// Eight writers are killed again and again, while others read: half of them are
// journals, which acknowledge what is written before it is synced.
func TestAuditSurvivesKilledWriters(t *testing.T) {
	kills := 200
	if testing.Short() {
		kills = 40
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	tr := testTrail(t)
	tr.maxBytes = 4 << 20

	var mu sync.Mutex // guards the variables below
	var acked []string
	started, ended := 0, 0
	next := func() (name string, ok bool) {
		mu.Lock()
		defer mu.Unlock()
		if started == kills || ctx.Err() != nil {
			return "", false
		}
		started++
		return fmt.Sprint("w", started), true
	}
	var writers sync.WaitGroup
	for n := range 8 {
		var env []string
		if n%2 == 1 {
			env = []string{"BERTH_TEST_AUDIT_JOURNAL=1"}
		}
		writers.Go(func() {
			for name, ok := next(); ok; name, ok = next() {
				w := startAuditWriter(t, ctx, tr, name, 1, env...)
				w.wait(rand.IntN(12))
				time.Sleep(rand.N(5 * time.Millisecond)) // the kill falls anywhere in an append
				w.kill()
				mu.Lock()
				acked = append(acked, w.acked...)
				ended++
				mu.Unlock()
			}
		})
	}
	done := make(chan struct{})
	go func() { writers.Wait(); close(done) }()
	for reads := 0; ; reads++ {
		select {
		case <-done:
			if ended != kills {
				t.Fatalf("%d writers of %d were killed", ended, kills)
			}
			wantAcked(t, tr, acked)
			mustAppend(t, tr, action("last"))
			report := wantWhole(t, tr)
			t.Logf("%d kills, %d records acknowledged, %d in the trail of %d files, %d notes; read %d times meanwhile",
				kills, len(acked), report.Records, report.Files, len(report.Notes), reads)
			if len(acked) < kills {
				t.Errorf("only %d records were acknowledged", len(acked))
			}
			return
		case <-time.After(50 * time.Millisecond):
			wantWhole(t, tr)
		}
	}
}

func auditSize(t *testing.T, tr trail) int64 {
	t.Helper()
	info, err := os.Stat(tr.path(auditCurrent))
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// A write that takes milliseconds is cut off by most kills.
func TestAuditSurvivesTornWrites(t *testing.T) {
	const want, most = 3, 100
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	torn := 0
	for round := 0; torn < want; round++ {
		if round == most {
			t.Fatalf("%d kills tore %d writes: this test shows too little", round, torn)
		}
		tr := testTrail(t)
		w := startAuditWriter(t, ctx, tr, "w", 60)
		w.wait(1) // the second append is the long one
		size := auditSize(t, tr)
		for ctx.Err() == nil && auditSize(t, tr) == size {
			runtime.Gosched() // the write is to be met in its middle
		}
		w.kill()
		before := wantWhole(t, tr)
		mustAppend(t, tr, action("last"))
		wantAcked(t, tr, w.acked)
		if len(before.Notes) > 0 && !strings.Contains(fmt.Sprint(before.Notes), "head") {
			torn++
		}
		if err := os.RemoveAll(tr.dir); err != nil {
			t.Fatal(err)
		}
		t.Logf("kill %d: %v", round+1, before.Notes)
	}
}
