package manifest

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestTemplates: Kubernetes' own kinds have pods where they have them; any other kind
// has them where there are pod templates.
func TestTemplates(t *testing.T) {
	const pod = "{spec: {containers: [{name: c}]}}"
	for _, test := range []struct {
		name, text string
		want       []string
	}{
		{
			"in the order of the text",
			"apiVersion: ray.io/v1\nkind: RayCluster\nspec:\n  workerGroupSpecs:\n  - template: POD\n  - {rayStartParams: {}}\n  - template: POD\n  headGroupSpec:\n    template: POD\n",
			[]string{"spec.workerGroupSpecs[0].template", "spec.workerGroupSpecs[2].template", "spec.headGroupSpec.template"},
		},
		{
			"by a longer name",
			"apiVersion: leaderworkerset.x-k8s.io/v1\nkind: LeaderWorkerSet\nspec:\n  leaderWorkerTemplate:\n    leaderTemplate: POD\n    workerTemplate: POD\n",
			[]string{"spec.leaderWorkerTemplate.leaderTemplate", "spec.leaderWorkerTemplate.workerTemplate"},
		},
		{
			"in a template of something else",
			"apiVersion: agones.dev/v1\nkind: Fleet\nspec: {template: {spec: {container: c, template: POD}}}\n",
			[]string{"spec.template.spec.template"},
		},
		{
			"a Job of another group",
			"apiVersion: batch.volcano.sh/v1alpha1\nkind: Job\nspec:\n  tasks:\n  - {name: a, template: POD}\n",
			[]string{"spec.tasks[0].template"},
		},
		{"JSON", `{"apiVersion": "ray.io/v1", "kind": "RayCluster", "spec": {"b": {"template": {"spec": {"containers": [{"name": "c"}]}}}, "a": [{"template": {"spec": {"containers": [{"name": "c"}]}}}]}}`, []string{"spec.a[0].template", "spec.b.template"}},
		{"a list", "kind: List\nitems:\n- {apiVersion: x.io/v1, kind: X, spec: {a: {template: POD}}}\n", []string{"items[0].spec.a.template"}},
		{"a Job of Kubernetes has one pod", "apiVersion: batch/v1\nkind: Job\nspec: {template: POD, more: {template: POD}}\n", []string{"spec.template"}},
		{"a memory of pods", "apiVersion: apps/v1\nkind: ControllerRevision\ndata: {spec: {template: POD}}\n", nil},
		{"a report", "apiVersion: x.io/v1\nkind: X\nstatus: {template: POD}\n", nil},
		{"a policy about pods", "apiVersion: kyverno.io/v1\nkind: ClusterPolicy\nspec: {rules: [{validate: {pattern: {spec: {template: {spec: {containers: [{image: \"*:*\"}]}}}}}}]}\n", nil},
		{"a schema", "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nspec: {properties: {template: {properties: {spec: {properties: {containers: {items: {name: c}}}}}}}}\n", nil},
		{"containers of another shape", "apiVersion: x.io/v1\nkind: X\nspec: {template: {spec: {containers: [a, 1, null]}}, b: {template: {spec: {containers: 3}}}, c: {template: []}}\n", nil},
		{"another name", "apiVersion: x.io/v1\nkind: X\nspec: {pod: POD, templated: POD}\n", nil},
	} {
		stream, err := Read("f", []byte(strings.ReplaceAll(test.text, "POD", pod)))
		if err != nil {
			t.Fatalf("%s: %v", test.name, err)
		}
		var got []string
		for _, found := range stream.Objects()[0].Pods {
			got = append(got, found.Path)
			if !found.IsTemplate() {
				t.Errorf("%s: %s is no template", test.name, found.Path)
			}
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
	}
}

// TestPodNames: a pod in a list is no template, and what makes several kinds of pods
// says which.
func TestPodNames(t *testing.T) {
	const text = `kind: List
items:
- {kind: Pod, metadata: {name: p}, spec: {containers: [{name: c}]}}
- {kind: X, metadata: {name: x, namespace: ns}, a: {template: {spec: {containers: [{name: c}]}}}, b: {template: {spec: {containers: [{name: c}]}}}}
`
	stream, err := Read("f", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, object := range stream.Objects() {
		for _, pod := range object.Pods {
			got = append(got, pod.String())
		}
	}
	want := []string{"Pod p", "X ns/x at items[1].a.template", "X ns/x at items[1].b.template"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if stream.Objects()[0].Pods[0].IsTemplate() {
		t.Error("the Pod in the list is taken for a template")
	}
}
