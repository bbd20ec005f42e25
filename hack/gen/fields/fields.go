// Package fields makes the table of InjectorConfig's fields from the Go types,
// their comments and their defaults.
package fields

import (
	"bytes"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"reflect"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/pillion-mesh/pillion/api/v1alpha1"
)

// List is the table, in the order of the types. The source is that of the file in
// which they stand; a field without a comment is an error.
func List(source []byte) ([]v1alpha1.Field, error) {
	docs, err := comments(source)
	if err != nil {
		return nil, err
	}
	w := walker{docs: docs, list: []v1alpha1.Field{
		{Path: "apiVersion", Type: "string", Doc: "The version of this kind of document.", Enum: []string{v1alpha1.APIVersion}, Required: true},
		{Path: "kind", Type: "string", Doc: "The kind of document.", Enum: []string{v1alpha1.KindInjectorConfig}, Required: true},
	}}
	w.object("", reflect.ValueOf(v1alpha1.DefaultConfig()).Elem())
	return w.done()
}

// MeshService is the table of what owners write in a MeshService, without defaults:
// many depend on other fields, and the comments tell them. The sources are those of
// the files in which its types stand.
func MeshService(sources ...[]byte) ([]v1alpha1.Field, error) {
	docs, err := comments(bytes.Join(append([][]byte{[]byte("package v1alpha1\n")}, withoutHeads(sources)...), []byte("\n")))
	if err != nil {
		return nil, err
	}
	w := walker{docs: docs}
	w.object("spec", reflect.ValueOf(v1alpha1.MeshServiceSpec{}))
	return w.done()
}

// withoutHeads are the sources without their package clauses and imports.
func withoutHeads(sources [][]byte) [][]byte {
	bodies := make([][]byte, len(sources))
	for n, source := range sources {
		_, bodies[n], _ = bytes.Cut(source, []byte("\n//"))
		bodies[n] = append([]byte("//"), bodies[n]...)
	}
	return bodies
}

// comments are the doc comments of struct fields, by "Type.Field".
func comments(source []byte) (map[string]string, error) {
	file, err := parser.ParseFile(token.NewFileSet(), "types.go", source, parser.ParseComments)
	if err != nil {
		return nil, fmt.Errorf("reading the types: %w", err)
	}
	docs := map[string]string{}
	ast.Inspect(file, func(node ast.Node) bool {
		spec, ok := node.(*ast.TypeSpec)
		if !ok {
			return true
		}
		if object, ok := spec.Type.(*ast.StructType); ok {
			for _, field := range object.Fields.List {
				for _, name := range field.Names {
					text, _, _ := strings.Cut(field.Doc.Text(), "\n+") // markers, for the schema
					docs[spec.Name.Name+"."+name.Name] = strings.Join(strings.Fields(text), " ")
				}
			}
		}
		return false
	})
	return docs, nil
}

type walker struct {
	docs         map[string]string
	list         []v1alpha1.Field
	undocumented []string
}

func (w *walker) done() ([]v1alpha1.Field, error) {
	if w.undocumented != nil {
		return nil, fmt.Errorf("these fields have no comment: %s", strings.Join(w.undocumented, ", "))
	}
	return w.list, nil
}

// object lists the fields of a struct, given with its defaults.
func (w *walker) object(parent string, object reflect.Value) {
	for field, value := range object.Fields() {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		if name == "" {
			// What namespaces[] has in common with the top level is listed there.
			if field.Type == reflect.TypeFor[v1alpha1.Settings]() && parent == "" {
				w.object(parent, value)
			}
			continue
		}
		path := strings.TrimPrefix(parent+"."+name, ".")
		doc := w.docs[object.Type().Name()+"."+field.Name]
		if doc == "" {
			w.undocumented = append(w.undocumented, path)
		}
		if rest, ok := strings.CutPrefix(doc, field.Name); ok {
			doc = name + rest
		}
		kind, item := kindOf(field.Type)
		row := v1alpha1.Field{Path: path, Type: kind, Default: defaultOf(kind, value), Doc: doc, Enum: v1alpha1.Accepted(path), Required: strings.HasSuffix(doc, " Required.")}
		if strings.HasPrefix(kind, v1alpha1.ListOf) {
			row.Enum = v1alpha1.Accepted(path + "[]")
			path += "[]"
		}
		w.list = append(w.list, row)
		if strings.HasSuffix(kind, "object") {
			below := reflect.New(item).Elem()
			if value.Kind() == reflect.Struct {
				below = value
			}
			w.object(path, below)
		}
	}
}

// kindOf is the Field.Type of a Go type, and the Go type without pointer and list.
func kindOf(t reflect.Type) (string, reflect.Type) {
	switch t {
	case reflect.TypeFor[resource.Quantity]():
		return "quantity", t
	case reflect.TypeFor[metav1.Duration]():
		return "duration", t
	case reflect.TypeFor[intstr.IntOrString]():
		return "ports", t
	}
	switch t.Kind() {
	case reflect.Pointer:
		return kindOf(t.Elem())
	case reflect.Slice:
		kind, item := kindOf(t.Elem())
		return v1alpha1.ListOf + kind, item
	case reflect.Struct:
		return "object", t
	case reflect.Int32, reflect.Int64:
		return "integer", t
	default:
		return "string", t
	}
}

// defaultOf is a default as JSON; empty where there is none.
func defaultOf(kind string, value reflect.Value) string {
	if kind == "object" || value.IsZero() {
		return ""
	}
	if duration, ok := value.Interface().(*metav1.Duration); ok {
		// 1m, where Go writes 1m0s.
		text := duration.Duration.String()
		if strings.HasSuffix(text, "m0s") {
			text = strings.TrimSuffix(text, "0s")
		}
		return `"` + text + `"`
	}
	text, err := json.Marshal(value.Interface())
	if err != nil {
		return ""
	}
	return string(text)
}
