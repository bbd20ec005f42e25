package envoy

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pillion-mesh/pillion/api/v1alpha1"
	"github.com/pillion-mesh/pillion/bootstrap"
	"github.com/pillion-mesh/pillion/e2e/envoy"
	"github.com/pillion-mesh/pillion/mesh"
)

var update = flag.Bool("update", false, "write the generations of testdata anew")

// TestGoldens renders each NAME.yaml in testdata to NAME.json, and asks a real Envoy
// whether it takes that.
func TestGoldens(t *testing.T) {
	documents, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(documents) == 0 {
		t.Fatalf("there are no documents: %v", err)
	}
	for _, document := range documents {
		t.Run(strings.TrimSuffix(filepath.Base(document), ".yaml"), func(t *testing.T) {
			data, err := os.ReadFile(document)
			if err != nil {
				t.Fatal(err)
			}
			g := rendered(t, data)
			golden := strings.TrimSuffix(document, ".yaml") + ".json"
			got := pretty(t, g)
			if *update {
				if err := os.WriteFile(golden, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if diff := cmp.Diff(string(want), string(got)); err != nil || diff != "" {
				t.Errorf("%v (-want +got):\n%s", err, diff)
			}
			accepted(t, g)
		})
	}
}

// TestExamplesOfThePages: a real Envoy takes what the pages for owners show.
func TestExamplesOfThePages(t *testing.T) {
	examples, err := filepath.Glob("../docs/services/examples/*.yaml")
	if err != nil || len(examples) < 10 {
		t.Fatalf("%d examples, %v", len(examples), err)
	}
	for _, example := range examples {
		t.Run(strings.TrimSuffix(filepath.Base(example), ".yaml"), func(t *testing.T) {
			data, err := os.ReadFile(example)
			if err != nil {
				t.Fatal(err)
			}
			accepted(t, rendered(t, data))
		})
	}
}

// rendered is a document's generation.
func rendered(t *testing.T, document []byte) *bootstrap.Generation {
	t.Helper()
	decoded, err := v1alpha1.DecodeMeshService(document)
	if err != nil {
		t.Fatal(err)
	}
	service, err := mesh.Resolve(decoded)
	if err != nil {
		t.Fatal(err)
	}
	g, err := Render(service)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func pretty(t *testing.T, g *bootstrap.Generation) []byte {
	t.Helper()
	sealed, err := g.Seal()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := json.Indent(&out, sealed, "", " "); err != nil {
		t.Fatal(err)
	}
	return append(out.Bytes(), '\n')
}

// accepted asks Envoy itself, with everything where a pod has it.
func accepted(t *testing.T, g *bootstrap.Generation) {
	t.Helper()
	config := bootstrap.Config{
		Service: g.Service, PodName: "pod", PodNamespace: g.Namespace, NodeName: "node", Folder: t.TempDir(),
		InboundPort: 15006, OutboundPort: 15001, IPv4: true, IPv6: true, DownstreamAge: time.Minute, Generation: g,
	}
	if err := g.Check(config); err != nil {
		t.Errorf("a pod does not take it: %v", err)
	}
	merged, err := bootstrap.Merged(bootstrap.New(config))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "merged.json")
	if err := os.WriteFile(file, merged, 0o600); err != nil {
		t.Fatal(err)
	}
	command := exec.CommandContext(t.Context(), envoy.Path(t), "--mode", "validate", "--config-path", file, "--log-level", "warning")
	if said, err := command.CombinedOutput(); err != nil || bytes.Contains(bytes.ToLower(said), []byte("deprecated")) {
		t.Errorf("Envoy does not take it as it is: %v\n%s\n%s", err, said, pretty(t, g))
	}
}
