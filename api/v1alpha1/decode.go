package v1alpha1

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"

	yamlv3 "go.yaml.in/yaml/v3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"

	"github.com/pillion-mesh/pillion/nearest"
)

// Decode reads an InjectorConfig from YAML or JSON, fills in the defaults and
// validates it. It is strict: a field that is not known, a key that is given
// twice and a value that is empty are mistakes. The error is Problems and holds
// all of them; what cannot be parsed at all is one Problem without a path.
func Decode(data []byte) (*InjectorConfig, error) {
	object, problems := documentOf(data, KindInjectorConfig)
	if len(problems) > 0 {
		return nil, problems
	}
	config, problems := readObject[InjectorConfig](object)
	problems = append(problems, missingKind(&config.TypeMeta, KindInjectorConfig, problems)...)
	Default(config)
	if problems = problems.withInvalid(Validate(config)); len(problems) > 0 {
		return nil, problems.sorted()
	}
	return config, nil
}

// documentOf are the fields of a document that is of a kind, as far as it says.
func documentOf(data []byte, kind string) (map[string]any, Problems) {
	document, err := parse(data)
	if err != nil {
		return nil, Problems{{Message: err.Error()}}
	}
	object, ok := document.(map[string]any)
	if !ok {
		return nil, Problems{{Message: fmt.Sprintf("must be a document with fields, as `apiVersion: %s`, got %s", APIVersion, show(document))}}
	}
	// Each field of another kind of document would be a problem too.
	return object, wrongKind(object, kind)
}

// missingKind says that a document does not say what it is.
func missingKind(meta *metav1.TypeMeta, kind string, known Problems) Problems {
	var problems Problems
	if meta.APIVersion == "" && !known.covers("apiVersion") {
		problems = append(problems, Problem{"apiVersion", "is required: " + APIVersion})
	}
	if meta.Kind == "" && !known.covers("kind") {
		problems = append(problems, Problem{"kind", "is required: " + kind})
	}
	return problems
}

// wrongKind says that a document is of another kind than it should be.
func wrongKind(object map[string]any, kind string) Problems {
	var problems, absent Problems
	for _, want := range [...]struct{ path, accepted string }{{"apiVersion", APIVersion}, {"kind", kind}} {
		if _, is := object[want.path]; !is {
			absent = append(absent, Problem{want.path, "is required: " + want.accepted})
		}
		got, given := object[want.path].(string)
		if !given || got == want.accepted || got == "" {
			continue
		}
		message := fmt.Sprintf("%q is not known; accepted is %s", got, want.accepted)
		if _, near := nearest.Name(got, []string{want.accepted}); near {
			message = fmt.Sprintf("%q is not known; did you mean %s?", got, want.accepted)
		}
		problems = append(problems, Problem{want.path, message})
	}
	if len(problems) == 0 {
		return nil // what is absent is said with all the rest
	}
	return append(problems, absent...).sorted()
}

// parse reads one document of YAML or JSON into maps, lists, strings, numbers and
// booleans. A key that is given twice is an error.
func parse(data []byte) (any, error) {
	if !utf8.Valid(data) {
		return nil, errors.New("is not a text in UTF-8")
	}
	// JSON is YAML but for its tabs, which YAML does not take for indentation.
	if !json.Valid(data) {
		if err := oneDocument(data); err != nil {
			return nil, err
		}
		converted, err := yaml.YAMLToJSONStrict(data)
		if err != nil {
			return nil, fmt.Errorf("is not valid YAML: %w", err)
		}
		data = converted
	}
	var document any
	duplicates, err := kjson.UnmarshalStrict(data, &document)
	if err != nil {
		return nil, fmt.Errorf("is not valid JSON: %w", err)
	}
	if len(duplicates) > 0 {
		return nil, errors.Join(duplicates...)
	}
	return document, nil
}

// oneDocument fails for a second YAML document, which the conversion to JSON
// would pass over in silence.
func oneDocument(data []byte) error {
	decoder := yamlv3.NewDecoder(bytes.NewReader(data))
	for n := 0; ; n++ {
		var node yamlv3.Node
		switch err := decoder.Decode(&node); {
		case errors.Is(err, io.EOF) && n == 0:
			return errors.New("the document is empty")
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("is not valid YAML: %w", err)
		case n > 0:
			return errors.New("has more than one YAML document; give one")
		}
	}
}
