package helm

import (
	"errors"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pillion-mesh/pillion/e2e/release"
)

// TestInstallOverLeftovers: what Helm or a person left half done is no obstacle to the
// next install or uninstall, and what the controller wrote is not lost on the way.
func TestInstallOverLeftovers(t *testing.T) {
	c := apiClient(t)
	for _, p := range world.helms {
		t.Run(p.name, func(t *testing.T) {
			r := p.render(t, "pillion", "leftovers-"+strings.ToLower(p.name), "")
			ensureNamespace(t, c, r.Namespace, nil)
			in := []string{"--namespace", r.Namespace}
			install := append([]string{"install", "pillion", chartFolder}, in...)
			uninstall := append([]string{"uninstall", "pillion"}, in...)

			// All that Helm knew of the release is lost, twice.
			p.run(t, install...)
			trustAndStop(t, c, r)
			trust, secret := trusted(t, c, r), data(t, c, r)
			for range 2 {
				forget(t, c, r)
				p.run(t, install...)
				if trusted(t, c, r) != trust || !cmp.Equal(data(t, c, r), secret) {
					t.Error("installing over what was there changed the caBundles or the Secret")
				}
			}

			// An uninstall that fails: no webhook configuration without its webhook.
			limited := allow(t, c, r, "get", "list", "watch", "create", "update", "patch")
			if output, err := p.try(t, append(slices.Clone(uninstall), "--kube-as-user="+limited)...); err == nil {
				t.Errorf("uninstalling without the right to delete Deployments succeeds:\n%s", output)
			}
			checkNoConfiguration(t, c, r)
			p.run(t, uninstall...)
			checkGone(t, c, r)

			// One that ended with the hook's objects in place.
			p.run(t, install...)
			replaceByHooks(t, c, r, p.run(t, append([]string{"get", "hooks", "pillion"}, in...)...))
			p.run(t, uninstall...)
			checkGone(t, c, r)

			// And one after which Helm knew nothing either.
			p.run(t, install...)
			replaceByHooks(t, c, r, p.run(t, append([]string{"get", "hooks", "pillion"}, in...)...))
			forget(t, c, r)
			p.run(t, install...)
			p.run(t, uninstall...)
			checkGone(t, c, r)

			// An install that fails.
			limited = allow(t, c, r, "get", "list", "watch")
			if output, err := p.try(t, append(slices.Clone(install), "--kube-as-user="+limited)...); err == nil {
				t.Errorf("installing without the right to create Deployments succeeds:\n%s", output)
			}
			p.run(t, append([]string{"upgrade", "--install", "pillion", chartFolder}, in...)...)
			trustAndStop(t, c, r)
			p.run(t, uninstall...)
			checkGone(t, c, r)
		})
	}
}

// forget deletes Helm's records of the release.
func forget(t *testing.T, c client.Client, r *release.Release) {
	t.Helper()
	if err := c.DeleteAllOf(t.Context(), &corev1.Secret{}, client.InNamespace(r.Namespace), client.MatchingLabels{"owner": "helm"}); err != nil {
		t.Fatal(err)
	}
}

// allow makes a user who may do everything with the objects of the release, but only
// what the verbs say with Deployments.
func allow(t *testing.T, c client.Client, r *release.Release, verbs ...string) string {
	t.Helper()
	groups := map[string]bool{}
	for _, object := range r.Objects {
		groups[object.GroupVersionKind().Group] = true
	}
	delete(groups, "apps")
	user := r.Namespace + "-" + verbs[len(verbs)-1]
	meta := metav1.ObjectMeta{Name: user}
	role := &rbacv1.ClusterRole{ObjectMeta: meta, Rules: []rbacv1.PolicyRule{
		{APIGroups: slices.Collect(maps.Keys(groups)), Resources: []string{"*"}, Verbs: []string{"*"}},
		{APIGroups: []string{"apps"}, Resources: []string{"*"}, Verbs: verbs},
	}}
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: meta, RoleRef: rbacv1.RoleRef{Kind: "ClusterRole", Name: user},
		Subjects: []rbacv1.Subject{{Kind: rbacv1.UserKind, Name: user}},
	}
	for _, object := range []client.Object{role, binding} {
		if err := c.Create(t.Context(), object); err != nil {
			t.Fatal(err)
		}
	}
	return user
}

// configurations are the webhook configurations of the release.
func configurations(r *release.Release) []*unstructured.Unstructured {
	return []*unstructured.Unstructured{r.Object("ValidatingWebhookConfiguration"), r.Object("MutatingWebhookConfiguration")}
}

func checkNoConfiguration(t *testing.T, c client.Client, r *release.Release) {
	t.Helper()
	for _, configuration := range configurations(r) {
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(configuration), configuration.DeepCopy()); !apierrors.IsNotFound(err) {
			t.Errorf("the %s is left behind (%v)", configuration.GetKind(), err)
		}
	}
}

// replaceByHooks leaves the webhook configurations and the strict guard as a Helm that is
// killed while its hooks are there.
func replaceByHooks(t *testing.T, c client.Client, r *release.Release, hooks string) {
	t.Helper()
	strict := slices.IndexFunc(r.Objects, func(object *unstructured.Unstructured) bool {
		return strings.HasPrefix(object.GetName(), "strict-guard.")
	})
	for _, replaced := range append(configurations(r), r.Objects[strict]) {
		if err := c.Delete(t.Context(), replaced.DeepCopy()); err != nil {
			t.Fatal(err)
		}
	}
	made := 0
	for _, hook := range objects(t, hooks) {
		if hook.GetAnnotations()["helm.sh/hook"] != "pre-delete" {
			continue
		}
		if err := c.Create(t.Context(), hook); err != nil {
			t.Fatal(err)
		}
		made++
	}
	if made != 3 {
		t.Fatalf("there are %d hooks before the deletion, want 3:\n%s", made, hooks)
	}
}

// objects in YAML.
func objects(t *testing.T, text string) []*unstructured.Unstructured {
	t.Helper()
	var found []*unstructured.Unstructured
	decoder := yaml.NewYAMLOrJSONDecoder(strings.NewReader(text), 4096)
	for {
		object := &unstructured.Unstructured{}
		if err := decoder.Decode(object); errors.Is(err, io.EOF) {
			return found
		} else if err != nil {
			t.Fatalf("reading what Helm printed: %v\n%s", err, text)
		}
		if len(object.Object) > 0 {
			found = append(found, object)
		}
	}
}
