package adopt

import (
	"fmt"
	"strings"

	"github.com/berth-run/berth"
)

// Name is the name that a server of an entry has in a home: that of the entry in small
// letters, each run of what no name has as one "-", at most 64 letters.
func Name(entry string) string {
	var b strings.Builder
	for _, c := range strings.ToLower(entry) {
		switch {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '.', c == '_':
			b.WriteRune(c)
		case !strings.HasSuffix(b.String(), "-"):
			b.WriteByte('-')
		}
	}
	name := strings.Trim(b.String(), "-._")
	if len(name) > 64 {
		name = strings.TrimRight(name[:64], "-._")
	}
	if berth.CheckName(name) == nil {
		return name
	}
	// A word of the command line, a device of Windows, or nothing at all.
	name = strings.TrimLeft(name+"-server", "-")
	if len(name) <= 64 && berth.CheckName(name) == nil {
		return name
	}
	return "server"
}

// Unique is a name that is not taken: itself, or with -2, -3 and so on behind it.
func Unique(name string, taken func(string) bool) string {
	for n := 1; ; n++ {
		try := name
		if n > 1 {
			end := fmt.Sprintf("-%d", n)
			try = strings.TrimRight(name[:min(len(name), 64-len(end))], "-._") + end
		}
		if !taken(try) {
			return try
		}
	}
}
