package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/berth-run/berth"
	"pgregory.net/rapid"
)

func TestCodeOf(t *testing.T) {
	for _, c := range []struct {
		err  error
		want exitCode
	}{
		{nil, exitOK},
		{errors.New("x"), exitFailed},
		{syscall.ENOSPC, exitFailed},
		{usagef("x"), exitUsage},
		{fmt.Errorf("a: %w", berth.ErrInvalidName), exitUsage},
		{fmt.Errorf("a: %w: %w", berth.ErrBadConfig, berth.ErrInvalidSpec), exitFailed},
		{berth.WithHint(berth.ErrNoServer, "h"), exitNoServer},
		{fmt.Errorf("start: %w", berth.ErrDenied), exitRefused},
		{fmt.Errorf("limit: %w", errors.ErrUnsupported), exitRefused},
		{berth.ErrNotRunning, exitNotRunning},
		{&exitError{code: exitNotRunning, err: berth.ErrDenied}, exitNotRunning},
		{silent(exitNoServer), exitNoServer},
	} {
		if got := codeOf(c.err); got != c.want {
			t.Errorf("%v: exit code %d, want %d", c.err, got, c.want)
		}
	}
}

func TestUI(t *testing.T) {
	var out, talk bytes.Buffer
	u := newUI(&out, &talk)
	u.show("never on a pipe")
	if code := u.end(berth.WithHint(errors.New("one\ntwo \x1b[31m"), "mend it")); code != 1 {
		t.Errorf("exit code %d", code)
	}
	if got, want := talk.String(), "berth: one\nberth: two \\x1b[31m\nberth: hint: mend it\n"; got != want {
		t.Errorf("said %q, want %q", got, want)
	}
	if out.Len() > 0 {
		t.Errorf("an error on stdout: %q", out.String())
	}

	// On a terminal a line of progress is erased before anything else is said,
	// and drawn again below it.
	talk.Reset()
	u.errTerm = true
	u.show("waiting")
	u.note("news")
	u.clearProgress()
	if got, want := talk.String(), "waiting\r\x1b[Kberth: note: news\nwaiting\r\x1b[K"; got != want {
		t.Errorf("drew %q, want %q", got, want)
	}

	// Bytes of a server's pass through a pipe, not to a terminal.
	for _, terminal := range []bool{false, true} {
		out.Reset()
		u.outTerm = terminal
		if err := u.write([]byte("a\x1b]0;b\xff")); err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(out.String(), "\x1b"); got == terminal {
			t.Errorf("terminal %t: wrote %q", terminal, out.String())
		}
	}
}

// TestShellLine: a shell reads back what was meant.
func TestShellLine(t *testing.T) {
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Skip("there is no sh")
	}
	rapid.Check(t, func(t *rapid.T) {
		words := rapid.SliceOfN(rapid.StringMatching(`[ -~é\n]{0,8}`), 1, 5).Draw(t, "words")
		got, err := exec.Command(sh, "-c", `printf '%s\0' `+shellLine(words)).Output()
		if err != nil {
			t.Fatal(err)
		}
		if want := strings.Join(words, "\x00") + "\x00"; string(got) != want {
			t.Fatalf("%q became %q by %s", want, got, shellLine(words))
		}
	})
}

func TestDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"", "ab", 2}, {"kitten", "sitting", 3}, {"start", "start", 0}, {"gihtub", "github", 2}} {
		if got := distance(c.a, c.b); got != c.want || distance(c.b, c.a) != c.want {
			t.Errorf("distance %q %q is %d, want %d", c.a, c.b, got, c.want)
		}
	}
}

func TestParseSince(t *testing.T) {
	now := time.Date(2026, 5, 4, 3, 2, 1, 0, time.Local)
	for text, want := range map[string]time.Time{
		"90m":                  now.Add(-90 * time.Minute),
		"7d":                   now.Add(-7 * 24 * time.Hour),
		"0s":                   now,
		"2026-01-31T12:00:00Z": time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC),
		"2026-01-31":           time.Date(2026, 1, 31, 0, 0, 0, 0, time.Local),
	} {
		if got, err := parseSince(text, now); err != nil || !got.Equal(want) {
			t.Errorf("%q: %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "-1h", "d", "-1d", "99999999d", "yesterday", "1h ago"} {
		if got, err := parseSince(text, now); err == nil || codeOf(err) != exitUsage {
			t.Errorf("%q: %v, %v, want a usage error", text, got, err)
		}
	}
}

func TestSpanText(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second: "0s", 0: "0ms", 999 * time.Millisecond: "999ms", time.Second: "1s", 119 * time.Second: "119s",
		2 * time.Minute: "2m", 119 * time.Minute: "119m", 2 * time.Hour: "2h", 47 * time.Hour: "47h", 48 * time.Hour: "2d",
	} {
		if got := spanText(d); got != want {
			t.Errorf("%v: %s, want %s", d, got, want)
		}
	}
}

// FuzzEnvFile: no line makes a variable that a process cannot have, and no
// error shows what stands in the file.
func FuzzEnvFile(f *testing.F) {
	for _, seed := range []string{"A=1\n", "export B='x y'\r\n# c\n\nC=\"\"", "=x", "A", "\ufeffA=b", "A=secret://s/k", "A\x00=b", "A=b\x00c"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, doc string) {
		const canary = "c4nary-value"
		env := map[string]string{}
		err := parseEnvFile(env, "file", doc+"\nBAD KEY="+canary, nil)
		if err == nil {
			t.Fatal("a line that is no variable was taken")
		}
		if strings.Contains(err.Error(), canary) || strings.Contains(hintOf(err), canary) {
			t.Fatalf("the error shows the file: %v", err)
		}
		for k, v := range env {
			if !isVariableName(k) || strings.ContainsRune(v, 0) {
				t.Fatalf("took %q=%q", k, v)
			}
		}
		spec := berth.ProcessSpec{Command: "x", Env: env}
		if err := spec.Check(); err != nil {
			t.Fatal(err)
		}
	})
}

// TestStartAllAtOnce: many servers with odd files at once, each warning said
// once. It is for the race detector, too.
func TestStartAllAtOnce(t *testing.T) {
	b := newBench(t)
	const n = 12
	for i := range n {
		b.berth("add", fmt.Sprintf("s%d", i), "--no-run", "--", "testserver")
		b.berth("config", fmt.Sprintf("s%d", i), "--set", "odd=1")
	}
	if err := os.WriteFile(filepath.Join(b.dir, "berth.toml"), []byte("[runtime]\nodd = 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var stdout, stderr bytes.Buffer
	if code := run(ctx, []string{"--home", b.dir, "start", "--all"}, strings.NewReader(""), &stdout, &stderr); code != 0 {
		t.Fatalf("exit code %d\n%s%s", code, &stdout, &stderr)
	}
	if got := strings.Count(stdout.String(), ": started, pid "); got != n {
		t.Errorf("%d servers started, want %d:\n%s", got, n, &stdout)
	}
	if got := strings.Count(stderr.String(), "berth.toml:2"); got != 1 {
		t.Errorf("berth.toml was warned of %d times, want once:\n%s", got, &stderr)
	}
	if got := strings.Count(stderr.String(), "[config] odd"); got != n {
		t.Errorf("%d warnings of servers, want %d:\n%s", got, n, &stderr)
	}
	b.berth("stop", "--all")
}

func TestLifecycleText(t *testing.T) {
	for line, want := range map[string]struct {
		text string
		ours bool
	}{
		"[1795652897] START pid=7": {"START pid=7", true},
		"[1] STOP":                 {"STOP", true},
		"[error] no token":         {"[error] no token", false},
		"1] STOP":                  {"1] STOP", false},
		"[] x":                     {"[] x", false},
		"":                         {"", false},
		"[7]":                      {"[7]", false},
	} {
		if text, ours := lifecycleText(line); text != want.text || ours != want.ours {
			t.Errorf("%q: %q, %v", line, text, ours)
		}
	}
}

func TestRoomText(t *testing.T) {
	for free, want := range map[uint64]string{0: "nothing is free", 1023: "nothing is free", 4096: "4K are free", 3 << 30: "3072M are free"} {
		if got := roomText(free); got != want {
			t.Errorf("%d: %q", free, got)
		}
	}
}

// A command whose output cannot be written has failed, whatever else it did.
func TestBrokenOutput(t *testing.T) {
	var talk strings.Builder
	in, out := io.Pipe()
	in.CloseWithError(errors.New("nobody reads"))
	if code := run(t.Context(), []string{"version"}, strings.NewReader(""), out, &talk); code != 1 || talk.String() != "berth: nobody reads\n" {
		t.Errorf("exit code %d, %q", code, &talk)
	}
}

func TestHintOf(t *testing.T) {
	full := fmt.Errorf("write: %w", syscall.ENOSPC)
	for _, c := range []struct {
		err  error
		want string
	}{
		{errors.New("x"), ""},
		{full, "make room on that disk"},
		{fmt.Errorf("lock: %w", syscall.EROFS), "set BERTH_HOME to a directory on a disk that can be written"},
		{berth.WithHint(full, "its own"), "its own"},
	} {
		if got := hintOf(c.err); got != c.want {
			t.Errorf("%v: %q", c.err, got)
		}
	}
}
