package node

import (
	"strings"
	"testing"
)

// TestAuditor: a namespace opts in when its pods run already. The auditor tells the
// Deployment, and where that was asked for has the pods made anew, one after the
// other: without any budget the Service always has one that is Ready.
func TestAuditor(t *testing.T) {
	ns := newNamespace(t, "audited")
	apply(t, ns, web)
	rolledOut(t, ns, "deployment/web")
	kubectl(t, "label", "namespace", ns, optedIn)
	args := append([]string{"upgrade", "pillion", chart, "--wait", "--timeout", "3m"}, settings()...)
	if output, err := helm(t.Context(), append(args, "--set", "controller.auditor.interval=5s,controller.auditor.evict.enabled=true,controller.auditor.evict.perMinute=60")...); err != nil {
		t.Fatalf("helm upgrade: %v\n%s", err, output)
	}
	defer func() {
		if output, err := helm(t.Context(), "rollback", "pillion", "--wait"); err != nil {
			t.Errorf("helm rollback: %v\n%s", err, output)
		}
	}()
	eventually(t, "both pods have a sidecar", func() bool {
		if field(t, ns, "deployment/web", ".status.availableReplicas") == "" {
			t.Error("no pod of the Deployment is available")
		}
		names := field(t, ns, "pods", ".items[*].spec.initContainers[*].name")
		return strings.Count(names, "pillion-init") == 2 && len(strings.Fields(field(t, ns, "pods", ".items[*].metadata.name"))) == 2
	})
	rolledOut(t, ns, "deployment/web")
	for _, reason := range []string{"SidecarMissing", "SidecarEviction"} {
		if found := kubectl(t, "-n", ns, "get", "events", "--field-selector", "reason="+reason+",involvedObject.kind=Deployment,involvedObject.name=web"); !strings.Contains(found, reason) {
			t.Errorf("the Deployment has no Event %s: %s", reason, found)
		}
	}
	if output, code := pillionctl(t, "status", "-n", ns, "--outdated"); code != 0 {
		t.Errorf("pillionctl status ended with %d and said\n%s", code, output)
	}
}
