package manifest

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	yaml "go.yaml.in/yaml/v3"
)

// Object is a Kubernetes object in a document.
type Object struct {
	APIVersion, Kind string
	// Name is metadata.name, or metadata.generateName.
	Name string
	// Namespace is metadata.namespace; empty where the object does not say it.
	Namespace           string
	Labels, Annotations map[string]string
	// File and Line of the file on which the object begins.
	File string
	Line int
	// Path of the object in its document: empty, or as "items[2]".
	Path string
	// Pods are the pod, or the templates of the pods that the object makes, in the
	// order of the text; empty for an object that makes none.
	Pods []*Pod

	doc     *Document
	pointer []string
}

// Pod is a pod in an object.
type Pod struct {
	// Path of the pod in its document, as "spec.template"; its object's for a Pod.
	Path string
	// JSON of the pod: its metadata, its spec.
	JSON jsontext.Value

	object  *Object
	pointer []string
}

// String names an object for people, as "Deployment shop/web".
func (o *Object) String() string {
	name := o.Name
	if name == "" {
		name = "(no name)"
	}
	if o.Namespace != "" {
		name = o.Namespace + "/" + name
	}
	return o.Kind + " " + name
}

// String names a pod's object for people, and the place in it where it makes several
// kinds of pods.
func (p *Pod) String() string {
	if len(p.object.Pods) == 1 {
		return p.object.String()
	}
	return p.object.String() + " at " + p.Path
}

// IsTemplate says whether pods are made of it, rather than that it is one.
func (p *Pod) IsTemplate() bool { return len(p.pointer) > len(p.object.pointer) }

// Place is the file and the line of the object, as "web.yaml:12".
func (o *Object) Place() string { return o.File + ":" + strconv.Itoa(o.Line) }

// partialObject is what is read of an object to find the pod in it.
type partialObject struct {
	APIVersion string          `json:"apiVersion"`
	Kind       string          `json:"kind"`
	Metadata   partialMetadata `json:"metadata"`
	Items      jsontext.Value  `json:"items"`
}

type partialMetadata struct {
	Name         string            `json:"name"`
	GenerateName string            `json:"generateName"`
	Namespace    string            `json:"namespace"`
	Labels       map[string]string `json:"labels"`
	Annotations  map[string]string `json:"annotations"`
}

// findObjects reads the objects of a document.
func (d *Document) findObjects() *Error {
	if d.root.Kind != yaml.MappingNode {
		return nil // a list or a word: no object, so left as it is
	}
	return d.addObjects(d.raw, nil)
}

func (d *Document) addObjects(raw jsontext.Value, pointer []string) *Error {
	if err := d.checkText(raw, pointer); err != nil {
		return err
	}
	var partial partialObject
	if err := json.Unmarshal(raw, &partial, jsontext.AllowDuplicateNames(true)); err != nil {
		return d.noObject(pointer, err)
	}
	if strings.HasSuffix(partial.Kind, "List") && partial.Items.Kind() == '[' {
		var items []jsontext.Value
		if err := json.Unmarshal(partial.Items, &items); err != nil {
			return d.wrongAt(pointer, "reading the items of the %s: %v", partial.Kind, err)
		}
		for n, item := range items {
			if item.Kind() != '{' {
				continue
			}
			if err := d.addObjects(item, slices.Concat(pointer, []string{"items", strconv.Itoa(n)})); err != nil {
				return err
			}
		}
		return nil
	}
	meta := partial.Metadata
	object := &Object{
		APIVersion: partial.APIVersion, Kind: partial.Kind, Name: meta.Name, Namespace: meta.Namespace,
		Labels: meta.Labels, Annotations: meta.Annotations,
		File: d.name, Line: d.lineOf(pointer), Path: fieldPath(pointer), doc: d, pointer: pointer,
	}
	if object.Name == "" {
		object.Name = meta.GenerateName
	}
	d.Objects = append(d.Objects, object)
	return object.findPods(raw)
}

// checkText finds a label or annotation that is not text, as an unquoted true: the
// commonest mistake with them, which kube-apiserver explains badly.
func (d *Document) checkText(raw jsontext.Value, pointer []string) *Error {
	for _, list := range [...]string{"labels", "annotations"} {
		var values map[string]jsontext.Value
		if err := json.Unmarshal(member(raw, "metadata", list), &values); err != nil {
			continue // not an object: that is found where it is read
		}
		for _, key := range slices.Sorted(maps.Keys(values)) {
			value := values[key]
			if value.Kind() == '"' || value.Kind() == 'n' {
				continue
			}
			at := slices.Concat(pointer, []string{"metadata", list, key})
			if value.Kind() == '{' || value.Kind() == '[' {
				return d.wrongAt(at, "the value of %s in %s has to be text", key, list)
			}
			return d.wrongAt(at, "the value of %s in %s has to be text, and %s without quotes is not: write %s: \"%s\"", key, list, value, key, value)
		}
	}
	return nil
}

// place is the file and line of something in the document.
func (d *Document) place(pointer []string) string {
	return d.name + ":" + strconv.Itoa(d.lineOf(pointer))
}

func (d *Document) lineOf(pointer []string) int {
	if n := d.find(pointer); n != nil && n.Line > 0 {
		return d.line + n.Line - 1
	}
	return d.line
}

// Field turns a field's path in the pod, as Kubernetes' validation writes it, into
// the path in the document, and the file and line of the field or of what is
// nearest above it.
func (p *Pod) Field(path string) (inDocument, place string) {
	pointer := slices.Concat(p.pointer, splitField(path))
	inDocument = path
	if p.Path != "" {
		inDocument = p.Path + "." + path
	}
	return inDocument, p.object.File + ":" + strconv.Itoa(p.object.doc.lineOfField(pointer))
}

// LineOf is the line of a field, whose path in the object is as Kubernetes' validation
// writes it, or of what is nearest above it.
func (o *Object) LineOf(path string) int {
	return o.doc.lineOfField(slices.Concat(o.pointer, splitField(path)))
}

// lineOfField is where the field begins: the line of its name, if it has one.
func (d *Document) lineOfField(pointer []string) int {
	for len(pointer) > 0 && d.find(pointer) == nil {
		pointer = pointer[:len(pointer)-1]
	}
	if last := len(pointer) - 1; last >= 0 {
		parent := resolved(d.find(pointer[:last]))
		if parent.Kind == yaml.MappingNode {
			if key := keyIndex(parent, pointer[last]); key >= 0 && parent.Content[key].Line > 0 {
				return d.line + parent.Content[key].Line - 1
			}
		}
	}
	return d.lineOf(pointer)
}

// splitField takes a path as metadata.annotations[a/b.c] or spec.volumes[0].name
// apart.
func splitField(path string) []string {
	var names []string
	for path != "" {
		path = strings.TrimPrefix(path, ".")
		if rest, ok := strings.CutPrefix(path, "["); ok {
			name, after, _ := strings.Cut(rest, "]")
			names, path = append(names, name), after
			continue
		}
		end := strings.IndexAny(path, ".[")
		if end < 0 {
			end = len(path)
		}
		names, path = append(names, path[:end]), path[end:]
	}
	return names
}

// fieldPath writes a pointer the way Kubernetes' error messages do.
func fieldPath(pointer []string) string {
	var path strings.Builder
	for _, name := range pointer {
		if _, err := strconv.Atoi(name); err == nil {
			path.WriteString("[" + name + "]")
			continue
		}
		if path.Len() > 0 {
			path.WriteByte('.')
		}
		path.WriteString(name)
	}
	return path.String()
}
