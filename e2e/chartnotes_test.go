package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestChartNotes: what Helm prints after an installation says what is left to do for
// this source of the certificate, names what is installed, and says how a
// configuration is checked before the next one.
func TestChartNotes(t *testing.T) {
	always := []string{
		"mesh-pillion.v2", "helm -n " + ownNamespace + " test mesh\n", "rollout status deployment/mesh-pillion-webhook",
		"label namespace NAMESPACE meshed=true pillion.dev/revision=v2",
		"helm template mesh CHART --namespace " + ownNamespace, "pillionctl config validate -\n",
	}
	for source, want := range map[string][]string{
		"controller":  {"logs deployment/mesh-pillion-controller"},
		"certManager": {"wait certificate/mesh-pillion-webhook --for=condition=Ready", "describe certificate/mesh-pillion-webhook"},
		"provided": {
			"create secret tls mesh-pillion-webhook-tls", "for the name mesh-pillion-webhook." + ownNamespace + ".svc",
			"for KIND in mutatingwebhookconfiguration validatingwebhookconfiguration", "get $KIND mesh-pillion.v2", "patch $KIND mesh-pillion.v2",
		},
	} {
		t.Run(source, func(t *testing.T) {
			notes := notesOf(t, "--set", "injector.optIn.label=meshed", "--set", "injector.revision=v2", "--set", "tls.source="+source)
			for _, want := range append(always, want...) {
				if !strings.Contains(notes, want) {
					t.Errorf("the notes do not say %q:\n%s", want, notes)
				}
			}
			if source != "provided" && strings.Contains(notes, "create secret") {
				t.Errorf("the notes ask for a certificate, and %s makes it:\n%s", source, notes)
			}
			for _, file := range regexp.MustCompile(`--show-only (\S+)`).FindAllStringSubmatch(notes, -1) {
				if _, err := os.Stat(filepath.Join(chartFolder, file[1])); err != nil {
					t.Errorf("the notes name a file of the chart: %v", err)
				}
			}
			if strings.Contains(notes, "\n\n\n") || !strings.Contains(notes, ".\n\n1. ") {
				t.Errorf("the notes are not paragraphs with a line between them:\n%s", notes)
			}
		})
	}
}

// notesOf is what Helm prints for a release called mesh.
func notesOf(t *testing.T, arguments ...string) string {
	t.Helper()
	noteInputs(t)
	arguments = append([]string{"install", "mesh", chartFolder, "--namespace", ownNamespace, "--dry-run=client"}, arguments...)
	command := exec.CommandContext(t.Context(), world.helmProgram, arguments...)
	command.Env = []string{"HOME=" + t.TempDir()}
	output, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	_, notes, found := strings.Cut(string(output), "NOTES:\n")
	if !found {
		t.Fatalf("Helm printed no notes:\n%s", output)
	}
	return notes
}
