package mcp

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/berth-run/berth/internal/jsonrpc"
)

// Manifest is what a server said of itself and what it lists, as of its last run:
// whoever asks for that need not start it. Every byte of a result is as the
// server sent it.
type Manifest struct {
	// Key stands for what was run: of another server this says nothing.
	Key string
	Era Era
	// Hello is the result of initialize or of server/discover.
	Hello json.RawMessage
	// Lists are the pages of each list, by method, in their order.
	Lists map[string][]json.RawMessage
	// Refused are the errors of lists that the server does not have.
	Refused map[string]json.RawMessage
	At      time.Time
}

// MaxManifest bounds a manifest, in bytes as Encode writes it.
const MaxManifest = 8 << 20

const manifestVersion = 1

// listMethods are the lists that a server may have.
func listMethods() []string {
	return []string{methodToolsList, "prompts/list", "resources/list", "resources/templates/list"}
}

// ListKind returns the capability that a list belongs to, which is the first word
// of its list_changed, and the member of its result; "" if the method is none that
// a manifest knows.
func ListKind(method string) (capability, member string) {
	switch method {
	case methodToolsList:
		return "tools", "tools"
	case "prompts/list":
		return "prompts", "prompts"
	case "resources/list":
		return "resources", "resources"
	case "resources/templates/list":
		return "resources", "resourceTemplates"
	}
	return "", ""
}

// envelope is a manifest as it is written: the sum is of the bytes of the body, so
// that what was damaged is not believed.
type envelope struct {
	Version int             `json:"v"`
	Sum     string          `json:"sum"`
	Body    json.RawMessage `json:"manifest"`
}

// body is a manifest as it is written. What the server sent is in base64: JSON in
// JSON would not keep its spacing.
type body struct {
	Key     string              `json:"key"`
	Era     Era                 `json:"era"`
	Hello   []byte              `json:"hello"`
	Lists   map[string][][]byte `json:"lists"`
	Refused map[string][]byte   `json:"refused,omitempty"`
	At      time.Time           `json:"at"`
}

// Encode returns the manifest as the bytes of its file.
func (m *Manifest) Encode() ([]byte, error) {
	b := body{Key: m.Key, Era: m.Era, Hello: m.Hello, Lists: map[string][][]byte{}, Refused: map[string][]byte{}, At: m.At.UTC()}
	for method, pages := range m.Lists {
		for _, p := range pages {
			b.Lists[method] = append(b.Lists[method], p)
		}
	}
	for method, e := range m.Refused {
		b.Refused[method] = e
	}
	inner, err := json.Marshal(b)
	if err != nil {
		return nil, fmt.Errorf("write the manifest: %v", err)
	}
	data, err := json.Marshal(envelope{Version: manifestVersion, Sum: sumOf(inner), Body: inner})
	if err != nil {
		return nil, fmt.Errorf("write the manifest: %v", err)
	}
	if len(data) > MaxManifest {
		return nil, fmt.Errorf("write the manifest: it has %d bytes, and %d is the most", len(data), MaxManifest)
	}
	return append(data, '\n'), nil
}

func sumOf(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// ParseManifest reads what Encode made, and nothing else: a manifest is shown to
// clients in the server's name.
func ParseManifest(data []byte) (*Manifest, error) {
	bad := func(format string, args ...any) (*Manifest, error) {
		return nil, fmt.Errorf("read the manifest: "+format, args...)
	}
	if len(data) > MaxManifest+1 {
		return bad("it has %d bytes, and %d is the most", len(data), MaxManifest)
	}
	var e envelope
	if json.Unmarshal(data, &e) != nil {
		return bad("it is not one")
	}
	if e.Version != manifestVersion {
		return bad("it is of version %d, this Berth knows %d", e.Version, manifestVersion)
	}
	if e.Sum != sumOf(e.Body) {
		return bad("its sum does not match: it was damaged or edited")
	}
	var b body
	if json.Unmarshal(e.Body, &b) != nil {
		return bad("its body is malformed")
	}
	m := &Manifest{Key: b.Key, Era: b.Era, Hello: b.Hello, Lists: map[string][]json.RawMessage{}, Refused: map[string]json.RawMessage{}, At: b.At}
	if m.Key == "" {
		return bad("it has no key")
	}
	if _, err := m.info(); err != nil {
		return bad("%v", err)
	}
	for method, pages := range b.Lists {
		var all []json.RawMessage
		for _, p := range pages {
			all = append(all, p)
		}
		if err := checkPages(method, all); err != nil {
			return bad("%s: %v", method, err)
		}
		m.Lists[method] = all
	}
	for method, raw := range b.Refused {
		if capability, _ := ListKind(method); capability == "" || m.Lists[method] != nil {
			return bad("%.40q is refused and should not be", method)
		}
		if err := checkRefusal(raw); err != nil {
			return bad("%s: %v", method, err)
		}
		m.Refused[method] = raw
	}
	return m, nil
}

// info is what the server said of itself.
func (m *Manifest) info() (Info, error) {
	if !json.Valid(m.Hello) || len(m.Hello) == 0 || m.Hello[0] != '{' {
		return Info{}, errors.New("what the server said of itself is no object")
	}
	switch m.Era {
	case Legacy:
		return legacyInfo(m.Hello)
	case Modern:
		if info, ok := modernInfo(m.Hello); ok {
			return info, nil
		}
		return Info{}, errors.New("what the server said of itself offers no revision that Berth speaks")
	}
	return Info{}, fmt.Errorf("%.40q is no era", m.Era)
}

// Info is what the server said of itself.
func (m *Manifest) Info() Info {
	info, err := m.info()
	if err != nil {
		panic("mcp: a manifest that was made or parsed here is none") // cannot happen
	}
	return info
}

// checkPages says what is wrong with the pages of a list: they must lead from one
// to the next, and end.
func checkPages(method string, pages []json.RawMessage) error {
	capability, member := ListKind(method)
	switch {
	case capability == "":
		return errors.New("no list of that name is known")
	case len(pages) == 0:
		return errors.New("it has no pages")
	case len(pages) > maxPages:
		return fmt.Errorf("it has more than %d pages", maxPages)
	}
	seen := map[string]bool{}
	for i, p := range pages {
		next, err := checkPage(p, member)
		switch last := i == len(pages)-1; {
		case err != nil:
			return err
		case last != (next == ""):
			return errors.New("its pages do not lead to its end")
		case seen[next]:
			return errors.New("it has the same page twice")
		}
		seen[next] = true
	}
	return nil
}

// checkPage returns the cursor of the next page.
func checkPage(raw json.RawMessage, member string) (next string, err error) {
	var page struct {
		ResultType string `json:"resultType"`
		NextCursor string `json:"nextCursor"`
	}
	if len(raw) == 0 || raw[0] != '{' || decode(raw, &page) != nil {
		return "", errors.New("a page is malformed")
	}
	if all := jsonrpc.Get(raw, member); len(all) == 0 || all[0] != '[' {
		return "", fmt.Errorf("a page has no %s", member)
	}
	if !complete(page.ResultType) {
		return "", fmt.Errorf("a page is %.40q instead of complete", page.ResultType)
	}
	return page.NextCursor, nil
}

func checkRefusal(raw json.RawMessage) error {
	if len(raw) == 0 || raw[0] != '{' || !json.Valid(raw) || jsonrpc.DecodeError(raw).Code != jsonrpc.CodeMethodNotFound {
		return errors.New("its refusal is malformed")
	}
	return nil
}

// Page returns the result of a list that was asked for with this cursor, "" for
// none; or the error with which the server refuses that list. Neither is returned
// for what the manifest does not know.
func (m *Manifest) Page(method, cursor string) (result, refused json.RawMessage) {
	pages := m.Lists[method]
	if cursor == "" && len(pages) > 0 {
		return pages[0], nil
	}
	if cursor == "" {
		return nil, m.Refused[method]
	}
	for i := 1; i < len(pages); i++ {
		if nextCursor(pages[i-1]) == cursor {
			return pages[i], nil
		}
	}
	return nil, nil
}

// Changes are the kinds of lists ("tools", "prompts", "resources") that differ
// between this manifest and a later one, sorted.
func (m *Manifest) Changes(later *Manifest) []string {
	kinds := map[string]bool{}
	for _, method := range listMethods() {
		if !slices.EqualFunc(m.Lists[method], later.Lists[method], func(a, b json.RawMessage) bool { return bytes.Equal(a, b) }) {
			kind, _ := ListKind(method)
			kinds[kind] = true
		}
	}
	return slices.Sorted(maps.Keys(kinds))
}

// Same says whether two manifests say the same.
func (m *Manifest) Same(o *Manifest) bool {
	return m.Key == o.Key && m.Era == o.Era && bytes.Equal(m.Hello, o.Hello) && len(m.Changes(o)) == 0 &&
		maps.EqualFunc(m.Refused, o.Refused, func(a, b json.RawMessage) bool { return bytes.Equal(a, b) })
}

// Survey asks the server for all that a manifest holds, one thing after the
// other: a list that the server declares and fails to give is left out.
func (s *Session) Survey(ctx context.Context, key string) (*Manifest, error) {
	info := s.Info()
	m := &Manifest{Key: key, Era: info.Era, Hello: info.Result, Lists: map[string][]json.RawMessage{}, Refused: map[string]json.RawMessage{}, At: time.Now()}
	if _, err := m.info(); err != nil {
		return nil, fmt.Errorf("make a manifest: %w", err) // it was too large for a note
	}
	for _, method := range listMethods() {
		if kind, _ := ListKind(method); !s.declares(kind) {
			continue
		}
		pages, err := s.pages(ctx, method)
		var refused *jsonrpc.Error
		switch {
		case errors.As(err, &refused):
			if refused.Code == jsonrpc.CodeMethodNotFound {
				if line, err := jsonrpc.NewError([]byte("1"), refused); err == nil {
					m.Refused[method] = jsonrpc.Get(line, "error")
				}
			}
			continue
		case err != nil:
			return nil, err
		}
		if checkPages(method, pages) == nil {
			m.Lists[method] = pages
		}
	}
	return m, nil
}

// pages asks for a whole list.
func (s *Session) pages(ctx context.Context, method string) ([]json.RawMessage, error) {
	var (
		pages  []json.RawMessage
		cursor string
	)
	for range maxPages {
		raw, err := s.request(ctx, method, s.params(listParams(cursor)))
		if err != nil {
			return nil, fmt.Errorf("list %s: %w", method, err)
		}
		pages = append(pages, raw)
		if cursor = nextCursor(raw); cursor == "" {
			break
		}
	}
	return pages, nil
}

// nextCursor is where a list goes on; "" is its end.
func nextCursor(page json.RawMessage) string {
	var next struct {
		NextCursor string `json:"nextCursor"`
	}
	if json.Unmarshal(page, &next) != nil {
		return ""
	}
	return next.NextCursor
}
