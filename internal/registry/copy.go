package registry

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/berth-run/berth/internal/listing"
)

// Copy is what a registry had at a time.
type Copy struct {
	Format int    `json:"format"`
	URL    string `json:"url"`
	// At is when it was made, Newest the last change that is certainly in it.
	At     time.Time `json:"at"`
	Newest string    `json:"newest"`
	ETag   string    `json:"etag,omitzero"`
	Count  int       `json:"count"`
	// Bad is how many entries could not be read.
	Bad int `json:"bad,omitzero"`
	// Index is the length of the index, Vocabulary that of the words in it.
	Index      int `json:"index"`
	Vocabulary int `json:"words"`

	records map[string]record // of one that was pulled
	index   string            // of one that was opened
	file    *os.File
	words   int64  // where the vocabulary begins in the file
	data    int64  // where the documents begin
	known   string // the vocabulary, once it was read
}

// record is an entry of a copy: a line of its index, and where its document is.
type record struct {
	name, status, message, title, about string

	docs       io.ReaderAt
	at, length int64
}

// newRecord is the record of a document, which is yet to be put somewhere.
func newRecord(doc json.RawMessage, status, message string) (record, error) {
	var m struct {
		Name        string `json:"name"`
		Title       string `json:"title"`
		Description string `json:"description"`
	}
	if err := json.Unmarshal(doc, &m); err != nil {
		return record{}, err
	}
	if !listing.RegistryName(m.Name) {
		return record{}, errors.New("its name is none")
	}
	return record{
		name: m.Name, status: listing.Shown(cmp.Or(status, statusActive), 40), message: listing.Shown(message, 400),
		title: listing.Shown(m.Title, 200), about: listing.Shown(m.Description, 400),
	}, nil
}

func (r *record) shownStatus() string {
	switch {
	case r.status == statusActive:
		return ""
	case r.message != "":
		return r.status + ": " + r.message
	}
	return r.status
}

// text is what of a record is searched.
func (r *record) text() listing.Text {
	return listing.Text{Name: listing.SearchName(r.name), Title: strings.ToLower(r.title), About: strings.ToLower(r.about)}
}

func (r *record) doc() (json.RawMessage, error) {
	doc := make([]byte, r.length)
	_, err := r.docs.ReadAt(doc, r.at)
	return doc, err
}

// A line of the index has first what is searched, in small letters: the name without
// what most have in common, title and description. Then what is read of an answer.
const (
	fieldName = iota
	fieldTitle
	fieldAbout
	fieldMark // how the name begins, how it is written, and whether the server is as it should be
	fieldAt
	fieldLength
	fieldStatus
	fieldMessage
	fieldOther // the name, with markOther
	fields
)

// What a mark is made of.
const (
	markPrefix = "g" // listing.CommonPrefix comes first
	markOther  = "o" // it is another in small letters
	markStatus = "!" // the status is not statusActive
)

const format = 2

// Save writes the copy as a file: a line of JSON, the index with a line for each server,
// the words in it, the documents.
func (c *Copy) Save(w io.Writer) error {
	names := slices.Sorted(maps.Keys(c.records))
	vocabulary := map[string]struct{}{}
	var index bytes.Buffer
	at := int64(0)
	for _, name := range names {
		r := c.records[name]
		text := r.text()
		for w := range text.Words() {
			vocabulary[w] = struct{}{}
		}
		mark, other := "", ""
		switch name {
		case text.Name:
		case listing.CommonPrefix + text.Name:
			mark = markPrefix
		default:
			mark, other = markOther, name
		}
		if r.status != statusActive {
			mark += markStatus
		}
		fmt.Fprintf(&index, "%s\t%s\t%s\t%s\t%d\t%d\t%s\t%s\t%s\n", text.Name, text.Title, text.About, mark, at, r.length, r.status, r.message, other)
		at += r.length
	}
	words := strings.Join(slices.Sorted(maps.Keys(vocabulary)), "\n")
	c.Format, c.Count, c.Index, c.Vocabulary = format, len(names), index.Len(), len(words)
	head, err := json.Marshal(c)
	if err != nil {
		return err
	}
	out := bufio.NewWriterSize(w, 1<<16)
	for _, part := range [][]byte{head, []byte("\n"), index.Bytes(), []byte(words)} {
		if _, err := out.Write(part); err != nil {
			return err
		}
	}
	for _, name := range names {
		r := c.records[name]
		doc, err := r.doc()
		if err != nil {
			return err
		}
		if _, err := out.Write(doc); err != nil {
			return err
		}
	}
	return out.Flush()
}

// mostIndex bounds an index, and the words in it.
const mostIndex = 1 << 30

// Open opens a copy, which is to be closed; fs.ErrNotExist if there is none.
func Open(path string) (*Copy, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	c, err := openFile(f)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("the copy of the registry, %s: %w", path, err)
	}
	return c, nil
}

func openFile(f *os.File) (*Copy, error) {
	head := make([]byte, 8192)
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return nil, err
	}
	line, _, found := bytes.Cut(head[:n], []byte("\n"))
	c := &Copy{}
	if err := json.Unmarshal(line, c); err != nil || !found || c.Format != format || c.Index < 0 || c.Index > mostIndex || c.Vocabulary < 0 || c.Vocabulary > mostIndex {
		return nil, errors.New("it is damaged, or of another version of Berth")
	}
	begin := int64(len(line)) + 1
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	c.file, c.words, c.data = f, begin+int64(c.Index), begin+int64(c.Index)+int64(c.Vocabulary)
	if info.Size() < c.data {
		return nil, errors.New("it is cut off")
	}
	c.index, err = c.part(begin, c.Index)
	return c, err
}

// part reads a part of the file.
func (c *Copy) part(at int64, length int) (string, error) {
	var b strings.Builder
	b.Grow(length)
	// By pieces as large as the cache of a processor: what is read is copied once more.
	_, err := io.CopyBuffer(struct{ io.Writer }{&b}, struct{ io.Reader }{io.NewSectionReader(c.file, at, int64(length))}, make([]byte, 256<<10))
	return b.String(), err
}

// Close closes a copy that was opened.
func (c *Copy) Close() error {
	if c.file == nil {
		return nil
	}
	return c.file.Close()
}

// line is a line of the index.
type line [fields]string

func cutLine(text string) (l line) {
	for i := range l {
		l[i], text, _ = strings.Cut(text, "\t")
	}
	return l
}

func (l *line) name() string {
	switch strings.TrimSuffix(l[fieldMark], markStatus) {
	case markPrefix:
		return listing.CommonPrefix + l[fieldName]
	case markOther:
		return l[fieldOther]
	}
	return l[fieldName]
}

// record is that of a line; false if the line is damaged.
func (c *Copy) record(l *line) (record, bool) {
	at, err := strconv.ParseInt(l[fieldAt], 10, 64)
	length, err2 := strconv.ParseInt(l[fieldLength], 10, 64)
	if err != nil || err2 != nil || at < 0 || length < 0 || length > mostDoc || at > mostData {
		return record{}, false
	}
	return record{name: l.name(), status: l[fieldStatus], message: l[fieldMessage], docs: c.file, at: c.data + at, length: length}, true
}

// lines are the lines of the index that have one of the needles, each once.
func (c *Copy) lines(needles ...string) iter.Seq[string] {
	return func(yield func(string) bool) {
		// next is where the next line that has needle i begins and ends.
		type span struct{ begin, end int }
		next := make([]span, len(needles))
		seek := func(i, from int) {
			at := strings.Index(c.index[from:], needles[i])
			if at < 0 {
				next[i] = span{len(c.index), len(c.index)}
				return
			}
			at += from
			begin := strings.LastIndexByte(c.index[:at], '\n') + 1
			end := strings.IndexByte(c.index[at:], '\n')
			if end < 0 {
				end = len(c.index) - at
			}
			next[i] = span{begin, at + end}
		}
		for i := range needles {
			seek(i, 0)
		}
		for len(needles) > 0 {
			first := slices.MinFunc(next, func(a, b span) int { return cmp.Compare(a.begin, b.begin) })
			if first.begin >= len(c.index) || !yield(c.index[first.begin:first.end]) {
				return
			}
			for i := range next {
				if next[i].begin == first.begin {
					seek(i, min(first.end+1, len(c.index)))
				}
			}
		}
	}
}

// rarest is the list of texts that are in the fewest lines, by what the first of them have.
func (c *Copy) rarest(lists [][]string) (best []string) {
	const sample = 64 << 10
	some, least := c.index[:min(len(c.index), sample)], 0
	for _, list := range lists {
		n := 0
		for _, text := range list {
			n += strings.Count(some, text)
		}
		if best == nil || n < least {
			best, least = list, n
		}
	}
	return best
}

// all are the records of a copy that was opened.
func (c *Copy) all() (map[string]record, error) {
	records := make(map[string]record, min(c.Count, mostServer))
	for text := range strings.Lines(c.index) {
		l := cutLine(strings.TrimSuffix(text, "\n"))
		r, ok := c.record(&l)
		if !ok {
			break
		}
		// In small letters title and description are no longer what they were.
		doc, err := r.doc()
		if err != nil {
			return nil, err
		}
		whole, err := newRecord(doc, r.status, r.message)
		if err != nil {
			return nil, err
		}
		whole.docs, whole.at, whole.length = r.docs, r.at, r.length
		records[whole.name] = whole
	}
	if len(records) != c.Count {
		return nil, errors.New("its index is damaged")
	}
	return records, nil
}

// Find returns the best answers to a query, at most so many, and how many there are. What
// cannot be read is passed over.
func (c *Copy) Find(q listing.Query, most int) (hits []listing.Hit, all int) {
	type found struct {
		name, line string
		score      int
	}
	// A few more, in the place of those that have nothing to install.
	keep := most + most/2 + 8
	var best []found
	better := func(a, b found) int {
		return cmp.Or(cmp.Compare(b.score, a.score), strings.Compare(a.name, b.name))
	}
	needles := slices.DeleteFunc(slices.Clone(c.rarest(q.Needles())), c.lacks)
	if len(needles) == 0 {
		return nil, 0
	}
	for line := range c.lines(needles...) {
		var text listing.Text
		var rest string
		text.Name, rest, _ = strings.Cut(line, "\t")
		text.Title, rest, _ = strings.Cut(rest, "\t")
		text.About, rest, _ = strings.Cut(rest, "\t")
		score := q.Score(text)
		if score == 0 {
			continue
		}
		if mark, _, _ := strings.Cut(rest, "\t"); strings.HasSuffix(mark, markStatus) {
			score = (score + 1) / 2
		}
		all++
		f := found{text.Name, line, score}
		if len(best) == keep && better(f, best[keep-1]) >= 0 {
			continue
		}
		at, _ := slices.BinarySearchFunc(best, f, better)
		best = slices.Insert(best[:min(len(best), keep-1)], at, f)
	}
	for _, f := range best {
		if len(hits) == most {
			break
		}
		l := cutLine(f.line)
		r, ok := c.record(&l)
		if !ok {
			continue
		}
		if entries, err := r.entries(); err == nil {
			hits = append(hits, listing.Hit{Entry: entries[0], Score: f.score})
		}
	}
	return hits, all
}

// vocabulary are the words of the index, a line each; what cannot be read is as empty.
func (c *Copy) vocabulary() string {
	if c.known == "" {
		c.known, _ = c.part(c.words, c.Vocabulary)
	}
	return c.known
}

// lacks says that no line of the index has a text, for which the vocabulary, a hundredth
// of it, is enough to look at: it has each word but for digits at its beginning.
func (c *Copy) lacks(text string) bool {
	known := c.vocabulary()
	return known != "" && len(text) >= listing.ShortestWord && !strings.ContainsAny(text, "0123456789") && !strings.Contains(known, text)
}

// Words are the words of the index.
func (c *Copy) Words() iter.Seq[string] {
	return func(yield func(string) bool) {
		text := c.vocabulary()
		for text != "" {
			var w string
			w, text, _ = strings.Cut(text, "\n")
			if !yield(w) {
				return
			}
		}
	}
}

// Lookup returns the ways in which the server of a name can be had; if there is none of
// that name, some names that end in it.
func (c *Copy) Lookup(name string) (entries []listing.Entry, near []string, err error) {
	search := listing.SearchName(name)
	if search == "" {
		return nil, nil, nil
	}
	for text := range c.lines(search) {
		l := cutLine(text)
		switch have := l.name(); {
		case have == name:
			r, ok := c.record(&l)
			if !ok {
				return nil, nil, fmt.Errorf("the copy of the registry: the line of %s is damaged", name)
			}
			entries, err := r.entries()
			return entries, nil, err
		case len(near) < 5 && strings.HasSuffix(have, "/"+name):
			near = append(near, have)
		}
	}
	return nil, near, nil
}

func (r *record) entries() ([]listing.Entry, error) {
	doc, err := r.doc()
	if err != nil {
		return nil, err
	}
	return EntriesOf(doc, r.shownStatus())
}

// EntriesOf are the ways in which the server of a document of the registry can be had.
func EntriesOf(doc json.RawMessage, status string) ([]listing.Entry, error) {
	list, err := listing.ParseServerJSON(doc)
	if err == nil && len(list) == 0 {
		err = errors.New("it has nothing to install")
	}
	for i := range list {
		list[i].From, list[i].Status = listing.FromRegistry, status
	}
	return list, err
}
