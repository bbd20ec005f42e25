package manifest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
	yaml "go.yaml.in/yaml/v3"
	k8syaml "sigs.k8s.io/yaml"
)

// Stream is the content of one file.
type Stream struct {
	// Name of the file, for messages.
	Name   string
	chunks []chunk
}

// chunk is a stretch of the file: a document, or what stands between documents.
type chunk struct {
	text string
	doc  *Document
}

// Document is one YAML document or JSON value of a stream.
type Document struct {
	name string
	text string
	// line of the file that the text begins on, from 1.
	line int
	json bool
	// raw is the document as JSON, with YAML read as kubectl reads it.
	raw  jsontext.Value
	root *yaml.Node
	// Objects in the document, in their order: one, or the items of a list.
	Objects []*Object
	patches []patch
}

// Read takes a file apart. An error, an *Error, says the line, and what is wrong with it.
func Read(name string, data []byte) (*Stream, error) {
	s, errs := ReadAll(name, data)
	if len(errs) > 0 {
		return nil, errs[0]
	}
	return s, nil
}

// ReadAll is Read that goes on behind a document that cannot be read, and leaves it out.
func ReadAll(name string, data []byte) (*Stream, []*Error) {
	s := &Stream{Name: name}
	if !utf8.Valid(data) {
		return s, []*Error{{name, 0, "is not UTF-8 text: save the manifest as UTF-8"}}
	}
	var errs []*Error
	add := func(text []byte, line int) {
		if err := s.add(string(text), line); err != nil {
			errs = append(errs, err)
		}
	}
	line := 1
	start, startLine := 0, 1
	for at := 0; at < len(data); line++ {
		next := len(data)
		if n := bytes.IndexByte(data[at:], '\n'); n >= 0 {
			next = at + n + 1
		}
		separates, err := separator(data[at:next])
		if separates || err != nil {
			add(data[start:at], startLine)
			if err != nil {
				errs = append(errs, &Error{name, line, err.Error()})
			}
			s.chunks = append(s.chunks, chunk{text: string(data[at:next])})
			start, startLine = next, line+1
		}
		at = next
	}
	add(data[start:], startLine)
	return s, errs
}

// separator says whether a line ends a document.
func separator(line []byte) (bool, error) {
	rest, ok := bytes.CutPrefix(line, []byte("---"))
	if !ok {
		return false, nil
	}
	trimmed := bytes.TrimSpace(rest)
	switch {
	case len(trimmed) == 0:
		return true, nil
	case rest[0] != ' ' && rest[0] != '\t':
		return false, nil // ---x is text
	case trimmed[0] == '#':
		return true, nil
	}
	return false, fmt.Errorf("there is %q behind the separator ---: begin the document on the next line", trimmed)
}

// add takes the text between two separators.
func (s *Stream) add(text string, line int) *Error {
	if blank(text) {
		s.chunks = append(s.chunks, chunk{text: text})
		return nil
	}
	if strings.HasPrefix(strings.TrimSpace(text), "{") && s.addJSON(text, line) {
		return nil
	}
	doc := &Document{name: s.Name, text: text, line: line}
	if err := doc.readYAML(); err != nil {
		return err
	}
	if err := doc.findObjects(); err != nil {
		return err
	}
	s.chunks = append(s.chunks, chunk{doc: doc})
	return nil
}

// blank says whether there is nothing but comments and directives in a text.
func blank(text string) bool {
	for line := range strings.Lines(text) {
		line = strings.TrimPrefix(strings.TrimSpace(line), "\ufeff")
		if line != "" && line[0] != '#' && line[0] != '%' && line != "..." {
			return false
		}
	}
	return true
}

// addJSON takes a text of JSON values; false if it is not one, in which case it
// may yet be YAML.
func (s *Stream) addJSON(text string, line int) bool {
	decoder := jsontext.NewDecoder(strings.NewReader(text))
	var chunks []chunk
	at := 0
	for {
		raw, err := decoder.ReadValue()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return false
		}
		end := int(decoder.InputOffset())
		begin := end - len(raw)
		doc := &Document{
			name: s.Name, text: text[begin:end], json: true, raw: raw.Clone(),
			line: line + strings.Count(text[:begin], "\n"),
		}
		chunks = append(chunks, chunk{text: text[at:begin]}, chunk{doc: doc})
		at = end
		if doc.root, err = nodeOf(doc.raw); err != nil || doc.findObjects() != nil {
			return false
		}
	}
	s.chunks = append(s.chunks, chunks...)
	s.chunks = append(s.chunks, chunk{text: text[at:]})
	return true
}

// readYAML parses the document.
func (d *Document) readYAML() *Error {
	decoder := yaml.NewDecoder(strings.NewReader(d.text))
	var parsed yaml.Node
	if err := decoder.Decode(&parsed); err != nil {
		return d.yamlError(err)
	}
	var second yaml.Node
	if err := decoder.Decode(&second); err == nil {
		return d.wrong(second.Line, "a second document begins without a line ---: add one above it")
	} else if !errors.Is(err, io.EOF) {
		return d.yamlError(err)
	}
	d.root = parsed.Content[0]
	if key := repeatedKey(d.root); key != nil {
		return d.twice(key.Line, key.Value)
	}
	raw, err := k8syaml.YAMLToJSON([]byte(d.text))
	if err != nil {
		return d.yamlError(err)
	}
	d.raw = raw
	return nil
}

// repeatedKey finds a key that a mapping has twice, which parsers read differently.
func repeatedKey(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.MappingNode {
		seen := make(map[string]bool, len(n.Content)/2)
		for i := 0; i < len(n.Content); i += 2 {
			key := n.Content[i]
			if key.Kind == yaml.ScalarNode && key.Tag != mergeTag && seen[key.Value] {
				return key
			}
			seen[key.Value] = true
		}
	}
	for _, child := range n.Content {
		if key := repeatedKey(child); key != nil {
			return key
		}
	}
	return nil
}

// mappingKey finds a key that is a mapping itself, as a template makes one.
func mappingKey(n *yaml.Node) *yaml.Node {
	if n == nil {
		return nil
	}
	for i, child := range n.Content {
		if n.Kind == yaml.MappingNode && i%2 == 0 && child.Kind == yaml.MappingNode {
			return child
		}
		if key := mappingKey(child); key != nil {
			return key
		}
	}
	return nil
}

// Documents of the stream, in their order.
func (s *Stream) Documents() []*Document {
	var documents []*Document
	for _, c := range s.chunks {
		if c.doc != nil {
			documents = append(documents, c.doc)
		}
	}
	return documents
}

// Objects of all documents, in their order.
func (s *Stream) Objects() []*Object {
	var objects []*Object
	for _, doc := range s.Documents() {
		objects = append(objects, doc.Objects...)
	}
	return objects
}

// Text of the file with all patches applied.
func (s *Stream) Text() (string, error) {
	var out strings.Builder
	for _, c := range s.chunks {
		text := c.text
		if c.doc != nil {
			var err error
			if text, err = c.doc.Text(); err != nil {
				return "", err
			}
		}
		out.WriteString(text)
	}
	return out.String(), nil
}

// IsJSON says whether the document is written as JSON, as opposed to YAML.
func (d *Document) IsJSON() bool { return d.json }
