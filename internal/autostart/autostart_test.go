package autostart_test

import (
	"encoding/xml"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"

	"github.com/berth-run/berth/internal/autostart"
)

func job() autostart.Job {
	return autostart.Job{
		Name: "berth", Program: "/usr/local/bin/berth",
		Args:   []string{"up", "--replace", "--listen", "127.0.0.1:7077", "--home", "/srv/100% $mine/\"it\""},
		Listen: "127.0.0.1:7077", Log: "/srv/service.log",
	}
}

func system(goos string) autostart.System {
	return autostart.System{OS: goos, Home: "/home/u", User: map[string]string{"windows": `PC\u`}[goos] + map[string]string{"linux": "1000", "darwin": "501"}[goos]}
}

// TestPlans: testdata/SYSTEM.txtar has the files and the commands.
func TestPlans(t *testing.T) {
	for _, goos := range []string{"linux", "darwin", "windows"} {
		plan, err := autostart.For(job(), system(goos))
		if err != nil {
			t.Fatal(err)
		}
		var text strings.Builder
		for _, list := range [][][]string{{plan.Probe}, plan.Load, plan.Reload, plan.Unload, plan.Forget, {plan.Show}} {
			for _, words := range list {
				fmt.Fprintf(&text, "%q\n", words)
			}
			text.WriteString("\n")
		}
		archive := &txtar.Archive{Comment: []byte(text.String())}
		for _, f := range plan.Files {
			archive.Files = append(archive.Files, txtar.File{Name: filepath.ToSlash(f.Path), Data: []byte(f.Text)})
		}
		golden := filepath.Join("testdata", goos+".txtar")
		got := txtar.Format(archive)
		if os.Getenv("BERTH_TEST_UPDATE") != "" {
			if err := os.WriteFile(golden, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if want, err := os.ReadFile(golden); err != nil || string(want) != string(got) {
			t.Errorf("%s: it is\n%s, not as in %s (BERTH_TEST_UPDATE=1 writes it): %v", goos, got, golden, err)
		}
		for _, f := range plan.Files {
			if strings.HasPrefix(f.Text, "<?xml") {
				wellFormed(t, f)
			}
		}
	}
}

func wellFormed(t *testing.T, f autostart.File) {
	d := xml.NewDecoder(strings.NewReader(strings.Replace(f.Text, "UTF-16", "UTF-8", 1)))
	for {
		if _, err := d.Token(); err != nil {
			if err.Error() != "EOF" {
				t.Errorf("%s: %v", f.Path, err)
			}
			return
		}
	}
}

// TestSystemdReadsTheUnits has systemd's own program judge them, where it is there.
func TestSystemdReadsTheUnits(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		return // the golden file is compared all the same
	}
	dir := t.TempDir()
	program := filepath.Join(dir, "be rth")
	if err := os.WriteFile(program, []byte("#!/bin/sh\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	j := job()
	j.Program = program
	s := system("linux")
	s.Config = dir
	plan, err := autostart.For(j, s)
	if err != nil {
		t.Fatal(err)
	}
	args := []string{"verify", "--user", "--man=no", "--recursive-errors=no"}
	for _, f := range plan.Files {
		if err := os.MkdirAll(filepath.Dir(f.Path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(f.Path, []byte(f.Text), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, f.Path)
	}
	cmd := exec.Command(analyze, args...)
	cmd.Env = append(os.Environ(), "XDG_RUNTIME_DIR="+dir, "HOME="+dir)
	out, err := cmd.CombinedOutput()
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "berth.service") || strings.Contains(line, "berth.socket") {
			t.Errorf("%s", line)
		}
	}
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestWithoutAnAddress(t *testing.T) {
	j := job()
	j.Listen = ""
	plan, err := autostart.For(j, system("linux"))
	if err != nil || len(plan.Files) != 1 || strings.Contains(plan.Files[0].Text, "socket") {
		t.Errorf("%+v, %v", plan.Files, err)
	}
}

func TestWhatCannotBe(t *testing.T) {
	if _, err := autostart.For(job(), system("plan9")); !errors.Is(err, errors.ErrUnsupported) {
		t.Error(err)
	}
	for _, bad := range []string{"a\nExecStart=/bin/false", "a\x00"} {
		j := job()
		j.Args = []string{bad}
		if _, err := autostart.For(j, system("linux")); err == nil {
			t.Errorf("%q went into a unit", bad)
		}
	}
	j := job()
	j.Program = "berth"
	if _, err := autostart.For(j, system("linux")); err == nil {
		t.Error("a path that is not absolute went into a unit")
	}
}
