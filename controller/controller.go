package controller

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/go-logr/logr"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrl "sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/pillion-mesh/pillion/controller/auditor"
	"github.com/pillion-mesh/pillion/controller/certificates"
	"github.com/pillion-mesh/pillion/controller/meshservice"
)

// name of the controller, as a field manager, in Events and as a user agent.
const name = "pillion-controller"

// lookAgain is after how long at most everything is looked at again. Timers go by a
// clock that stands still while a machine sleeps and knows nothing of a clock that
// was put right, so the next renewal is never slept towards.
const lookAgain = 30 * time.Second

// Options are what a Controller is made of. Every field has to be set but Now and those that
// say so; the defaults are cmd/pillion-controller's.
type Options struct {
	// Namespace of everything that has one.
	Namespace string
	// Secret that holds the certificates; empty where somebody else sees to them.
	Secret string
	// Service that kube-apiserver calls the webhook by.
	Service string
	// WebhookConfiguration is the name of the mutating and of the validating one.
	WebhookConfiguration string
	// Lease that the leader holds.
	Lease string
	// Policy of the certificates; Host is made of Service and Namespace.
	Policy certificates.Policy
	// StatusAddress of /healthz, /readyz and /metrics, host:port.
	StatusAddress string
	// Audit is nil where nothing is audited. Its Log, Now, OnError and Service are set here.
	Audit *auditor.Options
	// MeshServices is nil where they are not seen to. Its Log, Now and OnError are set here.
	MeshServices *meshservice.Options
	Log          *slog.Logger
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

// Controller sees to the certificates and to the pods that were missed.
type Controller struct {
	options Options
	manager manager.Manager
	client  client.Client
	events  events.EventRecorder
	metrics *Metrics
	status  *statusServer
	bundles []*bundleKeeper
}

// New makes a Controller for the cluster of config. It listens on the
// StatusAddress already.
func New(config *rest.Config, o Options) (*Controller, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	o.Policy.Host = o.Service + "." + o.Namespace + ".svc"
	config = rest.CopyConfig(config)
	config.UserAgent = name
	log := logr.FromSlogHandler(o.Log.Handler())
	m, err := manager.New(config, manager.Options{
		Scheme: clientgoscheme.Scheme,
		Logger: log,
		Cache:  o.cache(),
		// The status port serves what is asked for here, for followers as well.
		Metrics:                       metricsserver.Options{BindAddress: "0"},
		LeaderElection:                true,
		LeaderElectionNamespace:       o.Namespace,
		LeaderElectionID:              o.Lease,
		LeaderElectionReleaseOnCancel: true,
	})
	if err != nil {
		return nil, fmt.Errorf("preparing the API client: %w", err)
	}
	c := &Controller{
		options: o, manager: m, client: client.WithFieldOwner(m.GetClient(), name),
		events: m.GetEventRecorder(name), metrics: NewMetrics(),
	}
	c.bundles = []*bundleKeeper{newBundleKeeper(mutating{}), newBundleKeeper(validating{})}
	if o.Secret != "" {
		if err := c.watch(); err != nil {
			return nil, err
		}
	}
	if o.Audit != nil {
		if err := c.audit(config); err != nil {
			return nil, err
		}
	}
	if o.MeshServices != nil {
		if err := c.seeToMeshServices(config); err != nil {
			return nil, err
		}
	}
	listener, err := net.Listen("tcp", o.StatusAddress)
	if err != nil {
		return nil, fmt.Errorf("listening for status requests: %w", err)
	}
	c.status = newStatusServer(listener, m.GetCache(), c.metrics.Registry, o.Log)
	return c, errors.Join(m.Add(c.status), m.Add(manager.RunnableFunc(c.lead)))
}

// audit prepares the audits, which the leader makes.
func (c *Controller) audit(config *rest.Config) error {
	o := *c.options.Audit
	o.Log, o.Now = c.options.Log, c.options.Now
	o.Service = client.ObjectKey{Namespace: c.options.Namespace, Name: c.options.Service}
	o.OnError = c.metrics.errors.WithLabelValues(whatAudit).Inc
	a, err := auditor.New(config, c.manager.GetAPIReader(), c.client, c.events, c.metrics.audit, o)
	if err != nil {
		return fmt.Errorf("preparing the audits: %w", err)
	}
	return c.manager.Add(manager.RunnableFunc(a.Run))
}

// seeToMeshServices prepares what the leader does for MeshServices.
func (c *Controller) seeToMeshServices(config *rest.Config) error {
	o := *c.options.MeshServices
	o.Log, o.Now = c.options.Log, c.options.Now
	o.OnError = c.metrics.errors.WithLabelValues(whatMeshService).Inc
	keeper, err := meshservice.New(config, name, c.events, c.metrics.meshServices, o)
	if err != nil {
		return fmt.Errorf("preparing for MeshServices: %w", err)
	}
	return c.manager.Add(manager.RunnableFunc(keeper.Run))
}

// cache holds the three objects and nothing else: it asks for them by name, which
// is all that the controller's rights allow.
func (o *Options) cache() cache.Options {
	if o.Secret == "" {
		return cache.Options{}
	}
	named := func(name string) fields.Selector { return fields.OneTermEqualSelector("metadata.name", name) }
	return cache.Options{ByObject: map[client.Object]cache.ByObject{
		&corev1.Secret{}: {Namespaces: map[string]cache.Config{o.Namespace: {FieldSelector: named(o.Secret)}}},
		&admissionv1.MutatingWebhookConfiguration{}:   {Field: named(o.WebhookConfiguration)},
		&admissionv1.ValidatingWebhookConfiguration{}: {Field: named(o.WebhookConfiguration)},
	}}
}

// watch has everything reconciled when any of the objects changes, and once at the
// start, when there may be none of them.
func (c *Controller) watch() error {
	all := handler.EnqueueRequestsFromMapFunc(func(context.Context, client.Object) []reconcile.Request { return []reconcile.Request{{}} })
	err := builder.ControllerManagedBy(c.manager).Named("certificates").
		Watches(&corev1.Secret{}, all).
		Watches(&admissionv1.MutatingWebhookConfiguration{}, all).
		Watches(&admissionv1.ValidatingWebhookConfiguration{}, all).
		WatchesRawSource(source.Func(func(_ context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
			queue.Add(reconcile.Request{})
			return nil
		})).
		// The name is in metrics that are not served here; several in one process are
		// several in a test.
		WithOptions(ctrl.Options{SkipNameValidation: ptr.To(true)}).
		Complete(c)
	if err != nil {
		return fmt.Errorf("preparing the watches: %w", err)
	}
	return nil
}

// Run works until ctx is done, which is no error, or until another controller has
// become the leader in its place, which is one: nothing may go on then.
func (c *Controller) Run(ctx context.Context) error {
	c.options.Log.Info("listening", "statusAddress", c.StatusAddress().String())
	if err := c.manager.Start(ctx); err != nil {
		return fmt.Errorf("running: %w", err)
	}
	return nil
}

// StatusAddress that status requests are answered on.
func (c *Controller) StatusAddress() net.Addr { return c.status.listener.Addr() }

// lead runs while this controller is the leader.
func (c *Controller) lead(ctx context.Context) error {
	c.metrics.leader.Set(1)
	defer c.metrics.leader.Set(0)
	c.options.Log.Info("leading")
	<-ctx.Done()
	return nil
}

// Reconcile brings the Secret and the webhook configurations to what they should
// be now.
func (c *Controller) Reconcile(ctx context.Context, _ reconcile.Request) (reconcile.Result, error) {
	secret, next, err := c.keepSecret(ctx)
	if err != nil {
		c.metrics.errors.WithLabelValues(whatSecret).Inc()
		return reconcile.Result{}, err
	}
	if secret == nil { // somebody else was faster; the watch tells when it is here
		return reconcile.Result{RequeueAfter: time.Second}, nil
	}
	var errs []error
	for _, keeper := range c.bundles {
		if err := c.keepBundle(ctx, keeper, secret); err != nil {
			c.metrics.errors.WithLabelValues(whatBundle).Inc()
			errs = append(errs, err)
		}
	}
	wait := min(lookAgain, max(time.Second, next.Sub(c.options.Now())))
	return reconcile.Result{RequeueAfter: wait}, errors.Join(errs...)
}
