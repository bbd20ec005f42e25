package manifest

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	yaml "go.yaml.in/yaml/v3"
	jsonpatch "gopkg.in/evanphx/json-patch.v4"
)

// patch is a JSON patch for a part of a document.
type patch struct {
	pointer []string
	ops     []operation
}

// operation of a JSON patch (RFC 6902), of the three that edits are made of.
type operation struct {
	Op    string         `json:"op"`
	Path  string         `json:"path"`
	Value jsontext.Value `json:"value,omitempty"`
}

// Edit notes a JSON patch (RFC 6902: add, replace, remove) for the pod. It takes
// effect in Document.Text. Paths in it are those of Pod.JSON.
func (p *Pod) Edit(rfc6902 []byte) error {
	var ops []operation
	if err := json.Unmarshal(rfc6902, &ops); err != nil {
		return fmt.Errorf("%s: reading the patch for %s: %w", p.object.Place(), p.object, err)
	}
	for _, op := range ops {
		if !slices.Contains([]string{"add", "replace", "remove"}, op.Op) || !strings.HasPrefix(op.Path, "/") {
			return fmt.Errorf("%s: reading the patch for %s: %q at %q; accepted is add, replace and remove of something in the pod", p.object.Place(), p.object, op.Op, op.Path)
		}
	}
	if len(ops) > 0 {
		doc := p.object.doc
		doc.patches = append(doc.patches, patch{p.pointer, ops})
	}
	return nil
}

// JSON of the document with all patches applied, by the engine that kube-apiserver
// uses.
func (d *Document) JSON() ([]byte, error) {
	raw := []byte(d.raw)
	for _, p := range d.patches {
		ops := slices.Clone(p.ops)
		for n := range ops {
			ops[n].Path = joinPointer(p.pointer) + ops[n].Path
		}
		text, err := json.Marshal(ops)
		if err != nil {
			return nil, fmt.Errorf("%s: writing a patch: %w", d.place(p.pointer), err)
		}
		decoded, err := jsonpatch.DecodePatch(text)
		if err != nil {
			return nil, fmt.Errorf("%s: reading a patch: %w", d.place(p.pointer), err)
		}
		if raw, err = decoded.Apply(raw); err != nil {
			return nil, fmt.Errorf("%s: applying a patch: %w", d.place(p.pointer), err)
		}
	}
	return raw, nil
}

func joinPointer(names []string) string {
	var pointer strings.Builder
	for _, name := range names {
		pointer.WriteByte('/')
		pointer.WriteString(strings.ReplaceAll(strings.ReplaceAll(name, "~", "~0"), "/", "~1"))
	}
	return pointer.String()
}

func splitPointer(pointer string) []string {
	if pointer == "" {
		return nil
	}
	names := strings.Split(pointer[1:], "/")
	for n := range names {
		names[n] = strings.ReplaceAll(strings.ReplaceAll(names[n], "~1", "/"), "~0", "~")
	}
	return names
}

// tree is a document's nodes while they are changed.
type tree struct {
	root *yaml.Node
	// before has the content of each changed node as the text has it.
	before map[*yaml.Node][]*yaml.Node
}

// touch has to be called before a node's content is changed.
func (t *tree) touch(n *yaml.Node) {
	if _, done := t.before[n]; !done && n.Line > 0 {
		t.before[n] = slices.Clone(n.Content)
	}
}

func (t *tree) apply(p patch) error {
	for _, op := range p.ops {
		names := slices.Concat(p.pointer, splitPointer(op.Path))
		if err := t.operate(op, names); err != nil {
			return fmt.Errorf("%s at %s: %w", op.Op, op.Path, err)
		}
	}
	return nil
}

func (t *tree) operate(op operation, names []string) error {
	parent, err := t.walk(names[:len(names)-1])
	if err != nil {
		return err
	}
	var value *yaml.Node
	if op.Op != "remove" {
		if value, err = nodeOf(op.Value); err != nil {
			return err
		}
	}
	last := names[len(names)-1]
	t.touch(parent)
	if op.Op != "add" || parent.Kind == yaml.MappingNode {
		t.keepShared(child(parent, last))
	}
	switch parent.Kind {
	case yaml.MappingNode:
		return setKey(parent, op.Op, last, value)
	case yaml.SequenceNode:
		return setItem(parent, op.Op, last, value)
	}
	return fmt.Errorf("there is neither a list nor a mapping at %s", joinPointer(names[:len(names)-1]))
}

func setKey(n *yaml.Node, op, key string, value *yaml.Node) error {
	i := keyIndex(n, key)
	switch {
	case op == "remove" && (i < 0 || merged(n, key) != nil):
		return fmt.Errorf("%s cannot be taken out of a mapping that has it by <<: write it without <<", key)
	case op == "remove":
		n.Content = slices.Delete(n.Content, i, i+2)
	case i >= 0:
		n.Content[i+1] = value
	default:
		n.Content = append(n.Content, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: key}, value)
	}
	return nil
}

func setItem(n *yaml.Node, op, index string, value *yaml.Node) error {
	i, err := strconv.Atoi(index)
	if index == "-" && op == "add" {
		i, err = len(n.Content), nil
	}
	if err != nil || i < 0 || i > len(n.Content) || (i == len(n.Content) && op != "add") {
		return fmt.Errorf("the list has %d items and none at %s", len(n.Content), index)
	}
	switch op {
	case "add":
		n.Content = slices.Insert(n.Content, i, value)
	case "replace":
		n.Content[i] = value
	default:
		n.Content = slices.Delete(n.Content, i, i+1)
	}
	return nil
}

// walk goes to a node that is going to be changed. What is shared with other
// places of the document, by anchor and alias or by <<, is given copies on the
// way, so that the change is seen in this place alone.
func (t *tree) walk(names []string) (*yaml.Node, error) {
	n := t.root
	for at, name := range names {
		if n.Anchor != "" {
			t.unshare(t.root, n)
		}
		var i int
		switch n.Kind {
		case yaml.MappingNode:
			if i = keyIndex(n, name); i < 0 {
				value := merged(n, name)
				if value == nil {
					return nil, fmt.Errorf("there is no %s", joinPointer(names[:at+1]))
				}
				t.touch(n)
				i = len(n.Content)
				n.Content = append(n.Content, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: name}, copyNode(resolved(value)))
			}
			i++
		case yaml.SequenceNode:
			var err error
			if i, err = strconv.Atoi(name); err != nil || i < 0 || i >= len(n.Content) {
				return nil, fmt.Errorf("there is no %s", joinPointer(names[:at+1]))
			}
		default:
			return nil, fmt.Errorf("there is no %s", joinPointer(names[:at+1]))
		}
		if child := n.Content[i]; child.Kind == yaml.AliasNode {
			t.touch(n)
			n.Content[i] = copyNode(resolved(child))
		}
		n = n.Content[i]
	}
	if n.Anchor != "" {
		t.unshare(t.root, n)
	}
	return n, nil
}

// child is what is at a name in a node; nil where there is nothing.
func child(n *yaml.Node, name string) *yaml.Node {
	if n.Kind == yaml.MappingNode {
		if i := keyIndex(n, name); i >= 0 {
			return n.Content[i+1]
		}
		return nil
	}
	if i, err := strconv.Atoi(name); err == nil && 0 <= i && i < len(n.Content) {
		return n.Content[i]
	}
	return nil
}

// keepShared has to be called before a node goes: other places may have it, or
// something in it, by an alias.
func (t *tree) keepShared(n *yaml.Node) {
	if n == nil {
		return
	}
	if n.Anchor != "" {
		t.unshare(t.root, n)
	}
	for _, below := range n.Content {
		t.keepShared(below)
	}
}

// unshare puts a copy of an anchored node in the place of each of its aliases.
func (t *tree) unshare(in, anchored *yaml.Node) {
	for i, child := range in.Content {
		if child.Kind == yaml.AliasNode && child.Alias == anchored {
			t.touch(in)
			in.Content[i] = copyNode(anchored)
			continue
		}
		t.unshare(child, anchored)
	}
}
