package berth

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// MaxNameLength is the longest name that a server may have, in bytes.
const MaxNameLength = 64

// CheckName returns nil if name may name a server: [a-z0-9][a-z0-9._-]{0,63},
// no dot at the end, not a Windows device name (also with an extension: the
// system ignores it), not a word that is a verb of the command line. Otherwise
// it returns an error that wraps ErrInvalidName and says what is wrong.
//
// Every file of a server is named after it, so each way into Berth calls this
// before it builds a path.
func CheckName(name string) error {
	if why := nameFault(name); why != "" {
		return fmt.Errorf("%w %s: %s", ErrInvalidName, quoteShort(name), why)
	}
	return nil
}

// CheckNameOf is CheckName for the name of something else, such as a profile: the
// same names are good, and the error, which wraps ErrInvalidName, says what it is
// that may not have it.
func CheckNameOf(what, name string) error {
	if why := nameFault(name); why != "" {
		return &misnamed{fmt.Sprintf("invalid %s name %s: %s", what, quoteShort(name), why)}
	}
	return nil
}

// misnamed is ErrInvalidName of what is no server.
type misnamed struct{ text string }

func (m *misnamed) Error() string { return m.text }
func (m *misnamed) Unwrap() error { return ErrInvalidName }

// instanceMark stands between a server's name and the tag of a further process.
const instanceMark = "~"

// MaxInstanceTag is the longest tag of an instance, in bytes.
const MaxInstanceTag = 16

// CheckInstance returns nil if name is a server's, or that of one of its further
// processes, which the gateway starts for clients that cannot share the first:
// the server's name, "~" and a tag of [a-z0-9]{1,16}. No user gives such a name.
func CheckInstance(name string) error {
	server, tag, further := strings.Cut(name, instanceMark)
	if err := CheckName(server); err != nil {
		return err
	}
	if !further {
		return nil
	}
	if tag == "" || len(tag) > MaxInstanceTag || strings.Trim(tag, "abcdefghijklmnopqrstuvwxyz0123456789") != "" {
		return fmt.Errorf("%w %s: what follows the %s is no tag", ErrInvalidName, quoteShort(name), instanceMark)
	}
	return nil
}

// InstanceName is the name of a server's further process.
func InstanceName(server, tag string) string { return server + instanceMark + tag }

// ServerOf returns the server that an instance belongs to: name itself if it is a
// server's.
func ServerOf(name string) string {
	server, _, _ := strings.Cut(name, instanceMark)
	return server
}

func nameFault(name string) string {
	if name == "" {
		return "it is empty"
	}
	if len(name) > MaxNameLength {
		return fmt.Sprintf("it has %d bytes, at most %d are allowed", len(name), MaxNameLength)
	}
	for i := 0; i < len(name); i++ {
		c := name[i]
		alnum := 'a' <= c && c <= 'z' || '0' <= c && c <= '9'
		if i == 0 && !alnum {
			return "it must begin with a letter a-z or a digit"
		}
		if !alnum && c != '.' && c != '_' && c != '-' {
			return "only a-z, 0-9, '.', '_' and '-' are allowed"
		}
	}
	if strings.HasSuffix(name, ".") {
		return "it must not end in a dot"
	}
	stem, _, _ := strings.Cut(name, ".")
	switch {
	case stem == "con", stem == "prn", stem == "aux", stem == "nul",
		len(stem) == 4 && (strings.HasPrefix(stem, "com") || strings.HasPrefix(stem, "lpt")) && stem[3] >= '0' && stem[3] <= '9':
		return "it is the name of a Windows device"
	}
	switch name {
	case "verify", "export", "import":
		return "it is a word of the command line"
	}
	return ""
}

// quoteShort quotes a foreign string for an error message, cut to a length that
// leaves the message readable.
func quoteShort(s string) string {
	const most = 40
	if len(s) <= most {
		return fmt.Sprintf("%q", s)
	}
	cut := most
	for cut > most-utf8.UTFMax && !utf8.RuneStart(s[cut]) {
		cut-- // not in the middle of a letter
	}
	return fmt.Sprintf("%q…", s[:cut])
}

// maxPrefixLength is the longest prefix, in bytes.
const maxPrefixLength = 20

// CheckPrefix returns nil if prefix may begin the names of a server's tools where
// several servers share an address: 1 to 20 of a-z, 0-9 and the hyphen, which is not
// the first. It has no underscore, so that the first one of a name ends it.
func CheckPrefix(prefix string) error {
	if prefix == "" || len(prefix) > maxPrefixLength || prefix[0] == '-' ||
		strings.Trim(prefix, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
		return fmt.Errorf("%s is no prefix: 1 to %d of a-z, 0-9 and -, not beginning with -", quoteShort(prefix), maxPrefixLength)
	}
	return nil
}
