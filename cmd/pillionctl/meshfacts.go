package main

import (
	"context"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pillion-mesh/pillion/api/v1alpha1"
	"github.com/pillion-mesh/pillion/injector"
	"github.com/pillion-mesh/pillion/preflight"
)

// meshServicesDefined asks for nothing but what everybody may see.
func (c *connection) meshServicesDefined() (seen preflight.Seen[bool]) {
	kind := v1alpha1.GroupVersion().WithKind(v1alpha1.KindMeshService)
	if _, err := c.RESTMapper().RESTMapping(kind.GroupKind(), kind.Version); err != nil && !meta.IsNoMatchError(err) {
		seen.Err = err
	} else {
		seen.Value = err == nil
	}
	return seen
}

// sidecars are those of the namespace's pods that have not ended.
func (c *connection) sidecars(ctx context.Context, namespace string) (seen preflight.Seen[[]preflight.Sidecar]) {
	var pods corev1.PodList
	if seen.Err = c.List(ctx, &pods, client.InNamespace(namespace)); seen.Err != nil {
		return seen
	}
	for n := range pods.Items {
		pod := &pods.Items[n]
		ended := pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed || pod.DeletionTimestamp != nil
		status, err := injector.ParseStatus(pod.Annotations[injector.StatusAnnotation])
		if ended || err != nil {
			continue
		}
		seen.Value = append(seen.Value, preflight.Sidecar{
			Pod: "pod " + pod.Name, Service: status.Service, Mounts: slices.Contains(status.Added, "volumes/"+injector.MeshVolume),
		})
	}
	return seen
}
