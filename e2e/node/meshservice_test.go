package node

import (
	"context"
	"strings"
	"testing"
)

const refuseUndeclared = `
apiVersion: pillion.dev/v1alpha1
kind: MeshService
metadata: {name: meshed, namespace: NS}
spec: {undeclaredEgress: Refused}
`

// TestMeshServiceOnTheNode: a MeshService changes what a running pod does, without a restart,
// its deletion takes that back, and one that is wrong is refused as it is applied.
func TestMeshServiceOnTheNode(t *testing.T) {
	ns := newNamespace(t, "meshservice", optedIn)
	apply(t, ns, web+"---"+clients)
	rolledOut(t, ns, "deployment/web")
	kubectl(t, "-n", ns, "wait", "--for=condition=Ready", "pod/meshed", "--timeout=2m")
	service := field(t, ns, "pod/meshed", ".metadata.annotations.pillion\\.dev/status")
	if !strings.Contains(service, `"service":"meshed"`) {
		t.Fatalf("the pod is of another service: %s", service)
	}
	answers := func() string {
		answer, _ := tryKubectl(t.Context(), "", "-n", ns, "exec", "meshed", "-c", "app", "--", "/app", "get", "-tries", "1", "http://web:8080/mesh")
		return answer
	}
	eventually(t, "web answers", func() bool { return strings.Contains(answers(), "path=/mesh") })

	if said, err := tryKubectl(t.Context(), strings.ReplaceAll(strings.ReplaceAll(refuseUndeclared, "NS", ns), "Refused", "Never"), "apply", "-f", "-"); err == nil || !strings.Contains(said+err.Error(), "Refused") {
		t.Errorf("a wrong one is taken, or refused without saying what is accepted: %v\n%s", err, said)
	}
	apply(t, ns, refuseUndeclared)
	eventually(t, "the call to what is not declared is refused", func() bool { return !strings.Contains(answers(), "path=/mesh") })
	eventually(t, "the status says that all pods run it", func() bool {
		return field(t, ns, "meshservice/meshed", `.status.conditions[?(@.type=="Applied")].status`) == "True"
	})
	kubectl(t, "-n", ns, "delete", "meshservice", "meshed")
	eventually(t, "the call passes through again", func() bool { return strings.Contains(answers(), "path=/mesh") })
	if restarts := field(t, ns, "pod/meshed", ".status.initContainerStatuses[*].restartCount} {.status.containerStatuses[*].restartCount"); strings.Trim(restarts, "0 ") != "" {
		t.Errorf("containers were restarted: %s", restarts)
	}
}

// TestRejectionIsSeenOnTheNode: what a sidecar refuses is seen in `kubectl get`, and the pod
// serves on. The ConfigMap is made somebody else's while no controller runs, so that it stays as
// it is: with a generation that was changed on the way.
func TestRejectionIsSeenOnTheNode(t *testing.T) {
	ns := newNamespace(t, "meshrejected", optedIn)
	apply(t, ns, web+"---"+clients)
	rolledOut(t, ns, "deployment/web")
	kubectl(t, "-n", ns, "wait", "--for=condition=Ready", "pod/meshed", "--timeout=2m")
	apply(t, ns, strings.ReplaceAll(refuseUndeclared, "Refused", "Passthrough"))
	eventually(t, "the pod runs what it was given", func() bool {
		return field(t, ns, "meshservice/meshed", `.status.conditions[?(@.type=="Applied")].status`) == "True"
	})
	controller := strings.Fields(kubectl(t, "get", "deployments", "-A", "-l", "app.kubernetes.io/component=controller", "-o", "jsonpath={.items[0].metadata.namespace} {.items[0].metadata.name} {.items[0].spec.replicas}"))
	scale := func(replicas string) {
		if _, err := tryKubectl(context.WithoutCancel(t.Context()), "", "-n", controller[0], "scale", "deployment/"+controller[1], "--replicas="+replicas); err != nil {
			t.Error(err)
		}
	}
	scale("0")
	t.Cleanup(func() { scale(controller[2]) })
	eventually(t, "no controller runs", func() bool {
		return kubectl(t, "-n", controller[0], "get", "pods", "-l", "app.kubernetes.io/component=controller", "-o", "name") == ""
	})
	// Replaced, it has neither our label nor an owner.
	if said, err := tryKubectl(t.Context(), strings.ReplaceAll(`
apiVersion: v1
kind: ConfigMap
metadata: {name: pillion-mesh-meshed, namespace: NS}
data:
  generation.json: '{"service":"meshed","namespace":"NS","created":1,"number":1,"version":"0123456789abcdef"}'
`, "NS", ns), "replace", "-f", "-"); err != nil {
		t.Fatal(said, err)
	}
	scale(controller[2])
	eventually(t, "kubectl get shows the rejection", func() bool {
		printed := kubectl(t, "-n", ns, "get", "meshservice", "meshed", "-o", "wide")
		return strings.Contains(printed, "Rejected") && strings.Contains(printed, "changed on the way")
	})
	if answer := kubectl(t, "-n", ns, "exec", "meshed", "-c", "app", "--", "/app", "get", "-tries", "20", "http://web:8080/still"); !strings.Contains(answer, "path=/still") {
		t.Errorf("the pod got %q", answer)
	}
	kubectl(t, "-n", ns, "delete", "configmap", "pillion-mesh-meshed")
	eventually(t, "the controller takes the name, and the pod what it is given", func() bool {
		return field(t, ns, "meshservice/meshed", `.status.conditions[?(@.type=="Applied")].status`) == "True"
	})
}
