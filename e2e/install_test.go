package e2e

import (
	"context"
	"maps"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/pillion-mesh/pillion/api/v1alpha1"
	"github.com/pillion-mesh/pillion/e2e/release"
	"github.com/pillion-mesh/pillion/injector"
)

const (
	// ownNamespace is the release's.
	ownNamespace = "pillion-system"
	// chartFolder from here.
	chartFolder = "../charts/pillion"
	// optInLabel is the default's.
	optInLabel = "service-mesh-enabled"
	// strictLabel is the namespace's.
	strictLabel = "pillion.dev/strict"
)

// installation is the chart in kube-apiserver with one webhook that runs.
type installation struct {
	release *release.Release
	webhook *release.Webhook
	// folder holds what the Deployment mounts: config/config.yaml and tls/.
	folder string
	// injector has the same configuration as the webhook.
	injector *injector.Injector
}

// install renders the chart with values, applies it and starts the webhook that it
// describes. It returns when kube-apiserver calls the webhook; everything is taken
// away at the end of the test.
func install(t *testing.T, values map[string]any) *installation {
	t.Helper()
	c := apiServer(t)
	ensureNamespace(t, c, ownNamespace)
	rendered := renderForLoopback(t, values)
	if err := rendered.Install(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { uninstall(t, c, rendered) })

	installed := &installation{release: rendered, folder: t.TempDir()}
	webhook, err := rendered.StartWebhook(t.Context(), world.webhookProgram, installed.folder, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	installed.webhook = webhook
	t.Cleanup(func() { installed.stop(t) })
	if err := rendered.TrustCA(t.Context(), c, webhook.CA); err != nil {
		t.Fatal(err)
	}
	config := configOf(t, rendered)
	if installed.injector, err = injector.New(config); err != nil {
		t.Fatal(err)
	}
	waitUntilCalled(t, c, config.Revision)
	return installed
}

// renderForLoopback adds to the values what makes the webhook fit beside others on
// one machine.
func renderForLoopback(t *testing.T, values map[string]any) *release.Release {
	t.Helper()
	webhook, err := release.Ports()
	if err != nil {
		t.Fatal(err)
	}
	webhook["shutdownDelaySeconds"] = 0
	webhook["extraArgs"] = []any{"--host=localhost"}
	merged := map[string]any{"webhook": webhook}
	maps.Copy(merged, values)
	rendered, err := renderValues(t, merged)
	if err != nil {
		t.Fatal(err)
	}
	return rendered
}

// stop ends the webhook; a second call does nothing.
func (i *installation) stop(t *testing.T) {
	t.Helper()
	if i.webhook == nil {
		return
	}
	if err := i.webhook.Stop(); err != nil {
		t.Error(err)
	}
	i.webhook = nil
}

// uninstall deletes what was installed, the webhook configuration first.
func uninstall(t *testing.T, c client.Client, r *release.Release) {
	t.Helper()
	for i := len(r.Objects) - 1; i >= 0; i-- {
		if r.Objects[i].GetAnnotations()["helm.sh/resource-policy"] == "keep" {
			continue
		}
		// The test's own context is over.
		if err := c.Delete(context.WithoutCancel(t.Context()), r.Objects[i].DeepCopy()); err != nil && !apierrors.IsNotFound(err) {
			t.Errorf("uninstalling: %v", err)
		}
	}
}

// waitUntilCalled creates pods, dry, until one comes back injected: kube-apiserver
// takes a moment to notice a webhook configuration and a Service.
func waitUntilCalled(t *testing.T, c client.Client, revision string) {
	t.Helper()
	name, labels := "probe", map[string]string{optInLabel: "true"}
	if revision != "" {
		name, labels[v1alpha1.RevisionLabel] = "probe-"+revision, revision
	}
	labelNamespace(t, c, name, labels)
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "probe", Namespace: name, Labels: map[string]string{optInLabel: "true"}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "app"}}},
	}
	err := wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, 30*time.Second, true, func(context.Context) (bool, error) {
		verdict, _ := outcome(t, c, pod)
		return verdict == injector.Inject, nil
	})
	if err != nil {
		t.Fatalf("kube-apiserver does not call the webhook: %v", err)
	}
}

// labelNamespace gives a namespace exactly these labels, beside the one that
// kube-apiserver sets, and makes it if it is missing.
func labelNamespace(t *testing.T, c client.Client, name string, labels map[string]string) {
	t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
	_, err := controllerutil.CreateOrUpdate(t.Context(), c, namespace, func() error {
		namespace.Labels = maps.Clone(labels)
		return nil
	})
	if err != nil {
		t.Fatalf("labelling namespace %s: %v", name, err)
	}
	unlabelAtTheEnd(t, c, name)
}

// ensureNamespace makes a namespace if it is missing, and leaves its labels.
func ensureNamespace(t *testing.T, c client.Client, name string) {
	t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if err := c.Create(t.Context(), namespace); err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatalf("creating namespace %s: %v", name, err)
	}
}
