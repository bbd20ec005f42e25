package meshservice

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pillion-mesh/pillion/api/v1alpha1"
	"github.com/pillion-mesh/pillion/bootstrap"
)

// The labels of our ConfigMaps. By the first one they are watched: no other is held in memory.
const (
	managedByLabel = "app.kubernetes.io/managed-by"
	managedBy      = "pillion-controller"
	serviceLabel   = v1alpha1.Group + "/mesh-service"
)

// takenError is a ConfigMap of our name that somebody else made.
type takenError struct{ name types.NamespacedName }

func (e *takenError) Error() string {
	return fmt.Sprintf("ConfigMap %s is there and not Pillion's, so it is left as it is: rename or delete it", e.name.Name)
}

// contestedError is a ConfigMap that somebody else changes or deletes again and again.
type contestedError struct {
	name    types.NamespacedName
	deleted bool
}

func (e *contestedError) Error() string {
	if e.deleted {
		return fmt.Sprintf("another hand keeps deleting ConfigMap %s; it is made again every half a minute only: make that hand leave it alone", e.name.Name)
	}
	return fmt.Sprintf("another hand keeps changing ConfigMap %s; it is put right every half a minute only: make that hand leave it alone", e.name.Name)
}

// kept is a ConfigMap that was seen to be right.
type kept struct{ resourceVersion, version string }

// store sees to it that the ConfigMap carries the file. It writes only a difference.
func (k *Keeper) store(ctx context.Context, document *unstructured.Unstructured, v verdict) error {
	name := configMapOf(client.ObjectKeyFromObject(document))
	if k.isKept(ctx, name, v.version) {
		return nil
	}
	found := &corev1.ConfigMap{}
	err := k.client.Get(ctx, name, found)
	if apierrors.IsNotFound(err) {
		if !k.mayWrite(name, v.version) {
			return &contestedError{name, true}
		}
		wanted := configMap(document, &corev1.ConfigMap{}, v.file)
		if err := k.client.Create(ctx, wanted); err != nil {
			return fmt.Errorf("creating ConfigMap %s: %w", name, err)
		}
		k.wrote(name, wanted, v.version)
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading ConfigMap %s: %w", name, err)
	}
	if !isOurs(found) {
		return &takenError{name}
	}
	wanted := configMap(document, found, v.file)
	if sameConfigMap(found, wanted) {
		k.keep(name, kept{found.ResourceVersion, v.version})
		return nil
	}
	if !k.mayWrite(name, v.version) {
		return &contestedError{name, false}
	}
	// It carries the resourceVersion: what somebody stores in between is looked at anew.
	if err := k.client.Update(ctx, wanted); err != nil {
		return fmt.Errorf("updating ConfigMap %s: %w", name, err)
	}
	k.wrote(name, wanted, v.version)
	return nil
}

func (k *Keeper) wrote(name types.NamespacedName, stored *corev1.ConfigMap, version string) {
	k.countMend(name)
	k.keep(name, kept{stored.ResourceVersion, version})
	k.metrics.writes.WithLabelValues(wroteConfigMap).Inc()
	k.options.Log.Info("stored what a MeshService was rendered to", "configMap", name, "version", version)
}

// isKept says whether the ConfigMap is the one that was found right before, which saves
// reading it.
func (k *Keeper) isKept(ctx context.Context, name types.NamespacedName, version string) bool {
	have, ok := k.keptAs(name)
	if !ok || have.version != version {
		return false
	}
	known := &metav1.PartialObjectMetadata{}
	known.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("ConfigMap"))
	return k.cache.Get(ctx, name, known) == nil && known.ResourceVersion == have.resourceVersion
}

// remove takes the ConfigMap of a MeshService that is gone away, if it is ours. The owner
// reference lets the garbage collector do the same while no controller runs.
func (k *Keeper) remove(ctx context.Context, service types.NamespacedName) error {
	name := configMapOf(service)
	found := &corev1.ConfigMap{}
	if err := k.client.Get(ctx, name, found); apierrors.IsNotFound(err) {
		return nil
	} else if err != nil {
		return fmt.Errorf("reading ConfigMap %s, whose MeshService is gone: %w", name, err)
	}
	if !isOurs(found) {
		return nil
	}
	err := k.client.Delete(ctx, found, client.Preconditions{UID: &found.UID, ResourceVersion: &found.ResourceVersion})
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("deleting ConfigMap %s, whose MeshService is gone: %w", name, err)
	}
	k.options.Log.Info("deleted the ConfigMap of a MeshService that is gone", "configMap", name)
	return nil
}

func configMapOf(service types.NamespacedName) types.NamespacedName {
	return types.NamespacedName{Namespace: service.Namespace, Name: v1alpha1.MeshConfigMap(service.Name)}
}

// isOurs goes by what nobody writes by accident: our label, or a MeshService as owner where
// somebody took the label away.
func isOurs(c *corev1.ConfigMap) bool {
	return c.Labels[managedByLabel] == managedBy || slices.ContainsFunc(c.OwnerReferences, isMeshService)
}

func isMeshService(owner metav1.OwnerReference) bool {
	return owner.APIVersion == v1alpha1.APIVersion && owner.Kind == v1alpha1.KindMeshService
}

// configMap is what it should be, made of what is there: labels and annotations of others
// stay.
func configMap(document *unstructured.Unstructured, found *corev1.ConfigMap, file []byte) *corev1.ConfigMap {
	wanted := found.DeepCopy()
	wanted.Namespace, wanted.Name = document.GetNamespace(), v1alpha1.MeshConfigMap(document.GetName())
	wanted.Labels = maps.Clone(wanted.Labels)
	if wanted.Labels == nil {
		wanted.Labels = map[string]string{}
	}
	wanted.Labels[managedByLabel] = managedBy
	wanted.Labels[serviceLabel] = labelValue(document.GetName())
	// No blockOwnerDeletion, which would take a right on MeshServices' finalizers.
	controller := true
	wanted.OwnerReferences = slices.DeleteFunc(wanted.OwnerReferences, isMeshService)
	wanted.OwnerReferences = append(wanted.OwnerReferences, metav1.OwnerReference{
		APIVersion: v1alpha1.APIVersion, Kind: v1alpha1.KindMeshService,
		Name: document.GetName(), UID: document.GetUID(), Controller: &controller,
	})
	wanted.Data, wanted.BinaryData = nil, nil
	if bootstrap.IsPacked(file) {
		wanted.BinaryData = map[string][]byte{bootstrap.GenerationFile: file}
	} else {
		wanted.Data = map[string]string{bootstrap.GenerationFile: string(file)}
	}
	return wanted
}

// labelValue is the name as far as a label's value goes: it is for people to select by.
func labelValue(name string) string {
	const longest = 63
	if len(name) <= longest {
		return name
	}
	return ""
}

func sameConfigMap(a, b *corev1.ConfigMap) bool {
	return maps.Equal(a.Data, b.Data) && maps.EqualFunc(a.BinaryData, b.BinaryData, bytes.Equal) && maps.Equal(a.Labels, b.Labels) &&
		slices.EqualFunc(a.OwnerReferences, b.OwnerReferences, func(x, y metav1.OwnerReference) bool {
			return x.UID == y.UID && x.Name == y.Name && x.APIVersion == y.APIVersion && x.Kind == y.Kind
		})
}
