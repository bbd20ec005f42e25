package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/pillion-mesh/pillion/api/v1alpha1"
	"github.com/pillion-mesh/pillion/injector"
	"github.com/pillion-mesh/pillion/lifecycle"
	"github.com/pillion-mesh/pillion/preflight"
)

func meshService(name, version string, pods v1alpha1.MeshServicePods, conditions ...metav1.Condition) v1alpha1.MeshService {
	return v1alpha1.MeshService{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name},
		Status:     v1alpha1.MeshServiceStatus{Version: version, Pods: pods, Conditions: conditions},
	}
}

func condition(kind string, status metav1.ConditionStatus, message string) metav1.Condition {
	return metav1.Condition{Type: kind, Status: status, Message: message}
}

// foundMesh is one of each: well, rejected, not valid, and not seen to.
func foundMesh() []meshLine {
	accepted := condition(v1alpha1.ConditionAccepted, metav1.ConditionTrue, "the document is valid")
	rendered := condition(v1alpha1.ConditionRendered, metav1.ConditionTrue, "stored")
	return meshLines([]v1alpha1.MeshService{
		meshService("cart", "a1", v1alpha1.MeshServicePods{Total: 2, Current: 2}, accepted, rendered, condition(v1alpha1.ConditionApplied, metav1.ConditionTrue, "2 of 2")),
		meshService("checkout", "b2", v1alpha1.MeshServicePods{Total: 3, Current: 1, Rejected: 1, Unknown: 1}, accepted, rendered,
			condition(v1alpha1.ConditionApplied, metav1.ConditionFalse, "pod a: Envoy rejected it")),
		meshService("search", "c3", v1alpha1.MeshServicePods{}, condition(v1alpha1.ConditionAccepted, metav1.ConditionFalse, "spec: wrong"),
			condition(v1alpha1.ConditionRendered, metav1.ConditionFalse, "the document is not valid"), condition(v1alpha1.ConditionApplied, metav1.ConditionUnknown, "")),
		meshService("unseen", "", v1alpha1.MeshServicePods{}),
	})
}

// TestMeshServicesInStatus: each has a line with how far it has come and the first reason why
// not further, in words and in JSON, and what is wrong is told by the exit status.
func TestMeshServicesInStatus(t *testing.T) {
	t.Parallel()
	pods := []podLine{{Namespace: "shop", Pod: "a", MeshService: "checkout", State: "Rejected", Running: "b1", Wanted: "b2", Why: "Envoy rejected it"}, {
		Namespace: "shop", Pod: "b", MeshService: "checkout", State: "Passthrough",
	}}
	found := func() *clusterStatus {
		return &clusterStatus{Workloads: []workloadLine{}, MeshServices: foundMesh(), Pods: pods}
	}
	var out bytes.Buffer
	p := &program{out: &out}
	err := p.tellStatus(found(), false, "table")
	if want := "2 MeshServices not valid, not rendered or rejected by a pod"; err == nil || err.Error() != want {
		t.Errorf("the error is %v, want %q", err, want)
	}
	const want = `NAMESPACE WORKLOAD INJECTED OUTDATED DAMAGED MISSED NOT INJECTED WHY

NAMESPACE MESHSERVICE ACCEPTED RENDERED APPLIED CURRENT REJECTED PODS WHY
shop cart True True True 2 0 2
shop checkout True True False 1 1 3 pod a: Envoy rejected it
shop search False False Unknown 0 0 0 spec: wrong
shop unseen Unknown Unknown Unknown 0 0 0 no controller has seen it: ` + "`pillionctl check` says whether one runs" + `

NAMESPACE POD MESHSERVICE STATE RUNNING WANTED WHY
shop a checkout Rejected b1 b2 Envoy rejected it
shop b checkout Passthrough - -
`
	var got strings.Builder
	for line := range strings.Lines(out.String()) {
		got.WriteString(strings.Join(strings.Fields(line), " ") + "\n")
	}
	if diff := cmp.Diff(want, got.String()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}

	out.Reset()
	_ = p.tellStatus(found(), false, "json")
	const wantJSON = `    {
      "namespace": "shop",
      "name": "checkout",
      "accepted": "True",
      "rendered": "True",
      "applied": "False",
      "version": "b2",
      "pods": {
        "total": 3,
        "current": 1,
        "rejected": 1,
        "unknown": 1
      },
      "why": "pod a: Envoy rejected it"
    },
`
	if !strings.Contains(out.String(), wantJSON) || !strings.Contains(out.String(), `"running": "b1"`) || !strings.HasPrefix(out.String(), "{\n  \"workloads\": []") {
		t.Errorf("as JSON it is\n%s", out.String())
	}
	out.Reset()
	if err := p.tellStatus(&clusterStatus{MeshServices: foundMesh()[:1]}, false, "table"); err != nil || strings.Contains(out.String(), "WANTED") {
		t.Errorf("where all is well and no pod was asked: %v\n%s", err, out.String())
	}
}

// TestMeshPods: those are asked that run, have a sidecar and are of a MeshService, and not more than
// so many.
func TestMeshPods(t *testing.T) {
	t.Parallel()
	of := func(service string) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			p.Annotations = map[string]string{injector.StatusAnnotation: fmt.Sprintf(`{"version":"v","config":"c","plan":"p","service":%q}`, service)}
			p.Status.Phase = corev1.PodRunning
		}
	}
	objects := []client.Object{
		pod("other", of("other")), pod("plain", func(p *corev1.Pod) { p.Status.Phase = corev1.PodRunning }),
		pod("starting", func(p *corev1.Pod) { of("cart")(p); p.Status.Phase = corev1.PodPending }),
		pod("elsewhere", func(p *corev1.Pod) { of("cart")(p); p.Namespace = "bank" }),
	}
	for n := range maxPods + 3 {
		objects = append(objects, pod(fmt.Sprintf("cart-%03d", n), of("cart")))
	}
	config := v1alpha1.DefaultConfig()
	config.Ports.Status = 16020
	inject, err := injector.New(config)
	if err != nil {
		t.Fatal(err)
	}
	f := &preflight.Facts{}
	f.Releases.Value = []preflight.Installed{{Namespace: "pillion", Name: "pillion", Config: config, Injector: inject}}
	for _, name := range []string{"shop", "bank"} {
		f.Namespaces.Value = append(f.Namespaces.Value, corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"service-mesh-enabled": "true"}}})
	}
	c := &connection{Client: fake.NewClientBuilder().WithObjects(objects...).Build()}
	lines, more, err := c.meshPods(t.Context(), f, foundMesh())
	if err != nil {
		t.Fatal(err)
	}
	if len(lines) != maxPods || more != 3 {
		t.Errorf("%d are asked and %d are not, want %d and 3", len(lines), more, maxPods)
	}
	for _, line := range lines {
		if line.MeshService != "cart" || !strings.HasPrefix(line.Pod, "cart-") || line.port != 16020 {
			t.Errorf("asked is %+v", line)
		}
	}
}

// TestPodsAreAskedByTheAPIServer: a pod's answer is bounded and never obeyed by a terminal, and
// one that cannot be asked is told with the reason.
func TestPodsAreAskedByTheAPIServer(t *testing.T) {
	t.Parallel()
	answers := map[string]func(http.ResponseWriter){
		"well": func(w http.ResponseWriter) {
			_, _ = io.WriteString(w, `{"running":{"version":"a1"},"wanted":{"version":"a1"},"state":"Applied"}`)
		},
		"sly": func(w http.ResponseWriter) {
			_, _ = io.WriteString(w, `{"running":null,"wanted":{"version":"\u001b[31mb"},"state":"Rejected","reason":"one\ntwo\u0007"}`)
		},
		"endless": func(w http.ResponseWriter) { _, _ = io.WriteString(w, strings.Repeat(" ", lifecycle.MaxMeshStatus+1)) },
		"forbidden": func(w http.ResponseWriter) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusForbidden)
			_, _ = io.WriteString(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Forbidden","code":403,"message":"cannot get resource pods/proxy"}`)
		},
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		pod, found := strings.CutSuffix(strings.TrimPrefix(r.URL.Path, "/api/v1/namespaces/shop/pods/"), ":16020/proxy/status")
		if !found || answers[pod] == nil {
			t.Errorf("%s %s was asked for", r.Method, r.URL)
			return
		}
		answers[pod](w)
	}))
	t.Cleanup(server.Close)
	c := &connection{config: &rest.Config{Host: server.URL}}
	var lines []podLine
	for _, name := range []string{"well", "sly", "endless", "forbidden"} {
		lines = append(lines, podLine{Namespace: "shop", Pod: name, port: 16020})
	}
	if err := c.askPods(t.Context(), lines); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, l := range lines {
		got = append(got, strings.Join([]string{l.Pod, l.State, orNone(l.Running), orNone(l.Wanted), l.Why}, "|"))
	}
	want := []string{
		"well|Applied|a1|a1|", "sly|Rejected|-|[31mb|one two", "endless|Unknown|-|-|the answer has more than 65536 bytes",
		"forbidden|Unknown|-|-|asking it by the API server (it needs the right to get pods/proxy): cannot get resource pods/proxy",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
