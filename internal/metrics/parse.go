package metrics

import (
	"fmt"
	"strconv"
	"strings"
)

// Sample is one value of a page.
type Sample struct {
	Name   string // of the line: that of a histogram has its suffix
	Labels map[string]string
	Value  float64
}

// Parse returns the samples of a text in the exposition format, in their order. An
// error names the line.
func Parse(text string) ([]Sample, error) {
	var all []Sample
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimSuffix(line, "\n")
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		s, err := parseSample(line)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		all = append(all, s)
	}
	return all, nil
}

func parseSample(line string) (Sample, error) {
	s := Sample{Labels: map[string]string{}}
	end := strings.IndexAny(line, "{ ")
	if end <= 0 {
		return s, fmt.Errorf("%.80q is no sample", line)
	}
	s.Name, line = line[:end], line[end:]
	for next := byte('{'); line[0] == next; next = ',' {
		name, rest, _ := strings.Cut(line[1:], "=")
		quoted, err := strconv.QuotedPrefix(rest)
		if err != nil || quoted[0] != '"' || len(quoted) == len(rest) {
			return s, fmt.Errorf("a label of %s: %.80q", s.Name, rest)
		}
		// The escapes of a label's value are among those of Go.
		if s.Labels[name], err = strconv.Unquote(quoted); err != nil {
			return s, err
		}
		line = rest[len(quoted):]
	}
	if len(s.Labels) > 0 {
		if line[0] != '}' {
			return s, fmt.Errorf("the labels of %s do not end", s.Name)
		}
		line = line[1:]
	}
	value, err := strconv.ParseFloat(strings.TrimPrefix(line, " "), 64)
	if err != nil || !strings.HasPrefix(line, " ") {
		return s, fmt.Errorf("the value of %s: %.80q", s.Name, line)
	}
	s.Value = value
	return s, nil
}
