package proc

import (
	"context"
	"os"
	"syscall"
	"testing"

	berth "github.com/berth-run/berth"
)

// BenchmarkRestart is the end of one incarnation and the start of the next, for
// each mechanism; "bare" is a fork, exec and wait, which no restart can beat.
func BenchmarkRestart(b *testing.B) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		b.Fatal(err)
	}
	defer null.Close()
	fd := null.Fd()
	b.Run("bare", func(b *testing.B) {
		for b.Loop() {
			pid, err := syscall.ForkExec("/bin/true", []string{"true"}, &syscall.ProcAttr{Files: []uintptr{fd, fd, fd}})
			if err != nil {
				b.Fatal(err)
			}
			if _, err := syscall.Wait4(pid, nil, 0, nil); err != nil {
				b.Fatal(err)
			}
		}
	})
	for _, m := range mechanisms() {
		b.Run(string(m), func(b *testing.B) {
			needMechanism(b, m)
			key := randomHex()
			for b.Loop() {
				t, err := Start(Spec{
					Path: "/bin/true", Argv: []string{"true"}, Stdin: null, Stdout: null, Stderr: null,
					Key: key, Incarnation: NewIncarnation(key), Mechanism: m,
				})
				if err != nil {
					b.Fatal(err)
				}
				<-t.Exited()
				if _, err := t.Kill(context.Background()); err != nil {
					b.Fatal(err)
				}
				if err := t.Close(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkSweep is what a start costs when nothing is left to sweep.
func BenchmarkSweep(b *testing.B) {
	key := randomHex()
	for b.Loop() {
		if _, err := Sweep(context.Background(), Query{Key: key}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkChoose is what finding the mechanism costs, once for a supervisor.
func BenchmarkChoose(b *testing.B) {
	for b.Loop() {
		var p Prober
		if m, _ := p.Choose(); m == berth.TreeAuto {
			b.Fatal("none")
		}
	}
}
