// Package settings puts one entry into a settings file and takes it out again,
// and leaves every other byte as it is: comments, order, indentation, line ends,
// a byte order mark. It is pure: bytes in, bytes out.
//
//	out, mark, err := settings.Set(settings.JSON, doc, place, entry)
//	doc, err = settings.Remove(settings.JSON, out, place, mark)
//
// Both read the file with a library that knows where things stand, splice the
// text, read the outcome again, and return an error unless it differs from what
// was there in nothing but the entry. The [Mark] lets Remove put back what was
// there byte for byte; where the file was changed around the entry since, it takes
// out the entry alone.
//
// JSON may have comments and trailing commas. Whoever reads plain JSON gets plain
// JSON back: neither is added.
package settings

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// Format is the language of a settings file.
type Format string

// The formats.
const (
	JSON Format = "json" // with or without comments
	TOML Format = "toml"
	YAML Format = "yaml"
)

// Place is where an entry is.
type Place struct {
	// Path has the keys that lead to the entry, its own name last.
	Path []string
	// ID is "" where what holds the entries is a table of them by name. Else it is
	// a list, and they have their names in this member.
	ID string
}

// String is the place for messages.
func (p Place) String() string { return strings.Join(p.Path, ".") }

func (p Place) name() string { return p.Path[len(p.Path)-1] }

// Field is a member of an entry.
type Field struct {
	Key   string
	Value any // a string, bool, int, []string or Entry
}

// Entry is what is put into a file: members in their order.
type Entry []Field

// Mark says what Set has written, so that Remove can find it again. It has nothing
// of what the file says.
type Mark struct {
	// Made counts what was made: the entry, and what holds it where that was not
	// there; the whole document counts as one, too.
	Made int `json:"made"`
	// Before is how many bytes were inserted before the outermost thing that was
	// made, and Length how many in all.
	Before int `json:"before"`
	Length int `json:"length"`
	// Text is the hash of these bytes, Value that of what the entry says.
	Text  string `json:"text"`
	Value string `json:"value"`
}

var (
	// ErrThere: an entry of that name is there already.
	ErrThere = errors.New("the file has an entry of that name")
	// ErrMissing: there is no such entry.
	ErrMissing = errors.New("the file has no such entry")
)

// Fault is something in a file that keeps it from being edited.
type Fault struct {
	Line, Column int // from 1, the column in bytes
	What         string
}

func (f *Fault) Error() string {
	return fmt.Sprintf("line %d, column %d: %s", f.Line, f.Column, f.What)
}

// most bounds a document, in bytes.
const most = 64 << 20

// document is a document that was read.
type document interface {
	// tree is what it says.
	tree() *tree
	// value is what the entry says; ErrMissing if there is none.
	value(Place) (any, error)
	// insert returns the splice that puts an entry there, and what that makes.
	insert(Place, Entry) (at int, text string, made int, err error)
	// start returns where the made outermost things of a place begin: 1 is the
	// entry, 2 what holds it, and so on; len(Path)+1 is the document.
	start(p Place, made int) (int, error)
	// cut returns what to take out to remove the entry, and what holds it where it
	// holds nothing else and made says that it was made for it.
	cut(p Place, made int) ([]splice, error)
}

// splice takes the bytes from begin to end out.
type splice struct{ begin, end int }

func parse(f Format, body []byte) (document, error) {
	if len(body) > most {
		return nil, fmt.Errorf("it has more than %d bytes", most)
	}
	if !utf8.Valid(body) {
		return nil, faultAt(body, firstInvalid(body), "it is not UTF-8")
	}
	switch f {
	case JSON:
		return parseJSON(body)
	case TOML:
		return parseTOML(body)
	case YAML:
		return parseYAML(body)
	}
	return nil, fmt.Errorf("no format is called %q", f)
}

func firstInvalid(body []byte) int {
	for i := 0; i < len(body); {
		r, n := utf8.DecodeRune(body[i:])
		if r == utf8.RuneError && n == 1 {
			return i
		}
		i += n
	}
	return len(body)
}

// faultAt is a fault at an offset.
func faultAt(body []byte, at int, format string, args ...any) *Fault {
	at = min(at, len(body))
	return &Fault{
		Line:   1 + bytes.Count(body[:at], []byte("\n")),
		Column: at - bytes.LastIndexByte(body[:at], '\n'),
		What:   fmt.Sprintf(format, args...),
	}
}

// mark is the byte order mark, which some editors on Windows write.
const bom = "\xef\xbb\xbf"

func splitBOM(doc []byte) (head, body []byte) {
	if bytes.HasPrefix(doc, []byte(bom)) {
		return doc[:len(bom)], doc[len(bom):]
	}
	return nil, doc
}

// Check returns nil if a document can be edited as far as its syntax goes.
func Check(f Format, doc []byte) error {
	_, body := splitBOM(doc)
	_, err := parse(f, body)
	return err
}

// Get returns what an entry says, as package json would decode it, and the hash of
// that, which is a Mark's Value; ErrMissing if there is none.
func Get(f Format, doc []byte, p Place) (value any, sum string, err error) {
	_, body := splitBOM(doc)
	d, err := parse(f, body)
	if err != nil {
		return nil, "", err
	}
	if value, err = d.value(p); err != nil {
		return nil, "", err
	}
	text, err := json.Marshal(value)
	if err != nil {
		return nil, "", fmt.Errorf("%s: %w", p, err)
	}
	if err := json.Unmarshal(text, &value); err != nil {
		return nil, "", err
	}
	return value, sumOf(text), nil
}

// Sum is the hash of what an entry says.
func Sum(e Entry) string {
	text, _ := json.Marshal(e.plain()) // of such values it never fails
	return sumOf(text)
}

func sumOf(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// plain is the entry as package json decodes one.
func (e Entry) plain() map[string]any {
	m := map[string]any{}
	for _, f := range e {
		if sub, ok := f.Value.(Entry); ok {
			m[f.Key] = sub.plain()
		} else {
			m[f.Key] = f.Value
		}
	}
	return m
}

// Set puts an entry into a document, which may be empty. ErrThere if there is one.
func Set(f Format, doc []byte, p Place, e Entry) ([]byte, Mark, error) {
	head, body := splitBOM(doc)
	d, err := parse(f, body)
	if err != nil {
		return nil, Mark{}, err
	}
	if _, err := d.value(p); !errors.Is(err, ErrMissing) {
		if err == nil {
			err = ErrThere
		}
		return nil, Mark{}, err
	}
	if p.ID != "" {
		e = append(Entry{{p.ID, p.name()}}, e...)
	}
	at, text, made, err := d.insert(p, e)
	if err != nil {
		return nil, Mark{}, err
	}
	out := slices.Concat(body[:at], []byte(text), body[at:])
	after, err := parse(f, out)
	if err != nil {
		return nil, Mark{}, unsure(err)
	}
	start, err := after.start(p, made)
	if err != nil {
		return nil, Mark{}, unsure(err)
	}
	m := Mark{Made: made, Before: start - at, Length: len(text), Text: sumOf([]byte(text)), Value: Sum(e)}
	if m.Before < 0 || start > at+len(text) {
		return nil, Mark{}, unsure(nil)
	}
	if got, err := after.value(p); err != nil || sumOfValue(got) != m.Value {
		return nil, Mark{}, unsure(err)
	}
	if !sameBut(d, after, p) {
		return nil, Mark{}, unsure(nil)
	}
	return append(append([]byte{}, head...), out...), m, nil
}

func sumOfValue(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		return ""
	}
	return sumOf(text)
}

// unsure is the error of an edit whose outcome is not what was meant. Nothing is
// written then.
func unsure(err error) error {
	if err != nil {
		return fmt.Errorf("the file is written in a way that cannot be edited safely (%v)", err)
	}
	return errors.New("the file is written in a way that cannot be edited safely")
}

// Remove takes an entry out of a document: exactly what Set has written, if that is
// there as it was, and else the entry alone. ErrMissing if there is none.
func Remove(f Format, doc []byte, p Place, m Mark) ([]byte, error) {
	head, body := splitBOM(doc)
	d, err := parse(f, body)
	if err != nil {
		return nil, err
	}
	if _, err := d.value(p); err != nil {
		return nil, err
	}
	// What was written may have come to hold more than the entry since.
	var out []byte
	cuts, err := exact(d, body, p, m)
	if err == nil {
		out, err = apply(f, d, body, p, cuts)
	}
	if err != nil {
		if cuts, err = d.cut(p, m.Made); err == nil {
			out, err = apply(f, d, body, p, cuts)
		}
	}
	if err != nil {
		return nil, err
	}
	return append(append([]byte{}, head...), out...), nil
}

// apply is a document without some of its bytes, if it says the same but for the
// entry.
func apply(f Format, d document, body []byte, p Place, cuts []splice) ([]byte, error) {
	out, last := []byte{}, 0
	for _, c := range cuts {
		if c.begin < last || c.end < c.begin || c.end > len(body) {
			return nil, unsure(nil)
		}
		out = append(out, body[last:c.begin]...)
		last = c.end
	}
	out = append(out, body[last:]...)
	after, err := parse(f, out)
	if err != nil {
		return nil, unsure(err)
	}
	if _, err := after.value(p); !errors.Is(err, ErrMissing) || !sameBut(d, after, p) {
		return nil, unsure(nil)
	}
	return out, nil
}

// exact is the splice that takes out what Set has written, if it is there as it
// was.
func exact(d document, body []byte, p Place, m Mark) ([]splice, error) {
	if m.Length == 0 || m.Made < 1 || m.Made > len(p.Path)+1 {
		return nil, ErrMissing
	}
	start, err := d.start(p, m.Made)
	if err != nil {
		return nil, err
	}
	begin := start - m.Before
	end := begin + m.Length
	if begin < 0 || end < begin || end > len(body) || sumOf(body[begin:end]) != m.Text {
		return nil, ErrMissing
	}
	return []splice{{begin, end}}, nil
}

// Empty says whether a document says nothing at all: what is left of a file that
// was made for an entry alone.
func Empty(doc []byte) bool {
	_, body := splitBOM(doc)
	return len(bytes.TrimSpace(body)) == 0
}
