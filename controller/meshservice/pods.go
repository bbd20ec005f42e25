package meshservice

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pillion-mesh/pillion/injector"
)

// What is kept of a pod, in place of its annotations.
const (
	keptService = "service"
	keptMount   = "mount"
)

// pod is a running pod with a sidecar.
type pod struct {
	uid  types.UID
	name string
	ip   string
	// mounts says whether a MeshService can come to it.
	mounts bool
}

// trimPod keeps of a pod what is asked for here, some hundred bytes of many thousand.
func trimPod(object any) (any, error) {
	full, ok := object.(*corev1.Pod)
	// What was trimmed has no containers, and comes here again: a list that is streamed is
	// transformed as it comes in, and once more as a whole.
	if !ok || len(full.Spec.Containers) == 0 {
		return object, nil
	}
	trimmed := &corev1.Pod{
		TypeMeta: full.TypeMeta,
		ObjectMeta: metav1.ObjectMeta{
			Namespace: full.Namespace, Name: full.Name, UID: full.UID, ResourceVersion: full.ResourceVersion,
			DeletionTimestamp: full.DeletionTimestamp,
		},
		Status: corev1.PodStatus{PodIP: full.Status.PodIP},
	}
	if status, err := injector.ParseStatus(full.Annotations[injector.StatusAnnotation]); err == nil && status.Service != "" {
		trimmed.Annotations = map[string]string{keptService: status.Service}
		if slices.Contains(status.Added, "volumes/"+injector.MeshVolume) {
			trimmed.Annotations[keptMount] = ""
		}
	}
	return trimmed, nil
}

// podsOf are the pods of services by name, each list in the order of names.
func (k *Keeper) podsOf(ctx context.Context, services map[types.NamespacedName]service) (map[types.NamespacedName][]pod, error) {
	var list corev1.PodList
	if err := k.cache.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("listing the pods: %w", err)
	}
	found := map[types.NamespacedName][]pod{}
	for n := range list.Items {
		p := &list.Items[n]
		name := types.NamespacedName{Namespace: p.Namespace, Name: p.Annotations[keptService]}
		if s, there := services[name]; !there || s.version == "" || p.DeletionTimestamp != nil {
			continue
		}
		_, mounts := p.Annotations[keptMount]
		found[name] = append(found[name], pod{p.UID, p.Name, p.Status.PodIP, mounts})
	}
	for _, pods := range found {
		slices.SortFunc(pods, func(a, b pod) int { return cmp.Compare(a.name, b.name) })
	}
	return found, nil
}
