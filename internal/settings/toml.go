package settings

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// tomlDoc is a document in TOML. An entry becomes a table at the end, where it
// changes no other; where what holds the entries is written inline, it is put in
// front there.
type tomlDoc struct {
	body []byte
	all  map[string]any
	expr []tomlExpr
}

// tomlExpr is a head or a key with its value.
type tomlExpr struct {
	kind       unstable.Kind // Table, ArrayTable or KeyValue
	path       []string      // the whole of it, that of its table included
	group      int           // the expression that is the head above it, -1 for none
	begin, end int           // of a head with its brackets, of a key with its value
	value      tomlValue
}

// tomlValue is a value that may hold an entry: an inline table, or an array.
type tomlValue struct {
	kind  unstable.Kind
	begin int        // its bracket
	kids  []tomlExpr // of an inline table
	size  int        // of an array
}

func parseTOML(body []byte) (*tomlDoc, error) {
	d := &tomlDoc{body: body}
	if err := toml.Unmarshal(body, &d.all); err != nil {
		var at *toml.DecodeError
		if errors.As(err, &at) {
			line, column := at.Position()
			return nil, &Fault{line, column, strings.TrimPrefix(at.Error(), "toml: ")}
		}
		return nil, &Fault{1, 1, strings.TrimPrefix(err.Error(), "toml: ")}
	}
	var parser unstable.Parser
	parser.Reset(body)
	group := -1
	for parser.NextExpression() {
		e := d.expression(parser.Expression())
		if e.kind == unstable.KeyValue {
			e.group = group
			if group >= 0 {
				e.path = slices.Concat(d.expr[group].path, e.path)
			}
		} else {
			group = len(d.expr)
			e.group = group
		}
		d.expr = append(d.expr, e)
	}
	if err := parser.Error(); err != nil {
		return nil, &Fault{1, 1, err.Error()}
	}
	return d, nil
}

func (d *tomlDoc) expression(n *unstable.Node) tomlExpr {
	e := tomlExpr{kind: n.Kind}
	var first, last unstable.Range
	for it := n.Key(); it.Next(); {
		key := it.Node()
		if len(e.path) == 0 {
			first = key.Raw
		}
		last = key.Raw
		e.path = append(e.path, string(key.Data))
	}
	e.begin, e.end = int(first.Offset), int(last.Offset+last.Length)
	if n.Kind != unstable.KeyValue {
		e.begin = bytes.LastIndexByte(d.body[:e.begin], '[')
		if n.Kind == unstable.ArrayTable {
			e.begin--
		}
		e.end += bytes.IndexByte(d.body[e.end:], ']') + 1
		if n.Kind == unstable.ArrayTable {
			e.end++
		}
		return e
	}
	// After the key comes =, and then the value.
	at := e.end + bytes.IndexByte(d.body[e.end:], '=') + 1
	at += blanks(d.body, at)
	e.end = int(n.Raw.Offset + n.Raw.Length)
	value := n.Value()
	e.value = tomlValue{kind: value.Kind, begin: at}
	for it := value.Children(); it.Next(); {
		kid := it.Node()
		switch {
		case value.Kind == unstable.InlineTable && kid.Kind == unstable.KeyValue:
			e.value.kids = append(e.value.kids, d.expression(kid))
		case value.Kind == unstable.Array:
			e.value.size++
		}
	}
	return e
}

func (d *tomlDoc) tree() *tree { return treeOf(d.all) }

func (d *tomlDoc) value(p Place) (any, error) {
	var at any = d.all
	for i, key := range p.Path {
		if p.ID != "" && i == len(p.Path)-1 {
			return d.element(at, p)
		}
		m, ok := at.(map[string]any)
		if !ok {
			return nil, fmt.Errorf("%s is not a table", strings.Join(p.Path[:i], "."))
		}
		if at, ok = m[key]; !ok {
			return nil, ErrMissing
		}
	}
	return at, nil
}

// element is the element of a list that has the entry's name.
func (d *tomlDoc) element(of any, p Place) (any, error) {
	all, ok := of.([]any)
	if !ok {
		return nil, fmt.Errorf("%s is not a list", strings.Join(p.Path[:len(p.Path)-1], "."))
	}
	for _, e := range all {
		if m, ok := e.(map[string]any); ok && m[p.ID] == p.name() {
			return m, nil
		}
	}
	return nil, ErrMissing
}

// holds says whether path begins with the keys of p.
func holds(path, p []string) bool { return len(path) >= len(p) && slices.Equal(path[:len(p)], p) }

// inline is the key on the path to an entry whose value is an inline table or an
// array; nil if there is none.
func (d *tomlDoc) inline(p Place) *tomlExpr {
	for i, e := range d.expr {
		if e.kind == unstable.KeyValue && len(e.path) < len(p.Path) && holds(p.Path, e.path) &&
			(e.value.kind == unstable.InlineTable || e.value.kind == unstable.Array) {
			return &d.expr[i]
		}
	}
	return nil
}

// own are the expressions of the entry, outside of inline tables: indexes of expr.
func (d *tomlDoc) own(p Place) (own []int) {
	if p.ID != "" {
		head := d.head(p)
		if head < 0 {
			return nil
		}
		for i := head; i < len(d.expr); i++ {
			if e := d.expr[i]; i > head && e.kind != unstable.KeyValue && !(len(e.path) > len(p.Path)-1 && holds(e.path, p.Path[:len(p.Path)-1])) {
				break
			}
			own = append(own, i)
		}
		return own
	}
	for i, e := range d.expr {
		if holds(e.path, p.Path) {
			own = append(own, i)
		}
	}
	return own
}

// head is the head of the list's element that is the entry, -1 if there is none.
func (d *tomlDoc) head(p Place) int {
	list := p.Path[:len(p.Path)-1]
	for i, e := range d.expr {
		if e.kind != unstable.KeyValue || e.group < 0 || d.expr[e.group].kind != unstable.ArrayTable {
			continue
		}
		if !slices.Equal(d.expr[e.group].path, list) || !slices.Equal(e.path[len(list):], []string{p.ID}) {
			continue
		}
		var one map[string]any
		if toml.Unmarshal(d.body[e.begin:e.end], &one) == nil && one[p.ID] == p.name() {
			return d.expr[i].group
		}
	}
	return -1
}

func (d *tomlDoc) start(p Place, made int) (int, error) {
	if made > len(p.Path) {
		return 0, nil
	}
	if own := d.own(p); len(own) > 0 {
		return d.expr[own[0]].begin, nil
	}
	e := d.inline(p)
	if e == nil {
		return 0, ErrMissing
	}
	if e.value.kind == unstable.Array {
		at := e.value.begin + 1
		return at + blanks(d.body, at), nil
	}
	if kid := e.kid(p); kid != nil {
		return kid.begin, nil
	}
	return 0, ErrMissing
}

// kid is the member of an inline table that is the entry, or holds it.
func (e *tomlExpr) kid(p Place) *tomlExpr {
	rest := p.Path[len(e.path):]
	for i := range e.value.kids {
		if k := &e.value.kids[i]; holds(rest, k.path) {
			return k
		}
	}
	return nil
}

func (d *tomlDoc) insert(p Place, e Entry) (at int, text string, made int, err error) {
	if in := d.inline(p); in != nil {
		at = in.value.begin + 1
		at += blanks(d.body, at)
		rest := p.Path[len(in.path):]
		some := len(in.value.kids) > 0
		if in.value.kind == unstable.Array {
			if p.ID == "" || len(rest) > 1 {
				return 0, "", 0, faultAt(d.body, in.begin, "%s is not a table", strings.Join(in.path, "."))
			}
			text, some = inlineTOML(e), in.value.size > 0
		} else {
			text = tomlKey(rest) + " = " + inlineTOML(e)
		}
		if some {
			text += ", "
		}
		return at, text, 1, nil
	}
	eol := lineEnd(d.body)
	var b strings.Builder
	if n := len(d.body); n > 0 {
		if d.body[n-1] != '\n' {
			b.WriteString(eol)
		}
		if last := bytes.TrimRight(d.body, "\r\n"); len(last) > 0 && !bytes.HasSuffix(d.body, []byte("\n\n")) && !bytes.HasSuffix(d.body, []byte("\n\r\n")) {
			b.WriteString(eol)
		}
	}
	if p.ID != "" {
		b.WriteString("[[" + tomlKey(p.Path[:len(p.Path)-1]) + "]]" + eol)
	} else {
		b.WriteString("[" + tomlKey(p.Path) + "]" + eol)
	}
	for _, f := range e {
		b.WriteString(tomlKey([]string{f.Key}) + " = " + tomlText(f.Value) + eol)
	}
	return len(d.body), b.String(), 1, nil
}

func (d *tomlDoc) cut(p Place, _ int) ([]splice, error) {
	own := d.own(p)
	if len(own) == 0 {
		return d.cutInline(p)
	}
	var cuts []splice
	for _, i := range own {
		e := d.expr[i]
		begin, end := lineStart(d.body, e.begin), lineAfter(d.body, e.end)
		if n := len(cuts); n > 0 && onlyBlank(d.body[cuts[n-1].end:begin]) && d.expr[i-1].group == e.group {
			cuts[n-1].end = end
			continue
		}
		// With the empty line above a head, unless that was counted already.
		if e.kind != unstable.KeyValue && begin > 0 {
			if above := lineStart(d.body, begin-1); onlyBlank(d.body[above:begin]) && above > 0 {
				begin = above
			}
		}
		cuts = append(cuts, splice{begin, end})
	}
	return cuts, nil
}

func onlyBlank(b []byte) bool { return len(bytes.TrimSpace(b)) == 0 }

// cutInline removes a member of an inline table with its comma.
func (d *tomlDoc) cutInline(p Place) ([]splice, error) {
	e := d.inline(p)
	if e == nil {
		return nil, ErrMissing
	}
	kid := e.kid(p)
	if kid == nil {
		return nil, faultAt(d.body, e.begin, "the entry is in a list on one line, where it has to be removed by hand")
	}
	begin, end := kid.begin, kid.end
	if i := slices.IndexFunc(e.value.kids, func(k tomlExpr) bool { return k.begin == kid.begin }); i+1 < len(e.value.kids) {
		end = e.value.kids[i+1].begin
	} else if i > 0 {
		begin = e.value.kids[i-1].end
	}
	return []splice{{begin, end}}, nil
}

// tomlKey is a dotted key.
func tomlKey(path []string) string {
	parts := make([]string, len(path))
	for i, key := range path {
		parts[i] = key
		if key == "" || strings.Trim(key, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") != "" {
			parts[i] = quoteTOML(key)
		}
	}
	return strings.Join(parts, ".")
}

// quoteTOML is a string of TOML: as of JSON, but for one character.
func quoteTOML(s string) string { return strings.ReplaceAll(quote(s), "\x7f", `\u007f`) }

func tomlText(v any) string {
	switch v := v.(type) {
	case string:
		return quoteTOML(v)
	case []string:
		all := make([]string, len(v))
		for i, s := range v {
			all[i] = quoteTOML(s)
		}
		return "[" + strings.Join(all, ", ") + "]"
	case Entry:
		return inlineTOML(v)
	}
	return fmt.Sprint(v)
}

func inlineTOML(e Entry) string {
	all := make([]string, len(e))
	for i, f := range e {
		all[i] = tomlKey([]string{f.Key}) + " = " + tomlText(f.Value)
	}
	if len(all) == 0 {
		return "{}"
	}
	return "{ " + strings.Join(all, ", ") + " }"
}
