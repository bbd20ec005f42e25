package helm

import (
	"bytes"
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

// TestExamples: the examples for Argo CD and Flux are YAML, and their values are ones
// that the chart takes.
func TestExamples(t *testing.T) {
	examples := map[string]*unstructured.Unstructured{}
	for _, example := range yamlBlocks(t, "../../docs/install.md") {
		examples[example.GetKind()] = example
	}
	for kind, path := range map[string][]string{
		"Application": {"spec", "source", "helm", "valuesObject"},
		"HelmRelease": {"spec", "values"},
	} {
		example := examples[kind]
		if example == nil {
			t.Errorf("there is no example of kind %s", kind)
			continue
		}
		values, found, err := unstructured.NestedMap(example.Object, path...)
		if !found || err != nil {
			t.Errorf("the %s has no values (%v)", kind, err)
		}
		text, err := yaml.Marshal(values)
		if err != nil {
			t.Fatal(err)
		}
		r := world.helms[0].render(t, "pillion", "pillion-system", string(text))
		if kind != "Application" {
			continue
		}
		// The wave after the Deployments', which have none.
		for _, object := range r.Objects {
			later := strings.HasSuffix(object.GetKind(), "WebhookConfiguration")
			if wave := object.GetAnnotations()["argocd.argoproj.io/sync-wave"]; (wave == "1") != later {
				t.Errorf("%s %s is in wave %q", object.GetKind(), object.GetName(), wave)
			}
		}
	}
	if examples["OCIRepository"] == nil {
		t.Error("there is no example of kind OCIRepository")
	}
}

// yamlBlocks are the objects in the blocks of YAML of a page.
func yamlBlocks(t *testing.T, page string) []*unstructured.Unstructured {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	var objects []*unstructured.Unstructured
	for _, block := range strings.Split(string(text), "```yaml\n")[1:] {
		block, _, _ = strings.Cut(block, "```")
		decoder := utilyaml.NewYAMLOrJSONDecoder(bytes.NewReader([]byte(block)), 4096)
		for {
			object := &unstructured.Unstructured{}
			if err := decoder.Decode(object); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("%s: %v\n%s", page, err, block)
			}
			objects = append(objects, object)
		}
	}
	return objects
}
