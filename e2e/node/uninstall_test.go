package node

import (
	"strings"
	"testing"
)

// TestReleaseComesAndGoes: helm test passes, helm uninstall leaves nothing of the
// release behind, pods start without it, and it can be installed again. It is the last
// test, by its file's name.
func TestReleaseComesAndGoes(t *testing.T) {
	if output, err := helm(t.Context(), "test", "pillion", "--timeout", "2m"); err != nil {
		t.Fatalf("helm test: %v\n%s", err, output)
	}
	if output, err := helm(t.Context(), "uninstall", "pillion", "--wait", "--timeout", "3m"); err != nil {
		t.Fatalf("helm uninstall: %v\n%s", err, output)
	}
	left := kubectl(t, "get", "mutatingwebhookconfigurations,validatingwebhookconfigurations,validatingadmissionpolicies,clusterroles,clusterrolebindings", "-o", "name") +
		kubectl(t, "-n", release, "get", "all,configmaps,secrets,serviceaccounts,roles,rolebindings,leases,networkpolicies,poddisruptionbudgets", "-o", "name")
	for line := range strings.Lines(left) {
		if strings.Contains(line, "pillion") && !strings.HasPrefix(line, "pod/") {
			t.Errorf("%s is left", strings.TrimSpace(line))
		}
	}
	ns := newNamespace(t, "gone", optedIn, "pillion.dev/strict=true")
	apply(t, ns, podOf("alone"))
	if hasSidecar(t, ns, "alone") {
		t.Error("a pod has a sidecar though the release is gone")
	}
	install(t)
	// Replicas that were just told to stop may still be asked, with the CA of before.
	eventually(t, "the strict namespace takes pods again", func() bool {
		_, err := tryKubectl(t.Context(), strings.ReplaceAll(podOf("again"), "NS", ns), "apply", "-f", "-")
		return err == nil
	})
	if !hasSidecar(t, ns, "again") {
		t.Error("a pod has no sidecar though the release was installed again")
	}
}

func install(t *testing.T) {
	t.Helper()
	if output, err := helm(t.Context(), append([]string{"upgrade", "--install", "pillion", chart, "--create-namespace", "--wait", "--timeout", "3m"}, settings()...)...); err != nil {
		t.Fatalf("installing the release: %v\n%s", err, output)
	}
}
