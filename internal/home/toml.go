package home

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/pelletier/go-toml/v2"

	"github.com/berth-run/berth"
)

// decodeTOML decodes a document into a struct. Its error wraps kind and names
// the file, the line and, for a value of the wrong type, the key.
func decodeTOML(file string, doc []byte, into any, kind error) error {
	return placeTOML(file, toml.Unmarshal(doc, into), kind)
}

// decodeUsersTOML is decodeTOML for a document that a user writes. The library
// does not look at the values of keys that a struct does not have: a file that
// is not TOML, which other programs refuse, would pass.
func decodeUsersTOML(file string, doc []byte, into any) error {
	var all map[string]any
	err := toml.Unmarshal(doc, &all)
	if err == nil {
		err = toml.Unmarshal(doc, into)
	}
	return placeTOML(file, err, berth.ErrBadConfig)
}

func placeTOML(file string, err, kind error) error {
	if err == nil {
		return nil
	}
	var at *toml.DecodeError
	if !errors.As(err, &at) {
		// Nothing that is decoded here has an error without a place.
		return fmt.Errorf("%w: %s: %v", kind, file, err)
	}
	line, column := at.Position()
	text := plainTOML(strings.TrimPrefix(at.Error(), "toml: "))
	if key := at.Key(); len(key) > 0 && !strings.Contains(text, key[len(key)-1]) {
		text = joinKey(key) + ": " + text
	}
	return fmt.Errorf("%w: %s:%d:%d: %s", kind, file, line, column, text)
}

// plainTOML says in a user's words what the library says in Go's types: "cannot
// decode TOML integer into string", or "… into struct field T.F of type string",
// where T may be a whole struct.
func plainTOML(text string) string {
	if number, _, ok := strings.Cut(text, " cannot be stored in "); ok {
		return number + " is out of range"
	}
	rest, ok := strings.CutPrefix(text, "cannot decode TOML ")
	if !ok {
		return text
	}
	found, want, _ := strings.Cut(rest, " into ")
	if _, field, ok := strings.Cut(want[strings.LastIndexByte(want, '}')+1:], " of type "); ok {
		want = field
	}
	switch {
	case want == "bool":
		want = "true or false"
	case want == "string":
		want = "a string in quotes"
	case want == "[]string":
		want = "a list of strings"
	case strings.HasPrefix(want, "uint"), strings.HasPrefix(want, "int"):
		want = "a whole number"
	default:
		want = "a table" // structs and maps
	}
	return fmt.Sprintf("the value is of type %s, but %s is needed", found, want)
}

// unknownKeys returns the keys of doc that the type of into has no field for,
// each with its line. The document must decode.
func unknownKeys(file string, doc []byte, into any) []string {
	var missing *toml.StrictMissingError
	fresh := reflect.New(reflect.TypeOf(into).Elem()).Interface()
	err := toml.NewDecoder(bytes.NewReader(doc)).DisallowUnknownFields().Decode(fresh)
	if !errors.As(err, &missing) {
		return nil
	}
	var found []string
	for _, e := range missing.Errors {
		line, _ := e.Position()
		found = append(found, fmt.Sprintf("%s:%d: unknown key %s", file, line, joinKey(e.Key())))
	}
	return found
}

// lineOf returns the line on which a key of a table is defined (of the document
// itself if the table is ""), 0 if that cannot be found out.
func lineOf(doc []byte, table, key string) int {
	// A type without fields makes every key of the table an unknown one, and
	// the library tells the places of those.
	probe := reflect.TypeFor[struct{}]()
	path := toml.Key{key}
	if table != "" {
		path = toml.Key{table, key}
		probe = reflect.StructOf([]reflect.StructField{{
			Name: "T", Type: probe, Tag: reflect.StructTag(`toml:"` + table + `"`),
		}})
	}
	var missing *toml.StrictMissingError
	err := toml.NewDecoder(bytes.NewReader(doc)).DisallowUnknownFields().Decode(reflect.New(probe).Interface())
	if errors.As(err, &missing) {
		for _, e := range missing.Errors {
			if slices.Equal(e.Key(), path) {
				line, _ := e.Position()
				return line
			}
		}
	}
	return 0
}

// atLine is "file:line", or the file alone where the line is not known.
func atLine(file string, line int) string {
	if line == 0 {
		return file
	}
	return file + ":" + strconv.Itoa(line)
}

func joinKey(key []string) string {
	parts := make([]string, len(key))
	for i, k := range key {
		parts[i] = string(appendKey(nil, k))
	}
	return strings.Join(parts, ".")
}

// The writers below produce TOML 1.0, which every parser reads: one value is
// one line.

func appendLine(b []byte, key string, value any) []byte {
	b = append(appendKey(b, key), " = "...)
	return append(appendValue(b, value), '\n')
}

func appendKey(b []byte, key string) []byte {
	for i := range len(key) {
		c := key[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_' || c == '-') {
			return appendString(b, key)
		}
	}
	if key == "" {
		return appendString(b, key)
	}
	return append(b, key...)
}

// appendString writes a basic string. A byte that is not UTF-8 becomes U+FFFD:
// TOML has no form for it.
func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	for _, r := range s { // invalid bytes come as U+FFFD, one each
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r == '\n':
			b = append(b, `\n`...)
		case r == '\t':
			b = append(b, `\t`...)
		case r == '\r':
			b = append(b, `\r`...)
		case r < 0x20 || r == 0x7f:
			b = fmt.Appendf(b, `\u%04X`, r)
		default:
			b = utf8.AppendRune(b, r)
		}
	}
	return append(b, '"')
}

// appendValue writes a value of a type that a document decodes to. Tables are
// written inline, their keys in order.
func appendValue(b []byte, value any) []byte {
	switch v := value.(type) {
	case string:
		return appendString(b, v)
	case bool:
		return strconv.AppendBool(b, v)
	case int:
		return strconv.AppendInt(b, int64(v), 10)
	case int64:
		return strconv.AppendInt(b, v, 10)
	case float64:
		return appendFloat(b, v)
	case time.Time:
		return v.AppendFormat(b, time.RFC3339Nano)
	case []string:
		return appendArray(b, v)
	case []time.Time:
		return appendArray(b, v)
	case []any:
		return appendArray(b, v)
	case map[string]string:
		return appendInline(b, v)
	case map[string]any:
		return appendInline(b, v)
	default:
		// The local dates and times, whose String is their TOML.
		return fmt.Append(b, v)
	}
}

func appendFloat(b []byte, f float64) []byte {
	switch {
	case math.IsNaN(f):
		return append(b, "nan"...)
	case math.IsInf(f, 1):
		return append(b, "inf"...)
	case math.IsInf(f, -1):
		return append(b, "-inf"...)
	}
	n := len(b)
	b = strconv.AppendFloat(b, f, 'f', -1, 64)
	if !bytes.ContainsAny(b[n:], ".") {
		b = append(b, ".0"...)
	}
	return b
}

func appendArray[T any](b []byte, values []T) []byte {
	b = append(b, '[')
	for i, v := range values {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = appendValue(b, v)
	}
	return append(b, ']')
}

func appendInline[T any](b []byte, table map[string]T) []byte {
	if len(table) == 0 {
		return append(b, "{}"...)
	}
	b = append(b, "{ "...)
	for i, key := range slices.Sorted(maps.Keys(table)) {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = append(appendKey(b, key), " = "...)
		b = appendValue(b, table[key])
	}
	return append(b, " }"...)
}
