package listing

import (
	"slices"
	"strconv"
	"strings"
)

// InRange says whether a version is in a range, as npm and Python write them: ">=18.0.0",
// "^20", "~3.11", ">=3.8,<4", "18.x || 20.x". It knows releases alone; known is false if
// either is not understood.
func InRange(version, in string) (ok, known bool) {
	v, parts, fine := numbers(version)
	if !fine || parts == 0 {
		return false, false
	}
	for choice := range strings.SplitSeq(in, "||") {
		fits, understood := inAll(v, choice)
		if !understood {
			return false, false
		}
		ok = ok || fits
	}
	return ok, true
}

func inAll(v [3]int, choice string) (ok, known bool) {
	// An operator may stand apart from its version.
	for _, op := range []string{">=", "<=", "==", "~=", "!=", ">", "<", "=", "^", "~"} {
		choice = strings.ReplaceAll(choice, op+" ", op)
	}
	ok = true
	for _, word := range strings.FieldsFunc(choice, func(r rune) bool { return r == ' ' || r == ',' }) {
		i := strings.IndexFunc(word, func(r rune) bool { return !strings.ContainsRune("<>=!~^", r) })
		if i < 0 {
			return false, false
		}
		op := word[:i]
		low, parts, fine := numbers(word[i:])
		if !fine {
			return false, false
		}
		fits, understood := compare(op, v, low, parts)
		if !understood {
			return false, false
		}
		ok = ok && fits
	}
	return ok, true
}

// compare says whether a version is one of op and so many parts of another.
func compare(op string, v, of [3]int, parts int) (ok, known bool) {
	order := slices.Compare(v[:], of[:])
	same := slices.Equal(v[:parts], of[:parts])
	switch op {
	case ">=":
		return order >= 0, true
	case "<":
		return order < 0, true
	case ">":
		return order > 0 && !same, true
	case "<=":
		return order < 0 || same, true
	case "", "=", "==":
		return same, true
	case "!=":
		return !same, true
	case "^": // up to the next change of what is first not zero
		first := slices.IndexFunc(of[:], func(n int) bool { return n != 0 })
		if first < 0 || first >= parts {
			first = max(parts-1, 0)
		}
		return order >= 0 && slices.Equal(v[:first+1], of[:first+1]), true
	case "~": // of npm: patches
		return order >= 0 && slices.Equal(v[:min(parts, 2)], of[:min(parts, 2)]), true
	case "~=": // of Python: the last part may be more
		return order >= 0 && parts > 1 && slices.Equal(v[:parts-1], of[:parts-1]), parts > 1
	}
	return false, false
}

// numbers reads up to three numbers; parts says how many there are before an x, a * or
// the end.
func numbers(text string) (v [3]int, parts int, ok bool) {
	list := strings.Split(strings.TrimPrefix(text, "v"), ".")
	if len(list) > 3 {
		return v, 0, false
	}
	for i, word := range list {
		if word == "x" || word == "X" || word == "*" {
			return v, i, true
		}
		n, err := strconv.Atoi(word)
		if err != nil || n < 0 {
			return v, 0, false
		}
		v[i] = n
	}
	return v, len(list), true
}
