package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
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

// TestNotesWithoutPolicies: where Kubernetes cannot bound the controller's right to change
// ConfigMaps, and the right of others to program Envoys by them, Helm says so.
func TestNotesWithoutPolicies(t *testing.T) {
	const warning = "has no ValidatingAdmissionPolicy"
	for _, test := range []struct {
		version, values string
		warns           bool
	}{
		{"1.29.4", "", true},
		{"1.30.0", "", false},
		{"1.29.4", "controller.meshServices.enabled=false", false},
	} {
		t.Run(test.version+" "+test.values, func(t *testing.T) {
			notes := notesFor(t, test.version, test.values)
			if strings.Contains(notes, warning) != test.warns {
				t.Errorf("that it %q is said: %t, want %t:\n%s", warning, !test.warns, test.warns, notes)
			}
			if test.warns && (!strings.Contains(notes, "WARNING: Kubernetes v1.29.4 ") || !strings.Contains(notes, "--set controller.meshServices.enabled=false")) {
				t.Errorf("the warning does not name the version, or what to do:\n%s", notes)
			}
		})
	}
}

// notesFor are the notes for a version of Kubernetes. Helm renders them for its own version
// alone, or for a cluster's, so here they are a template like others.
func notesFor(t *testing.T, version, values string) string {
	t.Helper()
	noteInputs(t)
	chart := t.TempDir()
	templates := filepath.Join(chart, "templates")
	if err := os.CopyFS(chart, os.DirFS(chartFolder)); err != nil {
		t.Fatal(err)
	}
	notes, err := os.ReadFile(filepath.Join(templates, "NOTES.txt"))
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{
		"_notes.tpl": `{{ define "notes" }}` + string(notes) + `{{ end }}`,
		"notes.yaml": `notes: {{ include "notes" . | toJson }}`,
	} {
		if err := os.WriteFile(filepath.Join(templates, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	output, err := exec.CommandContext(t.Context(), world.helmProgram, "template", "mesh", chart, "--namespace", ownNamespace,
		"--kube-version", version, "--set", values, "--show-only", "templates/notes.yaml").CombinedOutput()
	var rendered struct {
		Notes string `json:"notes"`
	}
	if err == nil {
		err = yaml.Unmarshal(output, &rendered)
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	return rendered.Notes
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
