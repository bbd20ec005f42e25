package main

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"

	"github.com/invopop/jsonschema"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/pillion-mesh/pillion/api/v1alpha1"
)

const module = "github.com/pillion-mesh/pillion"

// valuesSchema is values.schema.json. Helm applies it after it has joined the
// user's values with values.yaml, so a value without `omitempty` is required: only
// erasing it (null) leaves it out.
func valuesSchema() ([]byte, error) {
	reflector := &jsonschema.Reflector{Anonymous: true, ExpandedStruct: true, Mapper: wireForm}
	for _, source := range []struct{ base, folder string }{
		// The base is what the folder is joined to, to become the package's path.
		{module + "/hack/gen/chart", "../../../api/v1alpha1"},
		// "main" in the command, the path in a test.
		{reflect.TypeFor[Values]().PkgPath(), "."},
	} {
		if err := reflector.AddGoComments(source.base, source.folder); err != nil {
			return nil, fmt.Errorf("reading the comments in %s: %w", source.folder, err)
		}
	}
	schema := reflector.Reflect(&Values{})
	if err := restrict(schema); err != nil {
		return nil, err
	}
	text, err := json.MarshalIndent(schema, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("writing the schema: %w", err)
	}
	return append(text, '\n'), nil
}

// wireForm describes types that are not written as their Go fields say.
func wireForm(t reflect.Type) *jsonschema.Schema {
	text, number := &jsonschema.Schema{Type: "string"}, &jsonschema.Schema{Type: "number"}
	switch t {
	case reflect.TypeFor[resource.Quantity]():
		return &jsonschema.Schema{OneOf: []*jsonschema.Schema{text, number}}
	case reflect.TypeFor[intstr.IntOrString]():
		return &jsonschema.Schema{OneOf: []*jsonschema.Schema{text, {Type: "integer"}}}
	case reflect.TypeFor[metav1.Duration]():
		return &jsonschema.Schema{Type: "string", Pattern: `^([0-9]+(h|m|s))+$`}
	case reflect.TypeFor[v1alpha1.SidecarMode]():
		return oneOf("sidecar.mode")
	case reflect.TypeFor[v1alpha1.WellKnownPorts]():
		return oneOf("redirect.wellKnownPorts")
	case reflect.TypeFor[v1alpha1.IPFamily]():
		return oneOf("redirect.ipFamilies[]")
	case reflect.TypeFor[v1alpha1.GracePeriodPolicy]():
		return oneOf("lifecycle.gracePeriod")
	case reflect.TypeFor[v1alpha1.AppPreStopPolicy]():
		return oneOf("lifecycle.appPreStop")
	case reflect.TypeFor[v1alpha1.ProbePolicy]():
		return oneOf("lifecycle.probes")
	}
	return nil
}

// oneOf is the closed set of a field of InjectorConfig.
func oneOf(path string) *jsonschema.Schema {
	schema := &jsonschema.Schema{Type: "string"}
	for _, word := range v1alpha1.Accepted(path) {
		schema.Enum = append(schema.Enum, word)
	}
	return schema
}

// restrict adds what the templates rely on: these strings become part of a CEL
// expression or of a regular expression in it, and so must not end either.
func restrict(schema *jsonschema.Schema) error {
	for path, pattern := range map[string]string{
		"InjectorConfig.excludedNamespaces": `^[a-z0-9*?-]+$`,
		"OptIn.label":                       `^([A-Za-z0-9][A-Za-z0-9.-]*/)?[A-Za-z0-9][A-Za-z0-9._-]*$`,
		"OptIn.value":                       `^[A-Za-z0-9._-]*$`,
	} {
		typeName, name, _ := strings.Cut(path, ".")
		definition := schema.Definitions[typeName]
		if definition == nil {
			return fmt.Errorf("restricting %s: the schema has no type %s", path, typeName)
		}
		property, ok := definition.Properties.Get(name)
		if !ok {
			return fmt.Errorf("restricting %s: the type has no such field", path)
		}
		if property.Items != nil {
			property = property.Items
		}
		property.Pattern = pattern
	}
	return nil
}
