package main

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// topColumn is a column of a table that must fit. Of columns that do not, those of the
// highest rank go first; one of rank 0 stays.
type topColumn struct {
	head  string
	rank  int
	right bool // aligned there
}

// topTable is a table that must fit on a terminal.
type topTable struct {
	columns []topColumn
	rows    []topRow
}

type topRow struct {
	cells   []string
	colour  string
	painted int // which cell
}

// cellMost is how wide a cell may be.
const cellMost = 40

func (t *topTable) row(colour string, painted int, cells ...string) {
	for i, c := range cells {
		cells[i] = cut(printable(c), cellMost)
	}
	t.rows = append(t.rows, topRow{cells, colour, painted})
}

// widths are those of the columns; of one that is left out, 0.
func (t *topTable) widths(most int) []int {
	w := make([]int, len(t.columns))
	for i, c := range t.columns {
		w[i] = len(c.head)
		for _, r := range t.rows {
			w[i] = max(w[i], utf8.RuneCountInString(r.cells[i]))
		}
	}
	for {
		sum, last := -2, 0
		for i, c := range t.columns {
			if w[i] > 0 {
				sum += w[i] + 2
				if c.rank >= t.columns[last].rank || w[last] == 0 {
					last = i
				}
			}
		}
		if sum <= most || t.columns[last].rank == 0 {
			return w
		}
		w[last] = 0
	}
}

// lines are the head and as many rows as fit on that many lines; what does not fit is
// counted on the last.
func (t topTable) lines(u *ui, width, height int) []string {
	w := t.widths(width)
	heads := make([]string, len(t.columns))
	for i, c := range t.columns {
		heads[i] = c.head
	}
	lines := []string{t.line(u, w, width, topRow{cells: heads, painted: -1})}
	rows := t.rows
	if len(rows) > height-1 {
		rows = rows[:max(0, height-2)]
	}
	for _, r := range rows {
		lines = append(lines, t.line(u, w, width, r))
	}
	if left := len(t.rows) - len(rows); left > 0 {
		lines = append(lines, cut(fmt.Sprintf("… %d more", left), width))
	}
	return lines
}

func (t topTable) line(u *ui, widths []int, width int, r topRow) string {
	var parts []string
	left := width
	for i, c := range t.columns {
		if widths[i] == 0 || left < 1 {
			continue
		}
		text := cut(r.cells[i], left)
		pad := strings.Repeat(" ", max(0, min(widths[i], left)-utf8.RuneCountInString(text)))
		left -= widths[i] + 2
		if i == r.painted && r.colour != plain {
			text = u.paint(r.colour, text)
		}
		if c.right {
			text = pad + text
		} else {
			text += pad
		}
		parts = append(parts, text)
	}
	return strings.TrimRight(strings.Join(parts, "  "), " ")
}
