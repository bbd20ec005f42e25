package manifest

import (
	"cmp"
	"slices"
	"strings"
	"unicode/utf8"

	yaml "go.yaml.in/yaml/v3"
)

// splicer turns changed nodes into edits of the text that they were read from.
type splicer struct {
	tree *tree
	// text with its lines, each with its end.
	text  string
	lines []string
	// starts are the lines' offsets, and one more at the end of the text.
	starts []int
	layout layout
	// between says that empty lines above something belong to nothing.
	between bool
	newline string
	edits   []edit
}

// edit replaces a stretch of the text.
type edit struct {
	from, to int
	text     string
}

// spot is where something begins: a line from 0, and a column from 0 in characters.
type spot struct{ line, column int }

func newSplicer(text string, t *tree, between bool) *splicer {
	s := &splicer{tree: t, text: text, newline: "\n", layout: layoutOf(t.root), between: between}
	if strings.Contains(text, "\r\n") {
		s.newline = "\r\n"
	}
	at := 0
	for line := range strings.Lines(text) {
		s.lines = append(s.lines, line)
		s.starts = append(s.starts, at)
		at += len(line)
	}
	s.starts = append(s.starts, at)
	return s
}

// splice is the edited text; false where the text has a form that is not known here.
func (s *splicer) splice() (string, bool) {
	if !s.node(s.tree.root, spot{len(s.lines), 0}) {
		return "", false
	}
	slices.SortStableFunc(s.edits, func(a, b edit) int { return cmp.Compare(a.from, b.from) })
	var out strings.Builder
	at := 0
	for _, e := range s.edits {
		if e.from < at {
			return "", false
		}
		out.WriteString(s.text[at:e.from])
		out.WriteString(strings.ReplaceAll(e.text, "\n", s.newline))
		at = e.to
	}
	out.WriteString(s.text[at:])
	return out.String(), true
}

// node edits the text of a node; next is where what follows it begins. It is false
// where the node has to be written anew.
func (s *splicer) node(n *yaml.Node, next spot) bool {
	if !s.changed(n) {
		return true
	}
	so := len(s.edits)
	var ok bool
	switch {
	case n.Style&yaml.FlowStyle != 0:
		ok = s.inFlow(n)
	case n.Kind == yaml.MappingNode:
		ok = s.mapping(n, next)
	default:
		ok = s.sequence(n, next)
	}
	if !ok {
		s.edits = s.edits[:so]
	}
	return ok
}

// inFlow edits a node in braces or brackets, as far as words in it are other words
// now. For more than that it has to be opened.
func (s *splicer) inFlow(n *yaml.Node) bool {
	old := s.old(n)
	if len(old) != len(n.Content) {
		return false
	}
	for i, value := range n.Content {
		if value == old[i] {
			if s.changed(value) && !s.inFlow(value) {
				return false
			}
			continue
		}
		from, to, ok := s.word(old[i])
		if !ok || value.Kind != yaml.ScalarNode || strings.ContainsAny(value.Value, "{}[],#:\n") {
			return false
		}
		text, ok := s.render(value, 0)
		if !ok {
			return false
		}
		s.edits = append(s.edits, edit{from, to, text})
	}
	return true
}

// changed says whether something in a node is not as the text has it.
func (s *splicer) changed(n *yaml.Node) bool {
	_, changed := s.tree.before[n]
	return changed || slices.ContainsFunc(n.Content, s.changed)
}

// old is the content of a node as the text has it.
func (s *splicer) old(n *yaml.Node) []*yaml.Node {
	if content, changed := s.tree.before[n]; changed {
		return content
	}
	return n.Content
}

func (s *splicer) mapping(n *yaml.Node, next spot) bool {
	old := s.old(n)
	if len(old) == 0 || len(n.Content) < len(old) {
		return false
	}
	for i := 0; i < len(old); i += 2 {
		key, was, value := old[i], old[i+1], n.Content[i+1]
		if n.Content[i] != key {
			return false
		}
		end := next
		if i+2 < len(old) {
			end = start(old[i+2])
		}
		if value == was && s.node(value, end) {
			continue
		}
		if !s.replaceValue(key, was, value, end) {
			return false
		}
	}
	added := n.Content[len(old):]
	if len(added) == 0 {
		return true
	}
	text, ok := s.render(&yaml.Node{Kind: yaml.MappingNode, Content: added}, start(old[0]).column)
	at := s.contentEnd(next)
	s.edits = append(s.edits, edit{at, at, "\n" + text})
	return ok
}

func (s *splicer) sequence(n *yaml.Node, next spot) bool {
	old := s.old(n)
	dashes := make([]spot, 0, len(old)+1)
	for _, item := range old {
		dash, ok := s.dash(n, item)
		if !ok {
			return false
		}
		dashes = append(dashes, dash)
	}
	if len(old) == 0 {
		return false
	}
	dashes = append(dashes, next)
	kept := 0
	var added []*yaml.Node
	for _, item := range n.Content {
		if kept == len(old) || item != old[kept] {
			added = append(added, item)
			continue
		}
		if !s.insertItems(added, dashes[kept]) {
			return false
		}
		added = nil
		if !s.node(item, dashes[kept+1]) && !s.replaceItem(item, dashes[kept], dashes[kept+1]) {
			return false
		}
		kept++
	}
	if kept < len(old) {
		return false // an item is gone or was replaced
	}
	if len(added) == 0 {
		return true
	}
	text, ok := s.render(&yaml.Node{Kind: yaml.SequenceNode, Content: added}, dashes[0].column)
	at := s.contentEnd(next)
	s.edits = append(s.edits, edit{at, at, "\n" + text})
	return ok
}

// insertItems puts list items above another one and the comments that belong to it.
func (s *splicer) insertItems(items []*yaml.Node, before spot) bool {
	if len(items) == 0 {
		return true
	}
	text, ok := s.render(&yaml.Node{Kind: yaml.SequenceNode, Content: items}, before.column)
	line := before.line
	for line > 0 && s.isComment(line-1, before.column) {
		line--
	}
	at := s.starts[line]
	s.edits = append(s.edits, edit{at, at, text + "\n"})
	return ok
}

// replaceValue writes the value of a key anew.
func (s *splicer) replaceValue(key, was, value *yaml.Node, next spot) bool {
	if from, to, ok := s.word(was); ok && value.Kind == yaml.ScalarNode && !strings.Contains(value.Value, "\n") {
		text, ok := s.render(value, 0)
		s.edits = append(s.edits, edit{from, to, text})
		return ok
	}
	s.unflow(value)
	at := start(key)
	k := *key
	k.HeadComment, k.FootComment = "", "" // they stay where they are
	if value.Kind != yaml.ScalarNode {
		// The comment behind a closing brace has its place behind the key now.
		k.LineComment = cmp.Or(k.LineComment, was.LineComment)
	}
	text, ok := s.render(&yaml.Node{Kind: yaml.MappingNode, Content: []*yaml.Node{&k, value}}, at.column)
	s.edits = append(s.edits, edit{s.offset(at), s.contentEnd(next), strings.TrimLeft(text, " ")})
	return ok
}

// replaceItem writes a list item anew.
func (s *splicer) replaceItem(item *yaml.Node, at, next spot) bool {
	s.unflow(item)
	i := *item
	i.HeadComment, i.FootComment = "", ""
	text, ok := s.render(&yaml.Node{Kind: yaml.SequenceNode, Content: []*yaml.Node{&i}}, at.column)
	s.edits = append(s.edits, edit{s.offset(at), s.contentEnd(next), strings.TrimLeft(text, " ")})
	return ok
}

// unflow takes the braces from a node that something was added to, so that it can
// be read.
func (s *splicer) unflow(n *yaml.Node) {
	if s.changed(n) {
		n.Style &^= yaml.FlowStyle
	}
	for _, child := range n.Content {
		s.unflow(child)
	}
}

// render writes nodes at a column, without a newline at the end.
func (s *splicer) render(n *yaml.Node, column int) (string, bool) {
	text, err := encode(n, s.layout)
	if err != nil {
		return "", false
	}
	var out strings.Builder
	indent := strings.Repeat(" ", column)
	for line := range strings.Lines(strings.TrimSuffix(text, "\n")) {
		if line != "\n" {
			out.WriteString(indent)
		}
		out.WriteString(line)
	}
	return out.String(), true
}

// word is where a scalar stands that is one plain word, or in quotes on one line.
func (s *splicer) word(n *yaml.Node) (from, to int, ok bool) {
	if n.Kind != yaml.ScalarNode || n.Line == 0 || n.Anchor != "" || n.Style&^(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle) != 0 {
		return 0, 0, false
	}
	quote := ""
	switch n.Style {
	case yaml.DoubleQuotedStyle:
		quote = `"`
	case yaml.SingleQuotedStyle:
		quote = `'`
	}
	text := quote + n.Value + quote
	from = s.offset(start(n))
	return from, from + len(text), n.Value != "" && strings.HasPrefix(s.text[from:], text)
}

// start is where a node begins.
func start(n *yaml.Node) spot { return spot{n.Line - 1, n.Column - 1} }

// offset of a spot in the text.
func (s *splicer) offset(at spot) int {
	line := s.lines[at.line]
	i := 0
	for range at.column {
		_, size := utf8.DecodeRuneInString(line[i:])
		i += size
	}
	return s.starts[at.line] + i
}

// dash is where the item of a list begins; false where something stands before it.
func (s *splicer) dash(list, item *yaml.Node) (spot, bool) {
	column := list.Column - 1
	if item.Line == 0 || list.Line == 0 {
		return spot{}, false
	}
	for line := item.Line - 1; line >= list.Line-1; line-- {
		text := s.lines[line]
		if len(text) > column && text[column] == '-' && strings.TrimLeft(text[:column], " ") == "" {
			return spot{line, column}, true
		}
	}
	return spot{}, false
}

// contentEnd is the end of the last line above a spot that does not belong to what
// begins there: without empty lines, and without comments that are no deeper.
func (s *splicer) contentEnd(next spot) int {
	line := next.line - 1
	for line >= 0 && (s.isComment(line, next.column) || s.isBetween(line)) {
		line--
	}
	if line < 0 {
		return 0
	}
	return s.starts[line] + len(strings.TrimRight(s.lines[line], "\r\n"))
}

// isBetween says whether a line is empty, or the end of the document.
func (s *splicer) isBetween(line int) bool {
	text := strings.TrimSpace(s.lines[line])
	return text == "..." || (text == "" && s.between)
}

// isComment says whether a line is a comment that is not deeper than a column.
func (s *splicer) isComment(line, column int) bool {
	text := strings.TrimLeft(s.lines[line], " ")
	return strings.HasPrefix(text, "#") && len(s.lines[line])-len(text) <= column
}
