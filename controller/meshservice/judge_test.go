package meshservice

import (
	"fmt"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/pillion-mesh/pillion/api/v1alpha1"
	"github.com/pillion-mesh/pillion/bootstrap"
)

func documentOf(t *testing.T, spec string) *unstructured.Unstructured {
	t.Helper()
	document := &unstructured.Unstructured{}
	text := "apiVersion: pillion.dev/v1alpha1\nkind: MeshService\nmetadata:\n  name: shop\n  namespace: default\n  creationTimestamp: \"2026-11-28T03:00:00Z\"\n  uid: u\n  resourceVersion: \"1\"\n  managedFields: [{manager: kubectl}]\n" + spec
	if err := yaml.Unmarshal([]byte(text), &document.Object); err != nil {
		t.Fatal(err)
	}
	document.SetGeneration(7) // of YAML it would be a float
	return document
}

func TestJudge(t *testing.T) {
	v := judge(documentOf(t, "spec: {undeclaredEgress: Refused}"))
	if v.problems != nil || v.failed != nil {
		t.Fatalf("a valid document: %v, %v", v.problems, v.failed)
	}
	g, err := bootstrap.ParseGeneration(v.file)
	if err != nil {
		t.Fatal(err)
	}
	if g.Version != v.version || g.Service != "shop" || g.Namespace != "default" || g.Number != 7 || g.Created == 0 || g.Outbound.RefuseUndeclared == "" {
		t.Errorf("version %s, and the generation is %+v", v.version, g)
	}
	if len(v.warnings) != 1 || !strings.HasPrefix(v.warnings[0], "spec.undeclaredEgress: ") {
		t.Errorf("it is warned of %q", v.warnings)
	}
	for name, test := range map[string]struct{ spec, says string }{
		"an unknown field":              {"spec: {undeclaredEgres: Refused}", "spec.undeclaredEgres: "},
		"a value":                       {"spec: {undeclaredEgress: Never}", "spec.undeclaredEgress: "},
		"a duration that cannot be one": {"spec: {inbound: [{port: 8080, timeout: soon}]}", "spec.inbound[0].timeout: "},
		"a number that is a text":       {"spec: {inbound: [{port: http}]}", "spec.inbound[0].port: "},
	} {
		if v := judge(documentOf(t, test.spec)); v.problems == nil || !strings.Contains(v.problems.Error(), test.says) || v.file != nil {
			t.Errorf("%s: %v, with %d bytes; want %q and nothing", name, v.problems, len(v.file), test.says)
		}
	}
}

// TestAThousandDestinationsFit holds that the largest document that is sensible goes into a
// ConfigMap as it is.
func TestAThousandDestinationsFit(t *testing.T) {
	var spec strings.Builder
	spec.WriteString("spec:\n  egress:\n")
	for n := range 1000 {
		fmt.Fprintf(&spec, "  - {name: destination-%d, service: {name: service-%d, namespace: some-namespace}, port: 8080, timeout: 2s, retries: {attempts: 2}, breakers: {maxRequests: 100}, outlierDetection: {}}\n", n, n)
	}
	v := judge(documentOf(t, spec.String()))
	if v.problems != nil || v.failed != nil {
		t.Fatalf("%v, %v", v.problems, v.failed)
	}
	if !bootstrap.IsPacked(v.file) {
		t.Errorf("%d bytes are not compressed", len(v.file))
	}
	if file, err := bootstrap.ParseGeneration(v.file); err != nil || v.bytes < 10*len(v.file) || len(file.Clusters) != 1000 {
		t.Errorf("pods are said to unpack %d bytes of %d: %v", v.bytes, len(v.file), err)
	}
	t.Logf("1000 destinations have %d bytes, and %d in the ConfigMap", v.bytes, len(v.file))
}

// TestTooLarge: a valid document of which more would be made than pods take says so, with the
// numbers, and nothing is made of it.
func TestTooLarge(t *testing.T) {
	var spec strings.Builder
	spec.WriteString("spec:\n  egress:\n  - {name: to, host: to.example.com, port: 80}\n")
	for n := range v1alpha1.MaxDestinations - 1 {
		fmt.Fprintf(&spec, "  - name: destination-%d\n    host: d%d.example.com\n    port: 80\n    routes:\n", n, n)
		for m := range 32 {
			fmt.Fprintf(&spec, "    - {to: to, headers: [{name: x-%d, value: value-%d}], fallback: {when: Fails, after: 1s}}\n", m, m)
		}
	}
	v := judge(documentOf(t, spec.String()))
	if v.problems != nil {
		t.Fatal(v.problems)
	}
	if v.reason != reasonTooLarge || v.version != "" || v.file != nil {
		t.Errorf("reason %q, version %q, %d bytes; want %s and nothing", v.reason, v.version, len(v.file), reasonTooLarge)
	}
	for _, want := range []string{"pods take 16777216, and a ConfigMap 1048576", "there are 1024 destinations and 0 inbound ports"} {
		if v.failed == nil || !strings.Contains(v.failed.Error(), want) {
			t.Errorf("it says %v, want %q in it", v.failed, want)
		}
	}
}
