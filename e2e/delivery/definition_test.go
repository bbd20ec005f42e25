package delivery

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pillion-mesh/pillion/api/v1alpha1"
	"github.com/pillion-mesh/pillion/controller/auditor"
	"github.com/pillion-mesh/pillion/e2e/release"
	"github.com/pillion-mesh/pillion/lifecycle"
)

const (
	// unknownAgain is said when the definition is gone, and refusedWatch by a library for each
	// attempt to watch what is not there.
	unknownAgain = "the API server knows no MeshServices any more"
	refusedWatch = "Failed to watch"
)

// TestDefinitionComesLater: a controller that starts where nobody knows MeshServices sees to the
// certificates meanwhile, and to MeshServices as soon as there are some.
func TestDefinitionComesLater(t *testing.T) {
	s := newSystem(t)
	s.deleteDefinition(t)
	s.deleteSecret(t)
	s.start(t)
	s.makesSecret(t)
	s.install(t)
	s.mustApply(t, "cart", refused)
	s.rendered(t, "cart")
	s.condition(t, "cart", v1alpha1.ConditionRendered, metav1.ConditionTrue, "Stored")
}

// TestDefinitionGoesAndComes: with the definition all MeshServices and their ConfigMaps go, the
// controller says so once and does its other work, and MeshServices that are applied when it is
// back come to the pods as ever.
func TestDefinitionGoesAndComes(t *testing.T) {
	// So many that their ConfigMaps are not gone as fast as they are.
	const services = 150
	s := newSystem(t)
	asked := s.countQuestions()
	for n := range services {
		s.mustApply(t, fmt.Sprintf("service-%d", n), refused)
	}
	s.auditEverySecond(t)
	s.start(t)
	eventually(t, "all of them are rendered", func() bool { return len(s.configMaps(t)) == services })
	before := s.rendered(t, "service-0")
	a := &sidecar{}
	a.say(running(before.Version, lifecycle.MeshApplied, ""))
	s.addPod(t, "service-0", "a", "10.9.4.1", a, volume)
	s.condition(t, "service-0", v1alpha1.ConditionApplied, metav1.ConditionTrue, "AllPods")
	noise := world.library.count(refusedWatch)

	s.deleteDefinition(t)
	eventually(t, "all ConfigMaps are gone", func() bool { return len(s.configMaps(t)) == 0 })
	eventually(t, "it is said", func() bool { return s.log.count(unknownAgain) > 0 })
	s.deleteSecret(t)
	s.makesSecret(t)
	audited := s.lastAudit(t)
	eventually(t, "pods are audited", func() bool { return s.lastAudit(t) != audited })
	since, first := time.Now(), asked.Load()
	eventually(t, "it is asked for MeshServices again and again", func() bool { return asked.Load() >= first+2 })
	if n, most := asked.Load()-first, 1+int64(time.Since(since)/(10*time.Second)); n > most {
		t.Errorf("in %s it was asked %d times, want %d at most", time.Since(since), n, most)
	}
	for _, line := range []string{
		"pillion_controller_leader 1", `pillion_controller_mesh_services{state="applied"} 0`, `pillion_controller_mesh_services{state="underway"} 0`,
		`pillion_controller_mesh_service_pods{state="current"} 0`, `pillion_controller_errors_total{what="mesh_service"} 0`,
	} {
		if metrics := s.get(t, "/metrics"); !strings.Contains(metrics, "\n"+line+"\n") {
			t.Errorf("while there is no definition, the metrics have no line %q:\n%s", line, metrics)
		}
	}
	if ready := s.get(t, "/readyz"); ready != "ok\n" {
		t.Errorf("the controller is not ready: %s", ready)
	}

	s.install(t)
	s.mustApply(t, "service-0", refused)
	after := s.rendered(t, "service-0")
	if !before.OlderThan(after) {
		t.Errorf("number %d, created %d, is older to a pod than number %d, created %d, of the MeshService before", after.Number, after.Created, before.Number, before.Created)
	}
	s.condition(t, "service-0", v1alpha1.ConditionApplied, metav1.ConditionFalse, "Underway")
	a.say(running(after.Version, lifecycle.MeshApplied, ""))
	s.condition(t, "service-0", v1alpha1.ConditionApplied, metav1.ConditionTrue, "AllPods")
	if said := s.log.count(unknownAgain); said != 1 {
		t.Errorf("that the definition is gone was said %d times, want once", said)
	}
	if n := world.library.count(refusedWatch) - noise; n > 0 {
		t.Errorf("%d times it was said that a watch failed", n)
	}
}

// TestKindNotServed: that kube-apiserver does not find the kind is no deletion. What was rendered
// stays, also for a controller that starts meanwhile, and nothing is written when it is back.
func TestKindNotServed(t *testing.T) {
	s := newSystem(t)
	stop := s.start(t)
	s.mustApply(t, "cart", refused)
	s.rendered(t, "cart")
	s.condition(t, "cart", v1alpha1.ConditionApplied, metav1.ConditionUnknown, "NoPods")
	before, document := s.configMaps(t), s.service(t, "cart").ResourceVersion

	serve := s.stopServing(t)
	eventually(t, "it is said", func() bool { return s.log.count(unknownAgain) > 0 })
	stop()
	asked := s.countQuestions()
	stop = s.start(t)
	eventually(t, "the second controller has asked", func() bool { return s.log.count("the API server knows no MeshServices") > 0 })
	// Whatever it makes of the answer, it asks again after that.
	first := asked.Load()
	eventually(t, "the second controller asks again", func() bool { return asked.Load() > first })
	if diff := cmp.Diff(before, s.configMaps(t)); diff != "" {
		t.Errorf("while the kind was not served, the ConfigMaps changed (-before +after):\n%s", diff)
	}
	stop()

	serve()
	s.start(t)
	s.mustApply(t, "fence", refused)
	s.condition(t, "fence", v1alpha1.ConditionApplied, metav1.ConditionUnknown, "NoPods")
	after := s.configMaps(t)
	delete(after, v1alpha1.MeshConfigMap("fence"))
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("when the kind was back, ConfigMaps were written (-before +after):\n%s", diff)
	}
	if now := s.service(t, "cart").ResourceVersion; now != document {
		t.Error("when the kind was back, the status was written, with nothing new in it")
	}
}

// TestDocumentsThatCannotBeRead: what a definition of another version let in and this version cannot
// read is not accepted, with the place; it keeps what it had, and the others from nothing.
func TestDocumentsThatCannotBeRead(t *testing.T) {
	s := newSystem(t)
	t.Run("stored", s.documentsThatCannotBeRead)
	// No test that follows could read them either.
	s.deleteDefinition(t)
}

func (s *system) documentsThatCannotBeRead(t *testing.T) {
	stop := s.start(t)
	s.mustApply(t, "number", refused)
	before := s.rendered(t, "number").Version
	stop()
	s.changeDefinition(t, `[{"op":"replace","path":"/spec/versions/0/schema/openAPIV3Schema","value":{"type":"object","x-kubernetes-preserve-unknown-fields":true}}]`)
	specs := map[string]struct{ spec, says string }{
		"number": {`5`, "spec: must have fields"},
		"text":   {`{"inbound":"8080"}`, "spec.inbound: must be a list"},
		"port":   {`{"inbound":[{"port":"http"}]}`, "spec.inbound[0].port: must be a whole number"},
		"newer":  {`{"inbound":[{"port":8080,"teleport":true}]}`, "spec.inbound[0].teleport: unknown field"},
	}
	for name, of := range specs {
		s.mustApply(t, name, of.spec)
	}
	s.writeStatus(t, "newer", `{"conditions":"none","pods":{"total":"many"}}`)
	s.start(t)
	s.mustApply(t, "well", refused)
	eventually(t, "the well one is rendered", func() bool { return generation(s.configMap(t, "well")) != nil })
	for name, of := range specs {
		eventually(t, name+" is said to be invalid", func() bool {
			accepted := s.accepted(t, name)
			t.Logf("%s: %s %s: %s", name, accepted.Status, accepted.Reason, accepted.Message)
			return accepted.Status == metav1.ConditionFalse && accepted.Reason == "Invalid" && strings.Contains(accepted.Message, of.says)
		})
	}
	if g := generation(s.configMap(t, "number")); g == nil || g.Version != before {
		t.Errorf("the ConfigMap has %+v; version %s was rendered of what could be read last", g, before)
	}
}

// counter counts the requests for MeshServices as a whole.
type counter struct {
	next  http.RoundTripper
	asked *atomic.Int64
}

// RoundTrip implements http.RoundTripper.
func (c *counter) RoundTrip(r *http.Request) (*http.Response, error) {
	if strings.HasPrefix(r.URL.Path, "/apis/"+v1alpha1.APIVersion) {
		c.asked.Add(1)
	}
	return c.next.RoundTrip(r)
}

// countQuestions counts those of controllers that are started from now on.
func (s *system) countQuestions() *atomic.Int64 {
	asked := &atomic.Int64{}
	s.config.Wrap(func(next http.RoundTripper) http.RoundTripper { return &counter{next, asked} })
	return asked
}

func (s *system) deleteDefinition(t *testing.T) {
	t.Helper()
	if err := s.client.Delete(t.Context(), s.release.Of("crds", "CustomResourceDefinition").DeepCopy()); err != nil {
		t.Fatal(err)
	}
	s.waitForNoKind(t)
}

func (s *system) waitForNoKind(t *testing.T) {
	t.Helper()
	eventually(t, "the API server knows no MeshServices", func() bool {
		return apierrors.IsNotFound(s.client.List(t.Context(), &v1alpha1.MeshServiceList{}))
	})
}

// install brings back what is missing of the release.
func (s *system) install(t *testing.T) {
	t.Helper()
	if err := s.release.Install(t.Context(), s.client); err != nil {
		t.Fatal(err)
	}
	s.waitForKind(t)
}

// stopServing has MeshServices stored and not served until the test ends or serve is called.
func (s *system) stopServing(t *testing.T) (serve func()) {
	t.Helper()
	const patch = `[{"op":"replace","path":"/spec/versions/0/served","value":%t}]`
	again := func(ctx context.Context) error { return s.patchDefinition(ctx, fmt.Sprintf(patch, true)) }
	t.Cleanup(func() {
		if err := again(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	s.changeDefinition(t, fmt.Sprintf(patch, false))
	s.waitForNoKind(t)
	return func() {
		t.Helper()
		if err := again(t.Context()); err != nil {
			t.Fatal(err)
		}
		s.waitForKind(t)
	}
}

// changeDefinition changes it with a hand that is not Helm's.
func (s *system) changeDefinition(t *testing.T, patch string) {
	t.Helper()
	if err := s.patchDefinition(t.Context(), patch); err != nil {
		t.Fatal(err)
	}
}

func (s *system) patchDefinition(ctx context.Context, patch string) error {
	definition := s.release.Of("crds", "CustomResourceDefinition").DeepCopy()
	return s.client.Patch(ctx, definition, client.RawPatch(types.JSONPatchType, []byte(patch)))
}

// document is a MeshService that need not be one that this version can read.
func (s *system) document(name string) *unstructured.Unstructured {
	d := &unstructured.Unstructured{}
	d.SetGroupVersionKind(v1alpha1.GroupVersion().WithKind(v1alpha1.KindMeshService))
	d.SetNamespace(s.namespace)
	d.SetName(name)
	return d
}

// accepted is the condition of such a document.
func (s *system) accepted(t *testing.T, name string) (found metav1.Condition) {
	t.Helper()
	d := s.document(name)
	if err := s.client.Get(t.Context(), client.ObjectKeyFromObject(d), d); err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(d.Object["status"])
	if err != nil {
		t.Fatal(err)
	}
	var status v1alpha1.MeshServiceStatus
	if err := json.Unmarshal(raw, &status); err != nil {
		return found // it is the test's own
	}
	if c := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionAccepted); c != nil {
		found = *c
	}
	return found
}

func (s *system) writeStatus(t *testing.T, name, status string) {
	t.Helper()
	patch := client.RawPatch(types.MergePatchType, []byte(`{"status":`+status+`}`))
	if err := s.client.Status().Patch(t.Context(), s.document(name), patch); err != nil {
		t.Fatal(err)
	}
}

func (s *system) secret() *corev1.Secret {
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: ownNamespace, Name: "pillion-webhook-tls"}}
}

func (s *system) deleteSecret(t *testing.T) {
	t.Helper()
	if err := client.IgnoreNotFound(s.client.Delete(t.Context(), s.secret())); err != nil {
		t.Fatal(err)
	}
}

// makesSecret waits until the controller has made the certificates.
func (s *system) makesSecret(t *testing.T) {
	t.Helper()
	eventually(t, "the certificates are there", func() bool {
		secret := s.secret()
		return s.client.Get(t.Context(), client.ObjectKeyFromObject(secret), secret) == nil && len(secret.Data) > 0
	})
}

func (s *system) auditEverySecond(t *testing.T) {
	t.Helper()
	config, err := s.release.Config()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(file, config, 0o600); err != nil {
		t.Fatal(err)
	}
	s.audit = &auditor.Options{ConfigFile: file, Interval: time.Second}
}

// lastAudit is when it was, as the metrics say it.
func (s *system) lastAudit(t *testing.T) string {
	t.Helper()
	const name = "\npillion_controller_audit_last_success_timestamp_seconds "
	_, rest, found := strings.Cut(s.get(t, "/metrics"), name)
	if !found {
		t.Fatalf("the metrics have no %s", name)
	}
	value, _, _ := strings.Cut(rest, "\n")
	return value
}

// configMaps are the resourceVersions of those that were rendered, by name.
func (s *system) configMaps(t *testing.T) map[string]string {
	t.Helper()
	var list corev1.ConfigMapList
	if err := s.client.List(t.Context(), &list, client.InNamespace(s.namespace), client.HasLabels{"pillion.dev/mesh-service"}); err != nil {
		t.Fatal(err)
	}
	versions := map[string]string{}
	for _, c := range list.Items {
		versions[c.Name] = c.ResourceVersion
	}
	return versions
}

// get asks the controller's status port.
func (s *system) get(t *testing.T, path string) string {
	t.Helper()
	text, err := release.Get(t.Context(), s.statusURL+path)
	if err != nil {
		t.Fatal(err)
	}
	return text
}
