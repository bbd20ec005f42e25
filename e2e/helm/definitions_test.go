package helm

import (
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pillion-mesh/pillion/api/v1alpha1"
)

// TestDefinitionStays: what owners have written outlives the release; another release
// works without the definition, says whose it is, and can take it over.
func TestDefinitionStays(t *testing.T) {
	for _, p := range world.helms {
		t.Run(p.name, func(t *testing.T) {
			c := apiClient(t)
			first, second := "defining-"+strings.ToLower(p.name), "other-"+strings.ToLower(p.name)
			// Another test's release may have brought it.
			p.run(t, "install", "pillion", chartFolder, "--create-namespace", "--namespace", first)
			takeOver(t, c, first)
			p.run(t, "upgrade", "pillion", chartFolder, "--namespace", first)

			written := &unstructured.Unstructured{}
			written.SetGroupVersionKind(v1alpha1.GroupVersion().WithKind(v1alpha1.KindMeshService))
			written.SetNamespace("default")
			written.SetName("kept-" + strings.ToLower(p.name))
			eventually(t, "a MeshService can be written", func() bool { return c.Create(t.Context(), written.DeepCopy()) == nil })
			p.run(t, "uninstall", "pillion", "--namespace", first)
			if err := c.Get(t.Context(), client.ObjectKeyFromObject(written), written); err != nil {
				t.Errorf("the MeshService went with the release: %v", err)
			}

			notes := p.run(t, "install", "pillion", chartFolder, "--create-namespace", "--namespace", second)
			t.Cleanup(func() { p.run(t, "uninstall", "pillion", "--namespace", second) })
			if want := "release pillion in namespace " + first + " has brought it"; !strings.Contains(notes, want) {
				t.Errorf("the notes do not say %q:\n%s", want, notes)
			}
			if output, err := p.try(t, "upgrade", "pillion", chartFolder, "--namespace", second, "--set", "crds.install=Always"); err == nil || !strings.Contains(output, "meshservices.pillion.dev") {
				t.Errorf("a release that is to bring the definition of another one: %v\n%s", err, output)
			}
			takeOver(t, c, second)
			if notes := p.run(t, "upgrade", "pillion", chartFolder, "--namespace", second); strings.Contains(notes, "has brought it") {
				t.Errorf("the definition was taken over, and the notes say:\n%s", notes)
			}
			if manifest := p.run(t, "get", "manifest", "pillion", "--namespace", second); !strings.Contains(manifest, "kind: CustomResourceDefinition") {
				t.Error("the release that has taken the definition over does not bring it")
			}
			deleteDefinition(t, c)
			p.run(t, "upgrade", "pillion", chartFolder, "--namespace", second)
			if err := c.Get(t.Context(), client.ObjectKeyFromObject(definition()), definition()); err != nil {
				t.Errorf("an upgrade did not bring back the definition that was deleted: %v", err)
			}
		})
	}
}

// takeOver gives the definition to the release pillion of a namespace, as the chart's
// notes say.
func takeOver(t *testing.T, c client.Client, namespace string) {
	t.Helper()
	patch := `{"metadata": {"annotations": {"meta.helm.sh/release-name": "pillion", "meta.helm.sh/release-namespace": "` + namespace + `"}, "labels": {"app.kubernetes.io/managed-by": "Helm"}}}`
	if err := c.Patch(t.Context(), definition(), client.RawPatch("application/merge-patch+json", []byte(patch))); err != nil {
		t.Fatal(err)
	}
}

func deleteDefinition(t *testing.T, c client.Client) {
	t.Helper()
	if err := c.Delete(t.Context(), definition()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the definition is gone", func() bool {
		return apierrors.IsNotFound(c.Get(t.Context(), client.ObjectKeyFromObject(definition()), definition()))
	})
}

func definition() *unstructured.Unstructured {
	d := &unstructured.Unstructured{}
	d.SetAPIVersion("apiextensions.k8s.io/v1")
	d.SetKind("CustomResourceDefinition")
	d.SetName("meshservices.pillion.dev")
	return d
}
