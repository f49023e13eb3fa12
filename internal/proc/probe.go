package proc

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"os"
	"sync"
	"time"

	berth "github.com/berth-run/berth"
)

// Prober finds out which mechanisms work, by doing, and remembers the result:
// one for each supervisor, so that a restart does not try again. The zero value
// is ready.
type Prober struct {
	// Key is put into the names of what is made for a moment, so that a Sweep
	// finds it if this process is killed meanwhile.
	Key string
	// Executable is as in Spec.
	Executable string

	mu      sync.Mutex // guards the fields below
	reports []MechanismReport
	chosen  berth.TreeMechanism
}

// Choose returns the first mechanism that works, and the reports of those that
// were tried up to it.
func (p *Prober) Choose() (berth.TreeMechanism, []MechanismReport) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.chosen != berth.TreeAuto {
		return p.chosen, p.reports
	}
	all := mechanisms()
	p.reports = nil
	for _, m := range all {
		r := p.try(m)
		p.reports = append(p.reports, r)
		if r.Works {
			p.chosen = m
			return m, p.reports
		}
	}
	// Nothing works: the last one, whose start will say why.
	p.chosen = all[len(all)-1]
	return p.chosen, p.reports
}

// Probe tries every mechanism of this system, strongest first.
func Probe() []MechanismReport {
	var p Prober
	var reports []MechanismReport
	for _, m := range mechanisms() {
		reports = append(reports, p.try(m))
	}
	return reports
}

// try makes a tree of one process, kills it, and finds it empty.
func (p *Prober) try(m berth.TreeMechanism) MechanismReport {
	r := MechanismReport{Mechanism: m}
	r.Guarantee, r.Err = p.prove(m)
	r.Works = r.Err == nil
	if r.Err != nil {
		r.Guarantee = berth.Guarantee{State: berth.None, How: string(m), Gap: r.Err.Error()}
	}
	return r
}

func (p *Prober) prove(m berth.TreeMechanism) (g berth.Guarantee, err error) {
	const patience = 10 * time.Second
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	key := p.Key
	if key == "" {
		key = randomHex()
	}
	// The process waits for the end of its stdin, which comes by itself if this
	// one is killed.
	in, out, err := os.Pipe()
	if err != nil {
		return g, err
	}
	defer out.Close()
	defer in.Close()
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		return g, err
	}
	defer null.Close()
	path, argv := holdCommand(p.Executable)
	t, err := Start(Spec{
		Path: path, Argv: argv, Stdin: in, Stdout: null, Stderr: null,
		Key: key, Incarnation: key + "." + randomHex(),
		Mechanism: m, Executable: p.Executable,
	})
	if err != nil {
		return g, err
	}
	g, _ = t.Guarantee()
	survivors, err := t.Kill(ctx)
	if err != nil {
		return g, err
	}
	if len(survivors) > 0 {
		return g, fmt.Errorf("%v outlived %v", survivors, patience)
	}
	if e := t.Exit(); e.Signal != killedSignal {
		return g, fmt.Errorf("the process ended with %v before it was killed", e)
	}
	return g, t.Close()
}

// NewIncarnation returns a fresh incarnation of the key.
func NewIncarnation(key string) string { return key + "." + randomHex() }

// randomHex returns 16 hex digits.
func randomHex() string {
	var b [8]byte
	rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}
