package node

import (
	"bufio"
	"context"
	"fmt"
	"os/exec"
	"strings"
	"testing"
)

// caller is a pod of the service of its name that calls kube-apiserver: kubectl, which finds its
// way as any program with client-go does in a pod, by KUBERNETES_SERVICE_HOST and the token and
// the authority of its ServiceAccount.
const caller = `
apiVersion: v1
kind: Pod
metadata: {name: NAME, namespace: NS, labels: {app: NAME, service-mesh-enabled: "true"}, annotations: {ANNOTATION}}
spec:
  containers:
  - name: app
    image: localhost/pillion/app:1
    args: [sleep, 1h]
    env: [ENV]
    volumeMounts: [{name: kubectl, mountPath: /kubectl, readOnly: true}]
  volumes: [{name: kubectl, hostPath: {path: "KUBECTL", type: File}}]
---
apiVersion: pillion.dev/v1alpha1
kind: MeshService
metadata: {name: NAME, namespace: NS}
spec: {undeclaredEgress: UNDECLARED, egress: [EGRESS]}
---
`

// startCallers starts a pod for each of the ways, and one for which nothing is done.
func startCallers(t *testing.T, ns string) {
	t.Helper()
	ways := []struct{ name, annotation, env, undeclared, egress string }{
		{name: "unchanged", undeclared: "Passthrough"},
		{name: "by-name", undeclared: "Refused", env: "{name: KUBERNETES_SERVICE_HOST, value: kubernetes.default.svc}", egress: apiServer("TLS")},
		{name: "past", undeclared: "Refused", annotation: "pillion.dev/excluded-cidrs: " + field(t, "default", "service/kubernetes", ".spec.clusterIP") + "/32"},
		{name: "by-port", undeclared: "Refused", egress: apiServer("TCP")},
	}
	var manifest strings.Builder
	for _, way := range ways {
		manifest.WriteString(strings.NewReplacer("NAME", way.name, "ANNOTATION", way.annotation, "ENV", way.env,
			"KUBECTL", programs.Kubectl, "UNDECLARED", way.undeclared, "EGRESS", way.egress).Replace(caller))
	}
	kubectl(t, "-n", ns, "create", "rolebinding", "callers", "--clusterrole=view", "--serviceaccount="+ns+":default")
	apply(t, ns, manifest.String())
	kubectl(t, "-n", ns, "wait", "--for=condition=Ready", "pods", "--all", "--timeout="+patience.String())
	for _, way := range ways {
		awaitApplied(t, ns, way.name)
	}
}

// apiServer is the destination of the page.
func apiServer(protocol string) string {
	return `{"name": "kubernetes", "service": {"name": "kubernetes", "namespace": "default"}, "port": 443, "protocol": "` + protocol + `"}`
}

// awaitApplied waits until the pods run what the MeshService says now.
func awaitApplied(t *testing.T, ns, name string) {
	t.Helper()
	within(t, carried, "the pods of "+name+" run its MeshService", func() bool {
		now := field(t, ns, "meshservice/"+name, `.metadata.generation`)
		return field(t, ns, "meshservice/"+name, `.status.conditions[?(@.type=="Applied")]['status','observedGeneration']`) == "True "+now
	})
}

// from are the arguments of kubectl that let a pod ask kube-apiserver.
func from(ns, pod string, args ...string) []string {
	return append([]string{"-n", ns, "exec", pod, "-c", "app", "--", "/kubectl"}, args...)
}

// TestKubernetesClientWhereUndeclaredIsRefused: a client in a pod that reached kube-apiserver does
// not when what is undeclared is refused, as the page says, and does again when it is declared.
// So do clients in pods that say a name, or for which one of the page's other ways was taken.
func TestKubernetesClientWhereUndeclaredIsRefused(t *testing.T) {
	ns := newNamespace(t, "kubeclient", optedIn)
	startCallers(t, ns)
	change := func(egress string) {
		kubectl(t, "-n", ns, "patch", "meshservice", "unchanged", "--type=merge", "-p", `{"spec": {"undeclaredEgress": "Refused", "egress": [`+egress+`]}}`)
		awaitApplied(t, ns, "unchanged")
	}
	wantWatch(t, ns, "unchanged", "passed-through")
	change("")
	// On a machine that keeps the client from speaking for a while it is refused in another way.
	eventually(t, "the connection of a client for which nothing was done is reset", func() bool {
		// One request: kubectl's other commands try a reset again ten times.
		said, err := tryKubectl(t.Context(), "", from(ns, "unchanged", "get", "--raw", "/version")...)
		if err == nil {
			t.Fatalf("a client for which nothing was done is answered %s", said)
		}
		return strings.Contains(said, "connection reset by peer")
	})
	for _, way := range []string{"by-name", "past", "by-port"} {
		wantWatch(t, ns, way, way)
	}
	change(apiServer("TLS"))
	wantWatch(t, ns, "unchanged", "declared")
	if restarts := field(t, ns, "pod/unchanged", ".status.initContainerStatuses[*].restartCount} {.status.containerStatuses[*].restartCount"); strings.Trim(restarts, "0 ") != "" {
		t.Errorf("containers were restarted: %s", restarts)
	}
}

// wantWatch wants a client in the pod to list what is there, and to be told of what comes
// afterwards on the same stream.
func wantWatch(t *testing.T, ns, pod, made string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	watch := exec.CommandContext(ctx, programs.Kubectl, from(ns, pod, "get", "configmaps", "--watch", "--output=name")...)
	said := new(strings.Builder)
	watch.Stderr = said
	output, err := watch.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := watch.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(output)
	await := func(name string) {
		for lines.Scan() {
			if lines.Text() == "configmap/"+name {
				return
			}
		}
		cancel()
		t.Fatalf("pod %s is not told of ConfigMap %s: %v, %v\n%s", pod, name, lines.Err(), watch.Wait(), said)
	}
	await("kube-root-ca.crt") // it is there in every namespace
	for n := range 3 {
		name := fmt.Sprintf("%s-%d", made, n)
		kubectl(t, "-n", ns, "create", "configmap", name)
		await(name)
	}
	cancel()
	_ = watch.Wait() // it was killed
}
