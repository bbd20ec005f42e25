package helm

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pillion-mesh/pillion/e2e/release"
)

// TestLifecycle installs, upgrades, rolls back and uninstalls with the real Helm, while
// the release's controller runs with the release's own rights. What the controller
// wrote survives each step but the last, which takes everything.
func TestLifecycle(t *testing.T) {
	for _, p := range world.helms {
		t.Run(p.name, func(t *testing.T) {
			c := apiClient(t)
			r := p.render(t, "pillion", strings.ToLower(p.name), "")
			in := []string{"--namespace", r.Namespace}
			p.run(t, append([]string{"install", "pillion", chartFolder, "--create-namespace"}, in...)...)
			controller := startController(t, c, r)
			trust, secret := trusted(t, c, r), data(t, c, r)
			if len(secret) != 4 {
				t.Fatalf("the Secret has the keys %v", secret)
			}
			unchanged := func(after string, timeout int32) {
				t.Helper()
				if got := *mutating(t, c, r).Webhooks[0].TimeoutSeconds; got != timeout {
					t.Errorf("after %s the timeout is %d, want %d", after, got, timeout)
				}
				if diff := cmp.Diff(trust, trusted(t, c, r)); diff != "" {
					t.Errorf("%s changed the caBundles (-before +after):\n%s", after, diff)
				}
				if diff := cmp.Diff(secret, data(t, c, r)); diff != "" {
					t.Errorf("%s changed the Secret", after)
				}
			}
			p.run(t, append([]string{"upgrade", "pillion", chartFolder, "--set", "webhook.timeoutSeconds=7,commonLabels.team=infra"}, in...)...)
			unchanged("the upgrade", 7)
			p.run(t, append([]string{"rollback", "pillion", "1"}, in...)...)
			unchanged("the rollback", 5)

			mark := len(deletions(t))
			p.run(t, append([]string{"uninstall", "pillion"}, in...)...)
			order := deletions(t)[mark:]
			checkOrder(t, order)
			// The controller has been without rights for a while, and still runs.
			checkGone(t, c, r)
			if err := controller.Stop(); err != nil {
				t.Logf("the controller: %v", err)
			}
			checkGone(t, c, r)
			// And again, on the same ground.
			p.run(t, append([]string{"install", "pillion", chartFolder}, in...)...)
			p.run(t, append([]string{"uninstall", "pillion"}, in...)...)
			checkGone(t, c, r)
		})
	}
}

// checkOrder wants both webhook configurations gone for good before anything that
// answers for them, and before them what refuses pods that no webhook has seen.
func checkOrder(t *testing.T, order []string) {
	t.Helper()
	serving := slices.IndexFunc(order, func(resource string) bool {
		return slices.Contains([]string{"services", "deployments", "secrets", "configmaps", "serviceaccounts"}, resource)
	})
	for _, resource := range []string{"validatingwebhookconfigurations", "mutatingwebhookconfigurations"} {
		if last := lastIndex(order, resource); last < 0 || serving < last {
			t.Errorf("%s were deleted too late: %q", resource, order)
		}
	}
	// The first binding of all is the strict one: by the hook.
	if guard, first := slices.Index(order, "validatingadmissionpolicybindings"), slices.Index(order, "mutatingwebhookconfigurations"); guard < 0 || first < guard {
		t.Errorf("the strict guard was deleted too late: %q", order)
	}
}

func lastIndex(list []string, item string) int {
	for i, other := range slices.Backward(list) {
		if other == item {
			return i
		}
	}
	return -1
}

// checkGone wants nothing of the release in the cluster: what was rendered, what
// carries the release's label, and whatever else is in its namespace, of any kind that
// kube-apiserver has. Events stay until they are old, and definitions for good.
func checkGone(t *testing.T, c client.Client, r *release.Release) {
	t.Helper()
	for _, object := range r.Objects {
		found := &unstructured.Unstructured{}
		found.SetGroupVersionKind(object.GroupVersionKind())
		err := c.Get(t.Context(), client.ObjectKeyFromObject(object), found)
		if kept(object) {
			if err != nil {
				t.Errorf("%s %s did not stay: %v", object.GetKind(), object.GetName(), err)
			}
			continue
		}
		if !apierrors.IsNotFound(err) {
			t.Errorf("%s %s is left behind (%v)", object.GetKind(), object.GetName(), err)
		}
	}
	for _, kind := range kinds(t) {
		lists := []client.ListOption{client.MatchingLabels{"app.kubernetes.io/instance": r.Name}}
		if kind.namespaced {
			lists = append(lists, client.InNamespace(r.Namespace))
		}
		for _, option := range lists {
			list := &metav1.PartialObjectMetadataList{}
			list.SetGroupVersionKind(kind.GroupVersionKind)
			if err := c.List(t.Context(), list, option); err != nil {
				t.Fatal(err)
			}
			for _, left := range list.Items {
				if kept(&left) {
					continue
				}
				t.Errorf("%s %s/%s is left behind", kind.Kind, left.Namespace, left.Name)
			}
		}
	}
}

// kept says whether Helm leaves an object in the cluster.
func kept(object client.Object) bool {
	return object.GetAnnotations()["helm.sh/resource-policy"] == "keep"
}

// kind is one whose objects can be listed.
type kind struct {
	schema.GroupVersionKind
	namespaced bool
}

// kinds are all that kube-apiserver has, but for Events.
func kinds(t *testing.T) []kind {
	t.Helper()
	server, err := discovery.NewDiscoveryClientForConfig(world.plane.Config)
	if err != nil {
		t.Fatal(err)
	}
	groups, err := server.ServerPreferredResources()
	if err != nil {
		t.Fatal(err)
	}
	var found []kind
	for _, group := range groups {
		for _, resource := range group.APIResources {
			if slices.Contains(resource.Verbs, "list") && resource.Kind != "Event" {
				found = append(found, kind{schema.FromAPIVersionAndKind(group.GroupVersion, resource.Kind), resource.Namespaced})
			}
		}
	}
	return found
}

// deletions are the resources that were deleted so far, in order.
func deletions(t *testing.T) []string {
	t.Helper()
	log, err := os.ReadFile(world.auditLog)
	if err != nil {
		t.Fatal(err)
	}
	var resources []string
	for lines := bufio.NewScanner(bytes.NewReader(log)); lines.Scan(); {
		var event struct {
			ObjectRef      struct{ Resource string }
			ResponseStatus struct{ Code int }
		}
		if err := json.Unmarshal(lines.Bytes(), &event); err != nil {
			t.Fatal(err)
		}
		if event.ResponseStatus.Code == 200 {
			resources = append(resources, event.ObjectRef.Resource)
		}
	}
	return resources
}

func mutating(t *testing.T, c client.Client, r *release.Release) *admissionv1.MutatingWebhookConfiguration {
	t.Helper()
	var found admissionv1.MutatingWebhookConfiguration
	if err := c.Get(t.Context(), client.ObjectKeyFromObject(r.Object("MutatingWebhookConfiguration")), &found); err != nil {
		t.Fatal(err)
	}
	return &found
}

// trusted is the caBundle of all entries of both configurations; empty where one has
// none or they differ.
func trusted(t *testing.T, c client.Client, r *release.Release) string {
	t.Helper()
	var validating admissionv1.ValidatingWebhookConfiguration
	if err := c.Get(t.Context(), client.ObjectKeyFromObject(r.Object("ValidatingWebhookConfiguration")), &validating); err != nil {
		t.Fatal(err)
	}
	bundle := string(validating.Webhooks[0].ClientConfig.CABundle)
	for _, entry := range mutating(t, c, r).Webhooks {
		if string(entry.ClientConfig.CABundle) != bundle {
			return ""
		}
	}
	return bundle
}

// data of the release's Secret.
func data(t *testing.T, c client.Client, r *release.Release) map[string][]byte {
	t.Helper()
	secret := corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: r.Namespace, Name: r.Of("controller", "Secret").GetName()}}
	if err := c.Get(t.Context(), client.ObjectKeyFromObject(&secret), &secret); err != nil {
		t.Fatal(err)
	}
	return secret.Data
}
