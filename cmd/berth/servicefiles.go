package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode/utf16"

	"github.com/berth-run/berth"
	"github.com/berth-run/berth/internal/autostart"
	"github.com/berth-run/berth/internal/home"
)

// managerPatience is how long a command of what starts programs at login may take.
const managerPatience = 60 * time.Second

// asWritten is the state of a file that is as it was written.
const asWritten = "as written"

// stateOf is what has become of a file.
func stateOf(f home.ServiceFile) (string, error) {
	data, err := os.ReadFile(f.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "gone", nil
	case err != nil:
		return "", err
	case sumOfFile(data) != f.Sum:
		return "edited", nil
	}
	return asWritten, nil
}

func sumOfFile(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// bytesOf are the bytes of a file to write.
func bytesOf(f autostart.File) []byte {
	if !f.Wide {
		return []byte(f.Text)
	}
	out := []byte{0xff, 0xfe}
	for _, unit := range utf16.Encode([]rune(strings.ReplaceAll(f.Text, "\n", "\r\n"))) {
		out = append(out, byte(unit), byte(unit>>8))
	}
	return out
}

// writeFiles writes the files of a plan and writes them down, before: after a crash,
// what is there is known to be Berth's. It returns whether one has changed, and what an
// earlier plan has written that this one has not.
func (s *site) writeFiles(p autostart.Plan, old home.Service, next *home.Service, force bool) (changed bool, stale []home.ServiceFile, err error) {
	var todo []autostart.File
	for _, f := range p.Files {
		data := bytesOf(f)
		next.Files = append(next.Files, home.ServiceFile{Path: f.Path, Sum: sumOfFile(data)})
		have, err := os.ReadFile(f.Path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return false, nil, err
		}
		if err == nil && bytes.Equal(have, data) {
			continue
		}
		ours := slices.Contains(old.Files, home.ServiceFile{Path: f.Path, Sum: sumOfFile(have)})
		if err == nil && !ours && !force {
			return false, nil, berth.WithHint(fmt.Errorf("%s is there, and Berth did not write it, or it was edited since", f.Path), "--force replaces it")
		}
		todo = append(todo, f)
	}
	for _, f := range old.Files {
		if !slices.ContainsFunc(next.Files, func(n home.ServiceFile) bool { return n.Path == f.Path }) {
			stale = append(stale, f)
		}
	}
	// What is stale is written down until it is gone.
	noted := *next
	noted.Files = slices.Concat(next.Files, stale)
	if err := s.home.WriteService(noted); err != nil {
		return false, nil, err
	}
	for _, f := range todo {
		if err := writeWhole(f.Path, bytesOf(f)); err != nil {
			return false, nil, err
		}
	}
	return len(todo) > 0, stale, nil
}

// dropFiles removes what an earlier plan has written and this one has not.
func (s *site) dropFiles(ctx context.Context, p autostart.Plan, old home.Service, stale []home.ServiceFile, force bool) error {
	if len(stale) == 0 {
		return nil
	}
	before, err := s.planOf(old)
	if err != nil {
		return err
	}
	if err := runAll(ctx, before.Unload); err != nil {
		s.ui.warn("%v", err)
	}
	for _, f := range stale {
		removed, err := removeWritten(f, force)
		if err != nil {
			return err
		}
		if !removed {
			s.ui.warn("%s was edited, and is kept", f.Path)
		}
	}
	now, _, err := s.home.ReadService()
	if err != nil {
		return err
	}
	now.Files = slices.DeleteFunc(now.Files, func(f home.ServiceFile) bool { return slices.Contains(stale, f) })
	return s.home.WriteService(now)
}

// removeWritten removes a file that is as it was written; one that is gone is removed.
func removeWritten(f home.ServiceFile, force bool) (removed bool, err error) {
	state, err := stateOf(f)
	if err != nil {
		return false, err
	}
	if state == "edited" && !force {
		return false, nil
	}
	if err := os.Remove(f.Path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	return true, nil
}

// writeWhole writes a file so that whoever reads it sees all of it, or the one before.
func writeWhole(path string, data []byte) (err error) {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, ".berth-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name()) // the first error is what matters
		}
	}()
	_, err = f.Write(data)
	if err == nil {
		err = f.Chmod(0o644)
	}
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	return err
}

func runAll(ctx context.Context, commands [][]string) error {
	for _, words := range commands {
		if err := runOne(ctx, words); err != nil {
			return err
		}
	}
	return nil
}

func runOne(ctx context.Context, words []string) error {
	_, err := outputOf(ctx, words)
	return err
}

// outputOf runs a command and returns what it prints.
func outputOf(ctx context.Context, words []string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, managerPatience)
	defer cancel()
	cmd := exec.CommandContext(ctx, words[0], words[1:]...)
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = &out, &said, time.Second
	if err := cmd.Run(); err != nil {
		text := strings.TrimSpace(said.String())
		if text == "" {
			text = strings.TrimSpace(out.String())
		}
		return out.String(), fmt.Errorf("%s: %w: %s", strings.Join(words, " "), err, text)
	}
	return out.String(), nil
}

// printableLines is a text whose lines a terminal may be shown.
func printableLines(text string) string {
	var lines []string
	for line := range strings.Lines(strings.TrimRight(text, "\n")) {
		lines = append(lines, "  "+printable(strings.TrimRight(line, "\r\n")))
	}
	return strings.Join(lines, "\n")
}
