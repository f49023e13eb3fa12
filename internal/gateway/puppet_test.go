//go:build linux

package gateway

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/berth-run/berth"
)

// patience bounds each wait of a test: what has not come by then will not come. Where
// the program is broken on purpose, that is known sooner: BERTH_TEST_PATIENCE.
var patience = func() time.Duration {
	if d, err := time.ParseDuration(os.Getenv("BERTH_TEST_PATIENCE")); err == nil {
		return d
	}
	return 30 * time.Second
}()

// puppets is where the processes of a puppet come to.
type puppets struct {
	t     testing.TB
	l     *net.UnixListener
	conns []net.Conn
	came  int // processes
	spec  berth.ProcessSpec
}

// newPuppets opens the place, in a directory with a short name.
func newPuppets(t testing.TB, dir string) *puppets {
	t.Helper()
	path := filepath.Join(dir, "strings")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	p := &puppets{t: t, l: l, spec: specOf(rolePuppet, map[string]string{stringsVar: path})}
	t.Cleanup(func() {
		l.Close()
		for _, c := range p.conns {
			c.Close()
		}
	})
	return p
}

// puppet is one process of a server that says what the test has it say.
type puppet struct {
	*script
}

// next waits for the next process.
func (p *puppets) next() *puppet {
	p.t.Helper()
	_ = p.l.SetDeadline(time.Now().Add(patience))
	conn, err := p.l.AcceptUnix()
	if err != nil {
		p.t.Fatalf("no process of the server came: %v", err)
	}
	p.conns = append(p.conns, conn)
	p.came++
	return &puppet{newScript(p.t, "the server", conn)}
}

// legacy makes the handshake of a server of the legacy era.
func (p *puppet) legacy(capabilities string) {
	p.t.Helper()
	p.want(`{"jsonrpc":"2.0","id":"$discover","method":"server/discover","params":$_}`)
	p.say(`{"jsonrpc":"2.0","id":"$discover","error":{"code":-32601,"message":"Method not found"}}`)
	p.want(`{"jsonrpc":"2.0","id":"$initialize","method":"initialize","params":$_}`)
	p.say(`{"jsonrpc":"2.0","id":"$initialize","result":{"protocolVersion":"2025-11-25","capabilities":` + capabilities + `,"serverInfo":{"name":"puppet","version":"1"},"instructions":"dance"}}`)
	p.want(`{"jsonrpc":"2.0","method":"notifications/initialized"}`)
}

// modern makes the handshake of a server of the modern era.
func (p *puppet) modern(capabilities string) {
	p.t.Helper()
	p.want(`{"jsonrpc":"2.0","id":"$discover","method":"server/discover","params":$_}`)
	p.say(`{"jsonrpc":"2.0","id":"$discover","result":{"supportedVersions":["2026-07-28"],"capabilities":` + capabilities + `,"instructions":"dance","ttlMs":0,"cacheScope":"private","resultType":"complete","_meta":{"io.modelcontextprotocol/serverInfo":{"name":"puppet","version":"1"}}}}`)
}

// script is the test's end of a connection of lines, byte for byte. In what is
// wanted and said, "$name" stands for a string that was not known before: the
// first time that it is wanted it may be any, from then on it is that one. $_ is
// any JSON, each time.
type script struct {
	t     testing.TB
	who   string
	conn  net.Conn
	lines chan string // closed at the end
	names map[string]string
}

func newScript(t testing.TB, who string, conn net.Conn) *script {
	s := &script{t: t, who: who, conn: conn, lines: make(chan string, 4096), names: map[string]string{}}
	go func() {
		defer close(s.lines)
		for r := bufio.NewReaderSize(conn, 1<<20); ; {
			line, err := r.ReadString('\n')
			if err != nil {
				return
			}
			if strings.Contains(line, `"method":"`+linesOwn) {
				continue // between Berth's own ends
			}
			s.lines <- strings.TrimSuffix(line, "\n")
		}
	}()
	return s
}

// say sends one line.
func (s *script) say(line string) {
	s.t.Helper()
	if strings.Contains(line, `"$`) { // a long line takes long
		line = placeholder.ReplaceAllStringFunc(line, func(p string) string {
			if value, ok := s.names[p]; ok {
				return value
			}
			return p
		})
	}
	if _, err := fmt.Fprintf(s.conn, "%s\n", line); err != nil {
		s.t.Fatalf("%s cannot say %s: %v", s.who, line, err)
	}
}

// hear returns the next line that came; ok is false at the end.
func (s *script) hear() (line string, ok bool) {
	s.t.Helper()
	select {
	case line, ok = <-s.lines:
		return line, ok
	case <-time.After(patience):
		s.t.Fatalf("%s heard nothing for %v", s.who, patience)
		return "", false
	}
}

// want fails unless the next line is this one.
func (s *script) want(line string) {
	s.t.Helper()
	got, ok := s.hear()
	if !ok {
		s.t.Fatalf("%s is at its end, before\n%s", s.who, line)
	}
	if !s.matches(line, got) {
		s.t.Fatalf("%s\nhears %s\nwants %s\nwith %q", s.who, got, line, s.names)
	}
}

// wantAnswer is want after any notifications.
func (s *script) wantAnswer(line string) {
	s.t.Helper()
	for {
		got, ok := s.hear()
		switch {
		case ok && strings.Contains(got, `"method":"notifications/`):
		case !ok || !s.matches(line, got):
			s.t.Fatalf("%s\nhears %s\nwants %s\nwith %q", s.who, got, line, s.names)
		default:
			return
		}
	}
}

// wantAll fails unless the next lines are these, in any order.
func (s *script) wantAll(lines ...string) {
	s.t.Helper()
	for range len(lines) {
		got, ok := s.hear()
		at := -1
		for i, line := range lines {
			if ok && s.matches(line, got) {
				at = i
				break
			}
		}
		if at < 0 {
			s.t.Fatalf("%s\nhears %s\nwants one of\n%s", s.who, got, strings.Join(lines, "\n"))
		}
		lines = append(lines[:at:at], lines[at+1:]...)
	}
}

var placeholder = regexp.MustCompile(`"\$[a-z]\w*"|\$_`)

// matches compares, and remembers what the names stand for.
func (s *script) matches(want, got string) bool {
	var pattern strings.Builder
	var names []string
	at := 0
	for _, span := range placeholder.FindAllStringIndex(want, -1) {
		pattern.WriteString(regexp.QuoteMeta(want[at:span[0]]))
		name := want[span[0]:span[1]]
		at = span[1]
		value, known := s.names[name]
		switch {
		case name == "$_":
			pattern.WriteString(`.*`)
		case known:
			pattern.WriteString(regexp.QuoteMeta(value))
		default:
			pattern.WriteString(`("[^"\\]*")`)
			names = append(names, name)
		}
	}
	pattern.WriteString(regexp.QuoteMeta(want[at:]))
	m := regexp.MustCompile(`(?s)^` + pattern.String() + `$`).FindStringSubmatch(got)
	if m == nil {
		return false
	}
	for i, name := range names {
		s.names[name] = m[i+1]
	}
	return true
}
