package gateway

import (
	"encoding/json"
	"log/slog"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/berth-run/berth/internal/bridge"
	"github.com/berth-run/berth/internal/home"
	"pgregory.net/rapid"
)

// drawRecord is any change of a small book.
func drawRecord(t *rapid.T, at time.Time) record {
	word := func(label string, of ...string) string { return rapid.SampledFrom(of).Draw(t, label) }
	session := word("session", "a", "b", "c")
	switch word("kind", "began", "level", "follow", "unfollow", "generation", "used", "over", "asker", "asks", "done") {
	case "began":
		return record{Session: session, Began: &kept{
			Server: word("server", "x", "y"), Principal: "p", Client: word("client", "", "c"), Version: "2025-11-25", Capabilities: []byte(word("capabilities", "{ }", `{"a":"<"}`)),
			Generation: 1, Handshake: "h", Used: at,
		}}
	case "level":
		return record{Session: session, Level: word("level", "info", "debug")}
	case "follow":
		return record{Session: session, Follow: word("uri", "1", "2", "3")}
	case "unfollow":
		return record{Session: session, Unfollow: word("uri", "1", "2", "3")}
	case "generation":
		return record{Session: session, Generation: rapid.Uint64Range(1, 3).Draw(t, "generation")}
	case "used":
		return record{Session: session, Used: at.Add(time.Duration(rapid.IntRange(-5, 5).Draw(t, "minutes")) * time.Minute)}
	case "over":
		return record{Session: session, Over: true}
	case "asker":
		return record{Server: word("server", "x", "y"), Asker: word("tool", "t", "u")}
	}
	ask := openAsk{Instance: word("instance", "x", "x~s1"), Generation: 1, Ask: []byte(word("id", `"1"`, "1")), Call: "g1-1"}
	if rapid.Bool().Draw(t, "done") {
		return record{Done: &ask}
	}
	return record{Asks: &ask}
}

// TestLedgerTellsTheNextAll: whatever changed, and however often the file was
// written anew, the next gateway knows what this one knew.
func TestLedgerTellsTheNextAll(t *testing.T) {
	top := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp(top, "")
		if err != nil {
			t.Fatal(err)
		}
		h, err := home.Open(dir, nil)
		if err != nil {
			t.Fatal(err)
		}
		at := time.Now().Round(0)
		l := openLedger(h, slog.New(slog.DiscardHandler), false)
		for range rapid.IntRange(0, 40).Draw(t, "changes") {
			switch rapid.IntRange(0, 9).Draw(t, "what") {
			case 0:
				l.full = 0 // the next change writes it anew
			case 1:
				l.close()
				next := openLedger(h, slog.New(slog.DiscardHandler), false)
				same(t, l, next)
				l = next
			default:
				l.note(drawRecord(t, at))
			}
		}
		l.close()
		next := openLedger(h, slog.New(slog.DiscardHandler), false)
		defer next.close()
		same(t, l, next)
	})
}

func same(t *rapid.T, a, b *ledger) {
	t.Helper()
	text := func(l *ledger) string {
		raw, err := json.Marshal(l.book.records())
		if err != nil {
			t.Fatal(err)
		}
		return string(raw)
	}
	if one, other := text(a), text(b); one != other {
		t.Fatalf("it was\n%s\nand the next one reads\n%s", one, other)
	}
}

// TestLedgerForgetsWhatIsOver: sessions that nobody used for long are not those of
// the next gateway, and a file that cannot be read is none.
func TestLedgerForgetsWhatIsOver(t *testing.T) {
	h, err := home.Open(t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	quiet := slog.New(slog.DiscardHandler)
	l := openLedger(h, quiet, false)
	l.keep("old", &kept{Server: "x", Used: time.Now().Add(-sessionIdle - time.Minute)})
	l.keep("new", &kept{Server: "x", Used: time.Now()})
	if l.keep("large", &kept{Server: "x", Used: time.Now(), Info: []byte(strings.Repeat("x", declaredMost+1))}) {
		t.Error("a session was kept whose client says too much")
	}
	if err := l.journal.Append([]byte(`{"s":"torn","began":{"server`)); err != nil {
		t.Fatal(err)
	}
	l.close()
	next := openLedger(h, quiet, false)
	defer next.close()
	sessions, _, _ := next.of("x")
	if _, there := sessions["new"]; len(sessions) != 1 || !there {
		t.Errorf("the next gateway has %d sessions, the new one: %t", len(sessions), there)
	}
	// What cannot be written now is written with what comes next.
	next.journal.Close()
	next.note(record{Session: "new", Level: "info"})
	if !next.behind {
		t.Error("a change that was not written is taken to be")
	}
}

// TestOwnQuestionsAreNotAbandoned: a process may ask before this gateway has looked
// for what the one before it left.
func TestOwnQuestionsAreNotAbandoned(t *testing.T) {
	h, err := home.Open(t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	quiet := slog.New(slog.DiscardHandler)
	l := openLedger(h, quiet, false)
	o := openAsk{Instance: "x~s1", Generation: 3, Ask: []byte("0")}
	l.note(record{Asks: &o})
	if open := l.abandoned("x~s1", 3); len(open) > 0 {
		t.Errorf("the question that was just asked is abandoned: %v", open)
	}
	l.close()
	next := openLedger(h, quiet, false)
	defer next.close()
	if open := next.abandoned("x~s1", 3); len(open) != 1 || string(open[0].Ask) != "0" {
		t.Errorf("the next gateway finds %v", open)
	}
	if open := next.abandoned("x~s1", 3); len(open) > 0 {
		t.Errorf("it finds them again: %v", open)
	}
}

func TestEventNames(t *testing.T) {
	for _, st := range []*stream{
		{life: "a", number: 7},
		{life: "a", number: 7, general: true},
		{life: "a", number: 7, answers: [][]byte{[]byte(`"x,y.z"`), []byte("1e2")}},
	} {
		for _, n := range []int{-1, 0, 12} {
			id := st.eventID(n)
			e, ok := parseEventID(id)
			if want := (eventName{"a", 7, n, st.general, st.answers}); !ok || !reflect.DeepEqual(e, want) {
				t.Errorf("%s is %+v, want %+v", id, e, want)
			}
		}
	}
	long := &stream{life: "a", number: 1, answers: [][]byte{[]byte(`"` + strings.Repeat("x", answersMost) + `"`)}}
	if e, ok := parseEventID(long.eventID(1)); !ok || e.answers != nil || len(long.eventID(1)) > 20 {
		t.Errorf("%s is %+v", long.eventID(1), e)
	}
	for _, id := range []string{"", "1", "a.1", "a.b.1", "a.1.-2", "a.1.1.!", "a.1.1.fg.x", "a.-1.0"} {
		if e, ok := parseEventID(id); ok {
			t.Errorf("%q is %+v", id, e)
		}
	}
}

// TestSessionExpires when nobody has used it for long, sooner if its client had
// one connection, which is gone.
func TestSessionExpires(t *testing.T) {
	g := &Gateway{}
	for _, c := range []struct {
		lines   bool
		busy    int
		idle    time.Duration
		expired bool
	}{
		{false, 0, sessionIdle, false},
		{false, 0, sessionIdle + 1, true},
		{false, 1, 10 * sessionIdle, false},
		{true, 0, vacantFor, false},
		{true, 0, vacantFor + 1, true},
		{true, 1, 10 * sessionIdle, false},
	} {
		s := bareSession(&server{g: g}, Caller{}, "", bridge.Client{})
		s.lines, s.busy = c.lines, c.busy
		if got := s.expired(s.used.Add(c.idle)); got != c.expired {
			t.Errorf("%+v: expired is %t", c, got)
		}
	}
}
