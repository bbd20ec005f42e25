package v1alpha1

import (
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

func TestExplain(t *testing.T) {
	tests := []struct {
		path string
		want []string
	}{
		{"lifecycle.drainTime", []string{"lifecycle.drainTime"}},
		{"optIn", []string{"optIn", "optIn.label", "optIn.value"}},
		{"redirect.inbound.reservedPorts.port", []string{"redirect.inbound.reservedPorts[].port"}},
		{"redirect.inbound.reservedPorts[2].port", []string{"redirect.inbound.reservedPorts[].port"}},
		{"namespaces", []string{"namespaces", "namespaces[].match"}},
		{"namespaces[].match", []string{"namespaces[].match"}},
		{"namespaces[0].envoy.logLevel", []string{"envoy.logLevel"}},
	}
	for _, test := range tests {
		found, err := Explain(test.path)
		if err != nil {
			t.Errorf("Explain(%q): %v", test.path, err)
		}
		var got []string
		for _, f := range found {
			got = append(got, f.Path)
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("Explain(%q) (-want +got):\n%s", test.path, diff)
		}
	}
	if all, err := Explain(""); err != nil || len(all) != len(Fields()) {
		t.Errorf("Explain of nothing: %d fields, %v; want all", len(all), err)
	}
}

func TestExplainSuggests(t *testing.T) {
	for path, want := range map[string]string{
		"lifecycle.drainTme": `explaining "lifecycle.drainTme": no such field; did you mean lifecycle.drainTime?`,
		"lifecycle.":         `explaining "lifecycle.": no such field; did you mean lifecycle?`,
		"zzzzzzzzzzz":        `explaining "zzzzzzzzzzz": no such field; without a path all fields are listed`,
		"[":                  `explaining "[": no such field; without a path all fields are listed`,
	} {
		found, err := Explain(path)
		if err == nil || err.Error() != want {
			t.Errorf("Explain(%q) = %v, %v\nwant %s", path, found, err, want)
		}
	}
}

// TestFieldsAreThoseOfTheType: a field that is added to the types must be in the
// table, also where nobody ran the generator.
func TestFieldsAreThoseOfTheType(t *testing.T) {
	listed := map[string]bool{}
	for _, f := range Fields() {
		listed[f.Path] = true
	}
	for _, path := range paths("", reflect.ValueOf(DefaultConfig()).Elem()) {
		if !listed[path] {
			t.Errorf("%s is not among Fields(); run go generate ./hack/gen", path)
		}
		delete(listed, path)
	}
	for path := range listed {
		if !strings.Contains(path, "[]") {
			t.Errorf("%s is among Fields() and not in the types", path)
		}
	}
}

// paths are those of all fields that are not items of lists.
func paths(parent string, object reflect.Value) []string {
	var all []string
	fields := fieldsOf(object)
	for _, name := range fieldNames(object) {
		path := strings.TrimPrefix(parent+"."+name, ".")
		all = append(all, path)
		if value := fields[name]; value.Kind() == reflect.Struct {
			all = append(all, paths(path, value)...)
		}
	}
	slices.Sort(all)
	return all
}

// TestFullSaysEverything: the document with every field is what other tests count
// on to see that no field is forgotten.
func TestFullSaysEverything(t *testing.T) {
	data, err := os.ReadFile("testdata/good/full.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var document any
	if err := yaml.Unmarshal(data, &document); err != nil {
		t.Fatal(err)
	}
	said := map[string]bool{}
	said["redirect.outbound.reservedPorts[].reason"] = true // as inbound
	said["redirect.outbound.reservedPorts[].owner"] = true
	said["redirect.outbound.reservedPorts[].expires"] = true
	say("", document, said)
	for _, f := range Fields() {
		if !said[f.Path] {
			t.Errorf("testdata/good/full.yaml does not set %s", f.Path)
		}
	}
}

// say notes the paths that a document gives values to.
func say(path string, value any, said map[string]bool) {
	said[path] = true
	switch v := value.(type) {
	case map[string]any:
		for name, below := range v {
			say(strings.TrimPrefix(path+"."+name, "."), below, said)
		}
	case []any:
		for _, item := range v {
			say(path+"[]", item, said)
		}
	}
}
