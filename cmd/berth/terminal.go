package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/term"
)

// endSignals are the signals that ask this process to end.
func endSignals() []os.Signal {
	signals := []os.Signal{os.Interrupt, syscall.SIGTERM}
	// nohup wants the hangup ignored; otherwise a closed terminal ends a
	// foreground command in the same orderly way as Ctrl-C.
	if !signal.Ignored(syscall.SIGHUP) {
		signals = append(signals, syscall.SIGHUP)
	}
	return signals
}

// readHidden reads a line from a terminal that does not show it meanwhile, and shows what
// is typed again afterwards, also where Ctrl-C was the answer.
func readHidden(f *os.File) (string, error) {
	fd := int(f.Fd())
	before, err := term.GetState(fd)
	if err != nil {
		return "", err
	}
	line, err := awaitAnswer(func() (string, error) {
		text, err := term.ReadPassword(fd)
		return string(text), err
	})
	if err != nil {
		_ = term.Restore(fd, before)
	}
	return line, err
}

// readLine reads the next line of standard input, with its newline.
func (a *app) readLine() (string, error) {
	if a.lines == nil {
		a.lines = bufio.NewReader(a.stdin)
	}
	if !isTerminal(a.stdin) {
		return a.lines.ReadString('\n')
	}
	return awaitAnswer(func() (string, error) { return a.lines.ReadString('\n') })
}

// awaitAnswer is what read gets from a terminal. A read there does not end by a signal, so that
// the first one would be heard only after the next line, and the second would end the
// process where it is. An answer that was not waited for is nobody's: the command ends.
func awaitAnswer(read func() (string, error)) (string, error) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, endSignals()...)
	defer signal.Stop(signals)
	type reply struct {
		text string
		err  error
	}
	got := make(chan reply, 1)
	go func() {
		text, err := read()
		got <- reply{text, err}
	}()
	select {
	case r := <-got:
		return r.text, r.err
	case <-signals:
		return "", fmt.Errorf("interrupted: %w", context.Canceled)
	}
}
