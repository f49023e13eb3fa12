//go:build linux

package gateway

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestConversations plays the files of testdata/conversations through a gateway,
// with a real process behind a real shim at one end and clients on connections of
// lines at the other. Each line is one step:
//
//	server legacy|modern CAPABILITIES   the next process will say that it is this
//	server raw                          it says what is written here only
//	NAME VERSION CAPABILITIES           a client comes; of 2026-07-28, or where these
//	                                    are raw, it just connects
//	NAME> LINE                          a client, or the server, says this
//	NAME< LINE                          it hears exactly this, as the next
//	NAME<< LINE                         the same, in any order with those beside it
//	NAME ends                           it closes its connection, or dies
//	let NAME VALUE                      @NAME is VALUE from here on
//
// "$name" is a string that is not known beforehand, $_ is any JSON: see script.
func TestConversations(t *testing.T) {
	files, err := filepath.Glob("testdata/conversations/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no conversations: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			play(t, string(text))
		})
	}
}

// stage is where a conversation is played.
type stage struct {
	t       *testing.T
	w       *world
	puppets *puppets
	coming  chan *puppet // the next process, once it has shaken hands
	actors  map[string]*script
	lets    []string // pairs for a strings.Replacer, the longest first
	lump    []string // what is wanted in any order
	lumpBy  string
}

func play(t *testing.T, text string) {
	w, p := newPuppetWorld(t, Settings{})
	s := &stage{t: t, w: w, puppets: p, actors: map[string]*script{}}
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		line = strings.NewReplacer(s.lets...).Replace(line)
		if t.Failed() {
			return
		}
		s.step(n, line)
	}
	s.settle()
}

func (s *stage) step(n int, line string) {
	s.t.Helper()
	defer func() {
		if s.t.Failed() {
			s.t.Logf("in line %d: %s", n, line)
		}
	}()
	word, rest, _ := strings.Cut(line, " ")
	if name, ok := strings.CutSuffix(word, "<<"); ok {
		if s.lumpBy != name {
			s.settle()
		}
		s.lumpBy, s.lump = name, append(s.lump, rest)
		return
	}
	s.settle()
	switch {
	case word == "let":
		name, value, _ := strings.Cut(rest, " ")
		s.lets = append([]string{"@" + name, strings.NewReplacer(s.lets...).Replace(value)}, s.lets...)
	case strings.HasSuffix(word, ">"):
		s.actor(strings.TrimSuffix(word, ">")).say(rest)
	case strings.HasSuffix(word, "<"):
		s.actor(strings.TrimSuffix(word, "<")).want(rest)
	case word == "server" && rest != "ends":
		era, capabilities, _ := strings.Cut(rest, " ")
		coming := make(chan *puppet, 1)
		s.coming = coming
		go func() {
			defer close(coming) // without a puppet if this fails
			p := s.puppets.next()
			switch era {
			case "modern":
				p.modern(capabilities)
			case "legacy":
				p.legacy(capabilities)
			}
			coming <- p
		}()
	case rest == "ends":
		s.actor(word).conn.Close()
	default:
		version, capabilities, _ := strings.Cut(rest, " ")
		if version == "2026-07-28" {
			s.actors[word] = s.w.dial(word, "dancer")
			return
		}
		if capabilities == "raw" {
			s.actors[word] = s.w.dial(word, "dancer")
			return
		}
		s.actors[word] = s.w.legacyClient(word, version, capabilities)
	}
}

// settle waits for what is wanted in any order.
func (s *stage) settle() {
	s.t.Helper()
	if s.lump != nil {
		s.actor(s.lumpBy).wantAll(s.lump...)
		s.lump, s.lumpBy = nil, ""
	}
}

func (s *stage) actor(name string) *script {
	s.t.Helper()
	if name == "server" && s.coming != nil {
		p := <-s.coming
		if p == nil {
			s.t.FailNow()
		}
		s.actors[name], s.coming = p.script, nil
	}
	a := s.actors[name]
	if a == nil {
		s.t.Fatalf("there is no %q", name)
	}
	return a
}
