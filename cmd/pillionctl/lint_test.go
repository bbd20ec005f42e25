package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

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
