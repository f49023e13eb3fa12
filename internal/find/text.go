package find

import (
	"encoding/json"
	"maps"
	"slices"
)

// The fields of a tool, in the order of the weights in rank.go.
const (
	fieldName = iota
	fieldTitle
	fieldServer
	fieldDescription
	fieldParameters
	fieldDetails // what is said of parameters
	fieldCount
)

// fields are the words of a tool.
type fields [fieldCount][]string

// schemaDepth bounds how deep a schema is read: parameters of parameters.
const schemaDepth = 4

// textMost bounds the bytes of a text that are read: some servers put a manual into
// a description, and what a tool is for stands at its beginning.
const textMost = 4096

// listing is what is read of a tool.
type listing struct {
	Title       string  `json:"title"`
	Description string  `json:"description"`
	InputSchema *schema `json:"inputSchema"`
	Annotations struct {
		Title string `json:"title"`
	} `json:"annotations"`
}

// schema is what is read of a JSON Schema.
type schema struct {
	Description string             `json:"description"`
	Properties  map[string]*schema `json:"properties"`
	Items       *schema            `json:"items"`
}

func fieldsOf(t *Tool) fields {
	// A member of another type is passed over, and the others are read.
	var l listing
	_ = json.Unmarshal(t.Raw, &l)
	var f fields
	f[fieldName] = words(t.Own)
	f[fieldServer] = words(t.Server)
	f[fieldTitle] = append(words(begin(l.Title)), words(begin(l.Annotations.Title))...)
	f[fieldDescription] = words(begin(l.Description))
	f.schema(l.InputSchema, schemaDepth)
	return f
}

// schema adds the names of a schema's properties and what it says of them.
func (f *fields) schema(s *schema, depth int) {
	if s == nil || depth == 0 {
		return
	}
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		f[fieldParameters] = append(f[fieldParameters], words(begin(name))...)
		if property := s.Properties[name]; property != nil {
			f[fieldDetails] = append(f[fieldDetails], words(begin(property.Description))...)
			f.schema(property, depth-1)
		}
	}
	f.schema(s.Items, depth-1)
}

// begin is as much of a text as is read.
func begin(text string) string { return text[:min(len(text), textMost)] }

// members returns an object's members, none if it is not one.
func members(raw json.RawMessage) map[string]json.RawMessage {
	var m map[string]json.RawMessage
	if json.Unmarshal(raw, &m) != nil {
		return nil
	}
	return m
}

// textOf returns a string's text, "" if it is not one.
func textOf(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) != nil {
		return ""
	}
	return s
}
