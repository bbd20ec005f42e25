package main

import (
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/pillion-mesh/pillion/api/v1alpha1"
)

// Values are the chart's values. The comments of the fields become the
// descriptions in values.schema.json, and values.yaml and README.md from them.
type Values struct {
	// FullnameOverride replaces the name that all objects of the release start
	// with. Default: the release's name and "pillion".
	FullnameOverride string `json:"fullnameOverride"`
	// ImagePullSecrets are Secrets in the release's namespace, as [{name: my-registry}].
	ImagePullSecrets []LocalReference `json:"imagePullSecrets"`
	// Webhook is the Deployment that kube-apiserver calls for each new pod.
	Webhook Webhook `json:"webhook"`
	// TLS is the certificate that the webhook serves with.
	TLS TLS `json:"tls"`
	// Injector is the configuration of the injection: an InjectorConfig, without
	// apiVersion and kind. `pillionctl config explain` describes every field. What
	// is not given has its default; kubernetesVersion is the cluster's; the
	// release's own namespace is excluded in any case. The webhook takes a change
	// over without a restart.
	Injector v1alpha1.InjectorConfig `json:"injector"`
	// Global is what Helm hands to every chart when this one is a dependency of
	// another. Not used.
	Global map[string]any `json:"global,omitempty"`
}

// Webhook is the part of Values about the webhook.
type Webhook struct {
	// Replicas of the webhook, each of which can answer for all.
	Replicas int32 `json:"replicas" jsonschema:"minimum=1"`
	// Image of the webhook.
	Image Image `json:"image"`
	// Port on which the webhook listens in its pod. A private cluster's firewall
	// must let kube-apiserver reach it.
	Port int32 `json:"port" jsonschema:"minimum=1024,maximum=65535"`
	// StatusPort serves /healthz, /readyz and /metrics.
	StatusPort int32 `json:"statusPort" jsonschema:"minimum=1024,maximum=65535"`
	// Service in front of the webhook.
	Service Service `json:"service"`
	// TimeoutSeconds is how long kube-apiserver waits for an answer.
	TimeoutSeconds int32 `json:"timeoutSeconds" jsonschema:"minimum=1,maximum=30"`
	// ShutdownDelaySeconds is how long a replica that is told to stop goes on
	// serving, until no API server sends it anything.
	ShutdownDelaySeconds int32 `json:"shutdownDelaySeconds" jsonschema:"minimum=0,maximum=300"`
	// Resources of a replica. A CPU limit would make each pod's creation wait
	// for the throttle, so there is none.
	Resources Resources `json:"resources"`
	// PodDisruptionBudget keeps a node's drain from stopping all replicas at once.
	PodDisruptionBudget PodDisruptionBudget `json:"podDisruptionBudget"`
	// ConfigurationAnnotations are put on the MutatingWebhookConfiguration, as
	// cert-manager.io/inject-ca-from: NAMESPACE/CERTIFICATE.
	ConfigurationAnnotations map[string]string `json:"configurationAnnotations"`
	// ExtraArgs are more arguments for pillion-webhook, as --log-level=debug.
	ExtraArgs []string `json:"extraArgs"`
}

// LocalReference names an object in the release's namespace.
type LocalReference struct {
	// Name of the object.
	Name string `json:"name" jsonschema:"minLength=1"`
}

// Image of a container.
type Image struct {
	// Repository without the tag.
	Repository string `json:"repository" jsonschema:"minLength=1"`
	// Tag of the image. Default: the chart's appVersion.
	Tag string `json:"tag"`
	// Digest of the image, as sha256:...; it wins over the tag.
	Digest string `json:"digest" jsonschema:"pattern=^(sha256:[0-9a-f]{64})?$"`
	// PullPolicy is Always, IfNotPresent or Never.
	PullPolicy string `json:"pullPolicy" jsonschema:"enum=Always,enum=IfNotPresent,enum=Never"`
}

// Service is the Service in front of the webhook.
type Service struct {
	// Port of the Service, which kube-apiserver calls.
	Port int32 `json:"port" jsonschema:"minimum=1,maximum=65535"`
}

// Resources of a container, in Kubernetes' notation.
type Resources struct {
	// Requests are what the scheduler keeps free.
	Requests Amounts `json:"requests,omitzero"`
	// Limits are never exceeded.
	Limits Amounts `json:"limits,omitzero"`
}

// Amounts of resources.
type Amounts struct {
	// CPU in cores, as 100m.
	CPU *resource.Quantity `json:"cpu,omitempty"`
	// Memory in bytes, as 64Mi.
	Memory *resource.Quantity `json:"memory,omitempty"`
}

// PodDisruptionBudget of the webhook.
type PodDisruptionBudget struct {
	// Enabled says whether there is one.
	Enabled bool `json:"enabled"`
	// MaxUnavailable is a number of replicas.
	MaxUnavailable int32 `json:"maxUnavailable" jsonschema:"minimum=1"`
}

// TLS is the part of Values about the serving certificate.
type TLS struct {
	// SecretName is a Secret in the release's namespace with tls.crt and tls.key,
	// for the name SERVICE.NAMESPACE.svc, made by you or by cert-manager. A
	// renewed one is taken over without a restart. Its CA belongs into the
	// caBundle of the MutatingWebhookConfiguration, which the chart never writes.
	// Default: the release's name and "pillion-webhook-tls".
	SecretName string `json:"secretName"`
}
