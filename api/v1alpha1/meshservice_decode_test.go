package v1alpha1

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"sigs.k8s.io/yaml"
)

// TestDecodeMeshServiceKeepsWhatIsGiven writes each good document anew after reading
// it: what it said must still be there, and the result must read as the same.
func TestDecodeMeshServiceKeepsWhatIsGiven(t *testing.T) {
	for _, path := range files(t, "testdata/mesh/good/*") {
		t.Run(filepath.Base(path), func(t *testing.T) {
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			mesh, err := DecodeMeshService(data)
			if err != nil {
				t.Fatal(err)
			}
			written := writeAgain(t, mesh)
			var given, kept map[string]any
			if err := errors.Join(yaml.Unmarshal(data, &given), yaml.Unmarshal(written, &kept)); err != nil {
				t.Fatal(err)
			}
			delete(given, "status") // read as far as it is known
			for _, lost := range missing("", given, kept) {
				t.Errorf("%s was given and is not in:\n%s", lost, written)
			}
		})
	}
}

// writeAgain writes a valid document, and holds that it reads as it was.
func writeAgain(t *testing.T, mesh *MeshService) []byte {
	t.Helper()
	written, err := yaml.Marshal(mesh)
	if err != nil {
		t.Fatal(err)
	}
	again, err := DecodeMeshService(written)
	if err != nil {
		t.Fatalf("what was written cannot be read: %v\n%s", err, written)
	}
	// An empty list is not written.
	if diff := cmp.Diff(mesh, again, cmpopts.EquateEmpty()); diff != "" {
		t.Fatalf("read again (-first +second):\n%s", diff)
	}
	return written
}

// FuzzDecodeMeshService holds that no bytes make DecodeMeshService panic, that it
// returns a document or problems, and that a document survives being written.
func FuzzDecodeMeshService(f *testing.F) {
	for _, path := range files(f, "testdata/mesh/good/*") {
		data, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		mesh, err := DecodeMeshService(data)
		if err != nil {
			var problems Problems
			if !errors.As(err, &problems) || len(problems) == 0 || mesh != nil {
				t.Fatalf("DecodeMeshService = %v, %#v", mesh, err)
			}
			return
		}
		writeAgain(t, mesh)
		WarnMeshService(mesh)
	})
}

func TestDecodeMeshServiceIsStrict(t *testing.T) {
	testRules(t, []rule{
		{"unknown field", `inbuond: []`, "spec.inbuond: unknown field; did you mean inbound?"},
		{"unknown below", `inbound: [{port: 80, adaptiveConcurrency: {min: 3}}]`, "spec.inbound[0].adaptiveConcurrency.min: unknown field; known here: latencyHeadroomPercent, maxConcurrency, measureEvery, minConcurrency"},
		{"empty value", "egress: [{name: a, host: a.example.com, port: 80, timeout: }]", "spec.egress[0].timeout: is empty: give a value or leave it out"},
		{"no unit", "egress: [{name: a, host: a.example.com, port: 80, timeout: 5}]", "spec.egress[0].timeout: must be a duration with its unit as 30s or 1m30s, got 5"},
		{"text for a number", `inbound: [{port: "80"}]`, `spec.inbound[0].port: must be a whole number, got "80"`},
		{"port 0", `inbound: [{port: 0}]`, `spec.inbound[0].port: must be above 0`},
		{"key twice", "undeclaredEgress: Refused\nundeclaredEgress: Refused", "is not valid YAML: yaml: unmarshal errors:\n  line 6: key \"undeclaredEgress\" already set in map"},
	})
}

func TestDecodeMeshServiceMetadata(t *testing.T) {
	const head = "apiVersion: pillion.dev/v1alpha1\nkind: MeshService\n"
	tests := []struct{ name, document, want string }{
		{"no metadata", head, "metadata.name: Required value: the name of the service that the document is for"},
		{"empty", head + "metadata:\n", "metadata.name: Required value: the name of the service that the document is for"},
		{"misspelled", head + "metadata: {name: cart, namspace: shop}", "metadata.namspace: unknown field; did you mean namespace?"},
		{"no object", head + "metadata: cart", `metadata: must have fields (name, namespace), got "cart"`},
		{"wrong type", head + "metadata: {name: 5}", "metadata: is not what Kubernetes takes: json: cannot unmarshal number into Go struct field ObjectMeta.name of type string"},
		{"no name for an object", head + "metadata: {name: Cart}", `metadata.name: Invalid value: "Cart": must be the name of a service: a-z, 0-9, - and dots, with a letter or digit at both ends`},
		{"too long for a ConfigMap", head + "metadata: {name: " + strings.Repeat("a", LongestMeshService+1) + "}", "metadata.name: Too long: may not be more than 240 bytes"},
		{"another kind", "apiVersion: pillion.dev/v1alpha1\nkind: InjectorConfig\n", `kind: "InjectorConfig" is not known; accepted is MeshService`},
		{"kind misspelled", "apiVersion: pillion.dev/v1alpha1\nkind: Meshservice\n", `kind: "Meshservice" is not known; did you mean MeshService?`},
		{"no kind", "apiVersion: pillion.dev/v1alpha1\nmetadata: {name: cart}\n", `kind: is required: MeshService`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			mesh, err := DecodeMeshService([]byte(test.document))
			if mesh != nil || err == nil || err.Error() != test.want {
				t.Errorf("DecodeMeshService = %v, %v\nwant %s", mesh, err, test.want)
			}
		})
	}
}
