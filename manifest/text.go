package manifest

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
	yaml "go.yaml.in/yaml/v3"
	k8syaml "sigs.k8s.io/yaml"
)

// Text of the document with all patches applied. A document without patches is
// returned as it was read.
func (d *Document) Text() (string, error) {
	if len(d.patches) == 0 {
		return d.text, nil
	}
	want, err := d.JSON()
	if err != nil {
		return "", err
	}
	root := d.root
	if !d.json {
		// The parsed document stays as it is, for the next call.
		if root, err = parse(d.text); err != nil {
			return "", fmt.Errorf("%s: %w", d.place(nil), err)
		}
	} else {
		root = copyNode(root)
	}
	t := &tree{root: root, before: make(map[*yaml.Node][]*yaml.Node)}
	for _, p := range d.patches {
		if err := t.apply(p); err != nil {
			return "", fmt.Errorf("%s: editing the document: %w", d.place(p.pointer), err)
		}
	}
	if d.json {
		return d.jsonText(root, want)
	}
	// Empty lines mostly stand between things, and sometimes belong to the text above.
	for _, between := range []bool{true, false} {
		if text, ok := newSplicer(d.text, t, between).splice(); ok && means(text, want) {
			return text, nil
		}
	}
	text, err := encode(root, layoutOf(d.root))
	if err != nil {
		return "", fmt.Errorf("%s: writing the document: %w", d.place(nil), err)
	}
	if !means(text, want) {
		return "", fmt.Errorf("%s: this document is written in a way that Pillion cannot edit without changing what it means; write the pod without anchors, tags and explicit keys (?), or as `kubectl apply --dry-run=client -o yaml` prints it", d.place(nil))
	}
	return text, nil
}

func parse(text string) (*yaml.Node, error) {
	var parsed yaml.Node
	if err := yaml.Unmarshal([]byte(text), &parsed); err != nil {
		return nil, err
	}
	return parsed.Content[0], nil
}

// means says whether a text is read by kubectl as the given JSON.
func means(text string, want []byte) bool {
	got, err := k8syaml.YAMLToJSON([]byte(text))
	return err == nil && sameJSON(got, want)
}

func sameJSON(a, b []byte) bool {
	x, y := jsontext.Value(bytes.Clone(a)), jsontext.Value(bytes.Clone(b))
	// Numbers as they are: the canonical form would round large ones.
	raw := jsontext.CanonicalizeRawInts(false)
	return x.Canonicalize(raw) == nil && y.Canonicalize(raw) == nil && bytes.Equal(x, y)
}

// jsonText writes a JSON document in its order, indented if it was.
func (d *Document) jsonText(root *yaml.Node, want []byte) (string, error) {
	var out strings.Builder
	options := []jsontext.Options{jsontext.SpaceAfterColon(false)}
	if indent := indentOf(d.text); indent != "" {
		options = []jsontext.Options{jsontext.WithIndent(indent)}
	}
	if err := writeJSON(jsontext.NewEncoder(&out, options...), root); err != nil {
		return "", fmt.Errorf("%s: writing the document: %w", d.place(nil), err)
	}
	text := strings.TrimSuffix(out.String(), "\n")
	if !sameJSON([]byte(text), want) {
		return "", fmt.Errorf("%s: the edited document is not what the patch makes of it; please report this with the manifest", d.place(nil))
	}
	return text, nil
}

// indentOf is what the second line of a text begins with.
func indentOf(text string) string {
	_, second, _ := strings.Cut(text, "\n")
	return second[:len(second)-len(strings.TrimLeft(second, " \t"))]
}

// layout is how deep a document indents.
type layout struct {
	// indent of a mapping below its key.
	indent int
	// compact says that list items are no deeper than their key.
	compact bool
}

// layoutOf takes the layout of a document from the first places that show it.
func layoutOf(root *yaml.Node) layout {
	return layout{
		indent:  max(2, firstStep(root, yaml.MappingNode)),
		compact: firstStep(root, yaml.SequenceNode) == 0,
	}
}

// firstStep is how much deeper than its key the first block of a kind is; -1 where
// there is none.
func firstStep(n *yaml.Node, kind yaml.Kind) int {
	for i, child := range n.Content {
		if n.Kind == yaml.MappingNode && i%2 == 1 && child.Kind == kind && child.Style&yaml.FlowStyle == 0 && child.Line > n.Content[i-1].Line {
			return child.Column - n.Content[i-1].Column
		}
		if step := firstStep(child, kind); step >= 0 {
			return step
		}
	}
	return -1
}

// encode writes nodes as YAML.
func encode(n *yaml.Node, l layout) (string, error) {
	dropMergeTags(n)
	var out strings.Builder
	encoder := yaml.NewEncoder(&out)
	encoder.SetIndent(l.indent)
	if l.compact {
		encoder.CompactSeqIndent()
	}
	if err := encoder.Encode(n); err != nil {
		return "", err
	}
	return out.String(), encoder.Close()
}

// dropMergeTags keeps the encoder from writing the tag of << out.
func dropMergeTags(n *yaml.Node) {
	if n.Tag == mergeTag {
		n.Tag = ""
	}
	for _, child := range n.Content {
		dropMergeTags(child)
	}
}
