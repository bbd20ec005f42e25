package manifest

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
	yaml "go.yaml.in/yaml/v3"
)

// mergeTag is the tag of the key <<, whose value gives a mapping further members.
const mergeTag = "!!merge"

// nodeOf is JSON as nodes that belong to no text: their Line is 0.
func nodeOf(raw jsontext.Value) (*yaml.Node, error) {
	return readNode(jsontext.NewDecoder(strings.NewReader(string(raw))))
}

func readNode(decoder *jsontext.Decoder) (*yaml.Node, error) {
	token, err := decoder.ReadToken()
	if err != nil {
		return nil, fmt.Errorf("reading JSON: %w", err)
	}
	switch kind := token.Kind(); kind {
	case '{', '[':
		n := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
		if kind == '[' {
			n = &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq"}
		}
		for decoder.PeekKind() != '}' && decoder.PeekKind() != ']' {
			child, err := readNode(decoder)
			if err != nil {
				return nil, err
			}
			n.Content = append(n.Content, child)
		}
		_, err := decoder.ReadToken()
		return n, err
	case '"':
		return textNode(token.String())
	case 'n':
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null", Value: "null"}, nil
	case '0':
		tag := "!!int"
		if strings.ContainsAny(token.String(), ".eE") {
			tag = "!!float"
		}
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: tag, Value: token.String()}, nil
	default:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: token.String()}, nil
	}
}

// textNode leaves the quotes to the encoder, which knows words that older parsers,
// kubectl's among them, do not take for text: yes, on, 1_000.
func textNode(text string) (*yaml.Node, error) {
	var n yaml.Node
	if err := n.Encode(text); err != nil {
		return nil, fmt.Errorf("writing %q as YAML: %w", text, err)
	}
	n.Line, n.Column = 0, 0
	return &n, nil
}

// writeJSON writes nodes that came from JSON, in their order.
func writeJSON(encoder *jsontext.Encoder, n *yaml.Node) error {
	if n.Kind == yaml.ScalarNode {
		if n.Tag == "!!str" {
			return encoder.WriteToken(jsontext.String(n.Value))
		}
		return encoder.WriteValue(jsontext.Value(n.Value))
	}
	open, end := jsontext.BeginObject, jsontext.EndObject
	if n.Kind == yaml.SequenceNode {
		open, end = jsontext.BeginArray, jsontext.EndArray
	}
	if err := encoder.WriteToken(open); err != nil {
		return err
	}
	for _, child := range n.Content {
		if err := writeJSON(encoder, child); err != nil {
			return err
		}
	}
	return encoder.WriteToken(end)
}

// resolved is what an alias stands for.
func resolved(n *yaml.Node) *yaml.Node {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n
}

// keyIndex is where a mapping has a key; -1 where it does not.
func keyIndex(n *yaml.Node, key string) int {
	for i := 0; i < len(n.Content); i += 2 {
		if k := n.Content[i]; k.Tag != mergeTag && resolved(k).Value == key {
			return i
		}
	}
	return -1
}

// merged is the value of a key that a mapping has from another one by <<.
func merged(n *yaml.Node, key string) *yaml.Node {
	for i := 0; i < len(n.Content); i += 2 {
		if n.Content[i].Tag != mergeTag {
			continue
		}
		sources := []*yaml.Node{n.Content[i+1]}
		if s := resolved(sources[0]); s.Kind == yaml.SequenceNode {
			sources = s.Content
		}
		for _, source := range sources {
			if value := valueOf(resolved(source), key); value != nil {
				return value
			}
		}
	}
	return nil
}

func valueOf(n *yaml.Node, key string) *yaml.Node {
	if i := keyIndex(n, key); i >= 0 {
		return n.Content[i+1]
	}
	return merged(n, key)
}

// find follows a pointer in the document as it was read; nil where it leads nowhere.
func (d *Document) find(pointer []string) *yaml.Node {
	n := d.root
	for _, name := range pointer {
		switch n = resolved(n); n.Kind {
		case yaml.MappingNode:
			n = valueOf(n, name)
		case yaml.SequenceNode:
			i, err := strconv.Atoi(name)
			if err != nil || i < 0 || i >= len(n.Content) {
				return nil
			}
			n = n.Content[i]
		default:
			return nil
		}
		if n == nil {
			return nil
		}
	}
	return n
}

// copyNode copies a node with all below it, as one that belongs to no text and has
// no anchors. Aliases in it go on standing for what they stood for.
func copyNode(n *yaml.Node) *yaml.Node {
	c := *n
	c.Line, c.Column, c.Anchor = 0, 0, ""
	c.Content = slices.Clone(n.Content)
	for i := range c.Content {
		c.Content[i] = copyNode(c.Content[i])
	}
	return &c
}
