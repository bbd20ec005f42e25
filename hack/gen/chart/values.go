package main

import (
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/pillion-mesh/pillion/api/v1alpha1"
)

// Values are the chart's values. The comments of the fields become the
// descriptions in values.schema.json, and values.yaml and README.md from them.
type Values struct {
	// FullnameOverride replaces the name that all objects of the release start
	// with. Default: the release's name and "pillion".
	FullnameOverride string `json:"fullnameOverride" jsonschema:"pattern=^([a-z]([a-z0-9-]*[a-z0-9])?)?$"`
	// ImagePullSecrets are Secrets in the release's namespace, as [{name: my-registry}].
	ImagePullSecrets []LocalReference `json:"imagePullSecrets"`
	// CommonLabels are put on every object of the release.
	CommonLabels map[string]string `json:"commonLabels"`
	// Webhook is the Deployment that kube-apiserver calls for each new pod.
	Webhook Webhook `json:"webhook"`
	// TLS is the certificate that the webhook serves with.
	TLS TLS `json:"tls"`
	// Controller is the Deployment that keeps the certificate, where tls.source is
	// controller, and audits pods.
	Controller Controller `json:"controller"`
	// CRDs are the definitions of the documents that owners write, as MeshService.
	CRDs CRDs `json:"crds"`
	// Guard is a ValidatingAdmissionPolicy that finds pods which opted in and are created
	// without their sidecar, or with one that another webhook damaged. Where the cluster
	// is older than Kubernetes 1.30, there is none.
	Guard Guard `json:"guard"`
	// NetworkPolicy says who may connect to whom.
	NetworkPolicy NetworkPolicy `json:"networkPolicy"`
	// Monitoring are objects for Prometheus Operator and Grafana.
	Monitoring Monitoring `json:"monitoring"`
	// ExtraObjects are applied with the release as they are.
	ExtraObjects []map[string]any `json:"extraObjects"`
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
	// DrainSeconds is for how long after that the clients may take to close their
	// connections. kube-apiserver closes one that it does not use after 90 s; one
	// that the webhook closes could have a pod's request on its way. A rolling
	// update does not wait for it.
	DrainSeconds int32 `json:"drainSeconds" jsonschema:"minimum=0,maximum=300"`
	// Resources of a replica. A CPU limit would make each pod's creation wait
	// for the throttle, so there is none.
	Resources Resources `json:"resources"`
	// PodDisruptionBudget keeps a node's drain from stopping all replicas at once.
	PodDisruptionBudget PodDisruptionBudget `json:"podDisruptionBudget"`
	// ConfigurationAnnotations are put on both webhook configurations.
	ConfigurationAnnotations map[string]string `json:"configurationAnnotations"`
	// Pod says where the replicas run, and what is on their pods. They are spread
	// over hosts and zones in any case.
	Pod Pod `json:"pod"`
	// ExtraArgs are more arguments for pillion-webhook, as --log-level=debug.
	ExtraArgs []string `json:"extraArgs"`
}

// Controller is the part of Values about pillion-controller.
type Controller struct {
	// Replicas of the controller, one of which leads; another is there for when its
	// node fails.
	Replicas int32 `json:"replicas" jsonschema:"minimum=1"`
	// Image of the controller.
	Image Image `json:"image"`
	// StatusPort serves /healthz, /readyz and /metrics.
	StatusPort int32 `json:"statusPort" jsonschema:"minimum=1024,maximum=65535"`
	// Auditor finds running pods that opted in and have no sidecar that works.
	Auditor Auditor `json:"auditor"`
	// MeshServices says whether the leader brings MeshServices to their pods.
	MeshServices MeshServices `json:"meshServices"`
	// Resources of a replica.
	Resources Resources `json:"resources"`
	// Pod says where the replicas run, and what is on their pods.
	Pod Pod `json:"pod"`
	// ExtraArgs are more arguments for pillion-controller, as --log-level=debug.
	ExtraArgs []string `json:"extraArgs"`
}

// CRDs is the part of Values about the CustomResourceDefinitions.
type CRDs struct {
	// Install is Always, Never or Auto. A cluster has each definition once, and it belongs to
	// one release: with Auto to one that has no injector.revision, and to the first of
	// several.
	Install string `json:"install" jsonschema:"enum=Auto,enum=Always,enum=Never"`
	// Keep leaves them in the cluster when the release is uninstalled: with a definition,
	// everything that it defines is deleted.
	Keep bool `json:"keep"`
}

// Auditor is the part of Values about audits.
type Auditor struct {
	// Enabled says whether there are audits, for metrics, alerts and an Event on each
	// workload that has such pods.
	Enabled bool `json:"enabled"`
	// Interval between two audits. Each lists all pods that opted in, a page at a time.
	Interval string `json:"interval" jsonschema:"pattern=^[1-9][0-9]*(s|m|h)$"`
	// Evict has such pods made anew.
	Evict Evict `json:"evict"`
}

// Evict is the part of Values about evictions.
type Evict struct {
	// Enabled says whether pods whose sidecar is missing or damaged are evicted, as far as
	// PodDisruptionBudgets allow: those of Deployments (and other ReplicaSets),
	// StatefulSets and DaemonSets, while the webhook is ready, first a single one, one of each workload at a time, and
	// none of a workload whose next pod was without a sidecar as well. Labelling a namespace
	// then has its pods made anew.
	Enabled bool `json:"enabled"`
	// PerMinute is how many pods are evicted in a minute at most, of all workloads together.
	PerMinute int32 `json:"perMinute" jsonschema:"minimum=1,maximum=600"`
}

// MeshServices is the part of Values about what the controller does for them.
type MeshServices struct {
	// Enabled says whether each MeshService is rendered into a ConfigMap beside it, and its
	// status written. That takes the right to change ConfigMaps in all namespaces, which a
	// ValidatingAdmissionPolicy (Kubernetes 1.30) bounds to those named pillion-mesh-SERVICE.
	Enabled bool `json:"enabled"`
	// Protect says whether a ValidatingAdmissionPolicy (Kubernetes 1.30) refuses it to everybody
	// but the controller to make, change or delete those ConfigMaps, in the namespaces of this
	// release. Without it, whoever may write ConfigMaps in a namespace programs the Envoys of
	// its services.
	Protect bool `json:"protect"`
	// AskInterval is how often the sidecars of MeshServices' pods are asked what they run, as
	// 15s. One that runs what it should is asked every five minutes.
	AskInterval string `json:"askInterval"`
}

// Guard is the part of Values about the ValidatingAdmissionPolicy.
type Guard struct {
	// Enabled says whether there is one. It warns whoever creates such a pod and marks
	// it in the audit log; in namespaces with the label pillion.dev/strict=true it
	// refuses the pod.
	Enabled bool `json:"enabled"`
}

// Pod is what can be said about the pods of a Deployment.
type Pod struct {
	// PriorityClassName of the pods. The default keeps a node that runs short from
	// evicting them before the pods that need them to start.
	PriorityClassName string `json:"priorityClassName"`
	// NodeSelector of the pods.
	NodeSelector map[string]string `json:"nodeSelector"`
	// Tolerations of the pods.
	Tolerations []map[string]any `json:"tolerations"`
	// Affinity of the pods.
	Affinity map[string]any `json:"affinity"`
	// Annotations on the pods.
	Annotations map[string]string `json:"annotations"`
	// Labels on the pods, beside the chart's own.
	Labels map[string]string `json:"labels"`
}

// NetworkPolicy is the part of Values about NetworkPolicies.
type NetworkPolicy struct {
	// Enabled says whether there are NetworkPolicies: the webhook takes admission
	// requests from everywhere (kube-apiserver usually is no pod), connects to
	// nobody, and both programs' status ports take connections from metricsFrom
	// and, as ever, from the node. Where no network plugin knows NetworkPolicy,
	// they do nothing.
	Enabled bool `json:"enabled"`
	// AdmissionFrom are the peers that may send admission requests, as in a
	// NetworkPolicy's ingress.from, such as an ipBlock of the control plane.
	// Default: all.
	AdmissionFrom []map[string]any `json:"admissionFrom"`
	// MetricsFrom are the peers that may read metrics, as in a NetworkPolicy's
	// ingress.from. Default: every pod of the cluster.
	MetricsFrom []map[string]any `json:"metricsFrom"`
}

// Monitoring is the part of Values about metrics.
type Monitoring struct {
	// ServiceMonitor has Prometheus Operator scrape the webhook and the controller.
	ServiceMonitor ServiceMonitor `json:"serviceMonitor"`
	// PrometheusRule has the alerts, each with a runbook.
	PrometheusRule PrometheusRule `json:"prometheusRule"`
	// Dashboard is a ConfigMap with the dashboard, which Grafana's sidecar loads.
	Dashboard Dashboard `json:"dashboard"`
}

// ServiceMonitor is a monitoring.coreos.com/v1 ServiceMonitor.
type ServiceMonitor struct {
	// Enabled says whether there is one.
	Enabled bool `json:"enabled"`
	// Interval between scrapes.
	Interval string `json:"interval" jsonschema:"pattern=^[0-9]+(s|m)$"`
	// Labels that a Prometheus chooses its ServiceMonitors by.
	Labels map[string]string `json:"labels"`
}

// PrometheusRule is a monitoring.coreos.com/v1 PrometheusRule.
type PrometheusRule struct {
	// Enabled says whether there is one.
	Enabled bool `json:"enabled"`
	// Labels that a Prometheus chooses its PrometheusRules by.
	Labels map[string]string `json:"labels"`
}

// Dashboard is a ConfigMap.
type Dashboard struct {
	// Enabled says whether there is one.
	Enabled bool `json:"enabled"`
	// Labels by which Grafana's sidecar finds it.
	Labels map[string]string `json:"labels"`
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
	// MaxUnavailable is a number of replicas, or a percentage as "34%".
	MaxUnavailable intstr.IntOrString `json:"maxUnavailable"`
}

// TLS is the part of Values about the serving certificate.
type TLS struct {
	// Source of the certificate: controller (pillion-controller makes and renews it
	// and writes the caBundle), certManager (the chart renders Issuer and
	// Certificate, and cert-manager does both) or provided (by you).
	Source string `json:"source" jsonschema:"enum=controller,enum=certManager,enum=provided"`
	// SecretName is a Secret in the release's namespace with tls.crt and tls.key,
	// for the name SERVICE.NAMESPACE.svc. A renewed one is taken over without a
	// restart. Where tls.source is provided, its CA belongs into the caBundle of
	// both webhook configurations, which the chart never writes. Default: the
	// release's name and "pillion-webhook-tls".
	SecretName string `json:"secretName" jsonschema:"pattern=^([a-z0-9]([a-z0-9.-]*[a-z0-9])?)?$,maxLength=253"`
	// CertManager is for tls.source certManager.
	CertManager CertManager `json:"certManager"`
}

// CertManager is what the chart tells cert-manager.
type CertManager struct {
	// IssuerRef of an Issuer in the release's namespace, or of a ClusterIssuer, as
	// {name: NAME, kind: ClusterIssuer}, whose CA is in the Secrets that it makes.
	// Default: a CA of the release's own.
	IssuerRef map[string]string `json:"issuerRef"`
	// Duration that a serving certificate is valid. It is renewed after two thirds.
	Duration string `json:"duration" jsonschema:"pattern=^[0-9]+h$"`
}
