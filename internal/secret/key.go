package secret

import "strings"

// LooksSecret says whether a name, that of a variable, a flag, a header or a
// JSON member, tells that its value is a secret: GITHUB_TOKEN, --api-key,
// X-Auth, clientSecret. Names of files that hold one (…_FILE, …_PATH, …_DIR),
// and flags that switch something off (--no-auth) do not.
func LooksSecret(key string) bool {
	if len(key) > 256 {
		key = key[len(key)-256:]
	}
	words := splitWords(strings.Trim(key, "-"))
	if len(words) == 0 || words[0] == "no" {
		return false
	}
	switch words[len(words)-1] {
	case "file", "path", "dir":
		return false
	}
	for i, w := range words {
		switch w {
		case "auth", "oauth", "oauth2", "authorization", "bearer", "pass", "passphrase",
			"cookie", "pat", "otp", "sig", "signature":
			return true
		case "pwd":
			// PWD alone is the working directory.
			if len(words) > 1 {
				return true
			}
		case "tokens":
			// Those that a language model counts.
			if i > 0 && words[i-1] == "max" {
				continue
			}
		case "monkey", "donkey", "turkey", "hotkey":
			continue
		}
		switch {
		case strings.HasSuffix(w, "key"), strings.HasSuffix(w, "keys"),
			strings.Contains(w, "secret"),
			strings.Contains(w, "passw"),
			strings.Contains(w, "credential"),
			strings.Contains(w, "apikey"),
			strings.Contains(w, "token") && !strings.Contains(w, "tokeni"): // tokenizer
			return true
		}
	}
	return false
}

// splitWords splits a name at what is no letter or digit and where the case
// says so, and returns the words in lower case: "X-apiKey" is x, api, key.
func splitWords(name string) []string {
	var words []string
	start := -1
	flush := func(end int) {
		if start >= 0 {
			words = append(words, strings.ToLower(name[start:end]))
			start = -1
		}
	}
	for i := range len(name) {
		c := name[i]
		if !letter(c) && !digit(c) {
			flush(i)
			continue
		}
		// aB, and the B of ABc.
		if start >= 0 && upper(c) && (lower(name[i-1]) || i+1 < len(name) && lower(name[i+1])) {
			flush(i)
		}
		if start < 0 {
			start = i
		}
	}
	flush(len(name))
	return words
}

func lower(c byte) bool  { return 'a' <= c && c <= 'z' }
func upper(c byte) bool  { return 'A' <= c && c <= 'Z' }
func digit(c byte) bool  { return '0' <= c && c <= '9' }
func letter(c byte) bool { return lower(c) || upper(c) }

// keyByte says whether c may stand in a name before "=" or ":".
func keyByte(c byte) bool { return letter(c) || digit(c) || c == '_' || c == '-' || c == '.' }
