package v1alpha1

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pillion-mesh/pillion/nearest"
)

// DecodeMeshService reads a MeshService from YAML or JSON, fills in the defaults and
// validates it. It is as strict as Decode about everything that owners write. Metadata,
// most of which an API server adds, is taken as it comes, and the status is passed over:
// nobody acts on it, so what a newer controller says in a way that is not known here is no
// mistake of the owner's. The error is Problems.
func DecodeMeshService(data []byte) (*MeshService, error) {
	object, problems := documentOf(data, KindMeshService)
	if len(problems) > 0 {
		return nil, problems
	}
	meta, metaProblems := readMetadata(object["metadata"])
	// The rest is ours; to the reader the two are known, and empty.
	own := maps.Clone(object)
	delete(own, "metadata")
	delete(own, "status")
	mesh, problems := readObject[MeshService](own)
	mesh.ObjectMeta = meta
	problems = append(problems, metaProblems...)
	problems = append(problems, missingKind(&mesh.TypeMeta, KindMeshService, problems)...)
	DefaultMeshService(mesh)
	if problems = problems.withInvalid(ValidateMeshService(mesh)); len(problems) > 0 {
		return nil, problems.sorted()
	}
	return mesh, nil
}

// readMetadata reads what every object has. Only its names of fields are held
// against a list: what is in them is Kubernetes' matter.
func readMetadata(value any) (metav1.ObjectMeta, Problems) {
	var meta metav1.ObjectMeta
	if value == nil {
		return meta, nil // that the name is missing is said by validation
	}
	object, ok := value.(map[string]any)
	if !ok {
		return meta, Problems{{"metadata", fmt.Sprintf("must have fields (name, namespace), got %s", show(value))}}
	}
	var problems Problems
	names := fieldNames(reflect.ValueOf(&meta).Elem())
	for _, name := range slices.Sorted(maps.Keys(object)) {
		if slices.Contains(names, name) {
			continue
		}
		if near, ok := nearest.Name(name, names); ok {
			problems = append(problems, Problem{"metadata." + name, fmt.Sprintf("unknown field; did you mean %s?", near)})
		} else {
			problems = append(problems, Problem{"metadata." + name, "unknown field; known here: " + strings.Join(names, ", ")})
		}
	}
	err := convert(object, &meta)
	wrong := (*json.UnmarshalTypeError)(nil)
	switch {
	case errors.As(err, &wrong) && wrong.Field != "":
		problems = append(problems, wrongMetadata(object, wrong))
	case err != nil:
		problems = append(problems, Problem{"metadata", "is not what Kubernetes takes: " + err.Error()})
	}
	return meta, problems
}

func wrongMetadata(object map[string]any, wrong *json.UnmarshalTypeError) Problem {
	must, got := "be ", "a value of another type ("+wrong.Value+")"
	if value, given := object[wrong.Field]; given {
		got = show(value)
		field := fieldsOf(reflect.ValueOf(&metav1.ObjectMeta{}).Elem())[wrong.Field]
		if field.IsValid() && field.Kind() == reflect.ValueOf(value).Kind() {
			must = "have only values that are " // one of labels or finalizers
		}
	}
	return Problem{"metadata." + wrong.Field, fmt.Sprintf("must %s%s, got %s", must, typeName(wrong.Type), got)}
}

// typeName names a type as people who write YAML do.
func typeName(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Map, reflect.Struct, reflect.Pointer:
		return "a mapping"
	case reflect.Slice:
		return "a list"
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int32, reflect.Int64:
		return "a whole number"
	}
	return "a text (in quotes where it looks like a number or a boolean)"
}

func convert(value, target any) error {
	text, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, target)
}
