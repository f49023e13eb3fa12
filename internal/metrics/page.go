package metrics

import (
	"strconv"
	"strings"
	"time"
)

// ContentType is that of a Page.
const ContentType = "text/plain; version=0.0.4; charset=utf-8"

// The kinds of families.
const (
	Counter = "counter"
	Gauge   = "gauge"
	histo   = "histogram"
)

// Page is a text in the exposition format: families, and the samples of each after its
// head ("All lines for a given metric must be provided as one single group").
type Page struct {
	text []byte
	name string // of the family
}

// Bytes is the text.
func (p *Page) Bytes() []byte { return p.text }

// Family begins a family of samples. Its name says the unit, and that of a counter ends
// in _total.
func (p *Page) Family(name, kind, help string) {
	p.name = name
	p.text = append(p.text, "# HELP "+name+" "+escaped(help, `\`)+"\n# TYPE "+name+" "+kind+"\n"...)
}

// Sample adds a value to the family. Labels are names and values in turn.
func (p *Page) Sample(value float64, labels ...string) { p.sample("", value, labels...) }

// One is a family of one sample without labels.
func (p *Page) One(name, kind, help string, value float64) {
	p.Family(name, kind, help)
	p.Sample(value)
}

// Durations begins a family of histograms, in seconds.
func (p *Page) Durations(name, help string) { p.Family(name, histo, help) }

// Histogram adds a histogram to the family.
func (p *Page) Histogram(h *Histogram, labels ...string) {
	n := uint64(0)
	labels = append(labels[:len(labels):len(labels)], "le", "")
	for i := range h.buckets {
		n += h.buckets[i].Load()
		le := "+Inf"
		if i < len(bounds) {
			le = number(bounds[i].Seconds())
		}
		labels[len(labels)-1] = le
		p.sample("_bucket", float64(n), labels...)
	}
	labels = labels[:len(labels)-2]
	p.sample("_sum", time.Duration(h.sum.Load()).Seconds(), labels...)
	p.sample("_count", float64(n), labels...) // what the last bucket says
}

// escaped writes a backslash before those, and a line's end as \n.
func escaped(text, those string) string {
	if !strings.ContainsAny(text, those+"\n") {
		return text
	}
	for _, c := range those {
		text = strings.ReplaceAll(text, string(c), `\`+string(c))
	}
	return strings.ReplaceAll(text, "\n", `\n`)
}

func (p *Page) sample(suffix string, value float64, labels ...string) {
	p.text = append(append(p.text, p.name...), suffix...)
	for i := 0; i < len(labels); i += 2 {
		p.text = append(p.text, "{,"[min(i, 1)])
		p.text = append(append(p.text, labels[i]...), '=', '"')
		p.text = append(append(p.text, escaped(labels[i+1], `\"`)...), '"')
	}
	if len(labels) > 0 {
		p.text = append(p.text, '}')
	}
	p.text = append(append(append(p.text, ' '), number(value)...), '\n')
}

func number(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }
