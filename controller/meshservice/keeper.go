package meshservice

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"golang.org/x/time/rate"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/pillion-mesh/pillion/api/v1alpha1"
)

const (
	// A ConfigMap that somebody else changes is put right at once, but not for ever:
	// writesAtOnce of them, and then one every writeInterval.
	writesAtOnce  = 5
	writeInterval = 30 * time.Second
	// lookAgain is after how long it is looked again at what no watch tells of: a ConfigMap
	// of somebody else's that is in the way.
	lookAgain = time.Minute
)

// Options are what a Keeper is made of. Every field has to be set but those that say so.
type Options struct {
	// Revision of the release: it sees to the namespaces whose label pillion.dev/revision
	// has this value, or that have none where it is empty.
	Revision string
	// PodLabel and PodLabelValue are on the pods that have opted in.
	PodLabel, PodLabelValue string
	// StatusPort of the sidecars.
	StatusPort uint16
	// Interval between the ends and beginnings of two looks at the pods.
	Interval time.Duration
	// Dial connects to the pods; nil for the network's own way.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// LeftoverPatience is how long ConfigMaps are waited for that do not go, once nobody knows
	// MeshServices any more; 0 is a minute.
	LeftoverPatience time.Duration
	// OnError counts an attempt that failed and is made again.
	OnError func()
	Log     *slog.Logger
	// Now is the clock.
	Now func() time.Time
}

// Keeper keeps the ConfigMaps and the status of MeshServices.
type Keeper struct {
	options Options
	config  *rest.Config
	client  client.Client
	events  events.EventRecorder
	metrics *Metrics
	asker   *asker
	cache   cache.Cache
	// again brings a MeshService whose pods have something new to say.
	again chan event.GenericEvent
	// wake has the pods looked at soon.
	wake chan struct{}

	mu sync.Mutex
	// kept are ConfigMaps that were right when they were looked at last.
	kept map[types.NamespacedName]kept
	// mends bound how often a ConfigMap is written for one version.
	mends map[types.NamespacedName]*rate.Limiter
	// services are the MeshServices that there are.
	services map[types.NamespacedName]service
}

// service is what is known of a MeshService beside what the API server has.
type service struct {
	// version that its pods are to run; empty while nothing was rendered.
	version string
	// state for the metrics.
	state string
	// foreign says that another hand has its ConfigMap.
	foreign bool
	// judged is the verdict on the document of this UID and generation, which takes long for a
	// large one.
	judged     verdict
	uid        types.UID
	generation int64
	// tally of its pods; nil before they were asked.
	tally *tally
}

// Reconcile brings a MeshService's ConfigMap and status to what they should be now.
func (k *Keeper) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	result, err := k.reconcile(ctx, request.NamespacedName)
	if ctx.Err() != nil {
		return reconcile.Result{}, nil //nolint:nilerr // it is over, and whoever is next begins anew
	}
	if err != nil {
		k.options.OnError()
	}
	return result, err
}

func (k *Keeper) reconcile(ctx context.Context, name types.NamespacedName) (reconcile.Result, error) {
	serves, err := k.serves(ctx, name.Namespace)
	if err != nil || !serves {
		k.forget(name)
		return reconcile.Result{}, err
	}
	document := newDocument()
	err = k.cache.Get(ctx, name, document)
	if apierrors.IsNotFound(err) {
		k.forget(name)
		return reconcile.Result{}, k.remove(ctx, name)
	}
	if err != nil {
		return reconcile.Result{}, fmt.Errorf("reading MeshService %s: %w", name, err)
	}
	// What goes is left alone: the garbage collector may have taken its ConfigMap first.
	if document.GetDeletionTimestamp() != nil {
		k.forget(name)
		return reconcile.Result{}, nil
	}
	return k.bring(ctx, name, document)
}

// bring stores what the document is rendered to, and says so.
func (k *Keeper) bring(ctx context.Context, name types.NamespacedName, document *unstructured.Unstructured) (reconcile.Result, error) {
	v := k.verdictOn(name, document)
	var result reconcile.Result
	var failed error
	if v.version != "" {
		if err := k.store(ctx, document, v); err != nil {
			v.failed, v.reason = err, reasonOf(err)
			switch v.reason {
			case reasonNameTaken:
				result.RequeueAfter = lookAgain
			case reasonContested:
				result.RequeueAfter = writeInterval
			default:
				failed = err
			}
		}
	}
	if apierrors.IsConflict(failed) {
		return reconcile.Result{Requeue: true}, nil //nolint:staticcheck // somebody wrote in between: with the queue's own delay
	}
	before := statusOf(document)
	after := k.status(document, before, v)
	k.remember(name, after)
	err := k.writeStatus(ctx, document, before, after)
	return result, errors.Join(failed, err)
}

// verdictOn judges a document once.
func (k *Keeper) verdictOn(name types.NamespacedName, document *unstructured.Unstructured) verdict {
	k.mu.Lock()
	s, known := k.services[name]
	k.mu.Unlock()
	if known && s.uid == document.GetUID() && s.generation == document.GetGeneration() {
		return s.judged
	}
	v := judge(document)
	k.mu.Lock()
	defer k.mu.Unlock()
	s = k.services[name] // its pods may have been counted in between
	s.judged, s.uid, s.generation = v, document.GetUID(), document.GetGeneration()
	k.services[name] = s
	return v
}

func reasonOf(err error) string {
	var taken *takenError
	var contested *contestedError
	switch {
	case errors.As(err, &taken):
		return reasonNameTaken
	case errors.As(err, &contested):
		return reasonContested
	default:
		return reasonStoreFailed
	}
}

// serves says whether a namespace's MeshServices are this release's.
func (k *Keeper) serves(ctx context.Context, namespace string) (bool, error) {
	found := newNamespace()
	err := k.cache.Get(ctx, types.NamespacedName{Name: namespace}, found)
	if apierrors.IsNotFound(err) {
		return false, nil // it goes, or its creation has not been seen yet, which brings its MeshServices again
	}
	if err != nil {
		return false, fmt.Errorf("reading namespace %s: %w", namespace, err)
	}
	revision, labelled := found.Labels[v1alpha1.RevisionLabel]
	return revision == k.options.Revision && (revision != "" || !labelled), nil
}

func (k *Keeper) keptAs(name types.NamespacedName) (kept, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	have, ok := k.kept[name]
	return have, ok
}

func (k *Keeper) keep(name types.NamespacedName, as kept) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.kept[name] = as
}

// mayWrite bounds how often a ConfigMap is written that was right for this version already.
func (k *Keeper) mayWrite(name types.NamespacedName, version string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.kept[name].version != version {
		delete(k.mends, name)
		return true
	}
	if k.mends[name] == nil {
		k.mends[name] = rate.NewLimiter(rate.Every(writeInterval), writesAtOnce)
	}
	return k.mends[name].TokensAt(k.options.Now()) >= 1
}

// countMend counts what was written: kube-apiserver may refuse it for a while, and that is no
// other hand.
func (k *Keeper) countMend(name types.NamespacedName) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if of := k.mends[name]; of != nil {
		of.AllowN(k.options.Now(), 1)
	}
}

// remember takes a MeshService's state into the metrics and the next look at the pods.
func (k *Keeper) remember(name types.NamespacedName, status *v1alpha1.MeshServiceStatus) {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := k.services[name]
	if s.version != status.Version {
		select {
		case k.wake <- struct{}{}:
		default: // it is awake
		}
	}
	s.version, s.state, s.foreign = status.Version, stateOf(status), isForeign(status)
	k.services[name] = s
	k.metrics.setServices(k.services)
}

func (k *Keeper) forget(name types.NamespacedName) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.services, name)
	delete(k.kept, configMapOf(name))
	delete(k.mends, configMapOf(name))
	k.metrics.setServices(k.services)
}

// known are copies of the MeshServices that there are.
func (k *Keeper) known() map[types.NamespacedName]service {
	k.mu.Lock()
	defer k.mu.Unlock()
	known := make(map[types.NamespacedName]service, len(k.services))
	for name, s := range k.services {
		known[name] = s
	}
	return known
}

// tell keeps what was counted of a service's pods, and has it written where it is news.
func (k *Keeper) tell(ctx context.Context, name types.NamespacedName, counted *tally) {
	k.mu.Lock()
	s, there := k.services[name]
	news := there && (s.tally == nil || *s.tally != *counted)
	if there {
		s.tally = counted
		k.services[name] = s
	}
	k.mu.Unlock()
	if !news {
		return
	}
	document := newDocument()
	document.SetNamespace(name.Namespace)
	document.SetName(name.Name)
	select {
	case k.again <- event.GenericEvent{Object: document}:
	case <-ctx.Done():
	}
}
