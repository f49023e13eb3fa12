package settings_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/berth-run/berth/internal/settings"
)

// These tests make documents of all shapes, and hold that
//
//	set then remove is the identity, and
//	set, an edit of somebody else's, remove is that edit alone.

// pen writes a random document.
type pen struct {
	*rapid.T
	strings.Builder
	eol string
}

func (p *pen) one(of ...string) string { return rapid.SampledFrom(of).Draw(p.T, "text") }

func (p *pen) yes(label string) bool { return rapid.Bool().Draw(p.T, label) }

func (p *pen) n(most int) int { return rapid.IntRange(0, most).Draw(p.T, "n") }

// gap is what may stand between two tokens of JSON with comments.
func (p *pen) gap() {
	for range p.n(2) {
		p.WriteString(p.one(" ", "\t", "  ", p.eol, p.eol+"    ", "/* a, b: { */", "// it's \"so\""+p.eol, "/**/"))
	}
}

// scalar is a value of JSON. CHANGED marks one that somebody else edits later.
func (p *pen) scalar() string {
	return p.one("1", "-0.50e1", "true", "null", `"x"`, `"MARK"`, `"{ // no \" comment"`, `"é\u00e9"`, "[]", "{}", `[1, "a", {"b": null}]`)
}

func (p *pen) jsonObject(depth int, must ...string) {
	keys := append(must, p.keys()...)
	p.WriteString("{")
	for i, key := range keys {
		p.gap()
		p.WriteString(`"` + key + `"`)
		p.gap()
		p.WriteString(":")
		p.gap()
		switch {
		case key == "servers" && depth == 0:
			p.jsonObject(depth + 1)
		case depth < 3 && p.yes("nested"):
			p.jsonObject(depth + 1)
		default:
			p.WriteString(p.scalar())
		}
		p.gap()
		if i < len(keys)-1 || p.yes("trailing comma") {
			p.WriteString(",")
		}
	}
	p.gap()
	p.WriteString("}")
}

func (p *pen) keys() []string {
	return rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a", "b", "c d", "servers.x", "é"}), 0, 3, rapid.ID[string]).Draw(p.T, "keys")
}

func (p *pen) json() (string, settings.Place) {
	if p.n(9) > 0 {
		p.gap()
		var must []string
		if p.yes("container") {
			must = []string{"servers"}
		}
		p.jsonObject(0, must...)
		p.gap()
	}
	return p.String(), settings.Place{Path: []string{"servers", "berth"}}
}

// lines writes some of the given lines, with the line end of the document.
func (p *pen) lines(of ...string) {
	for range p.n(3) {
		p.WriteString(strings.ReplaceAll(p.one(of...), "\n", p.eol) + p.eol)
	}
}

func (p *pen) end() string {
	text := p.String()
	if p.yes("no final newline") {
		text = strings.TrimSuffix(text, p.eol)
	}
	return text
}

func (p *pen) toml() (string, settings.Place) {
	place := settings.Place{Path: []string{"servers", "berth"}}
	if p.yes("list") {
		place.ID = "name"
	}
	top := []string{"# top", "", "   "}
	key := map[bool]string{false: "servers", true: "other"}
	p.lines(top...)
	if p.yes("keys") {
		p.lines("#x", "")
		p.WriteString(`k = "MARK" # "` + p.eol + "l = [" + p.eol + " 1, # one" + p.eol + " 2]" + p.eol)
	}
	if place.ID != "" {
		switch p.n(3) {
		case 0:
			p.WriteString(key[p.yes("other")] + ` = [{ name = "x", s = "MARK" }, {name="z"}] # c` + p.eol)
		case 1:
			p.WriteString("servers = [ ]" + p.eol)
		case 2:
			p.WriteString("[[servers]]" + p.eol + `  name = "x"` + p.eol + "  [servers.env]" + p.eol + `  A = "MARK"` + p.eol + p.eol + "[[servers]] # c" + p.eol + `name = "z"` + p.eol)
		}
	} else {
		switch p.n(4) {
		case 0:
			p.WriteString("servers = { x = { command = 'y', s = \"MARK\" } } # c" + p.eol)
		case 1:
			p.WriteString("servers = {}" + p.eol)
		case 2:
			p.WriteString("servers.x.command = 'y'" + p.eol)
		case 3:
			p.WriteString("[servers.'x y'] # c" + p.eol + `command = "MARK"` + p.eol + "[servers.z]" + p.eol)
		}
	}
	p.lines("", "# end")
	if p.yes("another table") {
		p.WriteString("[other.table]" + p.eol + "t = 1979-05-27T07:32:00Z" + p.eol + "s = '''" + p.eol + "[servers.berth]" + p.eol + "'''" + p.eol)
	}
	p.lines("", "# end")
	return p.end(), place
}

func (p *pen) yaml() (string, settings.Place) {
	place := settings.Place{Path: []string{"servers", "berth"}}
	if p.yes("list") {
		place.ID = "name"
	}
	indent := p.one("  ", "    ", " ")
	p.lines("# top", "")
	if p.yes("head") {
		p.WriteString("---" + p.eol)
	}
	if p.yes("keys") {
		p.WriteString("k: MARK # c" + p.eol + "anchor: &a [1, 2]" + p.eol + "alias: *a" + p.eol)
		p.WriteString("text: |" + p.eol + "  servers:" + p.eol + "    berth: no" + p.eol)
	}
	switch p.n(4) {
	case 0:
		p.WriteString("servers:" + p.one("", " ", " # c") + p.eol)
	case 1:
		p.WriteString(map[bool]string{false: "servers: {}", true: "servers: [ ]"}[place.ID != ""] + p.one("", " # c") + p.eol)
	case 2:
		p.WriteString("servers:" + p.one("", "  # c") + p.eol)
		if p.yes("comment") {
			p.WriteString(indent + "# about the first" + p.eol)
		}
		if place.ID == "" {
			p.WriteString(indent + "x: {command: y, s: MARK}" + p.eol + p.one("", indent+"# z"+p.eol, p.eol) + indent + "z:" + p.eol + indent + "  command: 'q'" + p.eol)
		} else {
			p.WriteString(indent + "- name: x" + p.eol + indent + "  s: MARK" + p.eol + indent + "-   {name: z}" + p.eol)
		}
	case 3:
		if place.ID == "" {
			p.WriteString("servers: {x: {command: y, s: MARK}, 'z': 1}" + p.eol)
		} else {
			p.WriteString("servers: [{name: x, s: MARK}, {name: z}]" + p.eol)
		}
	}
	p.lines("# end", "")
	if p.yes("more") {
		p.WriteString("é: " + p.one("'x'", "null", "2020-01-01", ".nan") + p.eol)
	}
	p.lines("# end", "")
	return p.end(), place
}

func draw(t *rapid.T) (settings.Format, []byte, settings.Place) {
	p := &pen{T: t, eol: rapid.SampledFrom([]string{"\n", "\r\n"}).Draw(t, "line end")}
	f := rapid.SampledFrom([]settings.Format{settings.JSON, settings.TOML, settings.YAML}).Draw(t, "format")
	var doc string
	var place settings.Place
	switch f {
	case settings.JSON:
		doc, place = p.json()
	case settings.TOML:
		doc, place = p.toml()
	case settings.YAML:
		doc, place = p.yaml()
	}
	if p.yes("byte order mark") {
		doc = "\xef\xbb\xbf" + doc
	}
	if settings.Check(f, []byte(doc)) != nil {
		t.Skip("not a document")
	}
	return f, []byte(doc), place
}

// set puts the entry into a document that was drawn. Of what it may refuse, these
// have nothing but a container that is no table, and a block text at the end whose
// last line has no end.
func set(t *rapid.T, f settings.Format, doc []byte, p settings.Place) ([]byte, settings.Mark) {
	out, mark, err := settings.Set(f, doc, p, entry())
	if err != nil {
		if f == settings.YAML && strings.Contains(err.Error(), "edited safely") && !bytes.HasSuffix(doc, []byte("\n")) {
			t.Skip("a text at the end without a line end")
		}
		t.Fatalf("%s %q: %v", f, doc, err)
	}
	return out, mark
}

func TestSetThenRemoveIsTheIdentity(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f, doc, place := draw(t)
		out, mark := set(t, f, doc, place)
		back, err := settings.Remove(f, out, place, mark)
		if err != nil || !bytes.Equal(back, doc) {
			t.Fatalf("%s %q became %q and then %q (%v)", f, doc, out, back, err)
		}
		// Without the mark, the entry alone goes, and what it says is all that is
		// different.
		plain, err := settings.Remove(f, out, place, settings.Mark{})
		if err != nil {
			var fault *settings.Fault
			if f != settings.JSON && errors.As(err, &fault) {
				return // entries on one line are left to a person
			}
			t.Fatalf("%s %q without a mark: %v", f, out, err)
		}
		if _, _, err := settings.Get(f, plain, place); !errors.Is(err, settings.ErrMissing) {
			t.Fatalf("%s %q still has it: %v", f, plain, err)
		}
	})
}

func TestSomebodyElsesEditStays(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f, doc, place := draw(t)
		edit := func(doc []byte) []byte { return bytes.Replace(doc, []byte("MARK"), []byte("an edit"), 1) }
		if rapid.Bool().Draw(t, "a comment at the end") {
			text := map[settings.Format]string{settings.JSON: "/* at the end */", settings.TOML: "\n# at the end\n", settings.YAML: "\n# at the end\n"}[f]
			edit = func(doc []byte) []byte { return append(bytes.Clone(doc), text...) }
			if settings.Check(f, edit(doc)) != nil || settings.Empty(doc) {
				t.Skip("no such edit")
			}
		}
		out, mark := set(t, f, doc, place)
		back, err := settings.Remove(f, edit(out), place, mark)
		if err != nil || !bytes.Equal(back, edit(doc)) {
			t.Fatalf("%s %q became %q; edited, and the entry removed: %q (%v)", f, doc, out, back, err)
		}
	})
}

// TestAnotherEntryStays: another program adds an entry of its own, in the way that
// this package would, and the first is removed.
func TestAnotherEntryStays(t *testing.T) {
	other := settings.Entry{{Key: "command", Value: "other"}}
	rapid.Check(t, func(t *rapid.T) {
		f, doc, place := draw(t)
		theirs := place
		theirs.Path = append([]string{}, place.Path...)
		theirs.Path[len(theirs.Path)-1] = "other"
		out, mark := set(t, f, doc, place)
		both, _, err := settings.Set(f, out, theirs, other)
		if err != nil {
			t.Fatal(err)
		}
		left, err := settings.Remove(f, both, place, mark)
		if err != nil {
			var fault *settings.Fault
			if f != settings.JSON && errors.As(err, &fault) {
				return // entries on one line are left to a person
			}
			t.Fatalf("%s %q: %v", f, both, err)
		}
		want, _, err := settings.Set(f, doc, theirs, other)
		if err != nil {
			t.Fatal(err)
		}
		_, got, err := settings.Get(f, left, theirs)
		if err != nil {
			t.Fatalf("%s %q lost the other entry: %v", f, left, err)
		}
		if _, w, _ := settings.Get(f, want, theirs); got != w {
			t.Fatalf("%s %q changed the other entry", f, left)
		}
	})
}
