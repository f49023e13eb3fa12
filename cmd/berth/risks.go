package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode"
)

// risksOf is what in a command line its user should look at twice. It finds what is
// there in plain sight, and no malice.
func risksOf(argv []string, home string) (risks []string) {
	add := func(risk string) {
		if !slices.Contains(risks, risk) {
			risks = append(risks, risk)
		}
	}
	for i, arg := range argv {
		words := strings.FieldsFunc(arg, func(r rune) bool { return unicode.IsSpace(r) || strings.ContainsRune(";|&()`'\"<>=,", r) })
		for n, word := range words {
			rest := words[n+1:]
			if len(words) == 1 {
				rest = argv[i+1:] // its flags are arguments of their own
			}
			switch base := filepath.Base(word); {
			case base == "su" && i > 0 && len(words) == 1: // a word like any other
			case slices.Contains([]string{"sudo", "doas", "pkexec", "su", "runas"}, base):
				add(base + " gives it the rights of another user")
			case base == "rm" && removesAll(rest):
				add("rm deletes directories with all that is in them")
			}
			if risk := riskOfPath(word, home); risk != "" {
				add(risk)
			}
		}
	}
	return risks
}

// removesAll says whether these are flags of rm that spare nothing.
func removesAll(words []string) bool {
	for _, word := range words {
		if word == "--recursive" || len(word) > 1 && word[0] == '-' && word[1] != '-' && strings.ContainsAny(word, "rR") {
			return true
		}
	}
	return false
}

// riskOfPath is what is wrong with having a server be told of a path.
func riskOfPath(word, home string) string {
	for _, own := range []string{"~", "$HOME", "${HOME}"} {
		if rest, ok := strings.CutPrefix(word, own); ok && (rest == "" || os.IsPathSeparator(rest[0])) {
			word = home + rest
		}
	}
	if home == "" || !filepath.IsAbs(word) {
		return ""
	}
	path := filepath.Clean(word)
	if path == filepath.Clean(home) {
		return path + " is your home directory, with your keys and settings"
	}
	if path == filepath.Dir(path) {
		return path + " is the whole disk"
	}
	for _, secret := range []string{".ssh", ".gnupg", ".aws", ".azure", ".kube", ".docker", ".netrc", filepath.Join(".config", "gcloud")} {
		dir := filepath.Join(home, secret)
		if path == dir || strings.HasPrefix(path, dir+string(filepath.Separator)) {
			return dir + " has keys of yours"
		}
	}
	return ""
}
