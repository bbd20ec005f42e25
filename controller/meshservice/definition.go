package meshservice

import (
	"context"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pillion-mesh/pillion/api/v1alpha1"
)

// deletionsInterval is how often it is looked whether the last deletions are seen to.
const deletionsInterval = time.Second

// kindIsKnown asks whether the API server has MeshServices. It asks for one of them, not for the
// definition: a client remembers a kind that is gone.
func (k *Keeper) kindIsKnown(ctx context.Context) (bool, error) {
	err := k.client.List(ctx, newDocuments(), client.Limit(1))
	if meta.IsNoMatchError(err) || apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("asking whether the API server knows MeshServices: %w", err)
	}
	return true, nil
}

// sayUnknown says once that there is no such kind, or no longer.
func (k *Keeper) sayUnknown(wasKnown bool) {
	const crd = "meshservices." + v1alpha1.Group
	if wasKnown {
		k.options.Log.Warn("the API server knows no MeshServices any more; if their definition was deleted, all of them were, and their pods pass their traffic through. They are seen to as soon as it is back, and have to be applied anew", "crd", crd)
		return
	}
	k.options.Log.Info("the API server knows no MeshServices; they are seen to as soon as it does", "crd", crd)
}

// tellGone puts something into gone when a kind that is watched is not there: MeshServices are the
// only one that can go. A watch would go on asking, with an error for each time.
func tellGone(gone chan<- struct{}) toolscache.WatchErrorHandlerWithContext {
	return func(ctx context.Context, watch *toolscache.Reflector, err error) {
		if !apierrors.IsNotFound(err) {
			toolscache.DefaultWatchErrorHandler(ctx, watch, err)
			return
		}
		select {
		case gone <- struct{}{}:
		default: // it was told
		}
	}
}

// untilGone returns when there is no such kind any more, and the ConfigMaps are gone of those
// MeshServices whose deletion was seen: with a definition, kube-apiserver deletes its objects faster
// than their ConfigMaps can be. A MeshService whose deletion was not seen keeps its own. That the
// kind is not found says nothing about the objects: kube-apiserver may not serve them for a while.
func (k *Keeper) untilGone(ctx context.Context, gone <-chan struct{}) error {
	select {
	case <-ctx.Done():
		return nil
	case <-gone:
	}
	k.options.Log.Info("MeshServices are not found any more; what was seen to be deleted is finished, and then it is begun anew")
	documents, err := k.cache.GetInformer(ctx, newDocument(), cache.BlockUntilSynced(false))
	if err != nil || !documents.HasSynced() {
		return err // nothing was seen
	}
	for left := true; left && err == nil && ctx.Err() == nil; {
		// Before the first look, too: what the watch saw last is on its way.
		pause(ctx, deletionsInterval, nil)
		left, err = k.hasLeftovers(ctx)
	}
	return err
}

// hasLeftovers says whether there is a ConfigMap without its MeshService.
func (k *Keeper) hasLeftovers(ctx context.Context) (bool, error) {
	entries := &metav1.PartialObjectMetadataList{}
	entries.SetGroupVersionKind(newConfigMapEntry().GroupVersionKind())
	if err := k.cache.List(ctx, entries); err != nil {
		return false, fmt.Errorf("looking for ConfigMaps whose MeshService is gone: %w", err)
	}
	for n := range entries.Items {
		for _, request := range serviceOfConfigMap(ctx, &entries.Items[n]) {
			serves, err := k.serves(ctx, request.Namespace)
			if err != nil {
				return false, err
			}
			if serves && apierrors.IsNotFound(k.cache.Get(ctx, request.NamespacedName, newDocument())) {
				return true, nil
			}
		}
	}
	return false, nil
}

func newDocument() *unstructured.Unstructured {
	document := &unstructured.Unstructured{}
	document.SetGroupVersionKind(v1alpha1.GroupVersion().WithKind(v1alpha1.KindMeshService))
	return document
}

func newDocuments() *unstructured.UnstructuredList {
	documents := &unstructured.UnstructuredList{}
	documents.SetGroupVersionKind(v1alpha1.GroupVersion().WithKind(v1alpha1.KindMeshService + "List"))
	return documents
}
