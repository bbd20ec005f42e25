package main

import (
	"encoding/json"
	"fmt"
	"reflect"

	"github.com/invopop/jsonschema"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/pillion-mesh/pillion/api/v1alpha1"
	injectorschema "github.com/pillion-mesh/pillion/hack/gen/schema"
)

// valuesSchema is values.schema.json. Helm applies it after it has joined the
// user's values with values.yaml, so a value without `omitempty` is required: only
// erasing it (null) leaves it out.
func valuesSchema() ([]byte, error) {
	injector, err := injectorschema.InjectorValues()
	if err != nil {
		return nil, err
	}
	reflector := &jsonschema.Reflector{
		Anonymous: true, ExpandedStruct: true,
		Mapper: func(t reflect.Type) *jsonschema.Schema { return wireForm(t, injector) },
	}
	// The package is "main" in the command and has its path in a test.
	if err := reflector.AddGoComments(reflect.TypeFor[Values]().PkgPath(), "."); err != nil {
		return nil, fmt.Errorf("reading the comments of the values: %w", err)
	}
	text, err := json.MarshalIndent(reflector.Reflect(&Values{}), "", "  ")
	if err != nil {
		return nil, fmt.Errorf("writing the schema: %w", err)
	}
	return append(text, '\n'), nil
}

// wireForm describes the types that are not written as their Go fields say.
func wireForm(t reflect.Type, injector map[string]any) *jsonschema.Schema {
	switch t {
	case reflect.TypeFor[v1alpha1.InjectorConfig]():
		return &jsonschema.Schema{Extras: injector}
	case reflect.TypeFor[resource.Quantity]():
		return &jsonschema.Schema{OneOf: []*jsonschema.Schema{
			{Type: "string", Pattern: v1alpha1.QuantityPattern}, {Type: "number", ExclusiveMinimum: "0"},
		}}
	case reflect.TypeFor[intstr.IntOrString]():
		return &jsonschema.Schema{OneOf: []*jsonschema.Schema{
			{Type: "string", Pattern: "^([1-9][0-9]?|100)%$"}, {Type: "integer", Minimum: "1"},
		}}
	}
	return nil
}
