package registry

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/berth-run/berth/internal/listing"
)

// Copy is what a registry had at a time.
type Copy struct {
	Format int    `json:"format"`
	URL    string `json:"url"`
	// At is when it was made, Newest the last change in it, as the registry wrote it.
	At     time.Time `json:"at"`
	Newest string    `json:"newest"`
	ETag   string    `json:"etag,omitzero"`
	Count  int       `json:"count"`
	// Bad is how many entries could not be read.
	Bad int `json:"bad,omitzero"`
	// Index is the length of the index.
	Index int `json:"index"`

	records map[string]record // of one that was pulled
	index   string            // of one that was opened
	file    *os.File
	data    int64 // where the documents begin in the file
}

// record is an entry of a copy.
type record struct {
	Name, Status, Message string
	Doc                   json.RawMessage
	text                  listing.Text
}

func newRecord(doc json.RawMessage, status, message string) (record, error) {
	var m struct {
		Name        string `json:"name"`
		Title       string `json:"title"`
		Description string `json:"description"`
	}
	if err := json.Unmarshal(doc, &m); err != nil {
		return record{}, err
	}
	if status == "" {
		status = statusActive
	}
	e := listing.Entry{Name: m.Name, Title: listing.Shown(m.Title, 200), About: listing.Shown(m.Description, 400)}
	if !listing.RegistryName(m.Name) {
		return record{}, errors.New("its name is none")
	}
	return record{Name: m.Name, Status: listing.Shown(status, 40), Message: listing.Shown(message, 400), Doc: doc, text: e.Text()}, nil
}

func (r *record) shownStatus() string {
	switch {
	case r.Status == statusActive:
		return ""
	case r.Message != "":
		return r.Status + ": " + r.Message
	}
	return r.Status
}

const format = 1

// Encode returns the copy as a file: a line of JSON, the index with a line for each
// server, the documents.
func (c *Copy) Encode() ([]byte, error) {
	var index, data bytes.Buffer
	for _, name := range slices.Sorted(maps.Keys(c.records)) {
		r := c.records[name]
		var doc bytes.Buffer
		if err := json.Compact(&doc, r.Doc); err != nil {
			return nil, err
		}
		fmt.Fprintf(&index, "%d\t%d\t%s\t%s\t%s\t%s\t%s\n", data.Len(), doc.Len(), r.Name, r.Status, r.Message, r.text.Title, r.text.About)
		data.Write(doc.Bytes())
	}
	c.Format, c.Count, c.Index = format, len(c.records), index.Len()
	head, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	return slices.Concat(head, []byte("\n"), index.Bytes(), data.Bytes()), nil
}

// mostIndex bounds an index.
const mostIndex = 1 << 30

// Open opens a copy, which is to be closed; fs.ErrNotExist if there is none.
func Open(path string) (*Copy, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	c, err := openFile(f)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("the copy of the registry, %s: %w", path, err)
	}
	return c, nil
}

func openFile(f *os.File) (*Copy, error) {
	head := make([]byte, 8192)
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, err
	}
	line, _, found := bytes.Cut(head[:n], []byte("\n"))
	c := &Copy{}
	if err := json.Unmarshal(line, c); err != nil || !found || c.Format != format || c.Index < 0 || c.Index > mostIndex {
		return nil, errors.New("it is damaged, or of another version of Berth")
	}
	c.file, c.data = f, int64(len(line))+1+int64(c.Index)
	index := make([]byte, c.Index)
	if _, err := f.ReadAt(index, int64(len(line))+1); err != nil {
		return nil, fmt.Errorf("its index: %w", err)
	}
	c.index = string(index)
	return c, nil
}

// Close closes a copy that was opened.
func (c *Copy) Close() error {
	if c.file == nil {
		return nil
	}
	return c.file.Close()
}

// row is a line of the index.
type row struct {
	offset, length        int64
	name, status, message string
	text                  listing.Text
}

// rows visits the lines of the index until visit says no.
func (c *Copy) rows(visit func(r *row) bool) {
	rest := c.index
	var r row
	for rest != "" {
		var line string
		line, rest, _ = strings.Cut(rest, "\n")
		var field [7]string
		for i := range field {
			field[i], line, _ = strings.Cut(line, "\t")
		}
		offset, err := strconv.ParseInt(field[0], 10, 64)
		length, err2 := strconv.ParseInt(field[1], 10, 64)
		if err != nil || err2 != nil || offset < 0 || length < 0 || length > mostDoc {
			continue
		}
		r = row{offset, length, field[2], field[3], field[4], listing.Text{Name: listing.SearchName(field[2]), Title: field[5], About: field[6]}}
		if !visit(&r) {
			return
		}
	}
}

func (c *Copy) doc(r *row) (json.RawMessage, error) {
	doc := make([]byte, r.length)
	_, err := c.file.ReadAt(doc, c.data+r.offset)
	return doc, err
}

// all are the records of a copy that was opened.
func (c *Copy) all() (map[string]record, error) {
	if c.records != nil {
		return maps.Clone(c.records), nil
	}
	records := make(map[string]record, c.Count)
	var failed error
	c.rows(func(r *row) bool {
		doc, err := c.doc(r)
		if err != nil {
			failed = err
			return false
		}
		records[r.name] = record{Name: r.name, Status: r.status, Message: r.message, Doc: doc, text: r.text}
		return true
	})
	if failed == nil && len(records) != c.Count {
		failed = errors.New("its index is damaged")
	}
	return records, failed
}

// Found is a server that a search found: what of it is ranked, and how to get the rest.
type Found struct {
	Name   string
	Score  int
	Status string
	row    row
}

// Search returns the servers that answer a query, in no order.
func (c *Copy) Search(q listing.Query) (hits []Found) {
	c.rows(func(r *row) bool {
		if score := q.Score(r.text); score > 0 {
			hits = append(hits, Found{r.name, score, (&record{Status: r.status, Message: r.message}).shownStatus(), *r})
		}
		return true
	})
	return hits
}

// Entries are the ways in which a server that was found can be had.
func (c *Copy) Entries(f Found) ([]listing.Entry, error) {
	doc, err := c.doc(&f.row)
	if err != nil {
		return nil, err
	}
	return EntriesOf(doc, f.Status)
}

// EntriesOf are the ways in which the server of a document of the registry can be had.
func EntriesOf(doc json.RawMessage, status string) ([]listing.Entry, error) {
	list, err := listing.ParseServerJSON(doc)
	for i := range list {
		list[i].From, list[i].Status = listing.FromRegistry, status
	}
	return list, err
}

// Lookup finds a server by its whole name, and else those whose name ends in /name.
func (c *Copy) Lookup(name string) (exact *Found, near []string) {
	c.rows(func(r *row) bool {
		if r.name == name {
			exact = &Found{r.name, 0, (&record{Status: r.status, Message: r.message}).shownStatus(), *r}
			return false
		}
		if len(near) < 5 && strings.HasSuffix(r.name, "/"+name) {
			near = append(near, r.name)
		}
		return true
	})
	return exact, near
}
