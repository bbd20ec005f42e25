package preflight

import (
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	policyv1 "k8s.io/api/policy/v1"

	"github.com/pillion-mesh/pillion/api/v1alpha1"
	"github.com/pillion-mesh/pillion/injector"
)

// Seen is what was found of something in the cluster.
type Seen[T any] struct {
	Value T
	// Err says why it could not be looked at, as for want of the right; nil where it
	// was. What is simply not there is the zero Value without an error.
	Err error
}

// Facts are what was seen of a cluster.
type Facts struct {
	Now time.Time
	// ServerVersion is the API server's, as v1.37.2.
	ServerVersion Seen[string]
	Releases      Seen[[]Installed]
	// Mutating and Validating are all webhook configurations of the cluster.
	Mutating   Seen[[]admissionv1.MutatingWebhookConfiguration]
	Validating Seen[[]admissionv1.ValidatingWebhookConfiguration]
	// MeshServicesDefined says whether the API server knows them.
	MeshServicesDefined Seen[bool]
	// Namespaces are all of the cluster.
	Namespaces Seen[[]corev1.Namespace]
	// Asked are the namespaces that were asked for.
	Asked []Namespace
}

// Installed is a release: a configuration and what is to serve it.
type Installed struct {
	// Namespace and Name of the webhook's ConfigMap, Service and Deployment.
	Namespace, Name string
	// Config is nil where ConfigErr says why it cannot be read.
	Config    *v1alpha1.InjectorConfig
	Injector  *injector.Injector
	ConfigErr error
	// Deployments of the release: the webhook's and the controller's.
	Deployments Seen[[]appsv1.Deployment]
	// Service is nil where there is none.
	Service Seen[*corev1.Service]
	Slices  Seen[[]discoveryv1.EndpointSlice]
	// Certificate is the tls.crt that the webhook serves with, in PEM; empty where
	// there is none.
	Certificate Seen[[]byte]
	// ControllerMeant says that the chart brought a controller, by the labels of that
	// Secret; where it may not be read, it is not known and false.
	ControllerMeant bool
	// Trials are pods that were created without being stored, in namespaces of this
	// release.
	Trials []Trial
}

// String names it in messages.
func (r *Installed) String() string { return "release " + r.Namespace + "/" + r.Name }

// Revision of the release; empty where there is only one.
func (r *Installed) Revision() string {
	if r.Config == nil {
		return ""
	}
	return r.Config.Revision
}

// Namespace is one that was asked for.
type Namespace struct {
	Object      corev1.Namespace
	Workloads   Seen[[]Workload]
	LimitRanges Seen[[]corev1.LimitRange]
	Quotas      Seen[[]corev1.ResourceQuota]
	Autoscalers Seen[[]autoscalingv2.HorizontalPodAutoscaler]
	Budgets     Seen[[]policyv1.PodDisruptionBudget]
	// MeshServices have their names, generations and status; there are none where the API
	// server does not know them.
	MeshServices Seen[[]v1alpha1.MeshService]
	// Sidecars are those of pods that run.
	Sidecars Seen[[]Sidecar]
	// Trial is a pod that was created in it as a dry run; nil where none was.
	Trial *Trial
}

// Workload makes pods.
type Workload struct {
	Kind, Name string
	// Labels and Annotations of the workload itself.
	Labels, Annotations map[string]string
	// Path of the template in it, as spec.template; empty for a Pod, which is its own.
	Path     string
	Template corev1.PodTemplateSpec
	// Replicas that there are to be, and Surge that a rolling update adds to them for
	// a while.
	Replicas, Surge int64
	// Meshed is how many of its pods have a sidecar already.
	Meshed int64
}

// String names it as kubectl does.
func (w *Workload) String() string { return w.Kind + " " + w.Name }
