package e2e

import (
	"os/exec"
	"strings"
	"testing"
)

// TestChartNotes: what Helm prints after an installation names what is installed, and
// how a configuration is checked before the next one.
func TestChartNotes(t *testing.T) {
	noteInputs(t)
	command := exec.CommandContext(t.Context(), world.helmProgram, "install", "mesh", chartFolder, "--namespace", ownNamespace, "--dry-run=client", "--set", "injector.optIn.label=meshed")
	command.Env = []string{"HOME=" + t.TempDir()}
	output, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	_, notes, found := strings.Cut(string(output), "NOTES:\n")
	if !found {
		t.Fatalf("Helm printed no notes:\n%s", output)
	}
	for _, want := range []string{
		"create secret tls mesh-pillion-webhook-tls",
		"label namespace NAMESPACE meshed=true",
		"helm template mesh CHART --namespace " + ownNamespace,
		"pillionctl config validate -\n",
	} {
		if !strings.Contains(notes, want) {
			t.Errorf("the notes do not say %q:\n%s", want, notes)
		}
	}
}
