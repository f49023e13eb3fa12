package proc

import (
	"fmt"
	"math"
	"os"
	"strings"
	"testing"
)

// TestCarries: the variable is found wherever it stands in an environment, also
// across the blocks in which that is read.
func TestCarries(t *testing.T) {
	marker := incarnationMarker("0123456789abcdef.")
	value := string(marker) + "fedcba9876543210"
	for _, before := range []int{0, 1, 100, environBlock - 40, environBlock - 10, environBlock + 1, 100000} {
		t.Run(fmt.Sprint(before), func(t *testing.T) {
			checkLeaks(t)
			var env []string
			if before > 0 {
				env = append(env, "A="+strings.Repeat("x", before))
			}
			r := startRig(t, program1("/bin/cat"), func(s *Spec) { s.Env = append(env, value, "B=1") })
			// Start adds the true one and removes ours: the same text elsewhere.
			mustBe(t, "stale variable", carries(r.PID(), marker), no)
			mustBe(t, "own variable", carries(r.PID(), incarnationMarker(r.key+".")), yes)
			mustBe(t, "any variable", carries(r.PID(), incarnationMarker("")), yes)
			r.mustKill()
		})
	}
	mustBe(t, "nobody", carries(1<<30, marker), no)
}

// TestCarriesDuringExec: a process has no environment for a moment in the middle
// of execve. One that does nothing else is found at each look, its variable in
// the first block of its environment or in a later one.
func TestCarriesDuringExec(t *testing.T) {
	for _, before := range []int{1, 40_000} {
		r := startRig(t, shell(`exec /bin/sh -c "$0" "$0"`), func(s *Spec) {
			s.Env = []string{"A=" + strings.Repeat("x", before)}
			s.Argv = append(s.Argv, s.Argv[2])
		})
		own := incarnationMarker(r.key + ".")
		looks, missed := 20_000, 0
		for range looks {
			if carries(r.PID(), own) != yes {
				missed++
			}
		}
		if missed > 0 {
			t.Errorf("with %d bytes before it, the variable was missed in %d of %d looks", before, missed, looks)
		}
		r.mustKill()
	}
}

func TestParseEnvironSize(t *testing.T) {
	stat := func(size, code, begin, end string) string {
		fields := strings.Fields(strings.Repeat("7 ", 50)) // the third is the first
		fields[20], fields[24], fields[47], fields[48] = size, code, begin, end
		return "42 (a) b (c) " + strings.Join(fields, " ") + "\n"
	}
	for text, want := range map[string]uint64{
		stat("4096", "500", "1000", "1234"): 234,
		stat("4096", "500", "1000", "1000"): 0,
		stat("4096", "0", "0", "0"):         math.MaxUint64, // in the middle of execve
		stat("4096", "0", "1000", "1000"):   math.MaxUint64, // and a little later
		stat("0", "0", "0", "0"):            0,              // dead, or of the kernel
		"":                                  0,
		"42 (sh) S 1":                       0,
	} {
		if got := parseEnvironSize([]byte(text)); got != want {
			t.Errorf("%q: %d, want %d", text, got, want)
		}
	}
	environ, err := os.ReadFile("/proc/self/environ")
	if err != nil {
		t.Fatal(err)
	}
	if got := environSize(os.Getpid()); got != uint64(len(environ)) {
		t.Errorf("our own: %d, want %d", got, len(environ))
	}
}
