package meshservice

import (
	"context"
	"fmt"
	"slices"
	"strings"
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

const (
	// deletionsInterval is how often it is looked whether the last deletions are seen to.
	deletionsInterval = time.Second
	// leftoversNamed are how many of the ConfigMaps that stay are named.
	leftoversNamed = 5
)

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
// than their ConfigMaps can be. Some may never go, where a finalizer or a policy holds them. A
// MeshService whose deletion was not seen keeps its own. That the kind is not found says nothing
// about the objects: kube-apiserver may not serve them for a while.
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
	wait := leftoverWait{patience: k.options.LeftoverPatience}
	for ctx.Err() == nil {
		// Before the first look, too: what the watch saw last is on its way.
		pause(ctx, deletionsInterval, nil)
		left, err := k.leftovers(ctx)
		if err != nil || len(left) == 0 {
			return err
		}
		if wait.isOver(len(left), k.options.Now()) {
			k.sayLeftovers(left)
			return nil
		}
	}
	return nil
}

// leftoverWait is over when nothing has gone for as long as patience: many take longer than one
// that is held.
type leftoverWait struct {
	patience time.Duration
	fewest   int
	since    time.Time
}

func (w *leftoverWait) isOver(left int, now time.Time) bool {
	if w.since.IsZero() || left < w.fewest {
		w.fewest, w.since = left, now
	}
	return now.Sub(w.since) >= w.patience
}

func (k *Keeper) sayLeftovers(left []string) {
	slices.Sort(left)
	k.options.Log.Warn("ConfigMaps of MeshServices that were deleted do not go, and pods keep what is in them; look what holds them, as a finalizer or a policy that denies deletions, and delete them",
		"count", len(left), "first", strings.Join(left[:min(len(left), leftoversNamed)], ", "))
}

// leftovers are the ConfigMaps without their MeshService.
func (k *Keeper) leftovers(ctx context.Context) ([]string, error) {
	entries := &metav1.PartialObjectMetadataList{}
	entries.SetGroupVersionKind(newConfigMapEntry().GroupVersionKind())
	if err := k.cache.List(ctx, entries); err != nil {
		return nil, fmt.Errorf("looking for ConfigMaps whose MeshService is gone: %w", err)
	}
	var left []string
	for n := range entries.Items {
		for _, request := range serviceOfConfigMap(ctx, &entries.Items[n]) {
			serves, err := k.serves(ctx, request.Namespace)
			if err != nil {
				return nil, err
			}
			if serves && apierrors.IsNotFound(k.cache.Get(ctx, request.NamespacedName, newDocument())) {
				left = append(left, configMapOf(request.NamespacedName).String())
			}
		}
	}
	return left, nil
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
