package helm

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/util/cert"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pillion-mesh/pillion/e2e/release"
)

// argo is the name under which Argo CD applies on the server side.
const argo = client.FieldOwner("argocd-controller")

// apply applies what was rendered as Argo CD does, and never by force.
func apply(t *testing.T, c client.Client, object *unstructured.Unstructured, options ...client.ApplyOption) (*unstructured.Unstructured, error) {
	t.Helper()
	applied := object.DeepCopy()
	err := c.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(applied), append(options, argo)...)
	return applied, err
}

// startController runs the release's controller with the release's rights until it has
// written the caBundles.
func startController(t *testing.T, c client.Client, r *release.Release) *release.Controller {
	t.Helper()
	account := r.Of("controller", "ServiceAccount").GetName()
	controller, err := r.StartController(t.Context(), world.controller, accountKubeconfig(t, c, r.Namespace, account), t.Output())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = controller.Stop() })
	eventually(t, "the controller has written the caBundles", func() bool { return trusted(t, c, r) != "" })
	return controller
}

// TestGitOps: a tool that applies the rendering again and again, on the server side and
// without force, meets no conflict with the controller and changes nothing of what it
// wrote. With --dry-run there is no difference to show.
func TestGitOps(t *testing.T) {
	c := apiClient(t)
	r, _ := installByArgo(t, c, "gitops")
	controller := startController(t, c, r)
	// A leader renews its Lease all the time.
	if err := controller.Stop(); err != nil {
		t.Fatal(err)
	}
	trust, secret := trusted(t, c, r), data(t, c, r)
	for _, object := range r.Objects {
		live := &unstructured.Unstructured{}
		live.SetGroupVersionKind(object.GroupVersionKind())
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(object), live); err != nil {
			t.Fatal(err)
		}
		for _, options := range [][]client.ApplyOption{{client.DryRunAll}, nil} {
			again, err := apply(t, c, object, options...)
			if err != nil {
				t.Errorf("applying %s %s again: %v", object.GetKind(), object.GetName(), err)
				continue
			}
			live.SetManagedFields(nil)
			again.SetManagedFields(nil)
			// The resourceVersion among it: nothing was written.
			if diff := cmp.Diff(live.Object, again.Object); diff != "" {
				t.Errorf("applying %s %s again changes it (-before +after):\n%s", object.GetKind(), object.GetName(), diff)
			}
		}
	}
	if trusted(t, c, r) != trust || !cmp.Equal(data(t, c, r), secret) {
		t.Error("the caBundles or the Secret are others than before")
	}
}

// remove deletes an object at the end of a test.
func remove(t *testing.T, c client.Client, object *unstructured.Unstructured) {
	t.Helper()
	background := client.PropagationPolicy("Background")
	if err := client.IgnoreNotFound(c.Delete(withoutCancel(t), object.DeepCopy(), background)); err != nil {
		t.Errorf("cleaning up: %v", err)
	}
}

// TestAnEntryThatIsGone: an entry that a later chart leaves out goes, though its caBundle
// is the controller's, which writes it by a patch and so owns nothing of the entry
// beside. Where another hand applies the caBundle on the server side, the entry stays
// without its service, and the upgrade is refused: that is why every rendering of the
// chart has the same entries.
func TestAnEntryThatIsGone(t *testing.T) {
	less := chartWithout(t, "  # Where a pod without its sidecar must not run")
	c := apiClient(t)
	for _, p := range world.helms {
		t.Run(p.name, func(t *testing.T) {
			r := p.render(t, "pillion", "entry-"+strings.ToLower(p.name), "")
			in := []string{"--namespace", r.Namespace}
			p.run(t, append([]string{"install", "pillion", chartFolder, "--create-namespace"}, in...)...)
			t.Cleanup(func() { p.run(t, append([]string{"uninstall", "pillion"}, in...)...) })
			trustAndStop(t, c, r)
			p.run(t, append([]string{"upgrade", "pillion", less}, in...)...)
			checkEntries(t, c, r, 1)
			p.run(t, append([]string{"rollback", "pillion", "1"}, in...)...)
			checkEntries(t, c, r, 2)
		})
	}
	// By SSA, whose other hand owns the caBundle alone or, when it applies it itself (as
	// cert-manager's cainjector with its feature gate ServerSideApply), the entry too.
	t.Run("ArgoCD", func(t *testing.T) {
		r, less := installByArgo(t, c, "entry-argo")
		trustAndStop(t, c, r)
		if _, err := apply(t, c, less); err != nil {
			t.Fatal(err)
		}
		checkEntries(t, c, r, 1)
	})
	t.Run("the other hand applies", func(t *testing.T) {
		r, less := installByArgo(t, c, "entry-applied")
		theirs := &unstructured.Unstructured{Object: map[string]any{"webhooks": []any{}}}
		theirs.SetGroupVersionKind(less.GroupVersionKind())
		theirs.SetName(less.GetName())
		var entries []any
		for _, entry := range mutating(t, c, r).Webhooks {
			entries = append(entries, map[string]any{"name": entry.Name, "clientConfig": map[string]any{"caBundle": certificate(t)}})
		}
		theirs.Object["webhooks"] = entries
		if err := c.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(theirs), client.FieldOwner("cainjector")); err != nil {
			t.Fatal(err)
		}
		// What is left of the entry is its name and its caBundle.
		if _, err := apply(t, c, less); err == nil || !strings.Contains(err.Error(), "webhooks[1].clientConfig: Required value") {
			t.Errorf("got %v, want that kube-apiserver refuses the rest of the entry: if it no longer does, entries of the chart may come and go", err)
		}
		checkEntries(t, c, r, 2)
	})
}

// installByArgo applies the chart, and returns the configuration of a chart that has one
// entry less.
func installByArgo(t *testing.T, c client.Client, namespace string) (r *release.Release, less *unstructured.Unstructured) {
	t.Helper()
	r = world.helms[0].render(t, "pillion", namespace, "")
	ensureNamespace(t, c, r.Namespace, nil)
	for _, object := range r.Objects {
		if _, err := apply(t, c, object); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { remove(t, c, object) })
	}
	less = r.Object("MutatingWebhookConfiguration").DeepCopy()
	entries, _, err := unstructured.NestedSlice(less.Object, "webhooks")
	if err != nil {
		t.Fatal(err)
	}
	if err := unstructured.SetNestedSlice(less.Object, entries[:1], "webhooks"); err != nil {
		t.Fatal(err)
	}
	return r, less
}

// certificate is one in PEM, in base64 as JSON has bytes.
func certificate(t *testing.T) string {
	t.Helper()
	pem, _, err := cert.GenerateSelfSignedCertKey("pillion-webhook", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(pem)
}

// TestEntriesAreAlwaysTheSame: no value adds or takes away an entry.
func TestEntriesAreAlwaysTheSame(t *testing.T) {
	files, err := filepath.Glob("../testdata/chart/*.values.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("finding the values files: %q, %v", files, err)
	}
	for _, file := range files {
		values, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		r := world.helms[0].render(t, "pillion", "pillion-system", string(values))
		for kind, want := range map[string][]string{
			"MutatingWebhookConfiguration":   {"inject.pillion.dev", "strict.inject.pillion.dev"},
			"ValidatingWebhookConfiguration": {"workloads.pillion.dev", "baseline.workloads.pillion.dev", "restricted.workloads.pillion.dev", "meshservices.pillion.dev"},
		} {
			entries, _, err := unstructured.NestedSlice(r.Object(kind).Object, "webhooks")
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for _, entry := range entries {
				names = append(names, entry.(map[string]any)["name"].(string))
			}
			if diff := cmp.Diff(want, names); diff != "" {
				t.Errorf("%s: entries of the %s (-want +got):\n%s", filepath.Base(file), kind, diff)
			}
		}
	}
}

// trustAndStop has the controller write the caBundles, and stops it.
func trustAndStop(t *testing.T, c client.Client, r *release.Release) {
	t.Helper()
	if err := startController(t, c, r).Stop(); err != nil {
		t.Fatal(err)
	}
}

func checkEntries(t *testing.T, c client.Client, r *release.Release, want int) {
	t.Helper()
	entries := mutating(t, c, r).Webhooks
	if len(entries) != want {
		t.Errorf("there are %d entries, want %d", len(entries), want)
	}
	if len(entries) == 0 || len(entries[0].ClientConfig.CABundle) == 0 {
		t.Errorf("the entry that stayed has lost its caBundle")
	}
}

// chartWithout is a copy of the chart whose MutatingWebhookConfiguration ends where
// this text starts.
func chartWithout(t *testing.T, text string) string {
	t.Helper()
	folder := filepath.Join(t.TempDir(), "pillion")
	if err := os.CopyFS(folder, os.DirFS(chartFolder)); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(folder, "templates", "mutatingwebhookconfiguration.yaml")
	template, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, _, found := strings.Cut(string(template), text)
	if !found {
		t.Fatalf("there is no %q in %s", text, file)
	}
	if err := os.WriteFile(file, []byte(before), 0o600); err != nil {
		t.Fatal(err)
	}
	return folder
}
