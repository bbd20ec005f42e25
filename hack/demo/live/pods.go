package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"
)

const (
	// meshed is the namespace that opted in, plain one that did not.
	meshed = "shop"
	plain  = "plain"
	// manifests is where the Deployments are, from the repository's root.
	manifests = "hack/demo/manifests"
)

// prepareNamespaces creates both.
func (w *world) prepareNamespaces(ctx context.Context) error {
	for name, labels := range map[string]map[string]string{
		meshed: {"service-mesh-enabled": "true"},
		plain:  nil,
	} {
		namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}
		if err := w.client.Create(ctx, namespace); err != nil {
			return fmt.Errorf("creating namespace %s: %w", name, err)
		}
	}
	return nil
}

// deploy applies a Deployment from a file and returns a pod of it as the ReplicaSet
// controller would send it.
func (w *world) deploy(ctx context.Context, file string) (*unstructured.Unstructured, error) {
	text, err := os.ReadFile(filepath.Join(manifests, file))
	if err != nil {
		return nil, fmt.Errorf("reading the demo's manifest: %w", err)
	}
	deployment := &unstructured.Unstructured{}
	if err := yaml.Unmarshal(text, &deployment.Object); err != nil {
		return nil, fmt.Errorf("reading the demo's manifest %s: %w", file, err)
	}
	if err := w.client.Create(ctx, deployment); err != nil {
		return nil, fmt.Errorf("creating the Deployment in %s: %w", file, err)
	}
	return podOf(deployment)
}

// podOf is what the Deployment and ReplicaSet controllers make of a Deployment.
func podOf(deployment *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	template, _, err := unstructured.NestedMap(deployment.Object, "spec", "template")
	if err != nil {
		return nil, fmt.Errorf("finding the pod template of Deployment %s: %w", deployment.GetName(), err)
	}
	// The hash that the Deployment controller gives a template; any will do.
	const hash = "7d9f8c6b5"
	replicaSet := deployment.GetName() + "-" + hash

	pod := &unstructured.Unstructured{Object: template}
	pod.SetAPIVersion("v1")
	pod.SetKind("Pod")
	pod.SetNamespace(deployment.GetNamespace())
	pod.SetGenerateName(replicaSet + "-")
	labels := maps.Clone(pod.GetLabels())
	labels["pod-template-hash"] = hash
	pod.SetLabels(labels)
	yes := true
	pod.SetOwnerReferences([]metav1.OwnerReference{{
		APIVersion: "apps/v1", Kind: "ReplicaSet", Name: replicaSet, UID: deployment.GetUID(),
		Controller: &yes, BlockOwnerDeletion: &yes,
	}})
	return pod, nil
}

// create sends a pod and returns what was stored, with the warnings that came back.
func (w *world) create(ctx context.Context, pod *unstructured.Unstructured, options ...client.CreateOption) (*unstructured.Unstructured, []string, error) {
	w.warnings.take()
	stored := pod.DeepCopy()
	if err := w.client.Create(ctx, stored, options...); err != nil {
		return nil, nil, fmt.Errorf("creating the pod %s: %w", pod.GetGenerateName(), err)
	}
	return stored, w.warnings.take(), nil
}

// withoutWebhook is what this API server makes of the pod where no webhook sees it,
// so that its own defaults are not taken for changes.
func (w *world) withoutWebhook(ctx context.Context, pod *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	elsewhere := pod.DeepCopy()
	elsewhere.SetNamespace(plain)
	stored, _, err := w.create(ctx, elsewhere, client.DryRunAll)
	return stored, err
}

// alike is the pod as YAML without what differs between any two pods.
func alike(pod *unstructured.Unstructured) ([]byte, error) {
	pod = pod.DeepCopy()
	metadata, _ := pod.Object["metadata"].(map[string]any)
	for _, field := range []string{"uid", "name", "namespace", "resourceVersion", "creationTimestamp", "managedFields", "generation"} {
		delete(metadata, field)
	}
	delete(pod.Object, "status")
	text, err := yaml.Marshal(pod.Object)
	if err != nil {
		return nil, fmt.Errorf("writing a pod as YAML: %w", err)
	}
	return text, nil
}

// containerNames are in the order in which they are in the pod.
func containerNames(pod *unstructured.Unstructured, list string) []string {
	containers, _, _ := unstructured.NestedSlice(pod.Object, "spec", list)
	var names []string
	for _, container := range containers {
		if fields, ok := container.(map[string]any); ok {
			names = append(names, fmt.Sprint(fields["name"]))
		}
	}
	return slices.Clip(names)
}
