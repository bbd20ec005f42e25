package helm

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/pillion-mesh/pillion/e2e/release"
)

// program is a Helm.
type program struct{ name, path string }

// run runs it against kube-apiserver, or fails the test.
func (p program) run(t *testing.T, arguments ...string) string {
	t.Helper()
	output, err := p.try(t, arguments...)
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", p.name, arguments, err, output)
	}
	return output
}

// try returns what it said.
func (p program) try(t *testing.T, arguments ...string) (string, error) {
	t.Helper()
	noteInputs(t)
	if _, err := os.Stat(p.path); err != nil {
		t.Fatalf("%s is not built (%v): run hack/cluster/build, as `make test` does", p.name, err)
	}
	command := exec.CommandContext(withoutCancel(t), p.path, arguments...)
	// Nothing of the user's own Helm or cluster has a say.
	command.Env = []string{"HOME=" + t.TempDir(), "PATH=" + os.Getenv("PATH"), "KUBECONFIG=" + kubeconfig(t)}
	output, err := command.CombinedOutput()
	return string(output), err
}

// render is what the Helm makes of the chart.
func (p program) render(t *testing.T, name, namespace, values string) *release.Release {
	t.Helper()
	noteInputs(t)
	var given map[string]any
	if err := yaml.Unmarshal([]byte(values), &given); err != nil {
		t.Fatal(err)
	}
	rendered, err := release.Render(t.Context(), release.Options{
		Helm: p.path, Chart: chartFolder, Name: name, Namespace: namespace, KubeVersion: "1.37", Values: given,
	})
	if err != nil {
		t.Fatal(err)
	}
	return rendered
}

// TestGoldens: both Helms render, object by object, what package e2e has compared with
// goldens. They differ in empty lines, and in the order of kinds that Helm 3 does not
// know, as webhook configurations.
func TestGoldens(t *testing.T) {
	files, err := filepath.Glob("../testdata/chart/*.values.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("finding the values files: %q, %v", files, err)
	}
	for _, p := range world.helms {
		t.Run(p.name, func(t *testing.T) {
			for _, file := range files {
				values, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				golden, err := os.ReadFile(strings.TrimSuffix(file, "values.yaml") + "golden.yaml")
				if err != nil {
					t.Fatal(err)
				}
				rendered := p.render(t, "pillion", "pillion-system", string(values))
				if diff := cmp.Diff(documents(golden), documents(rendered.Text)); diff != "" {
					t.Errorf("%s (-golden +%s):\n%s", filepath.Base(file), p.name, diff)
				}
			}
		})
	}
}

// documents of YAML, byte by byte but for the empty lines at their ends, in order of
// their text.
func documents(text []byte) []string {
	parts := strings.Split("\n"+string(text), "\n---\n")
	for n := range parts {
		parts[n] = strings.TrimSpace(parts[n])
	}
	slices.Sort(parts)
	return parts
}
