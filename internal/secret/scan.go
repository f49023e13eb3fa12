package secret

import (
	"slices"
	"strings"
)

// span is text[start:end], to be masked.
type span struct{ start, end int }

// find returns what is to be masked in text: spans in order that do not touch.
func (m *Masker) find(text string) []span {
	var spans []span
	add := func(start, end int) {
		if start < end && !refOrStars(text[start:end]) {
			spans = append(spans, span{start, end})
		}
	}
	for _, value := range m.values {
		for at := 0; ; {
			i := strings.Index(text[at:], value)
			if i < 0 {
				break
			}
			add(at+i, at+i+len(value))
			at += i + 1 // occurrences may overlap
		}
	}
	for i := range len(text) {
		switch c := text[i]; {
		case c == '=' || c == ':':
			findAssigned(text, i, add)
			if c == ':' {
				findUserinfo(text, i, add)
			}
		case c == '-':
			findFlagged(text, i, add)
			findPEM(text, i, add)
		case letter(c) && (i == 0 || !letter(text[i-1]) && !digit(text[i-1]) && text[i-1] != '_'):
			findPrefixed(text, i, add)
			findBearer(text, i, add)
		}
	}
	return merge(spans)
}

func merge(spans []span) []span {
	slices.SortFunc(spans, func(a, b span) int { return a.start - b.start })
	out := spans[:0]
	for _, s := range spans {
		if n := len(out); n > 0 && s.start <= out[n-1].end {
			out[n-1].end = max(out[n-1].end, s.end)
			continue
		}
		out = append(out, s)
	}
	return out
}

func replace(text string, spans []span) string {
	var b strings.Builder
	at := 0
	for _, s := range spans {
		b.WriteString(text[at:s.start])
		b.WriteString(Stars)
		at = s.end
	}
	b.WriteString(text[at:])
	return b.String()
}

// findAssigned finds the value of KEY=value, "key": "value" and Key: value,
// whose separator is at i.
func findAssigned(text string, i int, add func(int, int)) {
	if strings.HasPrefix(text[i:], "://") {
		return // a URL, or a reference
	}
	end := i
	for end > 0 && text[end-1] == ' ' {
		end--
	}
	if end > 0 && quote(text[end-1]) {
		end--
		if end > 0 && text[end-1] == '\\' { // JSON in JSON
			end--
		}
	}
	start := end
	for start > 0 && end-start < 256 && keyByte(text[start-1]) {
		start--
	}
	key := text[start:end]
	if key == "" || !LooksSecret(key) {
		return
	}
	from := skipBlanks(text, i+1)
	if strings.HasPrefix(text[from:], `\"`) {
		from++
	}
	if from < len(text) && quote(text[from]) {
		add(from+1, quotedEnd(text, from))
		return
	}
	switch {
	case strings.HasPrefix(text[from:], "{"):
		return // its members have names of their own
	case strings.HasPrefix(text[from:], "["):
		add(from+1, from+stopAt(text[from:], "]\r\n"))
		return
	}
	if text[i] == ':' && headerWithBlanks(key) {
		add(from, from+stopAt(text[from:], "\r\n\"'`"))
		return
	}
	add(from, runEnd(text, from))
}

// headerWithBlanks: the value of these headers goes to the end of the line.
func headerWithBlanks(key string) bool {
	words := splitWords(key)
	switch words[len(words)-1] {
	case "authorization", "cookie":
		return true
	}
	return false
}

// findFlagged finds the value of "--name value" or "-name value" in a command
// line.
func findFlagged(text string, i int, add func(int, int)) {
	if i > 0 && keyByte(text[i-1]) {
		return
	}
	end := i
	for end < len(text) && keyByte(text[end]) {
		end++
	}
	if end == len(text) || text[end] != ' ' || !LooksSecret(text[i:end]) {
		return
	}
	from := skipBlanks(text, end)
	if from == len(text) || looksFlag(text[from:runEnd(text, from)]) {
		return
	}
	if quote(text[from]) {
		add(from+1, quotedEnd(text, from))
		return
	}
	add(from, runEnd(text, from))
}

// findUserinfo finds what stands before "@" in the URL whose "://" is at i. A
// password may hold an unescaped slash, so it is looked for beyond one if what
// precedes that slash is not a port; a mere "@scope" in a path is left alone.
func findUserinfo(text string, i int, add func(int, int)) {
	if !strings.HasPrefix(text[i:], "://") || i == 0 || !keyByte(text[i-1]) {
		return
	}
	start := i + len("://")
	url := text[start:]
	url = url[:min(len(url), 4096)]
	url = url[:stopAt(url, " \t\r\n\"'`<>")]
	authority := url[:stopAt(url, "/?#")]
	at := strings.LastIndexByte(authority, '@')
	if at < 0 {
		_, after, ok := strings.Cut(authority, ":")
		if !ok || strings.Trim(after, "0123456789") == "" || strings.HasPrefix(authority, "[") {
			return
		}
		at = strings.LastIndexByte(url, '@')
	}
	add(start, start+max(at, 0))
}

// findBearer finds the credentials after the word at i, if it is Bearer.
func findBearer(text string, i int, add func(int, int)) {
	const word = "bearer "
	if len(text)-i > len(word) && strings.EqualFold(text[i:i+len(word)], word) {
		from := skipBlanks(text, i+len(word))
		add(from, runEnd(text, from))
	}
}

// issuer is a well-known form of token.
type issuer struct {
	prefix string
	tail   int // the least that must follow
}

// issuers are an array, which needs no memory of the heap each time that it is asked for.
func issuers() [34]issuer {
	return [...]issuer{
		{"berth_", 40}, {"ghp_", 16}, {"gho_", 16}, {"ghu_", 16}, {"ghs_", 16}, {"ghr_", 16}, {"github_pat_", 16},
		{"glpat-", 16}, {"sk-", 16}, {"sk_live_", 8}, {"sk_test_", 8}, {"rk_live_", 8}, {"ctx7sk-", 8},
		{"xoxa-", 8}, {"xoxb-", 8}, {"xoxc-", 8}, {"xoxd-", 8}, {"xoxe-", 8}, {"xoxo-", 8}, {"xoxp-", 8},
		{"xoxr-", 8}, {"xoxs-", 8}, {"xapp-", 8}, {"AKIA", 16}, {"ASIA", 16}, {"AIza", 30}, {"ya29.", 16},
		{"eyJ", 16}, {"npm_", 30}, {"hf_", 30}, {"gsk_", 30}, {"pypi-AgE", 40}, {"dop_v1_", 16}, {"whsec_", 16},
	}
}

// findPrefixed finds a token of a well-known issuer that begins at i.
func findPrefixed(text string, i int, add func(int, int)) {
	if strings.IndexByte("bgsrcxAyenhpdw", text[i]) < 0 {
		return // the first letters of all prefixes: most words end here
	}
	for _, p := range issuers() {
		if !strings.HasPrefix(text[i:], p.prefix) {
			continue
		}
		end := i + len(p.prefix)
		for end < len(text) && (keyByte(text[end]) || text[end] == '+' || text[end] == '/' || text[end] == '=') {
			end++
		}
		if end-i-len(p.prefix) >= p.tail {
			add(i, end)
		}
	}
}

// findPEM finds a private key whose first line begins at i.
func findPEM(text string, i int, add func(int, int)) {
	if !strings.HasPrefix(text[i:], "-----BEGIN ") {
		return
	}
	head, rest, ok := strings.Cut(text[i+len("-----BEGIN "):], "-----")
	if !ok || !strings.HasSuffix(head, "PRIVATE KEY") {
		return
	}
	start := len(text) - len(rest)
	end := strings.Index(rest, "-----END")
	if end < 0 {
		end = len(rest)
	}
	add(start, start+end)
}

func quote(c byte) bool { return c == '"' || c == '\'' || c == '`' }

// quotedEnd returns where the string ends whose opening quote is at i; without
// a closing quote that is the end of the text.
func quotedEnd(text string, i int) int {
	escaped := i > 0 && text[i-1] == '\\'
	for j := i + 1; j < len(text); j++ {
		switch {
		case text[j] == '\\' && escaped && j+1 < len(text) && text[j+1] == text[i]:
			return j
		case text[j] == '\\':
			j++
		case text[j] == text[i]:
			return j
		}
	}
	return len(text)
}

// runEnd returns where the run of text that begins at i ends: at a blank, a
// quote, or what separates parameters.
func runEnd(text string, i int) int { return i + stopAt(text[i:], " \t\r\n\"'`&;,<>|)]}") }

func stopAt(s, any string) int {
	if n := strings.IndexAny(s, any); n >= 0 {
		return n
	}
	return len(s)
}

func skipBlanks(text string, i int) int {
	for i < len(text) && (text[i] == ' ' || text[i] == '\t') {
		i++
	}
	return i
}
