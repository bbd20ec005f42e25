package node

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// TestCertManager: a release whose certificate comes from cert-manager works through
// helm install, upgrade, rollback and uninstall, and nothing of it is left then: of no
// kind, not in its namespace and not outside. It is for namespaces of its own revision,
// beside the release that the tests share.
func TestCertManager(t *testing.T) {
	if output, err := exec.CommandContext(t.Context(), "../../hack/cluster/node/with-cert-manager").CombinedOutput(); err != nil {
		t.Fatalf("installing cert-manager: %v\n%s", err, output)
	}
	const name, in = "by-cert-manager", "certified"
	kubectl(t, "create", "namespace", in)
	t.Cleanup(func() { removeNamespace(t, in) })
	before := everything(t)
	run := func(args ...string) {
		t.Helper()
		output, err := exec.CommandContext(t.Context(), programs.Helm, append(args, "--namespace", in)...).CombinedOutput()
		if err != nil {
			t.Fatalf("helm %s: %v\n%s", args[0], err, output)
		}
	}
	values := append(settings(), "--set", "tls.source=certManager,injector.revision="+name+",webhook.shutdownDelaySeconds=0,webhook.drainSeconds=0")
	ns := newNamespace(t, "of-cert-manager", optedIn, "pillion.dev/strict=true", "pillion.dev/revision="+name)
	injects := func(after string) {
		t.Helper()
		eventually(t, "after "+after+" a pod of a strict namespace gets its sidecar", func() bool {
			pod, err := tryKubectl(t.Context(), strings.ReplaceAll(podOf("asked"), "NS", ns), "create", "--dry-run=server", "-o", "yaml", "-f", "-")
			return err == nil && strings.Contains(pod, "name: pillion-init")
		})
	}
	run(append([]string{"install", name, chart, "--wait", "--timeout", "2m"}, values...)...)
	injects("helm install")
	run(append([]string{"upgrade", name, chart, "--wait", "--timeout", "2m", "--set", "commonLabels.team=infra"}, values...)...)
	injects("helm upgrade")
	run("rollback", name, "1", "--wait", "--timeout", "2m")
	injects("helm rollback")
	run("uninstall", name, "--wait", "--timeout", "2m")
	var remaining []string
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("left are %q", remaining)
		}
	})
	// Pods are the last to go, and cert-manager's own records go with their owners.
	eventually(t, "nothing of the release is left", func() bool {
		remaining = left(t, before, name, in)
		return len(remaining) == 0
	})
}

// everything is each object of each kind, as NAMESPACE KIND/NAME.
func everything(t *testing.T) []string {
	t.Helper()
	kinds := strings.Fields(kubectl(t, "api-resources", "--verbs=list", "-o", "name"))
	kinds = slices.DeleteFunc(kinds, func(kind string) bool { return strings.HasPrefix(kind, "events") }) // those stay until they are old
	return strings.Split(kubectl(t, "get", strings.Join(kinds, ","), "--all-namespaces", "--ignore-not-found", "-o", `jsonpath={range .items[*]}{.metadata.namespace} {.kind}/{.metadata.name}{"\n"}{end}`), "\n")
}

// left is what was not there before, of a release by its name, or in its namespace.
func left(t *testing.T, before []string, name, namespace string) []string {
	t.Helper()
	return slices.DeleteFunc(everything(t), func(object string) bool {
		return slices.Contains(before, object) || !strings.Contains(object, name) && !strings.HasPrefix(object, namespace+" ")
	})
}
