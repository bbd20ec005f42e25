package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pillion-mesh/pillion/api/v1alpha1"
	"github.com/pillion-mesh/pillion/bootstrap"
	"github.com/pillion-mesh/pillion/e2e/envoy"
)

const meshText = "apiVersion: pillion.dev/v1alpha1\nkind: MeshService\nmetadata: {name: checkout, namespace: shop}\nspec:\n  egress: [{name: cart, service: {name: cart}, port: 8080}]\n"

// TestLintAsksEnvoy: the Envoy that is named, or the one in PATH.
func TestLintAsksEnvoy(t *testing.T) {
	program := envoy.Path(t)
	status, out, errors := call("pillionctl", meshText, "config", "lint", "-f", "-", "--envoy", program)
	if status != exitOK || !strings.Contains(out, "; Envoy: accepted by 1.") {
		t.Errorf("--envoy: status %d, %q %q", status, out, errors)
	}
	folder := t.TempDir()
	if err := os.Symlink(program, filepath.Join(folder, "envoy")); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", folder)
	if status, out, errors := call("pillionctl", meshText, "config", "lint", "-f", "-"); status != exitOK || !strings.Contains(out, "; Envoy: accepted by 1.") {
		t.Errorf("in PATH: status %d, %q %q", status, out, errors)
	}
	t.Setenv("PATH", t.TempDir())
	if status, out, errors := call("pillionctl", meshText, "config", "lint", "-f", "-"); status != exitOK || !strings.Contains(out, "not asked: there is no envoy in PATH") {
		t.Errorf("without one: status %d, %q %q", status, out, errors)
	}
	if status, _, errors := call("pillionctl", meshText, "config", "lint", "-f", "-", "--envoy", "/bin/true"); status != exitFailed || !strings.Contains(errors, "not what Envoy says") {
		t.Errorf("another program: status %d, %q", status, errors)
	}
}

// TestLintTooLarge: what the controller would not store is found before.
func TestLintTooLarge(t *testing.T) {
	var text strings.Builder
	text.WriteString("apiVersion: pillion.dev/v1alpha1\nkind: MeshService\nmetadata: {name: checkout}\nspec:\n  egress:\n  - {name: to, host: to.test, port: 80}\n")
	random := rand.NewChaCha8([32]byte{})
	for n := range 300 {
		fmt.Fprintf(&text, "  - {name: d%d, host: d%d.test, port: 80, routes: [", n, n)
		for range v1alpha1.MaxRoutes { // of values that cannot be compressed
			value := make([]byte, v1alpha1.MaxValue/2)
			random.Read(value)
			fmt.Fprintf(&text, "{to: to, headers: [{name: x, value: v%x}]}, ", value[1:])
		}
		text.WriteString("]}\n")
	}
	status, out, errors := call("pillionctl", text.String(), "config", "lint", "-f", "-", "--envoy", "none")
	if status != exitFindings || !strings.Contains(out, "stdin:4: error: spec: what is rendered of it has ") || !strings.Contains(out, "pods take 16777216") {
		t.Errorf("status %d, %.400q %q", status, out, errors)
	}
}

// TestLintThroughLinks: a folder is read through a symbolic link to it.
func TestLintThroughLinks(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, err := range []error{os.Mkdir("folder", 0o755), os.WriteFile("folder/mesh.yaml", []byte(meshText), 0o644), os.Symlink("folder", "link")} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if status, out, errors := call("pillionctl", "", "config", "lint", "-f", "link", "--envoy", "none"); status != exitOK || !strings.HasPrefix(out, "link/mesh.yaml:1: ") {
		t.Errorf("status %d, %q %q", status, out, errors)
	}
}

// TestEnvoysVerdict: what Envoy rejects is said in its own words, without the rest of
// its log.
func TestEnvoysVerdict(t *testing.T) {
	judge, err := findEnvoy(t.Context(), envoy.Path(t))
	if err != nil {
		t.Fatal(err)
	}
	p := program{in: strings.NewReader(meshText)}
	loaded, err := p.loadMesh([]string{"-"}, "default")
	if err != nil {
		t.Fatal(err)
	}
	_, files, err := rendered(loaded.documents[0].service)
	if err != nil {
		t.Fatal(err)
	}
	merged, err := bootstrap.Merged(files)
	if err != nil {
		t.Fatal(err)
	}
	for change, test := range map[string]struct{ from, to, says string }{
		"cluster": {`"cluster":"outbound_passthrough"`, `"cluster":"nowhere"`, "unknown cluster 'nowhere'"},
		"field":   {`"lb_policy":"LEAST_REQUEST"`, `"lb_polcy":"LEAST_REQUEST"`, "lb_polcy"},
	} {
		broken := strings.ReplaceAll(string(merged), test.from, test.to)
		verdict, err := judge.validate(t.Context(), []byte(broken))
		if err != nil || !strings.Contains(verdict, test.says) || strings.Contains(verdict, "\n") || strings.Contains(verdict, "[critical]") {
			t.Errorf("%s: the verdict %q (%v) does not say %q", change, verdict, err, test.says)
		}
		if said := judge.said(verdict); !strings.HasPrefix(said, "rejected by 1.") {
			t.Errorf("%s: %q", change, said)
		}
	}
}
