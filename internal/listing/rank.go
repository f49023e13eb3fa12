package listing

import (
	"cmp"
	"iter"
	"math/bits"
	"slices"
	"strings"
)

// Query is what somebody looks for: words, each with others that count for it. The score
// of an entry is the sum over the words of the best that the entry has for each; one that
// has nothing for one of them is no answer. internal/find ranks tools by more, and needs
// an index of all words for it: here tens of thousands of entries are looked at once.
type Query struct {
	terms []term
	// some: an entry that has nothing for one of the words may be an answer as well.
	some bool
}

// term is a word of a query. Alike are other words for the same, near are those that may
// have been meant if it is mistyped.
type term struct {
	word        string
	alike, near []string
}

// Bounds of what is read of a query, and of the words that may have been meant by one.
const (
	mostQuery = 1024
	mostWords = 16
	mostNear  = 8
)

// NewQuery reads words.
func NewQuery(text string) Query {
	var q Query
	all := split(strings.ToLower(text[:min(len(text), mostQuery)]))
	for _, filler := range []bool{false, true} { // words that say nothing count if there are no others
		for _, w := range all {
			if len(q.terms) < mostWords && (filler || !isFiller(w)) {
				q.terms = append(q.terms, term{word: w, alike: alike(w)})
			}
		}
		if len(q.terms) > 0 {
			break
		}
	}
	return q
}

// isFiller: a word that says nothing about which server is meant.
func isFiller(w string) bool {
	switch w {
	case "a", "an", "the", "of", "for", "to", "in", "on", "with", "and", "or", "my", "from", "by", "i", "mcp", "server", "servers", "tool", "tools", "things":
		return true
	}
	return false
}

// alike are other words that count like a word: another number of it, what it is short
// for, and what people call the same thing.
func alike(w string) (list []string) {
	switch {
	case len(w) > 4 && strings.HasSuffix(w, "ies"):
		list = append(list, w[:len(w)-3]+"y")
	case len(w) > 3 && strings.HasSuffix(w, "y"):
		list = append(list, w[:len(w)-1]+"ies")
	case len(w) > 3 && strings.HasSuffix(w, "s") && !strings.HasSuffix(w, "ss"):
		list = append(list, w[:len(w)-1])
	}
	const same = `
 gh github
 postgres postgresql psql pg
 postgresql postgres
 psql postgres
 pg postgres
 kubernetes k8s
 k8s kubernetes kube
 es elasticsearch
 mongo mongodb
 fs filesystem
 gmaps maps
 confluence atlassian
 jira atlassian
 aws amazon
 azure microsoft
 folder directory
 docs documentation
 website web
 internet web
 scrape crawl
 scraping crawl
 crawler crawl
 email mail
 chat slack
 spreadsheet excel
 docx word
 xlsx excel
 diagram chart mermaid
 graph chart
 db database
 sql database
 screenshot browser
 ado azure
 note notes
 todo tasks
 repo repository git
 video youtube
`
	// A line begins with a word, and goes on with others that count for it.
	for _, of := range append([]string{w}, list...) {
		if _, line, found := strings.Cut(same, "\n "+of+" "); found {
			line, _, _ = strings.Cut(line, "\n")
			list = append(list, strings.Fields(line)...)
		}
	}
	return list
}

// Near is the query with words that may have been meant by those of it, out of the words
// that there are.
func (q Query) Near(words iter.Seq[string]) Query {
	q.terms = slices.Clone(q.terms)
	masks := make([]uint64, len(q.terms))
	for i := range q.terms {
		masks[i] = letters(q.terms[i].word)
	}
	for have := range words {
		mask := letters(have)
		for i := range q.terms {
			t := &q.terms[i]
			// A change of a letter changes two bits at most.
			if len(t.word) >= 4 && len(t.near) < mostNear && bits.OnesCount64(mask^masks[i]) <= 4 &&
				mistyped(t.word, have) && have != t.word && !slices.Contains(t.near, have) {
				t.near = append(t.near, have)
			}
		}
	}
	return q
}

// letters is a bit for each letter and digit of a word.
func letters(w string) (mask uint64) {
	for i := range len(w) {
		mask |= 1 << (w[i] & 63)
	}
	return mask
}

// Some is the query of which an entry needs to have no more than most words.
func (q Query) Some() Query {
	q.some = len(q.terms) > 1
	return q
}

// Needles are lists of texts: each answer has at least one of each list.
func (q Query) Needles() (lists [][]string) {
	var any []string
	for _, t := range q.terms {
		list := slices.Concat([]string{t.word}, t.alike, t.near)
		lists, any = append(lists, list), append(any, list...)
	}
	if q.some {
		return [][]string{any}
	}
	return lists
}

// Text is what of an entry is looked at, in small letters.
type Text struct{ Name, Title, Tags, About string }

// CommonPrefix is what tens of thousands of names begin with; it is not looked at.
const CommonPrefix = "io.github."

// SearchName is a name as it is looked at.
func SearchName(name string) string { return strings.ToLower(strings.TrimPrefix(name, CommonPrefix)) }

// Text returns what of the entry is looked at.
func (e *Entry) Text() Text {
	return Text{
		Name: SearchName(e.Name) + " " + strings.ToLower(e.Package), Title: strings.ToLower(e.Title),
		Tags: strings.ToLower(strings.Join(e.Tags, " ")), About: strings.ToLower(e.About[:min(len(e.About), mostText)]),
	}
}

// Words are the words of the text, without digits at their beginning, that have at least
// ShortestWord bytes then.
func (t Text) Words() iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, field := range []string{t.Name, t.Title, t.Tags, t.About} {
			for begin := 0; begin < len(field); begin++ {
				end := begin
				for end < len(field) && !isEdge(field[end]) {
					end++
				}
				if w := strings.TrimLeft(field[begin:end], "0123456789"); len(w) >= ShortestWord && !yield(w) {
					return
				}
				begin = end
			}
		}
	}
}

const (
	// ShortestWord is the length of the shortest word that is kept in a vocabulary.
	ShortestWord = 3
	// longestWord bounds a word that another may be mistyped for.
	longestWord = 32
)

// What a word counts, by where it is.
const (
	inName     = 60
	inTitle    = 40
	inTags     = 36
	inAbout    = 12
	partOfName = 20
	partOfText = 4
	wholeName  = 100
	lookedAt   = 130 // what an entry of Berth's own catalogue has before one of that name

	// What a word counts that is not the one that was said, divided by that.
	asAlike    = 2
	asMistyped = 3
)

// Score is how well a text answers the query, 0 for not at all.
func (q Query) Score(t Text) int {
	total, have := 0, 0
	for i := range q.terms {
		best := q.terms[i].score(t)
		if best == 0 && !q.some {
			return 0
		}
		if best > 0 {
			have++
		}
		total += best
	}
	if len(q.terms) == 0 || have*2 <= len(q.terms) {
		return 0
	}
	name, _, _ := strings.Cut(t.Name, " ")
	last := name[strings.LastIndexByte(name, '/')+1:]
	if len(last) >= len(q.terms[0].word) && q.isName(last) {
		total += wholeName
	}
	return total
}

// isName says whether a name is the words of the query.
func (q Query) isName(name string) bool {
	for i := range q.terms {
		rest, ok := strings.CutPrefix(name, q.terms[i].word)
		if name = rest; !ok {
			return false
		}
		if i < len(q.terms)-1 && name != "" && isEdge(name[0]) {
			name = name[1:]
		}
	}
	return name == ""
}

// Strong says whether a score is that of an entry which has the words where they say what
// it is, and not in passing.
func (q Query) Strong(score int) bool { return !q.some && score > inAbout*len(q.terms) }

func (t *term) score(text Text) int {
	best := fieldScore(t.word, text)
	for _, w := range t.alike {
		best = max(best, fieldScore(w, text)/asAlike)
	}
	if best > 0 {
		return best
	}
	for _, w := range t.near {
		for _, field := range []struct {
			text  string
			count int
		}{{text.Name, inName}, {text.Title, inTitle}, {text.Tags, inTags}, {text.About, inAbout}} {
			if wordIn(field.text, w) == whole {
				best = max(best, field.count/asMistyped)
				break
			}
		}
	}
	return best
}

func fieldScore(w string, t Text) int {
	best := 0
	for _, field := range [...]struct {
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
	return best
}

// Where a word is in a text.
type place int

const (
	nowhere place = iota
	inside
	begins
	whole
)

// isEdge: a byte that is no part of a word.
func isEdge(b byte) bool { return !('a' <= b && b <= 'z' || '0' <= b && b <= '9' || b >= 0x80) }

// split returns the words of a text, which is in small letters.
func split(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return r < 0x80 && isEdge(byte(r)) })
}

// wordIn looks for a word in a text, of which both are in small letters.
func wordIn(text, w string) place {
	found := nowhere
	for at := 0; ; {
		i := strings.Index(text[at:], w)
		if i < 0 {
			return found
		}
		start, end := at+i, at+i+len(w)
		switch first := start == 0 || isEdge(text[start-1]); {
		case first && (end == len(text) || isEdge(text[end])):
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
	var before, last, row [longestWord + 2]int // of the letters before the one before, and before
	if len(b) > longestWord {
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

// Source is where entries are looked for.
type Source interface {
	// Find returns the best answers to a query, at most so many, and how many there are.
	Find(q Query, most int) (hits []Hit, all int)
	// Words are those that may have been meant by one that is mistyped.
	Words() iter.Seq[string]
}

// Search returns the best answers that sources have to a query, at most so many, and how
// many there are: those that have all words; if they are few, or none has them where they
// say what it is, those that have what may have been meant as well; if there are none,
// those that have most words.
func Search(text string, most int, sources ...Source) (hits []Hit, all int) {
	q := NewQuery(text)
	look := func(q Query) {
		hits, all = nil, 0
		for _, s := range sources {
			more, n := s.Find(q, most)
			hits, all = append(hits, more...), all+n
		}
		Sort(hits)
	}
	look(q)
	if all < few || !q.Strong(hits[0].Score) {
		q = q.Near(func(yield func(string) bool) {
			for _, s := range sources {
				for w := range s.Words() {
					if !yield(w) {
						return
					}
				}
			}
		})
		look(q)
	}
	if len(hits) == 0 {
		look(q.Some())
	}
	return hits[:min(most, len(hits))], all
}

// few answers may not be what was meant.
const few = 3

// Catalogue is the entries of Berth's own catalogue as a source.
type Catalogue []Entry

// Find returns the entries that answer a query.
func (c Catalogue) Find(q Query, most int) (hits []Hit, all int) {
	for _, e := range c {
		score := q.Score(e.Text())
		if score == 0 {
			continue
		}
		if q.Strong(score) {
			score += lookedAt
		}
		hits = append(hits, Hit{e, score})
	}
	Sort(hits)
	return hits[:min(most, len(hits))], len(hits)
}

// Words are those of the entries.
func (c Catalogue) Words() iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, e := range c {
			for w := range e.Text().Words() {
				if !yield(w) {
					return
				}
			}
		}
	}
}
