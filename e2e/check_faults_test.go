package e2e

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net"
	"slices"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// fault is something that is wrong with an installation.
type fault struct {
	name string
	// inflict makes it, and returns what takes it back.
	inflict func(*testing.T, client.Client, *installation) (undo func())
	// finds are the checks that find it, and says what they say among other words.
	finds, says []string
}

// foundElsewhere are checks whose faults are in tests of their own: those of
// namespaces in TestCheckNamespace and TestCheckMeshServices, those that a whole API server would have to be
// changed for in the room's own tests, those that only give notice in TestCheckNotices.
func foundElsewhere() []string {
	return []string{
		"kubernetes-version", "release-found", "later-webhooks", "disruption-budget", "revision-clash",
		"pods-refused", "pod-security", "limit-range", "resource-quota", "autoscaler-average",
		"meshservice-defined", "meshservice-rendered", "meshservice-applied", "meshservice-matches", "meshservice-mounted",
	}
}

// change alters an object, and takes that back by undo.
func change[T client.Object](t *testing.T, c client.Client, object T, key client.ObjectKey, alter func(T)) (undo func()) {
	t.Helper()
	if err := c.Get(t.Context(), key, object); err != nil {
		t.Fatal(err)
	}
	before := object.DeepCopyObject().(T)
	alter(object)
	if err := c.Update(t.Context(), object); err != nil {
		t.Fatal(err)
	}
	return func() {
		before.SetResourceVersion(object.GetResourceVersion())
		if err := c.Update(context.WithoutCancel(t.Context()), before); err != nil {
			t.Error(err)
		}
	}
}

// alterWebhooks alters the entries about pods.
func alterWebhooks(alter func(*admissionv1.MutatingWebhook)) func(*testing.T, client.Client, *installation) func() {
	return func(t *testing.T, c client.Client, i *installation) func() {
		t.Helper()
		key := client.ObjectKeyFromObject(i.release.Object("MutatingWebhookConfiguration"))
		return change(t, c, &admissionv1.MutatingWebhookConfiguration{}, key, func(configuration *admissionv1.MutatingWebhookConfiguration) {
			for n := range configuration.Webhooks {
				alter(&configuration.Webhooks[n])
			}
		})
	}
}

func installationFaults() []fault {
	return []fault{
		{"the webhook is down", stopWebhook, []string{"call-tcp", "call-injects"}, []string{"connection refused", "came back without a sidecar", "call fails in the phase TCP"}},
		{"another CA is trusted", alterWebhooks(func(w *admissionv1.MutatingWebhook) {
			w.ClientConfig.CABundle = selfSigned("another CA", time.Now().Add(time.Hour))
		}), []string{"certificate-trusted", "call-tls", "call-injects"}, []string{"x509: certificate signed by unknown authority"}},
		{"no CA is trusted", alterWebhooks(func(w *admissionv1.MutatingWebhook) { w.ClientConfig.CABundle = nil }), []string{"ca-bundle", "call-tls", "call-injects"}, []string{"has no caBundle"}},
		{"the certificate has ended", endedCertificate, []string{"certificate-ends", "certificate-trusted"}, []string{"ended on"}},
		{"no endpoint is ready", unreadyEndpoints, []string{"service-endpoints"}, []string{"no endpoint that is ready (1 that are not)"}},
		{"no replica is available", unavailable, []string{"webhook-available", "controller-available"}, []string{"has none of 3 replicas available"}},
		{"the selectors are narrowed", alterWebhooks(func(w *admissionv1.MutatingWebhook) {
			w.NamespaceSelector.MatchLabels = map[string]string{"team": "a"}
		}), []string{"webhook-selectors", "call-injects"}, []string{"no entry takes the pods of namespace a-checked-strict"}},
		{"the selectors are widened", alterWebhooks(func(w *admissionv1.MutatingWebhook) {
			w.NamespaceSelector = &metav1.LabelSelector{}
		}), []string{"webhook-selectors"}, []string{"takes the pods of kube-system", "all take the pods of"}},
		{"another path is called", alterWebhooks(func(w *admissionv1.MutatingWebhook) {
			w.ClientConfig.Service.Path = new("/nothing")
		}), []string{"call-http", "call-injects"}, []string{"could not find the requested resource"}},
		{"nobody answers in time", silentListener, []string{"call-timeout", "call-injects"}, []string{"context deadline exceeded"}},
		{"the Service is gone", deleted("Service"), []string{"service-endpoints", "call-dns", "call-injects"}, []string{"there is no Service"}},
		{"nobody is told of new pods", deleted("MutatingWebhookConfiguration"), []string{"webhook-configured", "call-injects"}, []string{"no MutatingWebhookConfiguration sends new pods"}},
		{"the configuration cannot be read", brokenConfiguration, []string{"configuration-valid"}, []string{"nonsense"}},
		{"a release left its configuration", leftover, []string{"leftover-configuration"}, []string{"calls Service gone/gone-webhook"}},
		{"the controller is gone", deletedController, []string{"controller-available"}, []string{"there is no Deployment of the controller"}},
		{"another webhook rebuilds sidecars", rebuildingWebhook, []string{"call-injects"}, []string{
			"came back with a sidecar that cannot work", `has the restartPolicy "" and not Always`,
			"comes without a sidecar that works", "ValidatingAdmissionPolicy 'pillion'",
		}},
		{"another webhook takes our containers away", removingWebhook(false), []string{"call-injects"}, []string{"the webhook refuses one that asks for nothing special", "PIL032"}},
		{"another webhook takes all of it away", removingWebhook(true), []string{"call-injects"}, []string{
			"came back without a sidecar", "comes without a sidecar that works", "ValidatingAdmissionPolicy 'pillion'",
		}},
		{"a namespace is for no release", lostNamespace, []string{"namespace-without-effect"}, []string{"no release has this revision"}},
	}
}

// rebuildingWebhook makes an ordinary init container of each sidecar, as a client that
// was built for an older Kubernetes does.
func rebuildingWebhook(t *testing.T, _ client.Client, _ *installation) func() {
	t.Helper()
	return registerOther(t, "z-rebuilding", map[string]string{optInLabel: "true"}, func(pod *corev1.Pod) []byte {
		at := slices.IndexFunc(pod.Spec.InitContainers, isEnvoy)
		if at < 0 || pod.Spec.InitContainers[at].RestartPolicy == nil {
			return nil
		}
		stripped(&pod.Spec.InitContainers[at])
		return replaced("/spec/initContainers", pod.Spec.InitContainers)
	})
}

// removingWebhook takes away the init containers that injection added, and their volumes
// where it takes all, and leaves the pod's annotation.
func removingWebhook(all bool) func(*testing.T, client.Client, *installation) func() {
	return func(t *testing.T, _ client.Client, _ *installation) func() {
		t.Helper()
		return registerOther(t, "z-removing", map[string]string{optInLabel: "true"}, func(pod *corev1.Pod) []byte {
			if !slices.ContainsFunc(pod.Spec.InitContainers, isEnvoy) {
				return nil
			}
			if !all {
				return replaced("/spec/initContainers", []corev1.Container{})
			}
			pod.Spec.InitContainers, pod.Spec.Volumes = nil, nil
			return replaced("/spec", pod.Spec)
		})
	}
}

// replaced is a JSON patch.
func replaced(path string, value any) []byte {
	patch, err := json.Marshal([]any{map[string]any{"op": "replace", "path": path, "value": value}})
	if err != nil {
		panic(err)
	}
	return patch
}

func stopWebhook(t *testing.T, c client.Client, i *installation) func() {
	t.Helper()
	i.stop(t)
	return func() {
		webhook, err := i.release.StartWebhook(t.Context(), world.webhookProgram, i.folder, t.Output())
		if err != nil {
			t.Fatal(err)
		}
		i.webhook = webhook
		if err := i.release.TrustCA(t.Context(), c, webhook.CA); err != nil {
			t.Fatal(err)
		}
		i.setCertificate(t, c, webhook.CA)
	}
}

// selfSigned is a CA that ends then.
func selfSigned(name string, end time.Time) []byte {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: end.Add(-24 * time.Hour), NotAfter: end,
		IsCA: true, BasicConstraintsValid: true, DNSNames: []string{"hook.example"},
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		panic(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw})
}

func endedCertificate(t *testing.T, c client.Client, i *installation) func() {
	t.Helper()
	i.setCertificate(t, c, selfSigned("ended", time.Now().Add(-time.Hour)))
	return func() { i.setCertificate(t, c, i.webhook.CA) }
}

func unreadyEndpoints(t *testing.T, c client.Client, i *installation) func() {
	t.Helper()
	key := client.ObjectKey{Namespace: ownNamespace, Name: i.release.Object("Service").GetName()}
	return change(t, c, &discoveryv1.EndpointSlice{}, key, func(s *discoveryv1.EndpointSlice) { s.Endpoints[0].Conditions.Ready = new(false) })
}

func unavailable(t *testing.T, c client.Client, i *installation) func() {
	t.Helper()
	set := func(replicas func(*appsv1.Deployment) int32) {
		for _, component := range []string{"webhook", "controller"} {
			var d appsv1.Deployment
			if err := c.Get(t.Context(), client.ObjectKeyFromObject(i.release.Of(component, "Deployment")), &d); err != nil {
				t.Fatal(err)
			}
			setAvailable(t, c, &d, replicas(&d))
		}
	}
	set(func(*appsv1.Deployment) int32 { return 0 })
	return func() { set(func(d *appsv1.Deployment) int32 { return *d.Spec.Replicas }) }
}

// silentListener has the webhook's entries call a port on which somebody listens and
// says nothing.
func silentListener(t *testing.T, c client.Client, i *installation) func() {
	t.Helper()
	listener, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	port := int32(listener.Addr().(*net.TCPAddr).Port)
	undo := alterWebhooks(func(w *admissionv1.MutatingWebhook) {
		w.ClientConfig.Service.Port, w.TimeoutSeconds = &port, new(int32(1))
	})(t, c, i)
	return func() {
		undo()
		if err := listener.Close(); err != nil {
			t.Error(err)
		}
	}
}

// deleted takes away an object of the webhook's.
func deleted(kind string) func(*testing.T, client.Client, *installation) func() {
	return func(t *testing.T, c client.Client, i *installation) func() {
		t.Helper()
		object := i.release.Object(kind).DeepCopy()
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(object), object); err != nil {
			t.Fatal(err)
		}
		if err := c.Delete(t.Context(), object); err != nil {
			t.Fatal(err)
		}
		return func() {
			object.SetResourceVersion("")
			object.SetUID("")
			if err := c.Create(t.Context(), object); err != nil {
				t.Error(err)
			}
		}
	}
}

func deletedController(t *testing.T, c client.Client, i *installation) func() {
	t.Helper()
	d := &appsv1.Deployment{}
	if err := c.Get(t.Context(), client.ObjectKeyFromObject(i.release.Of("controller", "Deployment")), d); err != nil {
		t.Fatal(err)
	}
	deleteObject(t, c, d)
	return func() {
		d.SetResourceVersion("")
		d.SetUID("")
		if err := c.Create(t.Context(), d); err != nil {
			t.Fatal(err)
		}
		setAvailable(t, c, d, *d.Spec.Replicas)
	}
}

func brokenConfiguration(t *testing.T, c client.Client, i *installation) func() {
	t.Helper()
	return change(t, c, &corev1.ConfigMap{}, client.ObjectKeyFromObject(i.release.Object("ConfigMap")), func(m *corev1.ConfigMap) {
		m.Data["config.yaml"] += "\nnonsense: 1\n"
	})
}

func leftover(t *testing.T, c client.Client, i *installation) func() {
	t.Helper()
	var configuration admissionv1.MutatingWebhookConfiguration
	if err := c.Get(t.Context(), client.ObjectKeyFromObject(i.release.Object("MutatingWebhookConfiguration")), &configuration); err != nil {
		t.Fatal(err)
	}
	left := &admissionv1.MutatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: "gone", Labels: configuration.Labels},
		Webhooks:   configuration.Webhooks[:1],
	}
	left.Webhooks[0].ClientConfig.Service.Namespace, left.Webhooks[0].ClientConfig.Service.Name = "gone", "gone-webhook"
	if err := c.Create(t.Context(), left); err != nil {
		t.Fatal(err)
	}
	return func() { deleteObject(t, c, left) }
}

func lostNamespace(t *testing.T, c client.Client, _ *installation) func() {
	t.Helper()
	labelNamespace(t, c, "lost", map[string]string{optInLabel: "true", "pillion.dev/revision": "none-of-these"})
	return func() { labelNamespace(t, c, "lost", nil) }
}
