package v1alpha1

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pillion-mesh/pillion/nearest"
)

// DecodeMeshService reads a MeshService from YAML or JSON, fills in the defaults and
// validates it. It is as strict as Decode about everything that owners write. What
// an API server adds is taken as it comes: most of metadata, and the status.
// The error is Problems.
func DecodeMeshService(data []byte) (*MeshService, error) {
	object, problems := documentOf(data, KindMeshService)
	if len(problems) > 0 {
		return nil, problems
	}
	meta, metaProblems := readMetadata(object["metadata"])
	status := readStatus(object["status"])
	// The rest is ours; to the reader the two are known, and empty.
	own := maps.Clone(object)
	delete(own, "metadata")
	delete(own, "status")
	mesh, problems := readObject[MeshService](own)
	mesh.ObjectMeta, mesh.Status = meta, status
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
	if err := convert(object, &meta); err != nil {
		problems = append(problems, Problem{"metadata", "is not what Kubernetes takes: " + err.Error()})
	}
	return meta, problems
}

// readStatus reads what the controller wrote. Nobody acts on it, so what a newer
// controller says in a way that is not known here is no mistake of the owner's.
func readStatus(value any) MeshServiceStatus {
	var status MeshServiceStatus
	if convert(value, &status) != nil {
		return MeshServiceStatus{}
	}
	return status
}

func convert(value, target any) error {
	text, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, target)
}
