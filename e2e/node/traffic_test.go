package node

import (
	"encoding/json"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/pillion-mesh/pillion/injector"
)

// TestTraffic: pods of a labelled workload talk through their sidecars, and a
// neighbour without the label is as it was.
func TestTraffic(t *testing.T) {
	ns := newNamespace(t, "traffic", optedIn)
	apply(t, ns, web+"---"+clients)
	rolledOut(t, ns, "deployment/web")
	kubectl(t, "-n", ns, "wait", "--for=condition=Ready", "pod/meshed", "pod/plain", "--timeout=2m")

	status, err := injector.ParseStatus(field(t, ns, "pod/meshed", ".metadata.annotations.pillion\\.dev/status"))
	if err != nil || status.Mode != "Native" && status.Mode != "native" {
		t.Errorf("the status annotation says %+v, %v", status, err)
	}
	if names := field(t, ns, "pod/plain", ".spec.initContainers[*].name} {.spec.containers[*].name"); strings.TrimSpace(names) != "app" {
		t.Errorf("the pod without the label has the containers %q", names)
	}
	output, code := pillionctl(t, "status", "-n", ns)
	if code != 0 || !regexp.MustCompile(`(?m)^traffic +deployment/web +2 +0 +0 +0 +0`).MatchString(output) || !regexp.MustCompile(`(?m)^traffic +pod/plain +0 +0 +0 +0 +1 +PIL`).MatchString(output) {
		t.Errorf("pillionctl status ended with %d and said\n%s", code, output)
	}
	server := strings.Fields(field(t, ns, "pod", ".items[?(@.metadata.labels.app==\"web\")].status.podIP"))[0]
	for _, from := range []string{"meshed", "plain"} {
		before, sent := requests(t, ns, server, "inbound_http"), requests(t, ns, field(t, ns, "pod/meshed", ".status.podIP"), "outbound_http")
		answer := kubectl(t, "-n", ns, "exec", from, "-c", "app", "--", "/app", "get", "-tries", "20", "http://"+server+":8080/hello")
		if !strings.Contains(answer, "path=/hello") {
			t.Errorf("%s got %q", from, answer)
		}
		if now := requests(t, ns, server, "inbound_http"); now != before+1 {
			t.Errorf("from %s: the server's Envoy counts %d requests more, want 1", from, now-before)
		}
		want := map[string]int{"meshed": 1, "plain": 0}[from]
		if now := requests(t, ns, field(t, ns, "pod/meshed", ".status.podIP"), "outbound_http"); now != sent+want {
			t.Errorf("from %s: the meshed client's Envoy counts %d requests more, want %d", from, now-sent, want)
		}
	}
	// By the Service's name, and to a pod's own Service.
	for _, from := range []string{"meshed", "plain"} {
		if answer := kubectl(t, "-n", ns, "exec", from, "-c", "app", "--", "/app", "get", "-tries", "20", "http://web:8080/by-name"); !strings.Contains(answer, "path=/by-name") {
			t.Errorf("%s got %q", from, answer)
		}
	}
}

// requests that an Envoy has counted in a direction, by its pod's status port.
func requests(t *testing.T, ns, address, direction string) int {
	t.Helper()
	metrics := kubectl(t, "-n", ns, "exec", "plain", "--", "/app", "get", "http://"+address+":15020/metrics")
	found := regexp.MustCompile(`envoy_http_downstream_rq_total\{envoy_http_conn_manager_prefix="` + direction + `"\} (\d+)`).FindStringSubmatch(metrics)
	if found == nil {
		t.Fatalf("no count of %s in\n%.2000s", direction, metrics)
	}
	count, err := strconv.Atoi(found[1])
	if err != nil {
		t.Fatal(err)
	}
	return count
}

// TestIPTables: the image pillion-init-iptables leads a pod's traffic through Envoy by
// iptables, as it does where the kernel has no nf_tables.
func TestIPTables(t *testing.T) {
	ns, elsewhere := newNamespace(t, "iptables", optedIn), newNamespace(t, "iptables-pods")
	manifest := strings.ReplaceAll(`
apiVersion: v1
kind: Pod
metadata: {name: old, namespace: NS, labels: {app: old, service-mesh-enabled: "true"}}
spec: {containers: [{name: app, image: "localhost/pillion/app:1", args: [serve], readinessProbe: {httpGet: {port: 8080}, periodSeconds: 1}}]}
`, "NS", ns)
	injected, err := tryKubectl(t.Context(), manifest, "create", "-f", "-", "--dry-run=server", "-o", "json")
	if err != nil {
		t.Fatal(err)
	}
	// In a namespace of its own, where the webhook does not mend it.
	pod := changed(t, injected, elsewhere, func(c *corev1.Container) {
		if c.Name == injector.InitContainerName {
			c.Image = strings.Replace(c.Image, "pillion-init:", "pillion-init-iptables:", 1)
			c.Args = slices.Insert(c.Args, 1, "--backend=iptables")
		}
	})
	if output, err := tryKubectl(t.Context(), pod, "create", "-f", "-"); err != nil {
		t.Fatal(output)
	}
	apply(t, elsewhere, clients)
	kubectl(t, "-n", elsewhere, "wait", "--for=condition=Ready", "pod/old", "pod/plain", "--timeout=2m")
	if said := kubectl(t, "-n", elsewhere, "logs", "old", "-c", injector.InitContainerName); !strings.Contains(said, "backend=iptables ipv4=true") {
		t.Errorf("pillion-init said %q", said)
	}
	address := field(t, elsewhere, "pod/old", ".status.podIP")
	before := requests(t, elsewhere, address, "inbound_http")
	kubectl(t, "-n", elsewhere, "exec", "plain", "--", "/app", "get", "http://"+address+":8080/")
	if now := requests(t, elsewhere, address, "inbound_http"); now != before+1 {
		t.Errorf("the pod's Envoy counts %d requests more, want 1", now-before)
	}
}

// report is what `app load` prints.
type report struct {
	Requests, Failed int
	First            []string
}

// loadFrom has a pod call the Service web in all ways, and sends what came of it.
func loadFrom(t *testing.T, ns, pod string, perSecond int, length time.Duration) <-chan report {
	t.Helper()
	done := make(chan report, 1)
	go func() {
		var r report
		output, err := tryKubectl(t.Context(), "", "-n", ns, "exec", pod, "-c", "app", "--", "/app", "load", "-rate", strconv.Itoa(perSecond), "-for", length.String(), "web")
		if err == nil {
			err = json.Unmarshal([]byte(output), &r)
		}
		if err != nil {
			t.Errorf("the load from %s: %v", pod, err)
		}
		done <- r
	}()
	return done
}

// replaceAndReduce replaces the pods of the Deployment web, and leaves one of them.
func replaceAndReduce(t *testing.T, ns string) {
	t.Helper()
	kubectl(t, "-n", ns, "rollout", "restart", "deployment/web")
	rolledOut(t, ns, "deployment/web")
	kubectl(t, "-n", ns, "scale", "deployment/web", "--replicas=1")
	eventually(t, "two pods are gone", func() bool {
		return len(strings.Fields(field(t, ns, "pods", ".items[?(@.metadata.labels.app==\"web\")].metadata.name"))) == 1
	})
}

// TestRollingRestart: clients in and out of the mesh call at 200 requests a second
// together, by HTTP/1.1, gRPC and streams, while the pods are replaced and while there
// come to be fewer. No request fails.
func TestRollingRestart(t *testing.T) {
	ns := newNamespace(t, "rolling", optedIn)
	apply(t, ns, web+"---"+clients)
	kubectl(t, "-n", ns, "scale", "deployment/web", "--replicas=3")
	rolledOut(t, ns, "deployment/web")
	kubectl(t, "-n", ns, "wait", "--for=condition=Ready", "pod/meshed", "pod/plain", "--timeout=2m")
	const length = 75 * time.Second
	meshed, plain := loadFrom(t, ns, "meshed", 100, length), loadFrom(t, ns, "plain", 100, length)
	replaceAndReduce(t, ns)
	for _, r := range []report{<-meshed, <-plain} {
		t.Logf("%d requests, %d failed", r.Requests, r.Failed)
		// A load that was hardly there proves nothing.
		if least := int(length.Seconds()) * 100 * 7 / 10; r.Failed > 0 || r.Requests < least {
			t.Errorf("%d of %d requests failed, want 0 of %d or more:\n%s", r.Failed, r.Requests, least, strings.Join(r.First, "\n"))
		}
	}
}

// TestRollingRestartWithoutSidecars is the control: the same pods without sidecars lose
// requests, so the test above can fail.
func TestRollingRestartWithoutSidecars(t *testing.T) {
	ns := newNamespace(t, "rolling-without")
	apply(t, ns, web+"---"+clients)
	kubectl(t, "-n", ns, "wait", "--for=condition=Ready", "pod/plain", "--timeout=2m")
	// One time may be lucky.
	eventually(t, "a request failed", func() bool {
		kubectl(t, "-n", ns, "scale", "deployment/web", "--replicas=3")
		rolledOut(t, ns, "deployment/web")
		plain := loadFrom(t, ns, "plain", 200, 15*time.Second)
		replaceAndReduce(t, ns)
		r := <-plain
		t.Logf("%d requests, %d failed", r.Requests, r.Failed)
		return r.Failed > 0
	})
}
