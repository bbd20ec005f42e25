package schema

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"golang.org/x/tools/txtar"
	"sigs.k8s.io/yaml"

	"github.com/pillion-mesh/pillion/api/v1alpha1"
)

const testdata = "../../../api/v1alpha1/testdata"

// compile compiles a schema as draft says; with anything but a schema it fails.
func compile(t *testing.T, draft *jsonschema.Draft, document map[string]any, err error) *jsonschema.Schema {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	compiler.DefaultDraft(draft)
	if err := compiler.AddResource("schema.json", throughJSON(t, document)); err != nil {
		t.Fatal(err)
	}
	compiled, err := compiler.Compile("schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return compiled
}

func throughJSON(t *testing.T, document any) any {
	t.Helper()
	text, err := json.Marshal(document)
	if err != nil {
		t.Fatal(err)
	}
	read, err := jsonschema.UnmarshalJSON(strings.NewReader(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	return read
}

// drafts are those that editors and versions of Helm take the schema for.
func drafts() map[string]*jsonschema.Draft {
	return map[string]*jsonschema.Draft{"draft-07": jsonschema.Draft7, "draft 2020-12": jsonschema.Draft2020}
}

// documents are those of the decoder's tests in a folder.
func documents(t *testing.T, folder string) map[string][]byte {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(testdata, folder, "*"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no documents in %s (%v)", folder, err)
	}
	found := map[string][]byte{}
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if archive := txtar.Parse(data); len(archive.Files) > 0 {
			data = archive.Files[0].Data
		}
		found[filepath.Base(path)] = data
	}
	return found
}

func parsed(t *testing.T, data []byte) any {
	t.Helper()
	var document any
	if err := yaml.Unmarshal(data, &document); err != nil {
		t.Fatal(err)
	}
	return throughJSON(t, document)
}

func TestSchemaAcceptsWhatDecodeDoes(t *testing.T) {
	for name, draft := range drafts() {
		document, err := InjectorConfig()
		schema := compile(t, draft, document, err)
		for file, data := range documents(t, "good") {
			if _, err := v1alpha1.Decode(data); err != nil {
				t.Errorf("%s: Decode: %v", file, err)
			}
			if err := schema.Validate(parsed(t, data)); err != nil {
				t.Errorf("%s, %s: %v", name, file, err)
			}
		}
		if err := schema.Validate(throughJSON(t, v1alpha1.DefaultConfig())); err != nil {
			t.Errorf("%s: the defaults: %v", name, err)
		}
	}
}

// TestSchemaFindsWhatDecodeFinds compares the places of the mistakes, one by one.
func TestSchemaFindsWhatDecodeFinds(t *testing.T) {
	for name, draft := range drafts() {
		document, err := InjectorConfig()
		schema := compile(t, draft, document, err)
		for file, data := range documents(t, "structure") {
			_, err := v1alpha1.Decode(data)
			var problems v1alpha1.Problems
			if !errors.As(err, &problems) {
				t.Errorf("%s: Decode: %v", file, err)
			}
			said := places(schema.Validate(parsed(t, data)))
			for _, problem := range problems {
				if !said[problem.Path] {
					t.Errorf("%s, %s: the schema says nothing of %s", name, file, problem)
				}
				delete(said, problem.Path)
			}
			// Decode says no more of a document of another kind.
			for place := range said {
				if place != "metadata" {
					t.Errorf("%s, %s: only the schema has something against %s", name, file, place)
				}
			}
		}
	}
}

// places are where a schema found mistakes, as Decode writes paths.
func places(err error) map[string]bool {
	found := map[string]bool{}
	var invalid *jsonschema.ValidationError
	if errors.As(err, &invalid) {
		collect(invalid, found)
	}
	return found
}

// named are the fields that a message about an object is about.
var named = regexp.MustCompile(`'([^']+)'`)

func collect(err *jsonschema.ValidationError, found map[string]bool) {
	for _, cause := range err.Causes {
		collect(cause, found)
	}
	if len(err.Causes) > 0 {
		return
	}
	path := ""
	for _, element := range err.InstanceLocation {
		if strings.Trim(element, "0123456789") == "" {
			path += "[" + element + "]"
		} else {
			path = strings.TrimPrefix(path+"."+element, ".")
		}
	}
	switch keywords := err.ErrorKind.KeywordPath(); keywords[len(keywords)-1] {
	case "additionalProperties", "required":
		message := err.Error()[strings.LastIndex(err.Error(), "propert"):]
		for _, name := range named.FindAllStringSubmatch(message, -1) {
			found[strings.TrimPrefix(path+"."+name[1], ".")] = true
		}
	default:
		found[path] = true
	}
}

// TestNamespacesTakeTheSettings: the fields are written once and stand twice.
func TestNamespacesTakeTheSettings(t *testing.T) {
	document, err := InjectorConfig()
	if err != nil {
		t.Fatal(err)
	}
	entry := properties(document)["namespaces"].(map[string]any)["items"].(map[string]any)
	for _, name := range []string{"match", "sidecar", "redirect", "lifecycle", "envoy"} {
		if properties(entry)[name] == nil {
			t.Errorf("namespaces[] does not take %s", name)
		}
	}
	if text := fmt.Sprint(entry); strings.Contains(text, "default:") {
		t.Errorf("what namespaces[] leaves out is decided by the level below, and a default is named: %s", text)
	}
}

func TestValuesHaveNoKind(t *testing.T) {
	document, err := InjectorValues()
	schema := compile(t, jsonschema.Draft7, document, err)
	if err := schema.Validate(map[string]any{}); err != nil {
		t.Errorf("empty values: %v", err)
	}
	if err := schema.Validate(map[string]any{"kind": v1alpha1.KindInjectorConfig}); err == nil {
		t.Error("kind was taken, which the chart sets")
	}
}
