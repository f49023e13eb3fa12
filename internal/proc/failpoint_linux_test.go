//go:build failpoint

package proc

import (
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	berth "github.com/berth-run/berth"
)

// points are the names of all points in the files of this package that Linux
// compiles.
func points(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	call := regexp.MustCompile(`fail\.Point\("([^"]+)"\)`)
	var names []string
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") || strings.HasSuffix(file, "_windows.go") || strings.HasSuffix(file, "_darwin.go") {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range call.FindAllSubmatch(text, -1) {
			names = append(names, string(m[1]))
		}
	}
	slices.Sort(names)
	if unique := slices.Compact(slices.Clone(names)); len(unique) != len(names) || len(names) < 10 {
		t.Errorf("names that are not unique, or too few: %q", names)
	}
	return names
}

// TestDeathAtEveryPoint kills a supervisor at each point of start, kill and
// sweep. Whatever the moment, a sweep by its successor leaves nothing: no
// process, no cgroup.
func TestDeathAtEveryPoint(t *testing.T) {
	names := points(t)
	hit := map[string]bool{}
	eachMechanism(t, func(t *testing.T, m berth.TreeMechanism) {
		for _, name := range names {
			t.Run(name, func(t *testing.T) {
				if dieAt(t, m, name) {
					hit[name] = true
				}
			})
		}
	})
	for _, name := range names {
		if !hit[name] && !t.Failed() {
			t.Errorf("no supervisor came by %s", name)
		}
	}
}

// dieAt says whether the point was reached.
func dieAt(t *testing.T, m berth.TreeMechanism, name string) bool {
	checkLeaks(t)
	armed := t.TempDir()
	point := filepath.Join(armed, name)
	if err := os.WriteFile(point, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	// The server outlives a leader that obeys, and forks at any moment.
	const server = `trap '' TERM; setsid ` + one + ` & (setsid ` + one + ` &); echo up; while :; do (:) & wait $!; done`
	s := startSupervisor(t, m, server, "BERTH_FAILPOINTS="+armed)
	if s.hears("started") {
		s.awaitUp(3)
		orders := []string{"kill", "sweep"}
		if strings.HasPrefix(name, "proc.sweep.") || strings.HasPrefix(name, "proc.hunt.") {
			orders = []string{"sweep"} // with something to find
		}
		for _, order := range orders {
			// An error means that it has died.
			if _, err := io.WriteString(s.orders, order+"\n"); err != nil || !s.hears("done") {
				break
			}
		}
	}
	_, err := os.Stat(point + ".hit")
	reached := err == nil
	s.kill()
	survivors, err := Sweep(deadlineContext(t), s.query)
	if err != nil || len(survivors) > 0 {
		t.Fatalf("Sweep: %v, %v", survivors, err)
	}
	s.mustBeDeserted()
	mustHaveNoCgroup(t, s.query.Key)
	return reached
}
