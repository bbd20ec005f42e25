package node

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/pillion-mesh/pillion/injector"
)

// podOf is a pod that opted in.
func podOf(name string) string {
	return fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata: {name: %s, namespace: NS, labels: {app: %[1]s, service-mesh-enabled: "true"}}
spec: {terminationGracePeriodSeconds: 1, containers: [{name: app, image: "localhost/pillion/app:1", args: [sleep, 1h]}]}
`, name)
}

func hasSidecar(t *testing.T, ns, pod string) bool {
	t.Helper()
	return strings.Contains(field(t, ns, "pod/"+pod, ".spec.initContainers[*].name"), injector.SidecarName)
}

// TestWebhookIsDown: with no replica, a pod of an ordinary namespace starts without a
// sidecar, one of a strict namespace is refused with a sentence, and others notice
// nothing. When it is back, pods have sidecars again.
func TestWebhookIsDown(t *testing.T) {
	ordinary, strict, other := newNamespace(t, "down", optedIn), newNamespace(t, "down-strict", optedIn, "pillion.dev/strict=true"), newNamespace(t, "down-other")
	scale := func(replicas string) {
		kubectl(t, "-n", release, "scale", "deployment/pillion-webhook", "--replicas="+replicas)
	}
	scale("0")
	defer func() {
		scale("2")
		rolledOut(t, release, "deployment/pillion-webhook")
		// The replicas are ready before kube-proxy leads to them.
		eventually(t, "the strict namespace takes pods again", func() bool {
			_, err := tryKubectl(t.Context(), strings.ReplaceAll(podOf("back"), "NS", strict), "apply", "-f", "-")
			return err == nil
		})
		if !hasSidecar(t, strict, "back") {
			t.Error("a pod has no sidecar though the webhook is back")
		}
	}()
	// Replicas that are told to stop go on answering on connections that are open.
	kubectl(t, "-n", release, "delete", "pods", "-l", "app.kubernetes.io/component=webhook", "--force", "--grace-period=0")
	eventually(t, "no replica answers", func() bool {
		_, err := tryKubectl(t.Context(), strings.ReplaceAll(podOf("asked"), "NS", strict), "create", "--dry-run=server", "-f", "-")
		return err != nil
	})
	apply(t, ordinary, podOf("missed"))
	if hasSidecar(t, ordinary, "missed") {
		t.Error("a pod has a sidecar though no webhook runs")
	}
	output, err := tryKubectl(t.Context(), strings.ReplaceAll(podOf("refused"), "NS", strict), "apply", "-f", "-")
	if err == nil || !strings.Contains(output, "pillion") {
		t.Errorf("the strict namespace said %q", output)
	}
	apply(t, other, podOf("unlabelled"))
	if output, code := pillionctl(t, "status", "-n", ordinary, "--outdated"); code != 1 || !strings.Contains(output, "pod/missed") || !strings.Contains(output, "no webhook answered") {
		t.Errorf("pillionctl status ended with %d and said\n%s", code, output)
	}
	kubectl(t, "-n", ordinary, "wait", "--for=condition=Ready", "pod/missed", "--timeout=2m")
	kubectl(t, "-n", other, "wait", "--for=condition=Ready", "pod/unlabelled", "--timeout=2m")
}

// TestContainersAreKilled: every container of the node's pods is killed, sandboxes
// too, as by a node that restarts. The pods come back with their redirects, and
// requests go through Envoy again.
func TestContainersAreKilled(t *testing.T) {
	ns := newNamespace(t, "restart", optedIn)
	apply(t, ns, web+"---"+clients)
	rolledOut(t, ns, "deployment/web")
	kubectl(t, "-n", ns, "wait", "--for=condition=Ready", "pod/meshed", "pod/plain", "--timeout=2m")
	before := field(t, ns, "pods", ".items[*].metadata.uid")
	for id := range strings.FieldsSeq(nodeScript(t, "exec", "ctr", "-n", "k8s.io", "tasks", "list", "-q")) {
		// One may have ended by itself.
		_, _ = tryNodeScript(t, "exec", "ctr", "-n", "k8s.io", "tasks", "kill", "-s", "KILL", id)
	}
	eventually(t, "all pods have restarted and are ready", func() bool {
		restarts := field(t, ns, "pods", ".items[*].status.containerStatuses[*].restartCount")
		ready := field(t, ns, "pods", `.items[*].status.conditions[?(@.type=="Ready")].status`)
		return !strings.Contains(" "+restarts+" ", " 0 ") && ready == "True True True True"
	})
	if after := field(t, ns, "pods", ".items[*].metadata.uid"); after != before {
		t.Errorf("other pods came in place of these: %s, then %s", before, after)
	}
	server := strings.Fields(field(t, ns, "pods", ".items[?(@.metadata.labels.app==\"web\")].status.podIP"))[0]
	count := requests(t, ns, server, "inbound_http")
	kubectl(t, "-n", ns, "exec", "meshed", "-c", "app", "--", "/app", "get", "-tries", "20", "http://"+server+":8080/again")
	if now := requests(t, ns, server, "inbound_http"); now == count {
		t.Error("the request did not go through the server's Envoy")
	}
	rolledOut(t, "kube-system", "deployment/coredns")
	rolledOut(t, release, "deployment/pillion-webhook")
}

// TestPodSecurity: in a namespace that enforces baseline the pods of an opted-in
// workload cannot be created, since the init container sets up rules; who applies the
// workload is told by the webhook, and again by Pod Security in the ReplicaSet's event.
func TestPodSecurity(t *testing.T) {
	ns := newNamespace(t, "baseline", optedIn, "pod-security.kubernetes.io/enforce=baseline")
	if said := apply(t, ns, web); !strings.Contains(said, "Warning: PIL057: Deployment web: ") || !strings.Contains(said, "NET_ADMIN") {
		t.Errorf("who applies the workload is told %q", said)
	}
	eventually(t, "an event names the capability", func() bool {
		return strings.Contains(kubectl(t, "-n", ns, "events"), "NET_ADMIN")
	})
}

// TestConfigurationReachesNewPods: values that are changed by helm upgrade are in new
// pods within a minute, without a new replica of the webhook.
func TestConfigurationReachesNewPods(t *testing.T) {
	ns := newNamespace(t, "values", optedIn)
	replicas := field(t, release, "pods", ".items[*].metadata.uid")
	upgrade := func(more ...string) {
		t.Helper()
		args := append(append([]string{"upgrade", "pillion", chart, "--wait", "--timeout", "3m"}, settings()...), more...)
		if output, err := helm(t.Context(), args...); err != nil {
			t.Fatalf("helm upgrade: %v\n%s", err, output)
		}
	}
	// kubelet refreshes the replicas' files once a minute.
	isNew := func() bool {
		t.Helper()
		pod, err := tryKubectl(t.Context(), strings.ReplaceAll(podOf("asked"), "NS", ns), "create", "--dry-run=server", "-o", "json", "-f", "-")
		if err != nil {
			t.Fatal(err)
		}
		return strings.Contains(pod, "--log-level=debug")
	}
	upgrade("--set", "injector.envoy.logLevel=debug")
	defer func() {
		if output, err := helm(t.Context(), "rollback", "pillion", "--wait"); err != nil {
			t.Errorf("helm rollback: %v\n%s", err, output)
		}
		// Both replicas, so one answer is not enough.
		olds := 0
		eventually(t, "new pods have the old value again", func() bool {
			if olds++; isNew() {
				olds = 0
			}
			return olds == 20
		})
	}()
	changed := time.Now()
	eventually(t, "new pods have the new value", isNew)
	t.Logf("the new value was in a pod after %s", time.Since(changed).Round(time.Second))
	if now := field(t, release, "pods", ".items[*].metadata.uid"); now != replicas {
		t.Errorf("the release's pods were %s and are %s", replicas, now)
	}
}
