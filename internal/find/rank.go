package find

import "math"

// The ranking is BM25F (Robertson and Zaragoza, The Probabilistic Relevance Framework:
// BM25 and Beyond, 2009): how often a word is in each field, less in longer ones, by
// the field's weight; then saturated, and weighed by how rare the word is.

// saturation is k1: what a word's second and third time adds.
const saturation = 1.2

// weights are what a word in each field counts, shortening how much less it does in a
// field that is longer than others' (b).
func weights() (weight, shortening [fieldCount]float64) {
	weight = [fieldCount]float64{fieldName: 4, fieldTitle: 3, fieldServer: 1.5, fieldDescription: 2, fieldParameters: 1, fieldDetails: 0.5}
	shortening = [fieldCount]float64{fieldName: 0.5, fieldTitle: 0.5, fieldServer: 0, fieldDescription: 0.6, fieldParameters: 0.6, fieldDetails: 0.6}
	return weight, shortening
}

// What another word than the one in the request counts.
const (
	countAlike    = 0.5 // one that means the same
	countMistyped = 0.7 // one that differs by a letter
)

// posting is that a word is in a tool.
type posting struct {
	tool  int
	score float64 // what the word counts if a request has it
}

// weigh returns where each word is and what it counts there.
func weigh(texts []fields) map[string][]posting {
	weight, shortening := weights()
	var average [fieldCount]float64
	for i := range texts {
		for f := range texts[i] {
			average[f] += float64(len(texts[i][f])) / float64(len(texts))
		}
	}
	index := map[string][]posting{}
	for i := range texts {
		often := map[string]float64{}
		for f, list := range texts[i] {
			if len(list) == 0 {
				continue
			}
			each := weight[f] / (1 - shortening[f] + shortening[f]*float64(len(list))/average[f])
			for _, word := range list {
				often[word] += each
			}
		}
		for word, tf := range often {
			index[word] = append(index[word], posting{i, tf / (saturation + tf)})
		}
	}
	for _, where := range index {
		n := float64(len(where))
		rarity := math.Log(1 + (float64(len(texts))-n+0.5)/(n+0.5))
		for i := range where {
			where[i].score *= rarity
		}
	}
	return index
}

// queryMost bounds the bytes of a request that are read.
const queryMost = 1024

// score returns what each tool has of a request: for each of its words the best
// that the tool has for it.
func (x *Index) score(query string) []float64 {
	total, best := make([]float64, len(x.tools)), make([]float64, len(x.tools))
	asked := map[string]bool{}
	list := words(query[:min(len(query), queryMost)])
	for i, word := range list {
		if asked[word] {
			continue
		}
		asked[word] = true
		terms := map[string]float64{}
		x.add(terms, word)
		if i+1 < len(list) {
			// "screen shot": a word to the tool.
			if joined := stem(word + list[i+1]); x.words[joined] != nil {
				terms[joined] = 1
			}
		}
		clear(best)
		for term, count := range terms {
			for _, p := range x.words[term] {
				best[p.tool] = max(best[p.tool], count*p.score)
			}
		}
		for tool := range best {
			total[tool] += best[tool]
		}
	}
	return total
}

// mistypedLeast is the length, in bytes, from which a word that nobody knows may be
// another one mistyped.
const mistypedLeast = 5

// add adds the words by which one of a request is looked for, and what they count.
func (x *Index) add(terms map[string]float64, word string) {
	terms[word] = 1
	for _, other := range x.alike[word] {
		terms[other] = max(terms[other], countAlike)
	}
	if x.words[word] != nil || len(x.alike[word]) > 0 || len(word) < mistypedLeast {
		return
	}
	for n := len(word) - 1; n <= len(word)+1; n++ {
		for _, known := range x.lengths[n] {
			if closeTo(word, known) {
				terms[known] = max(terms[known], countMistyped)
			}
		}
	}
}
