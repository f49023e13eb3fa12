package main

import (
	"fmt"
	"slices"
	"strings"
)

// diff is the difference of two texts, as diff -u prints one. What is changed here is
// in one place: a single hunk has it.
func diff(name string, before, after []byte) string {
	a, b := diffLines(before), diffLines(after)
	head := 0
	for head < len(a) && head < len(b) && a[head] == b[head] {
		head++
	}
	tail := 0
	for tail < len(a)-head && tail < len(b)-head && a[len(a)-1-tail] == b[len(b)-1-tail] {
		tail++
	}
	if head == len(a) && head == len(b) {
		return ""
	}
	const around = 2
	from := max(0, head-around)
	endA, endB := min(len(a), len(a)-tail+around), min(len(b), len(b)-tail+around)
	var out strings.Builder
	old, new := name, name
	if before == nil {
		old = "/dev/null"
	}
	if after == nil {
		new = "/dev/null"
	}
	fmt.Fprintf(&out, "--- %s\n+++ %s\n@@ -%s +%s @@\n", old, new, hunkOf(from, endA), hunkOf(from, endB))
	line := func(mark, text string) {
		out.WriteString(mark + strings.TrimSuffix(strings.TrimSuffix(text, "\n"), "\r") + "\n")
		if !strings.HasSuffix(text, "\n") {
			out.WriteString("\\ No newline at end of file\n")
		}
	}
	for _, l := range a[from:head] {
		line(" ", l)
	}
	for _, l := range a[head : len(a)-tail] {
		line("-", l)
	}
	for _, l := range b[head : len(b)-tail] {
		line("+", l)
	}
	for _, l := range a[len(a)-tail : endA] {
		line(" ", l)
	}
	return out.String()
}

func hunkOf(from, end int) string {
	if end == from {
		return fmt.Sprintf("%d,0", from)
	}
	return fmt.Sprintf("%d,%d", from+1, end-from)
}

func diffLines(text []byte) []string { return slices.Collect(strings.Lines(string(text))) }
