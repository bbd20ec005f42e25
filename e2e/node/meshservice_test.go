package node

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/pillion-mesh/pillion/bootstrap"
	"github.com/pillion-mesh/pillion/lifecycle"
)

// carried is how long a change may take from kube-apiserver to a running Envoy: kubelet looks at
// a pod's volumes every 60 to 90 s. On this node it does so more often, see its syncFrequency.
const carried = 90 * time.Second

const refuseUndeclared = `
apiVersion: pillion.dev/v1alpha1
kind: MeshService
metadata: {name: meshed, namespace: NS}
spec: {undeclaredEgress: Refused}
`

// startMeshed starts the app web and the clients, each with a sidecar.
func startMeshed(t *testing.T, ns string) {
	t.Helper()
	apply(t, ns, web+"---"+clients)
	rolledOut(t, ns, "deployment/web")
	kubectl(t, "-n", ns, "wait", "--for=condition=Ready", "pod/meshed", "--timeout="+patience.String())
}

// meshedGets is what the app in the pod is answered, which asks once.
func meshedGets(t *testing.T, ns, path string) string {
	t.Helper()
	answer, _ := tryKubectl(t.Context(), "", "-n", ns, "exec", "meshed", "-c", "app", "--", "/app", "get", "-tries", "1", "http://web:8080"+path)
	return answer
}

func allRunIt(t *testing.T, ns string) func() bool {
	t.Helper()
	return func() bool {
		return field(t, ns, "meshservice/meshed", `.status.conditions[?(@.type=="Applied")].status`) == "True"
	}
}

// TestMeshServiceOnTheNode: a MeshService changes what a running pod does, without a restart,
// its deletion takes that back, and one that is wrong is refused as it is applied.
func TestMeshServiceOnTheNode(t *testing.T) {
	ns := newNamespace(t, "meshservice", optedIn)
	startMeshed(t, ns)
	service := field(t, ns, "pod/meshed", ".metadata.annotations.pillion\\.dev/status")
	if !strings.Contains(service, `"service":"meshed"`) {
		t.Fatalf("the pod is of another service: %s", service)
	}
	passes := func() bool { return strings.Contains(meshedGets(t, ns, "/mesh"), "path=/mesh") }
	eventually(t, "web answers", passes)

	if said, err := tryKubectl(t.Context(), strings.ReplaceAll(strings.ReplaceAll(refuseUndeclared, "NS", ns), "Refused", "Never"), "apply", "-f", "-"); err == nil || !strings.Contains(said+err.Error(), "Refused") {
		t.Errorf("a wrong one is taken, or refused without saying what is accepted: %v\n%s", err, said)
	}
	apply(t, ns, refuseUndeclared)
	// Envoy's own answer: any other failure is none of the MeshService's doing.
	within(t, carried, "the call to what is not declared is answered 403", func() bool {
		answer := meshedGets(t, ns, "/mesh")
		return strings.Contains(answer, "HTTP 403 Forbidden: web:8080 is not among the destinations of meshed: undeclaredEgress of MeshService "+ns+"/meshed is Refused")
	})
	eventually(t, "the status says that all pods run it", allRunIt(t, ns))
	version := field(t, ns, "meshservice/meshed", ".status.version")
	// Its exit status is about other things: sidecars that are missing.
	if said, _ := pillionctl(t, "status", "-n", ns, "--pods"); !regexp.MustCompile(`(?m)^` + ns + ` +meshed +meshed +Applied +` + version + ` +` + version + `$`).MatchString(said) {
		t.Errorf("what the pod runs is not in\n%s", said)
	}
	kubectl(t, "-n", ns, "delete", "meshservice", "meshed")
	within(t, carried, "the call passes through again", passes)
	if restarts := field(t, ns, "pod/meshed", ".status.initContainerStatuses[*].restartCount} {.status.containerStatuses[*].restartCount"); strings.Trim(restarts, "0 ") != "" {
		t.Errorf("containers were restarted: %s", restarts)
	}
}

// TestRejectionIsSeenOnTheNode: what Envoy refuses is seen in `kubectl get`, with Envoy's own
// words, and the pod serves on. Nothing that is rendered is refused; so it is written into the
// ConfigMap while no controller runs, and the ConfigMap made somebody else's, so that the
// controller leaves it as it is until it is deleted.
func TestRejectionIsSeenOnTheNode(t *testing.T) {
	ns := newNamespace(t, "meshrejected", optedIn)
	startMeshed(t, ns)
	apply(t, ns, strings.ReplaceAll(refuseUndeclared, "Refused", "Passthrough"))
	eventually(t, "the pod runs what it was given", allRunIt(t, ns))
	startController := stopController(t)

	version := storeRefused(t, ns)
	var status lifecycle.MeshStatus
	within(t, carried, "the pod rejects it", func() bool {
		status = statusOf(t, ns, "meshed")
		return status.State == lifecycle.MeshRejected && status.Wanted != nil && status.Wanted.Version == version
	})
	if !strings.Contains(status.Reason, envoysWords) {
		t.Fatalf("it was not Envoy that rejected it: %s", status.Reason)
	}
	if answer := meshedGets(t, ns, "/still"); !strings.Contains(answer, "path=/still") {
		t.Errorf("a request was answered %q", answer)
	}

	startController()
	eventually(t, "kubectl get shows the rejection", func() bool {
		printed := kubectl(t, "-n", ns, "get", "meshservice", "meshed", "-o", "wide")
		return strings.Contains(printed, "pod meshed rejected version "+version+":") && strings.Contains(printed, envoysWords)
	})
	kubectl(t, "-n", ns, "delete", "configmap", "pillion-mesh-meshed")
	apply(t, ns, refuseUndeclared)
	eventually(t, "the pod runs what the MeshService says", allRunIt(t, ns))
	if status = statusOf(t, ns, "meshed"); status.State != lifecycle.MeshApplied || status.Running == nil || status.Running.Version != field(t, ns, "meshservice/meshed", ".status.version") {
		t.Errorf("the pod says %+v", status)
	}
}

// stopController ends the controller, and returns what starts it again.
func stopController(t *testing.T) (start func()) {
	t.Helper()
	const component = "app.kubernetes.io/component=controller"
	name := kubectl(t, "-n", release, "get", "deployments", "-l", component, "-o", "jsonpath={.items[0].metadata.name}")
	replicas := field(t, release, "deployment/"+name, ".spec.replicas")
	scale := func(replicas string) {
		if _, err := tryKubectl(context.WithoutCancel(t.Context()), "", "-n", release, "scale", "deployment/"+name, "--replicas="+replicas); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(func() { scale(replicas) })
	scale("0")
	eventually(t, "no controller runs", func() bool {
		return kubectl(t, "-n", release, "get", "pods", "-l", component, "-o", "name") == ""
	})
	return func() { scale(replicas) }
}

// envoysWords are what Envoy says of a rate limit without a name.
const envoysWords = "LocalRateLimitValidationError.StatPrefix: value length must be at least 1 characters"

// storeRefused puts a generation into the ConfigMap that comes after the pod's, is whole, and
// is refused by Envoy, and makes it nobody's. It returns its version.
func storeRefused(t *testing.T, ns string) (version string) {
	t.Helper()
	var stored corev1.ConfigMap
	if err := json.Unmarshal([]byte(kubectl(t, "-n", ns, "get", "configmap", "pillion-mesh-meshed", "-o", "json")), &stored); err != nil {
		t.Fatal(err)
	}
	g, err := bootstrap.ParseGeneration([]byte(stored.Data[bootstrap.GenerationFile]))
	if err != nil {
		t.Fatal(err)
	}
	g.Number++
	g.Inbound = append(g.Inbound, bootstrap.InboundPort{Port: 8080, HTTPFilters: []json.RawMessage{json.RawMessage(
		`{"name": "envoy.filters.http.local_ratelimit", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit"}}`,
	)}})
	sealed, err := g.Seal()
	if err != nil {
		t.Fatal(err)
	}
	stored.Data[bootstrap.GenerationFile] = string(sealed)
	stored.Labels, stored.OwnerReferences = nil, nil
	replacement, err := json.Marshal(&stored)
	if err != nil {
		t.Fatal(err)
	}
	if said, err := tryKubectl(t.Context(), string(replacement), "replace", "-f", "-"); err != nil {
		t.Fatal(said, err)
	}
	return g.Version
}

// statusOf is what a pod's sidecar says that it runs.
func statusOf(t *testing.T, ns, pod string) lifecycle.MeshStatus {
	t.Helper()
	said := kubectl(t, "get", "--raw", fmt.Sprintf("/api/v1/namespaces/%s/pods/%s:15020/proxy%s", ns, pod, lifecycle.MeshStatusPath))
	var status lifecycle.MeshStatus
	if err := json.Unmarshal([]byte(said), &status); err != nil {
		t.Fatalf("reading %q: %v", said, err)
	}
	return status
}
