package replicas

import (
	"context"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pillion-mesh/pillion/e2e/admissions"
	"github.com/pillion-mesh/pillion/e2e/release"
)

const (
	ownNamespace = "pillion-system"
	strictLabel  = "pillion.dev/strict"
	// patience is how long something may take that takes a second.
	patience = 2 * time.Minute
)

// system is the chart's release in kube-apiserver, with replicas behind its Service.
type system struct {
	client   client.Client
	release  *release.Release
	balancer *balancer
	replicas []*replica
	// ignore and strict are namespaces whose pods are meshed.
	ignore, strict string
}

type replica struct {
	*release.Replica
	backend *backend
	volumes *volumes
}

func newSystem(t *testing.T, values map[string]any) *system {
	t.Helper()
	s := &system{client: apiClient(t)}
	ensureNamespace(t, s.client, ownNamespace)
	port := freePort(t)
	webhook := map[string]any{"shutdownDelaySeconds": 3, "drainSeconds": 0, "service": map[string]any{"port": port}}
	for key, value := range values {
		webhook[key] = value
	}
	var err error
	s.release, err = release.Render(t.Context(), release.Options{
		Helm: world.helm, Chart: "../../charts/pillion", Name: "pillion", Namespace: ownNamespace, KubeVersion: "1.37",
		Values: map[string]any{"webhook": webhook},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.release.Install(t.Context(), s.client); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.uninstall(t) })
	s.balancer = newBalancer(t, net.JoinHostPort("localhost", strconv.Itoa(port)))
	s.ignore = s.newNamespace(t, map[string]string{admissions.OptIn: "true"})
	s.strict = s.newNamespace(t, map[string]string{admissions.OptIn: "true", strictLabel: "true"})
	return s
}

// uninstall takes away what was installed and what the controller made.
func (s *system) uninstall(t *testing.T) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	objects := []client.Object{&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: ownNamespace, Name: s.secretName()}}}
	for _, object := range s.release.Objects {
		objects = append(objects, object.DeepCopy())
	}
	for _, object := range objects {
		if err := s.client.Delete(ctx, object); err != nil && !apierrors.IsNotFound(err) {
			t.Errorf("uninstalling: %v", err)
		}
	}
}

// addReplica starts one whose volumes are brought up to date every period.
func (s *system) addReplica(t *testing.T, period time.Duration) *replica {
	t.Helper()
	r := &replica{volumes: &volumes{
		client: s.client, folder: t.TempDir(),
		configMap: client.ObjectKeyFromObject(s.release.Object("ConfigMap")),
		secret:    client.ObjectKey{Namespace: ownNamespace, Name: s.secretName()},
	}}
	r.volumes.keep(t, period)
	var err error
	if r.Replica, err = s.release.StartReplica(t.Context(), world.webhook, r.volumes.folder, t.Output()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.end(t) })
	r.backend = s.balancer.add(t, r.Address, r.StatusURL)
	s.replicas = append(s.replicas, r)
	return r
}

// end is for a replica at the end of a test: whatever it does by then, serving or waiting
// for its clients, which stay for longer than the test.
func (r *replica) end(t *testing.T) {
	t.Helper()
	if err := r.Kill(); err != nil && !strings.Contains(err.Error(), "killed") {
		t.Errorf("a replica: %v", err)
	}
}

// waitReady returns when so many replicas are behind the Service.
func (s *system) waitReady(t *testing.T, replicas int) {
	t.Helper()
	eventually(t, "replicas are ready", func() bool { return s.balancer.ready() == replicas })
}

// waitCalled returns when kube-apiserver reaches the webhook.
func (s *system) waitCalled(t *testing.T) {
	t.Helper()
	eventually(t, "kube-apiserver calls the webhook", func() bool {
		l := &admissions.Load{Client: s.client}
		l.Create(t.Context(), s.ignore, 0)
		l.Create(t.Context(), s.strict, 0)
		return len(l.Lost()) == 0
	})
}

func (s *system) secretName() string { return s.release.Object("Service").GetName() + "-tls" }

// secret is the controller's.
func (s *system) secret(t *testing.T) *corev1.Secret {
	t.Helper()
	var secret corev1.Secret
	err := s.client.Get(t.Context(), client.ObjectKey{Namespace: ownNamespace, Name: s.secretName()}, &secret)
	if err != nil && !apierrors.IsNotFound(err) {
		t.Fatal(err)
	}
	return &secret
}

// bundles are the caBundles of the mutating webhook configuration.
func (s *system) bundles(t *testing.T) []string {
	t.Helper()
	var configuration admissionv1.MutatingWebhookConfiguration
	if err := s.client.Get(t.Context(), client.ObjectKeyFromObject(s.release.Object("MutatingWebhookConfiguration")), &configuration); err != nil {
		t.Fatal(err)
	}
	var bundles []string
	for _, entry := range configuration.Webhooks {
		bundles = append(bundles, string(entry.ClientConfig.CABundle))
	}
	return bundles
}

func (s *system) newNamespace(t *testing.T, labels map[string]string) string {
	t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "meshed-", Labels: labels}}
	if err := s.client.Create(t.Context(), namespace); err != nil {
		t.Fatal(err)
	}
	return namespace.Name
}

func apiClient(t *testing.T) client.Client {
	t.Helper()
	config := rest.CopyConfig(world.plane.Config)
	config.WarningHandlerWithContext = rest.NoWarnings{}
	c, err := client.New(config, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func ensureNamespace(t *testing.T, c client.Client, name string) {
	t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if err := c.Create(t.Context(), namespace); err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
}

func freePort(t *testing.T) int {
	t.Helper()
	listener, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port
}

// eventually waits until something is so.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	err := wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, patience, true, func(context.Context) (bool, error) { return is(), nil })
	if err != nil {
		t.Fatalf("waiting until %s: %v", what, err)
	}
}
