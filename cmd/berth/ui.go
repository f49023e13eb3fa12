package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"golang.org/x/term"
)

// This file is what the command says. Its rules:
//
//   - Standard output is data, standard error is talk. A pipe gets data alone.
//   - An error reads "berth: message", and where the user can mend it a line
//     "berth: hint: what to do" follows. Lower case, no full stop.
//   - What is worth knowing but no error is "berth: note: …" or
//     "berth: warning: …".
//   - Colours and progress lines appear on a terminal only, and colours not
//     when NO_COLOR is set.
//   - Every list has --json, whose form is that of package berth's nouns.
//   - What a server wrote reaches a terminal without control characters.

// ui writes to the two streams. Its methods may be called concurrently.
type ui struct {
	out, err io.Writer
	outTerm  bool // stdout is a terminal
	errTerm  bool
	colours  bool

	mu       sync.Mutex // guards the fields below, and writes to a terminal's stderr
	progress string     // the line that is on the terminal now
	broken   error      // why a line of data could not be printed
}

func newUI(stdout, stderr io.Writer) *ui {
	dumb := os.Getenv("TERM") == "dumb"
	u := &ui{out: stdout, err: stderr, outTerm: isTerminal(stdout), errTerm: isTerminal(stderr) && !dumb}
	u.colours = u.outTerm && !dumb && os.Getenv("NO_COLOR") == ""
	return u
}

func isTerminal(w any) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// end says how the command ended and returns its exit code.
func (u *ui) end(err error) int {
	u.clearProgress()
	if err == nil {
		err = u.broken // what was done was done, but nobody was told
	}
	if err != nil {
		u.fail(err)
	}
	return int(codeOf(err))
}

// fail says an error, unless it was said before.
func (u *ui) fail(err error) {
	var decided *exitError
	if errors.As(err, &decided) && decided.err == nil {
		return
	}
	u.talk("berth: ", err.Error())
	if hint := hintOf(err); hint != "" {
		u.talk("berth: hint: ", hint)
	}
}

// note says what is worth knowing.
func (u *ui) note(format string, args ...any) { u.talk("berth: note: ", fmt.Sprintf(format, args...)) }

// warn says what is likely to be wrong.
func (u *ui) warn(format string, args ...any) {
	u.talk("berth: warning: ", fmt.Sprintf(format, args...))
}

// say writes a line of talk without a mark.
func (u *ui) say(format string, args ...any) { u.talk("", fmt.Sprintf(format, args...)) }

// talk writes text to stderr, each line of it with the prefix. What a server
// said may be in it.
func (u *ui) talk(prefix, text string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.erase()
	for line := range strings.Lines(text) {
		fmt.Fprintf(u.err, "%s%s\n", prefix, printable(strings.TrimRight(line, "\n")))
	}
	u.redraw()
}

// print writes a line of data.
func (u *ui) print(format string, args ...any) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.erase()
	if _, err := fmt.Fprintf(u.out, format+"\n", args...); err != nil && u.broken == nil {
		u.broken = err
	}
	u.redraw()
}

// write writes data as it is, but for a terminal's sake.
func (u *ui) write(line []byte) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.erase()
	defer u.redraw()
	if u.outTerm {
		line = []byte(printable(string(line)))
	}
	_, err := u.out.Write(append(line[:len(line):len(line)], '\n'))
	return err
}

// writeRaw writes a line whose bytes are not to be touched.
func (u *ui) writeRaw(line []byte) error {
	_, err := u.out.Write(append(line[:len(line):len(line)], '\n'))
	return err
}

// json writes v as indented JSON.
func (u *ui) json(v any) error {
	enc := json.NewEncoder(u.out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// show puts a line of progress on a terminal in the place of the last one.
// Elsewhere it does nothing.
func (u *ui) show(format string, args ...any) {
	if !u.errTerm {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.erase()
	u.progress = printable(fmt.Sprintf(format, args...))
	u.redraw()
}

func (u *ui) clearProgress() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.erase()
	u.progress = ""
}

func (u *ui) erase() {
	if u.progress != "" {
		io.WriteString(u.err, "\r\x1b[K")
	}
}

func (u *ui) redraw() {
	if u.progress == "" {
		return
	}
	line := u.progress
	// A line that wraps could not be erased.
	if f, ok := u.err.(*os.File); ok {
		if width, _, err := term.GetSize(int(f.Fd())); err == nil {
			line = cut(line, width-1)
		}
	}
	io.WriteString(u.err, line)
}

// The colours that are used. All have the same length, so that a column in
// which every cell has one stays aligned.
const (
	plain  = "\x1b[39m"
	red    = "\x1b[31m"
	green  = "\x1b[32m"
	yellow = "\x1b[33m"
)

func (u *ui) paint(colour, text string) string {
	if !u.colours {
		return text
	}
	return colour + text + plain
}

// printable replaces control characters, which could do anything to a terminal,
// by what they are called.
func printable(s string) string {
	bad := func(r rune) bool { return r < ' ' && r != '\t' || r >= 0x7f && r < 0xa0 }
	if strings.IndexFunc(s, bad) < 0 {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if bad(r) {
			fmt.Fprintf(&b, `\x%02x`, r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

// cut shortens s to n characters, the last of which says that it did.
func cut(s string, n int) string {
	runes := []rune(s)
	if n < 1 || len(runes) <= n {
		return s
	}
	return string(runes[:n-1]) + "…"
}
