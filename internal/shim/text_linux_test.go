package shim

import (
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

func TestMappings(t *testing.T) {
	const (
		own = `00400000-0089d000 r-xp 00000000 fe:00 10325101                           /tmp/a b/berth
0089d000-00d4b000 r--p 0049d000 fe:00 10325101                           /tmp/a b/berth
00d4b000-00da9000 rw-p 0094b000 fe:00 10325101                           /tmp/a b/berth
7ffc68669000-7ffc6868a000 rw-p 00000000 00:00 0                          [stack]
7ffc687f1000-7ffc687f3000 r-xp 00000000 00:00 0                          [vdso]
`
		loader = `7f1d2be01000-7f1d2be02000 r-xp 00001000 fe:00 77                         /lib/ld.so
7f1d2be02000-7f1d2be03000 r-xp 00001000 fe:00 77                         /lib/ld.so
`
	)
	text, constants := mapping{0x400000, 0x89d000, true}, mapping{0x89d000, 0xd4b000, false}
	for _, c := range []struct {
		name, maps string
		want       []mapping
		files      int
	}{
		{"a program alone", own, []mapping{text, constants}, 1},
		{"one with a loader", own + loader, []mapping{text, constants, {0x7f1d2be01000, 0x7f1d2be02000, true}, {0x7f1d2be02000, 0x7f1d2be03000, true}}, 2},
		{"no maps", "\n \nx\n-\n1-2\n1-2 r-x\n1-2 r-xp\n1-2 r-xp 0\n1-2 r-xp 0 0\nz-2 r-xp 0 0 1 x\n2-1 r-xp 0 0 1 x\n1-2 r-xs 0 0 1 x\n", nil, 0},
		{"more than are kept", strings.Repeat(own, textMost), nil, 1},
	} {
		for _, cut := range []int{len(c.maps), 1, 7, 100} {
			var m mappings
			rest := []byte(nil)
			for i := 0; i < len(c.maps); i += cut {
				rest = append(rest, c.maps[i:min(i+cut, len(c.maps))]...)
				rest = rest[m.add(rest):]
			}
			if c.want == nil && m.n == textMost {
				continue // it is enough that there is an end
			}
			if len(c.want) != m.n || m.files != c.files {
				t.Fatalf("%s in pieces of %d: %d mappings of %d files, want %d of %d", c.name, cut, m.n, m.files, len(c.want), c.files)
			}
			for i, want := range c.want {
				if m.all[i] != want {
					t.Errorf("%s: mapping %d is %+v, want %+v", c.name, i, m.all[i], want)
				}
			}
		}
	}
}

// TestReleaseText: what is released is little afterwards, and the program goes on.
func TestReleaseText(t *testing.T) {
	before := textRSS(t)
	releaseText()
	after := textRSS(t)
	if after*2 > before {
		t.Errorf("%d KiB of code were in memory, and %d are", before, after)
	}
}

// textRSS is how much of the program's code is in memory, in KiB.
func textRSS(t *testing.T) (sum int) {
	t.Helper()
	data, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	head := regexp.MustCompile(`^[0-9a-f]+-[0-9a-f]+ (....) `)
	code := false
	for line := range strings.Lines(string(data)) {
		if m := head.FindStringSubmatch(line); m != nil {
			code = m[1] == "r-xp" && strings.Contains(line, ".test")
		} else if f := strings.Fields(line); code && f[0] == "Rss:" {
			n, err := strconv.Atoi(f[1])
			if err != nil {
				t.Fatal(err)
			}
			sum += n
		}
	}
	if sum == 0 {
		t.Fatal("no code of this program is in memory")
	}
	return sum
}
