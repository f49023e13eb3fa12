package pin

import (
	"bytes"
	"encoding/json"
	"strings"
)

// diffMost bounds the lines that are compared one by one.
const diffMost = 2000

// Diff are the lines by which a tool that waits differs from what was approved of it:
// each begins with "- ", "+ " or, where it is in both, "  ".
func (b *Book) Diff(name string) []string {
	return diff(linesOf(b.Approved[name].Definition), linesOf(b.Pending[name].Definition))
}

// linesOf shows a definition. A description of several lines is shown as such, so that
// what was put at its end is seen.
func linesOf(definition json.RawMessage) []string {
	if definition == nil {
		return nil
	}
	var b bytes.Buffer
	if json.Indent(&b, definition, "", "  ") != nil {
		return []string{string(definition)}
	}
	var lines []string
	for line := range strings.Lines(b.String()) {
		line = strings.TrimSuffix(line, "\n")
		indent := line[:len(line)-len(strings.TrimLeft(line, " "))]
		for i, part := range strings.Split(line, `\n`) {
			if i > 0 {
				part = indent + "    " + part
			}
			lines = append(lines, part)
		}
	}
	return lines
}

// diff compares lines by their longest common subsequence.
func diff(a, b []string) (out []string) {
	if len(a) > diffMost || len(b) > diffMost {
		for _, l := range a {
			out = append(out, "- "+l)
		}
		for _, l := range b {
			out = append(out, "+ "+l)
		}
		return out
	}
	long := make([][]int, len(a)+1)
	for i := range long {
		long[i] = make([]int, len(b)+1)
	}
	for i := len(a) - 1; i >= 0; i-- {
		for j := len(b) - 1; j >= 0; j-- {
			if a[i] == b[j] {
				long[i][j] = long[i+1][j+1] + 1
			} else {
				long[i][j] = max(long[i+1][j], long[i][j+1])
			}
		}
	}
	i, j := 0, 0
	for i < len(a) || j < len(b) {
		switch {
		case i < len(a) && j < len(b) && a[i] == b[j]:
			out = append(out, "  "+a[i])
			i, j = i+1, j+1
		case j == len(b) || i < len(a) && long[i+1][j] >= long[i][j+1]:
			out = append(out, "- "+a[i])
			i++
		default:
			out = append(out, "+ "+b[j])
			j++
		}
	}
	return out
}
