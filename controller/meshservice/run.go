package meshservice

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrl "sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/pillion-mesh/pillion/api/v1alpha1"
)

const (
	// kindInterval is how often it is asked whether the API server knows MeshServices by now.
	kindInterval = 10 * time.Second
	// retryInterval is after how long everything is begun anew when it failed as a whole.
	retryInterval = 15 * time.Second
	// leftoverPatience is long enough for a kube-apiserver or a webhook that is down for a moment.
	leftoverPatience = time.Minute
	// workers bring MeshServices at the same time.
	workers = 4
	// requestsPerSecond bound what is asked of kube-apiserver when many MeshServices change at
	// once, as when a new version renders all of them differently.
	requestsPerSecond = 50
)

// New makes a Keeper for the cluster of config. Events go to recorder, and writes bear owner as
// their field manager.
func New(config *rest.Config, owner string, recorder events.EventRecorder, metrics *Metrics, o Options) (*Keeper, error) {
	if o.LeftoverPatience == 0 {
		o.LeftoverPatience = leftoverPatience
	}
	config = rest.CopyConfig(config)
	config.QPS, config.Burst = requestsPerSecond, 2*requestsPerSecond
	direct, err := client.New(config, client.Options{})
	if err != nil {
		return nil, fmt.Errorf("preparing the API client: %w", err)
	}
	k := &Keeper{
		options: o, config: config, client: client.WithFieldOwner(direct, owner), events: recorder, metrics: metrics,
		asker: newAsker(o.StatusPort, o.Dial),
	}
	k.reset()
	return k, nil
}

// reset forgets what was known, in the metrics, too.
func (k *Keeper) reset() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.again, k.wake = make(chan event.GenericEvent), make(chan struct{}, 1)
	k.kept = map[types.NamespacedName]kept{}
	k.mends = map[types.NamespacedName]*rate.Limiter{}
	k.services = map[types.NamespacedName]service{}
	k.metrics.setServices(k.services)
	k.metrics.setPods(nil)
}

// Run works until ctx is done. It is for the leader. Whatever fails is begun anew: the
// certificates, which the same program sees to, are not to suffer from it.
func (k *Keeper) Run(ctx context.Context) error {
	said, wasKnown := false, false
	for ctx.Err() == nil {
		known, err := k.kindIsKnown(ctx)
		switch {
		case err == nil && known:
			said, wasKnown = false, true
			err = k.work(ctx)
		case err == nil && !said:
			said = true
			k.reset()
			k.sayUnknown(wasKnown)
		}
		wait := kindInterval
		if err != nil && ctx.Err() == nil {
			k.options.Log.Error("seeing to MeshServices failed; it is begun anew", "error", err)
			k.options.OnError()
			wait = retryInterval
		}
		pause(ctx, wait, nil)
	}
	return nil
}

// work sees to all MeshServices until ctx is done, there are none any more or something fails as
// a whole.
func (k *Keeper) work(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	k.reset()
	var err error
	gone := make(chan struct{}, 1)
	if k.cache, err = k.newCache(gone); err != nil {
		cancel()
		return err
	}
	loop, err := k.newLoop(ctx)
	if err != nil {
		cancel()
		return err
	}
	var parts sync.WaitGroup
	defer parts.Wait()
	defer cancel()
	ended := make(chan error, 4)
	untilGone := func(ctx context.Context) error { return k.untilGone(ctx, gone) }
	for _, part := range []func(context.Context) error{k.cache.Start, loop.Start, k.watchPods, untilGone} {
		parts.Go(func() { ended <- part(ctx) })
	}
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		return nil
	}
}

// newCache holds what is needed of each object and no more. Of ConfigMaps it has no content,
// and none but ours; of pods none but those that opted in and run.
func (k *Keeper) newCache(gone chan<- struct{}) (cache.Cache, error) {
	ours := labels.SelectorFromSet(labels.Set{managedByLabel: managedBy})
	meshed := labels.SelectorFromSet(labels.Set{k.options.PodLabel: k.options.PodLabelValue})
	running := fields.OneTermEqualSelector("status.phase", string(corev1.PodRunning))
	c, err := cache.New(k.config, cache.Options{
		Mapper:                   k.client.RESTMapper(),
		DefaultWatchErrorHandler: tellGone(gone),
		ByObject: map[client.Object]cache.ByObject{
			newDocument():       {Transform: cache.TransformStripManagedFields()},
			newConfigMapEntry(): {Label: ours, Transform: cache.TransformStripManagedFields()},
			newNamespace():      {Transform: trimNamespace},
			&corev1.Pod{}:       {Label: meshed, Field: running, Transform: trimPod},
		},
	})
	if err != nil {
		return nil, fmt.Errorf("preparing the watches: %w", err)
	}
	return c, nil
}

// newLoop reconciles a MeshService when it, its ConfigMap, its namespace or what its pods say
// has changed.
func (k *Keeper) newLoop(ctx context.Context) (ctrl.Controller, error) {
	skip := true // the name is in metrics that are not served
	loop, err := ctrl.NewUnmanaged("meshservices", ctrl.Options{
		Reconciler: k, MaxConcurrentReconciles: workers, SkipNameValidation: &skip,
		Logger: logr.FromSlogHandler(k.options.Log.Handler()),
	})
	if err != nil {
		return nil, fmt.Errorf("preparing the loop: %w", err)
	}
	_, err = k.cache.GetInformer(ctx, &corev1.Pod{}, cache.BlockUntilSynced(false))
	err = errors.Join(err,
		loop.Watch(source.Kind[client.Object](k.cache, newDocument(), &handler.EnqueueRequestForObject{})),
		loop.Watch(source.Kind[client.Object](k.cache, newConfigMapEntry(), handler.EnqueueRequestsFromMapFunc(serviceOfConfigMap))),
		loop.Watch(source.Kind[client.Object](k.cache, newNamespace(), handler.EnqueueRequestsFromMapFunc(k.servicesOfNamespace))),
		loop.Watch(source.Channel(k.again, &handler.EnqueueRequestForObject{})),
	)
	if err != nil {
		return nil, fmt.Errorf("preparing the watches: %w", err)
	}
	return loop, nil
}

func newConfigMapEntry() *metav1.PartialObjectMetadata {
	entry := &metav1.PartialObjectMetadata{}
	entry.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("ConfigMap"))
	return entry
}

func newNamespace() *metav1.PartialObjectMetadata {
	namespace := &metav1.PartialObjectMetadata{}
	namespace.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Namespace"))
	return namespace
}

// trimNamespace keeps the labels.
func trimNamespace(object any) (any, error) {
	if namespace, ok := object.(*metav1.PartialObjectMetadata); ok {
		namespace.ManagedFields, namespace.Annotations, namespace.Finalizers = nil, nil, nil
	}
	return object, nil
}

func serviceOfConfigMap(_ context.Context, object client.Object) []reconcile.Request {
	name, ours := strings.CutPrefix(object.GetName(), v1alpha1.MeshConfigMapPrefix)
	if !ours {
		return nil
	}
	return []reconcile.Request{{NamespacedName: types.NamespacedName{Namespace: object.GetNamespace(), Name: name}}}
}

func (k *Keeper) servicesOfNamespace(ctx context.Context, object client.Object) []reconcile.Request {
	list := newDocuments()
	if err := k.cache.List(ctx, list, client.InNamespace(object.GetName())); err != nil {
		k.options.Log.Error("finding the MeshServices of a namespace that changed", "namespace", object.GetName(), "error", err)
		return nil
	}
	var requests []reconcile.Request
	for n := range list.Items {
		requests = append(requests, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&list.Items[n])})
	}
	return requests
}
