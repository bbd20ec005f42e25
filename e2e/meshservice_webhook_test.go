package e2e

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pillion-mesh/pillion/api/v1alpha1"
)

// Two destinations that are one, which no schema can tell.
const contradiction = "egress: [{name: a, service: {name: a}, port: 80}, {name: b, host: a, port: 80}]"

// installForMeshServices installs the release, and waits until MeshServices are
// validated by its webhook.
func installForMeshServices(t *testing.T, values map[string]any, namespace string, heard *warned) (*installation, client.Client) {
	t.Helper()
	installed := install(t, values)
	c := apiServer(t, heard)
	defineMeshServices(t, c)
	eventually(t, "MeshServices are validated", func() bool {
		err := applied(t, c, namespace, parseObject(t, meshDocument(contradiction)))
		return err != nil && strings.Contains(err.Error(), "denied the request")
	})
	heard.texts = nil
	return installed, c
}

// TestMeshServiceWebhook: what a schema cannot tell is refused at apply time, with a
// sentence for the owner, and what is probably not meant is warned about.
func TestMeshServiceWebhook(t *testing.T) {
	namespace := newNamespace(t, apiServer(t), "mesh-", nil)
	heard := &warned{}
	_, c := installForMeshServices(t, nil, namespace, heard)
	const to = "headers: [{name: x, value: v}]"
	for _, test := range []struct{ spec, want string }{
		{contradiction, "spec.egress[1].port: Invalid value: 80: a:80 is what spec.egress[0] (a) is, too: put both into one entry"},
		{"egress: [{name: a, service: {name: a}, port: 80}, {name: b, host: a.NAMESPACE.svc, port: 80}]", "a.NAMESPACE.svc:80 is what spec.egress[0] (a) is, too: put both into one entry"},
		{"egress: [{name: a, host: a, port: 80, protocol: TCP}, {name: b, host: b, port: 80, protocol: TCP}]", "TCP to port 80, whatever the host, is what spec.egress[0] (a) is, too"},
		{"egress: [{name: a, host: a, port: 80, routes: [{to: cahce, " + to + "}]}, {name: cache, host: b, port: 80}]", `spec.egress[0].routes[0].to: Invalid value: "cahce": is no destination of this document; did you mean "cache"?`},
		{"egress: [{name: a, host: a, port: 80, routes: [{to: b, " + to + "}]}, {name: b, host: b, port: 80, routes: [{to: a, " + to + "}]}]", "must have no routes of its own, as egress[1] (b) has"},
		{"egress: [{name: a, host: a, port: 80, routes: [{to: b, " + to + "}, {to: b, " + to + "}]}, {name: b, host: b, port: 80}]", "can never match: spec.egress[0].routes[0], which comes first, matches all of its requests"},
		{"egress: [{name: a, host: a, port: 80, routes: [{to: b, " + to + "}]}, {name: b, host: b, port: 80, protocol: TLS}]", "must be a destination of requests; egress[1] (b) is of protocol TLS"},
		{"egress: [{name: a, host: a, port: 80, timeout: 1500us}]", "must be from 1ms to 1h, in whole milliseconds, or 0s for none"},
	} {
		spec, want := strings.ReplaceAll(test.spec, "NAMESPACE", namespace), strings.ReplaceAll(test.want, "NAMESPACE", namespace)
		err := applied(t, c, namespace, parseObject(t, meshDocument(spec)))
		if err == nil || !strings.Contains(err.Error(), `admission webhook "meshservices.pillion.dev" denied the request: `) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\n got %v\nwant %s", spec, err, want)
		}
	}
	heard.texts = nil
	if err := applied(t, c, namespace, parseObject(t, meshDocument("egress: [{name: a, host: a.example.com, port: 80, timeout: 5s, clientTimeout: 10s}]"))); err != nil {
		t.Error(err)
	}
	want := []string{"spec.egress[0].clientTimeout: 10s is longer than timeout, 5s: after 5s the app gets a 504 from the sidecar, not its own deadline"}
	if diff := cmp.Diff(want, heard.texts); diff != "" {
		t.Errorf("warnings (-want +got):\n%s", diff)
	}
	for _, path := range goodDocuments(t) {
		if err := applied(t, c, namespace, readObject(t, path)); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// TestMeshServiceUpdatesThatMatter: the webhook is asked about what is written, and not
// about labels, the status and the end of a document.
func TestMeshServiceUpdatesThatMatter(t *testing.T) {
	namespace := newNamespace(t, apiServer(t), "mesh-", nil)
	installed, c := installForMeshServices(t, nil, namespace, &warned{})
	asked := func(what string, want []string, do func() error) {
		t.Helper()
		before := installed.counters(t)
		if err := do(); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		var got []string
		for series := range installed.asked(t, before) {
			got = append(got, series)
		}
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +asked):\n%s", what, diff)
		}
	}
	accepted, warned := []string{`meshservice_reviews_total{outcome="accepted"`}, []string{`meshservice_reviews_total{outcome="warned"`}
	mesh := &v1alpha1.MeshService{}
	mesh.APIVersion, mesh.Kind, mesh.Name, mesh.Namespace = v1alpha1.APIVersion, v1alpha1.KindMeshService, "cart", namespace
	mesh.Spec.Inbound = []v1alpha1.InboundPort{{Port: 8080}}
	typed := meshClient(t)
	asked("create", accepted, func() error { return typed.Create(t.Context(), mesh) })
	asked("label", nil, func() error {
		mesh.Labels = map[string]string{"team": "cart"}
		return typed.Update(t.Context(), mesh)
	})
	asked("status", nil, func() error {
		mesh.Status.Version = "0123456789abcdef"
		return typed.Status().Update(t.Context(), mesh)
	})
	asked("spec", warned, func() error {
		mesh.Spec.UndeclaredEgress = v1alpha1.UndeclaredRefused
		return typed.Update(t.Context(), mesh)
	})
	if mesh.Generation != 2 || mesh.Status.Version == "" {
		t.Errorf("generation %d, status %+v: the status is no subresource", mesh.Generation, mesh.Status)
	}
	asked("delete", nil, func() error { return typed.Delete(t.Context(), mesh) })

	elsewhere := newNamespace(t, c, "mesh-", map[string]string{v1alpha1.RevisionLabel: "canary"})
	asked("a namespace of another release", nil, func() error { return applied(t, c, elsewhere, parseObject(t, meshDocument(contradiction))) })

	installed.stop(t)
	if err := applied(t, c, namespace, parseObject(t, meshDocument(contradiction))); err != nil {
		t.Errorf("while no webhook answers, a document is held up: %v", err)
	}
}

// meshClient is a client with all rights that knows MeshService's type.
func meshClient(t *testing.T) client.Client {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	c, err := client.New(world.plane.Config, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	return c
}
