package supervisor_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/supervisor"
)

// A shim that was stopped is waited for, but not for ever: its server can be
// seen, and every request says what is to be done. Once it goes on, all is well.
func TestStoppedShim(t *testing.T) {
	if testing.Short() {
		t.Skip("it waits for 20 s")
	}
	w := newWorld(t)
	was := w.start("a", restarting(idle(), 3))
	w.halt(was.ShimPID)
	goOn := sync.OnceFunc(func() { w.signal(was.ShimPID, syscall.SIGCONT) })
	defer goOn()
	who := fmt.Sprintf("process %d, does not answer", was.ShimPID)
	verbs := map[string]func() error{
		"start":     func() error { _, err := w.m.Start(w.ctx, "a", idle()); return err },
		"stop":      func() error { _, err := w.m.Stop(w.ctx, "a"); return err },
		"restart":   func() error { return w.m.Restart(w.ctx, "a", idle()) },
		"reconcile": func() error { _, err := w.m.Reconcile(w.ctx, "a", nil); return err },
	}
	var asking sync.WaitGroup
	for verb, ask := range verbs {
		asking.Go(func() {
			err := ask()
			var hinted *berth.Hinted
			if err == nil || !strings.Contains(err.Error(), who) || !errors.As(err, &hinted) || !strings.Contains(hinted.Hint, "kill -CONT") {
				t.Errorf("%s: %v", verb, err)
			}
		})
	}
	if st := w.status("a"); st.Status != berth.Running || st.PID != was.PID || st.ShimPID != was.ShimPID || !strings.Contains(st.Error, who) {
		t.Errorf("status: %+v", st)
	}
	asking.Wait()
	goOn()
	// What was asked meanwhile and given up is not done.
	if st := w.status("a"); st.PID != was.PID || st.Phase != berth.PhaseRunning {
		t.Errorf("status: %+v", st)
	}
	w.hasActions("a", "start")
	w.stop("a")
}

// halt stops a process and waits until all of it stands: one thread takes the
// signal and halts the others, and on a busy machine they go on until it runs.
// Nothing tells when it did.
func (w *world) halt(pid int) {
	w.Helper()
	w.signal(pid, syscall.SIGSTOP)
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
		if err != nil || len(threads) == 0 {
			w.Fatalf("the threads of %d: %v", pid, err)
		}
		going := 0
		for _, thread := range threads {
			text, err := os.ReadFile(thread)
			if err == nil && !bytes.Contains(text, []byte(") T ")) {
				going++
			}
		}
		if going == 0 {
			return
		}
		if time.Now().After(deadline) {
			w.Fatalf("%d threads of %d do not stop", going, pid)
		}
	}
}

// What ends a caller's whole process group, or its terminal's session, ends
// neither the server nor its shim.
func TestFault6_HangupOfTheCallersGroup(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGHUP, syscall.SIGINT, syscall.SIGTERM, syscall.SIGKILL} {
		t.Run(sig.String(), func(t *testing.T) {
			w := newWorld(t)
			self, err := os.Executable()
			if err != nil {
				t.Fatal(err)
			}
			cmd := caller(t, self, request{
				Options: supervisor.Options{Home: w.dir}, Verb: "start", Name: "a", Spec: restarting(cat(), 3), Stay: true,
			})
			cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
			in, err := cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			defer in.Close()
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			var a answer
			line, err := bufio.NewReader(out).ReadBytes('\n')
			if err == nil {
				err = json.Unmarshal(line, &a)
			}
			if err != nil || a.Outcome != "started" {
				t.Fatalf("%+v, %v", a, err)
			}
			if err := syscall.Kill(-cmd.Process.Pid, sig); err != nil {
				t.Fatal(err)
			}
			if err := cmd.Wait(); err == nil {
				t.Error("the caller did not end by the signal")
			}
			st := w.status("a")
			if st.Status != berth.Running || st.PID != a.Status.PID || st.ShimPID != a.Status.ShimPID {
				t.Errorf("status: %+v, was %+v", st, a.Status)
			}
			// It is supervised still.
			w.kill(st.PID)
			w.awaitNext("a", st.Generation)
		})
	}
}
