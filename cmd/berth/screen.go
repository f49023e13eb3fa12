package main

import (
	"io"
	"strings"
)

// screen is a terminal's other screen: what was on the terminal before is there again
// once it is left.
type screen struct {
	out  io.Writer
	open bool
}

func (s *screen) enter() {
	s.open = true
	_, _ = io.WriteString(s.out, "\x1b[?1049h\x1b[?25l") // the cursor hides
}

func (s *screen) leave() {
	if s.open {
		s.open = false
		_, _ = io.WriteString(s.out, "\x1b[?25h\x1b[?1049l")
	}
}

// draw puts lines where the last ones were, in one write, so that nothing flickers.
func (s *screen) draw(lines []string) {
	var b strings.Builder
	b.WriteString("\x1b[H")
	for i, line := range lines {
		if i > 0 {
			b.WriteString("\r\n") // the terminal is raw
		}
		b.WriteString(line + "\x1b[K")
	}
	b.WriteString("\x1b[J")
	_, _ = io.WriteString(s.out, b.String())
}

// awaitQuit reads keys and calls quit at the first q, Ctrl-C or Ctrl-D, or where there
// are no more.
func awaitQuit(keys io.Reader, quit func()) {
	defer quit()
	buf := make([]byte, 64)
	for {
		n, err := keys.Read(buf)
		if strings.ContainsAny(string(buf[:n]), "qQ\x03\x04") || err != nil {
			return
		}
	}
}
