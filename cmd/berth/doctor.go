package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/home"
	"github.com/berth-run/berth/internal/keyring"
	"github.com/berth-run/berth/internal/proc"
	"github.com/berth-run/berth/internal/sandbox"
	"github.com/berth-run/berth/internal/vault"
	"github.com/spf13/cobra"
)

// finding is one thing that doctor looked at.
type finding struct {
	What  string               `json:"what"`
	State berth.GuaranteeState `json:"state"`
	How   string               `json:"how,omitzero"`
	Gap   string               `json:"gap,omitzero"`
}

func newDoctor(a *app) *cobra.Command {
	var asJSON, noRun bool
	cmd := &cobra.Command{
		Use:   "doctor [--no-run] [--json]",
		Short: "Say what this system can and cannot guarantee",
		Long: `Try what Berth relies on, and say what this system can guarantee and what it
cannot: what holds a server's process tree together, memory limits, the home and
the room on its disk, user namespaces, what a server can be kept from, the policies, the
links in clients' settings, and what happens at logout or when a service that started
Berth is stopped. It tries by doing: small processes are started and ended. The home is
not changed, nor made.

Each link is tried from end to end: what the client's file says is run, with the little
environment that clients hand on, or its address is asked, and has to list its tools
within a minute. That is a client like any other: it is on record, and may start servers.
An entry that somebody has edited is not run. --no-run only looks at the files.

Each line is "enforced", "partial" or "none", by what, and what is missing.

Exit codes: 0 Berth can work here, 1 it cannot.`,
		Example:           "  berth doctor\n  berth doctor --no-run --json",
		Args:              noArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			findings, ok := a.examine(cmd.Context(), !noRun)
			if asJSON {
				if err := a.ui.json(findings); err != nil {
					return err
				}
			} else {
				for _, f := range findings {
					line := fmt.Sprintf("%-22s %-9s %s", f.What, f.State, f.How)
					if f.Gap != "" {
						line += "\n" + fmt.Sprintf("%-22s   not: %s", "", f.Gap)
					}
					a.ui.print("%s", line)
				}
			}
			if !ok {
				return silent(exitFailed)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&noRun, "no-run", false, "do not run what links lead to")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON array")
	return cmd
}

// examine tries everything; ok is false if servers cannot be kept here at all.
func (a *app) examine(ctx context.Context, run bool) (findings []finding, ok bool) {
	findings, ok = a.examineHome()
	works := 0
	for _, r := range proc.Probe() {
		f := finding{What: "tree by " + string(r.Mechanism), State: r.Guarantee.State, How: r.Guarantee.How, Gap: r.Guarantee.Gap}
		if r.Works {
			works++
			if works == 1 {
				f.How += " (what is used, unless tree_kill in a server's file says otherwise)"
			}
		}
		findings = append(findings, f)
	}
	if works == 0 {
		ok = false
	}
	findings = append(findings, examineMemory(), userNamespaces())
	findings = append(findings, session()...)
	findings = append(findings, a.examineSecrets()...)
	findings = append(findings, remoteGuard())
	findings = append(findings, confinements(sandbox.Probe(home.OwnProgram()))...)
	findings = append(findings, a.examinePolicies())
	findings = append(findings, a.examineLinks(ctx, run)...)
	if runtime.GOOS != "linux" {
		findings = append(findings, finding{
			What: "this system", State: berth.Partial, How: runtime.GOOS,
			Gap: "the code for it is compiled and checked, but was not run by its authors",
		})
	}
	return findings, ok
}

// examineSecrets says where the key of the secret store is.
func (a *app) examineSecrets() []finding {
	f := finding{What: "secret store", State: berth.Enforced}
	s, err := a.open(true)
	var place vault.Place
	var there bool
	if err == nil {
		var v *vault.Vault
		if v, err = s.vault(); err == nil {
			place, there, err = v.Place()
		}
	}
	if err != nil {
		f.State, f.Gap = berth.None, err.Error()
		return []finding{f}
	}
	f.How = "encrypted; its key: " + placeText(place)
	if !there {
		f.How = "there is none yet; the key of one would be: " + placeText(place)
	}
	if place == vault.PlaceFile {
		f.State, f.Gap = berth.Partial, "every program of your user can read key and store"
		if err := (keyring.Keyring{}).Available(); err != nil {
			f.Gap += "; " + err.Error()
		}
	} else if place == vault.PlaceKeyring {
		f.State, f.Gap = berth.Partial, "programs of your user can ask the keyring while it is unlocked"
	}
	if old := s.oldSecrets(); old != "" {
		f.State = berth.Partial
		f.Gap += "; " + old + ": if Berth 0.1 wrote it, treat what is in it as known to others (see berth secret list)"
	}
	return []finding{f}
}

// confinements are what a server can be kept from here, and what is missing for more.
func confinements(r sandbox.Report) (findings []finding) {
	mend := strings.Join(r.Missing, "; ")
	for _, name := range confining() {
		g, tried := r.Guarantees[name]
		if !tried {
			g = berth.Guarantee{State: berth.None, Gap: "nothing keeps a server from it here"}
		}
		f := finding{What: name, State: g.State, How: g.How, Gap: g.Gap}
		if f.State != berth.Enforced && mend != "" {
			f.Gap = strings.TrimPrefix(f.Gap+"; "+mend, "; ")
			mend = "" // said once
		}
		findings = append(findings, f)
	}
	return findings
}

// examinePolicies reads the policies: one that cannot be read stops every start.
func (a *app) examinePolicies() finding {
	f := finding{What: "policies", State: berth.Enforced}
	s, err := a.open(true)
	if err != nil {
		return finding{What: "policies", State: berth.None, Gap: err.Error()}
	}
	v, err := s.policyView()
	if err != nil {
		return finding{What: "policies", State: berth.None, How: "nothing is started", Gap: err.Error()}
	}
	var files []string
	for _, one := range v.Files {
		files = append(files, one.File)
	}
	f.How = orNone(files, "none; berth policy --init writes one")
	return f
}

// remoteGuard is what keeps remote servers out of the user's network.
func remoteGuard() finding {
	f := finding{What: "remote servers", State: berth.Enforced, How: "https, to public addresses and what the user typed, checked when connecting"}
	for _, key := range []string{"HTTPS_PROXY", "https_proxy"} {
		if os.Getenv(key) != "" {
			f.State, f.Gap = berth.Partial, key+" is set: the proxy looks up where names lead, and only what a URL says is checked"
		}
	}
	return f
}

// littleSpace is how much room a home should have: for two servers' full logs.
const littleSpace = 128 << 20

// examineHome looks at the home without making it.
func (a *app) examineHome() (findings []finding, ok bool) {
	s, err := a.open(true)
	if err != nil {
		return []finding{{What: "home", State: berth.None, Gap: err.Error()}}, false
	}
	dir := s.Dir()
	f := finding{What: "home", State: berth.Enforced, How: dir + ": it is ours, on a local disk, and its locks hold"}
	if os.Getenv("BERTH_ALLOW_NETWORK_HOME") == "1" {
		f = finding{
			What: "home", State: berth.Partial, How: dir + ": it is ours, and its locks hold on this machine",
			Gap: "BERTH_ALLOW_NETWORK_HOME=1: where its disk is, and whether another machine uses it, is not looked at",
		}
	}
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		f = finding{What: "home", State: berth.Partial, How: dir, Gap: "it does not exist yet; its locks are tried when it is made"}
		for errors.Is(err, fs.ErrNotExist) && filepath.Dir(dir) != dir {
			dir = filepath.Dir(dir)
			_, err = os.Stat(dir)
		}
	}
	if err := mayWrite(dir); err != nil {
		f.State, f.Gap = berth.None, dir+" cannot be written: "+err.Error()
		return []finding{f}, false
	}
	room := finding{What: "room on its disk", State: berth.Enforced}
	switch free, err := freeSpace(dir); {
	case err != nil:
		room.State, room.Gap = berth.Partial, "cannot be told: "+err.Error()
	case free < littleSpace:
		room.State, room.How = berth.Partial, roomText(free)
		room.Gap = "a full disk stops starts, and records wait until there is room"
	default:
		room.How = roomText(free)
	}
	return []finding{f, room}, true
}

func roomText(free uint64) string {
	if free < 1<<10 {
		return "nothing is free"
	}
	return sizeText(free) + " are free"
}

// examineMemory starts a process with a limit and sees by what it is held.
func examineMemory() finding {
	g, err := tryMemory()
	if err != nil {
		return finding{What: "memory limit", State: berth.None, Gap: err.Error()}
	}
	return finding{What: "memory limit", State: g.State, How: g.How, Gap: g.Gap}
}

func tryMemory() (g berth.Guarantee, err error) {
	exe, err := os.Executable()
	if err != nil {
		return g, err
	}
	// It waits for the end of its stdin, which comes also if we are killed.
	in, out, err := os.Pipe()
	if err != nil {
		return g, err
	}
	defer in.Close()
	defer out.Close()
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		return g, err
	}
	defer null.Close()
	var random [16]byte
	_, _ = rand.Read(random[:]) // it never fails
	key := hex.EncodeToString(random[:8])
	tree, err := proc.Start(proc.Spec{
		Path: exe, Argv: []string{exe, "demo-server"}, Env: berth.AllowedEnv(os.Environ()),
		Stdin: in, Stdout: null, Stderr: null,
		Key: key, Incarnation: key + "." + hex.EncodeToString(random[8:]),
		MaxMemoryBytes: 512 << 20,
	})
	if err != nil {
		return g, err
	}
	_, g = tree.Guarantee()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	left, err := tree.Kill(ctx)
	if err == nil && len(left) > 0 {
		err = fmt.Errorf("%v did not end", left)
	}
	return g, errors.Join(err, tree.Close())
}
