// Package find ranks tools by what is asked of them in plain words, so that a model
// need not read hundreds of schemas: it gets three tools instead, which this
// package defines and whose results it writes.
//
//	index := find.New(tools)
//	hits := index.Search("rename a file", 5, nil)
//	result := find.FindResult(hits)
//
// The ranking is BM25F over a tool's names, its descriptions and those of its
// parameters, which forgives other forms of a word, some other words for the same,
// and a typing error. It does no I/O, and an Index does not change: it may be used
// by several goroutines.
package find

import (
	"encoding/json"
	"slices"
)

// Tool is a tool that can be found.
type Tool struct {
	// Name is what a client calls it by.
	Name string
	// Server is whose it is, and Own the server's own name for it.
	Server, Own string
	// Raw is the tool as it is listed, as JSON, its member name being Name. What of
	// it cannot be read is not found by.
	Raw json.RawMessage
}

// Hit is a tool that was found.
type Hit struct {
	Tool  Tool
	Score float64 // above 0; it means nothing but among the hits of one search
}

// Index finds tools.
type Index struct {
	tools  []Tool
	byName map[string]int
	words  map[string][]posting
	alike  map[string][]string
	// lengths has the words by their length in bytes, for those that are mistyped.
	lengths map[int][]string
}

// New returns an index of tools, which must not change afterwards. Of two with one
// name the first is called by it.
func New(tools []Tool) *Index {
	x := &Index{tools: tools, byName: make(map[string]int, len(tools)), alike: thesaurus(), lengths: map[int][]string{}}
	texts := make([]fields, len(tools))
	for i := range tools {
		if _, twice := x.byName[tools[i].Name]; !twice {
			x.byName[tools[i].Name] = i
		}
		texts[i] = fieldsOf(&tools[i])
	}
	x.words = weigh(texts)
	for word := range x.words {
		x.lengths[len(word)] = append(x.lengths[len(word)], word)
	}
	for _, words := range x.lengths {
		slices.Sort(words) // a search has one outcome
	}
	return x
}

// Len returns how many tools there are.
func (x *Index) Len() int { return len(x.tools) }

// Tool returns the tool that a client calls by a name.
func (x *Index) Tool(name string) (Tool, bool) {
	i, ok := x.byName[name]
	if !ok {
		return Tool{}, false
	}
	return x.tools[i], true
}

// Search returns at most limit tools, the best first, and of two that are as good
// the one that is listed first. It passes over those that keep, unless it is nil,
// says no to: what a caller may not call it does not find.
func (x *Index) Search(query string, limit int, keep func(*Tool) bool) []Hit {
	scores := x.score(query)
	var hits []Hit
	for i, score := range scores {
		if score > 0 && (keep == nil || keep(&x.tools[i])) {
			hits = append(hits, Hit{x.tools[i], score})
		}
	}
	slices.SortStableFunc(hits, func(a, b Hit) int {
		switch {
		case a.Score > b.Score:
			return -1
		case a.Score < b.Score:
			return 1
		}
		return 0
	})
	return hits[:min(len(hits), max(0, limit))]
}
