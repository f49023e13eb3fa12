package listing

import (
	"cmp"
	"slices"
	"strings"
	"unicode"
)

// Query is what somebody looks for. The scores of entries are sums over its words of
// the best that the entry has for each; what is mistyped counts where nothing has the
// word as it is. internal/find ranks tools by more, and needs an index of all words
// for it: here tens of thousands of entries are looked at once.
type Query struct {
	words []string
	// Loose: words that are mistyped count as well.
	Loose bool
}

// queryMost bounds what is read of a query.
const queryMost = 16

// NewQuery reads words.
func NewQuery(text string) Query {
	q := Query{words: split(strings.ToLower(text[:min(len(text), 1024)]))}
	if len(q.words) > queryMost {
		q.words = q.words[:queryMost]
	}
	return q
}

func split(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) })
}

// Text is what of an entry is looked at, in small letters.
type Text struct{ Name, Title, Tags, About string }

// SearchName is a name as it is looked at: without the part of it that tens of thousands
// have in common.
func SearchName(name string) string { return strings.ToLower(strings.TrimPrefix(name, "io.github.")) }

// Text returns what of the entry is looked at.
func (e *Entry) Text() Text {
	return Text{
		Name: SearchName(e.Name) + " " + strings.ToLower(e.Package), Title: strings.ToLower(e.Title),
		Tags: strings.ToLower(strings.Join(e.Tags, " ")), About: strings.ToLower(e.About[:min(len(e.About), mostText)]),
	}
}

// What a word counts, by where it is.
const (
	inName     = 60
	inTitle    = 40
	inTags     = 30
	inAbout    = 12
	partOfName = 20
	partOfText = 4
	wholeName  = 100
	asMistyped = 3 // what it counts, divided by that
)

// Score is how well a text answers the query, 0 for not at all: then one of the
// words is nowhere.
func (q Query) Score(t Text) int {
	total := 0
	for _, w := range q.words {
		best := q.word(w, t)
		if best == 0 {
			return 0
		}
		total += best
	}
	if len(q.words) > 0 {
		name, _, _ := strings.Cut(t.Name, " ")
		if joined := strings.Join(q.words, "-"); name == joined || strings.HasSuffix(name, "/"+joined) {
			total += wholeName
		}
	}
	return total
}

func (q Query) word(w string, t Text) int {
	best := 0
	for _, field := range []struct {
		text        string
		whole, part int
	}{{t.Name, inName, partOfName}, {t.Title, inTitle, partOfText}, {t.Tags, inTags, partOfText}, {t.About, inAbout, partOfText}} {
		if field.whole <= best {
			break
		}
		switch at := wordIn(field.text, w); {
		case at == whole:
			best = field.whole
		case at == begins:
			best = max(best, field.whole*2/3)
		case at == inside && len(w) > 2:
			best = max(best, field.part)
		}
	}
	if best > 0 || !q.Loose || len(w) < 4 {
		return best
	}
	for _, field := range []struct {
		text  string
		count int
	}{{t.Name, inName}, {t.Title, inTitle}, {t.Tags, inTags}, {t.About, inAbout}} {
		if slices.ContainsFunc(split(field.text), func(have string) bool { return mistyped(w, have) }) {
			return field.count / asMistyped
		}
	}
	return 0
}

// Where a word is in a text.
type place int

const (
	nowhere place = iota
	inside
	begins
	whole
)

// wordIn looks for a word in a text, of which both are in small letters.
func wordIn(text, w string) place {
	found := nowhere
	for at := 0; ; {
		i := strings.Index(text[at:], w)
		if i < 0 {
			return found
		}
		start, end := at+i, at+i+len(w)
		edge := func(b byte) bool { return !('a' <= b && b <= 'z' || '0' <= b && b <= '9' || b >= 0x80) }
		switch first := start == 0 || edge(text[start-1]); {
		case first && (end == len(text) || edge(text[end])):
			return whole
		case first:
			found = begins
		default:
			found = max(found, inside)
		}
		at = end
	}
}

// mistyped says whether a word may have been meant by another: one letter more, less
// or another, or two neighbours in the other order; in long words, two of that.
func mistyped(a, b string) bool {
	most := 1
	if len(a) >= 8 {
		most = 2
	}
	if d := len(a) - len(b); d > most || -d > most || len(b) < 3 {
		return false
	}
	var before, last, row [34]int // of the letters before the one before, and before
	if len(b) > 32 {
		return false
	}
	for j := range len(b) + 1 {
		last[j] = j
	}
	for i := range len(a) {
		row[0] = i + 1
		for j := range len(b) {
			step := last[j]
			if a[i] != b[j] {
				step++
			}
			row[j+1] = min(step, last[j+1]+1, row[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, last = last, row
	}
	return last[len(b)] <= most
}

// Hit is an entry that was found.
type Hit struct {
	Entry Entry
	Score int
}

// Sort puts the best hits first, and of those that are as good the ones of a source that
// is trusted more.
func Sort(hits []Hit) {
	trust := func(from string) int { return slices.Index([]string{FromBerth, FromRegistry}, from) }
	slices.SortStableFunc(hits, func(a, b Hit) int {
		return cmp.Or(cmp.Compare(b.Score, a.Score), cmp.Compare(trust(a.Entry.From), trust(b.Entry.From)), strings.Compare(a.Entry.Name, b.Entry.Name))
	})
}

// Search returns the entries that answer a query, the best first; mistyped words count
// if nothing else does.
func Search(entries []Entry, text string) []Hit {
	q := NewQuery(text)
	for _, q.Loose = range []bool{false, true} {
		var hits []Hit
		for _, e := range entries {
			if score := q.Score(e.Text()); score > 0 {
				hits = append(hits, Hit{e, score})
			}
		}
		if len(hits) > 0 {
			Sort(hits)
			return hits
		}
	}
	return nil
}
