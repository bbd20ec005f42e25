package e2e

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/pillion-mesh/pillion/e2e/release"
)

// TestChartBringsTheDefinitions: one release of a cluster does, and takes them with it
// only if it is told so.
func TestChartBringsTheDefinitions(t *testing.T) {
	for _, test := range []struct {
		values     string
		want, keep bool
	}{
		{"", true, true},
		{"crds: {keep: false}", true, false},
		{"crds: {install: Never}", false, false},
		{"injector: {revision: canary}", false, false},
		{"{injector: {revision: canary}, crds: {install: Always}}", true, true},
	} {
		definition := mustRender(t, test.values).Of("crds", "CustomResourceDefinition")
		if (definition != nil) != test.want {
			t.Errorf("%q: there is a definition: %t", test.values, definition != nil)
		}
		if definition == nil {
			continue
		}
		if keep := definition.GetAnnotations()["helm.sh/resource-policy"] == "keep"; keep != test.keep {
			t.Errorf("%q: it is kept: %t", test.values, keep)
		}
		if diff := cmp.Diff(readObject(t, definitionFile).Object["spec"], definition.Object["spec"]); diff != "" {
			t.Errorf("the chart changes the definition (-generated +rendered):\n%s", diff)
		}
	}
}

// TestChartDefinitionIsServed: what the chart brings is what kube-apiserver needs.
func TestChartDefinitionIsServed(t *testing.T) {
	c := apiServer(t)
	rendered := mustRender(t, "")
	only := &release.Release{Objects: []*unstructured.Unstructured{rendered.Of("crds", "CustomResourceDefinition")}}
	if err := only.Install(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	namespace := newNamespace(t, c, "mesh-", nil)
	eventually(t, "a MeshService is taken", func() bool {
		return applied(t, c, namespace, parseObject(t, meshDocument("inbound: [{port: 8080}]"))) == nil
	})
}
