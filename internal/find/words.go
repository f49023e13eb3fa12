package find

import (
	"strings"
	"unicode"
)

// words splits a text into stems: at what is no letter or digit, and where a small
// letter is followed by a capital, or capitals by a word (camelCase, HTTPServer,
// snake_case, kebab-case).
func words(text string) []string {
	var list []string
	for _, word := range split(text) {
		if stem := stem(word); stem != "" && !stopped(word) {
			list = append(list, stem)
		}
	}
	return list
}

// split returns the words of a text in small letters.
func split(text string) []string {
	var list []string
	var word []rune
	end := func() {
		if len(word) > 0 {
			list = append(list, strings.ToLower(string(word)))
			word = word[:0]
		}
	}
	runes := []rune(text)
	for i, r := range runes {
		if !unicode.IsLetter(r) && !unicode.IsDigit(r) {
			// Don't is one word.
			if r != '\'' && r != '’' || len(word) == 0 {
				end()
			}
			continue
		}
		if unicode.IsUpper(r) && len(word) > 0 {
			last := word[len(word)-1]
			next := i+1 < len(runes) && unicode.IsLower(runes[i+1])
			if unicode.IsLower(last) || unicode.IsUpper(last) && next {
				end()
			}
		}
		word = append(word, r)
	}
	end()
	return list
}

// stem takes the endings off a word that say its number, its tense or that it is a
// noun: it is light, and wrong in the same way for the tool and for who asks.
func stem(w string) string {
	drop := func(ending string, least int) bool {
		stem, ok := strings.CutSuffix(w, ending)
		if !ok || len(stem) < least {
			return false
		}
		w = stem
		return true
	}
	switch {
	case drop("ies", 3):
		w += "y"
	case drop("sses", 2):
		w += "ss"
	case strings.HasSuffix(w, "ss"), strings.HasSuffix(w, "us"), strings.HasSuffix(w, "is"):
	default:
		drop("s", 3)
	}
	switch {
	case strings.HasSuffix(w, "eed"):
	case drop("ing", 3), drop("ed", 3):
		// running, stopped
		if n := len(w); n > 3 && w[n-1] == w[n-2] && !strings.ContainsRune("aeiouls", rune(w[n-1])) {
			w = w[:n-1]
		}
	case strings.HasSuffix(w, "tion"), strings.HasSuffix(w, "sion"):
		drop("ion", 4)
	}
	drop("e", 3)
	return w
}

// stopped reports whether a word says nothing of what is wanted.
func stopped(w string) bool {
	switch w {
	case "a", "an", "the", "this", "that", "these", "those", "it", "its", "i", "me", "my", "we", "our", "us", "you", "your", "he", "she",
		"they", "them", "their", "is", "are", "was", "were", "be", "been", "am", "do", "does", "did", "dont", "can", "could", "may",
		"might", "will", "would", "should", "shall", "must", "have", "has", "had", "of", "in", "on", "at", "to", "for", "from", "by", "with",
		"into", "onto", "as", "than", "and", "or", "but", "not", "no", "if", "then", "so", "what", "which", "who", "whose", "when", "where",
		"how", "why", "please", "want", "need", "like", "let", "there", "here", "some", "any", "im", "just", "also", "about", "using", "use":
		return true
	}
	return false
}

// closeTo reports whether one letter more, less or other, or two that changed places,
// make one word of the other. Both are compared as bytes.
func closeTo(a, b string) bool {
	if len(a) < len(b) {
		a, b = b, a
	}
	if len(a)-len(b) > 1 {
		return false
	}
	i := 0
	for i < len(b) && a[i] == b[i] {
		i++
	}
	if len(a) > len(b) {
		return a[i+1:] == b[i:]
	}
	if i == len(b) || a[i+1:] == b[i+1:] {
		return true
	}
	return i+1 < len(b) && a[i] == b[i+1] && a[i+1] == b[i] && a[i+2:] == b[i+2:]
}
