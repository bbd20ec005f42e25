// Package v1alpha1 holds the documents that people write for Pillion.
//
// A document is read in three steps, each in one place: Decode (strict: an
// unknown field is an error that names the nearest one), Default (defaults.go)
// and Validate (validation.go). Nothing else in the project knows a default.
//
// Settings that can be given on more than one level (for the whole cluster, for
// some namespaces, by annotation for one pod) are one type, Settings, in which
// every field is optional; a level that says nothing about a field leaves the
// level below in force.
package v1alpha1

import (
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

const (
	// Group is the API group of Pillion's documents, and with a slash behind it
	// the prefix of every annotation and label that Pillion reads or writes.
	Group = "pillion.dev"
	// APIVersion is the apiVersion of the documents in this package.
	APIVersion = Group + "/v1alpha1"
	// RevisionLabel on a namespace says which of several releases is for it.
	RevisionLabel = Group + "/revision"
	// KindInjectorConfig is the kind of InjectorConfig.
	KindInjectorConfig = "InjectorConfig"
)

// InjectorConfig says which pods get a sidecar, and which sidecar they get. It
// is what `pillion-webhook --config` reads and what the Helm chart takes as
// `values.injector`.
type InjectorConfig struct {
	metav1.TypeMeta `json:",inline"`

	// OptIn is the label that asks for a sidecar, on the namespace and on the pod.
	OptIn OptIn `json:"optIn,omitzero"`
	// ExcludedNamespaces are never injected, whatever their labels say: names or
	// globs (`*` any number of characters, `?` one). kube-system and
	// kube-node-lease are excluded in any case.
	ExcludedNamespaces []string `json:"excludedNamespaces,omitempty"`
	// Revision is the value of the label pillion.dev/revision of the namespaces that
	// this configuration is for; empty for those without the label. Two releases of
	// different revisions run side by side, so that one can be tried on a namespace.
	Revision string `json:"revision,omitempty"`
	// KubernetesVersion is the cluster's version, as "1.37" (a leading "v" and a
	// patch number are accepted). It decides what mode `auto` means and whether
	// the preStop `sleep` action exists. The chart fills it in from the cluster.
	// Without it: a version with both.
	KubernetesVersion string `json:"kubernetesVersion,omitempty"`
	// Images of the two containers that are added to a pod.
	Images Images `json:"images,omitzero"`
	// Identity is the user and group that the proxy runs as. Traffic of this user
	// and of this group is never redirected, which is what keeps the proxy's own
	// connections from looping; so no other container may use it.
	Identity Identity `json:"identity,omitzero"`
	// Ports that the sidecar listens on in each pod.
	Ports Ports `json:"ports,omitzero"`

	// Settings for every pod, where neither its namespace nor its owner says
	// otherwise.
	Settings `json:",inline"`

	// Annotations says what owners may set by annotation on their pods.
	Annotations AnnotationPolicy `json:"annotations,omitzero"`
	// Namespaces are settings for the namespaces that match, in this order: a
	// later entry wins over an earlier one, field by field.
	Namespaces []NamespaceSettings `json:"namespaces,omitempty"`
}

// OptIn is a label with the value that asks for a sidecar.
type OptIn struct {
	// Label is the key, on the namespace and on the pod template.
	// Default: service-mesh-enabled.
	Label string `json:"label,omitempty"`
	// Value is the only value that opts in. Default: "true".
	Value string `json:"value,omitempty"`
}

// Images are the images of the containers that are added, and how they are pulled.
type Images struct {
	// Init is the image of the pillion-init container. It also carries
	// pillion-proxy, which is copied from it beside Envoy.
	// Default: pillion-mesh/pillion-init:0.1.0.
	Init string `json:"init,omitempty"`
	// Envoy is any image with an `envoy` binary in its PATH, distroless too.
	// Default: envoyproxy/envoy:distroless-v1.40.0.
	Envoy string `json:"envoy,omitempty"`
	// PullPolicy of both: Always, IfNotPresent or Never. Default: IfNotPresent.
	PullPolicy string `json:"pullPolicy,omitempty"`
}

// Identity is a numeric user and group.
type Identity struct {
	// UID of the envoy container's process, never root's. Default: 15033.
	UID int64 `json:"uid,omitempty"`
	// GID of the envoy container's process, never root's. Default: 15033.
	GID int64 `json:"gid,omitempty"`
}

// Ports that belong to the sidecar. All lie in 15000-15099, which the redirect
// leaves alone on the way in.
type Ports struct {
	// Inbound takes the redirected traffic that comes to the pod. Default: 15006.
	Inbound int32 `json:"inbound,omitempty"`
	// Outbound takes the redirected traffic that the app sends. Default: 15001.
	Outbound int32 `json:"outbound,omitempty"`
	// Status serves /healthz, /readyz and /metrics of the sidecar. Default: 15020.
	Status int32 `json:"status,omitempty"`
	// FirstProbe is the first of the ports that stand for the app's own ports in
	// rewritten probes, up to 15099. Default: 15040.
	FirstProbe int32 `json:"firstProbe,omitempty"`
}

// NamespaceSettings are Settings for namespaces.
type NamespaceSettings struct {
	// Match is a namespace's name or a glob (`*`, `?`). Required.
	Match string `json:"match"`

	Settings `json:",inline"`
}

// Settings can be given for the cluster and for namespaces; most of them by
// annotation on a pod as well.
type Settings struct {
	// Sidecar is about the containers that are added.
	Sidecar SidecarSettings `json:"sidecar,omitzero"`
	// Redirect says which TCP traffic goes through Envoy: all, but for what is
	// listed in it. UDP is never redirected.
	Redirect RedirectSettings `json:"redirect,omitzero"`
	// Lifecycle is about start and stop. All durations are in whole seconds, as 30s
	// or 1m30s, and at most 1h.
	Lifecycle LifecycleSettings `json:"lifecycle,omitzero"`
	// Envoy is about the proxy process.
	Envoy EnvoySettings `json:"envoy,omitzero"`
}

// SidecarSettings are about the containers that are added.
type SidecarSettings struct {
	// Mode is native (an init container with restartPolicy Always), classic (the
	// first of the app containers), or auto: native where Kubernetes has it (1.29 or
	// newer), classic elsewhere. Default: auto.
	Mode *SidecarMode `json:"mode,omitempty"`
	// Resources of the envoy container, each value on its own.
	Resources Resources `json:"resources,omitzero"`
	// PodResources is what happens with requests and limits that a pod gives for
	// itself as a whole (spec.resources): Raise (the default) adds the sidecar's,
	// Keep leaves them. kube-apiserver refuses a pod whose containers together
	// request more than the pod does.
	PodResources *PodResourcesPolicy `json:"podResources,omitempty"`
}

// Resources are requests and limits. A value that is not given keeps the one
// from the level below; it is never erased by giving another one.
type Resources struct {
	// Requests default to cpu 100m and memory 128Mi.
	Requests ResourceValues `json:"requests,omitzero"`
	// Limits default to memory 512Mi. There is no CPU limit unless one is given:
	// a throttled proxy is slow for every caller of the service.
	Limits ResourceValues `json:"limits,omitzero"`
}

// ResourceValues are quantities in Kubernetes' notation, like 100m and 128Mi.
type ResourceValues struct {
	// CPU in cores, as 100m or 2.
	CPU *resource.Quantity `json:"cpu,omitempty"`
	// Memory in bytes, as 128Mi.
	Memory *resource.Quantity `json:"memory,omitempty"`
}

// RedirectSettings say which TCP traffic goes through Envoy: all, but for what is
// listed here. UDP is never redirected.
type RedirectSettings struct {
	// WellKnownPorts is Reserved (the default) or Ignored: whether the ports in
	// Pillion's own list of non-HTTP protocols bypass Envoy.
	WellKnownPorts *WellKnownPorts `json:"wellKnownPorts,omitempty"`
	// Inbound is about connections that come to the pod.
	Inbound DirectionSettings `json:"inbound,omitzero"`
	// Outbound is about connections that the pod opens.
	Outbound DirectionSettings `json:"outbound,omitzero"`
	// ExcludedCIDRs are destinations of outbound connections that bypass Envoy, as
	// 10.1.0.0/16 or fd00::/8. Lists of several levels are joined.
	ExcludedCIDRs []string `json:"excludedCIDRs,omitempty"`
	// IPFamilies that are redirected. Default: IPv4 and IPv6; a pod without IPv6
	// is fine, while IPv6 left out would bypass Envoy in a pod that has it.
	IPFamilies []IPFamily `json:"ipFamilies,omitzero"`
}

// DirectionSettings are the reserved ports of one direction.
type DirectionSettings struct {
	// ReservedPorts bypass Envoy. Lists of several levels are joined.
	ReservedPorts []ReservedPort `json:"reservedPorts,omitempty"`
	// UnreservedPorts take back what the well-known list reserves, or in
	// namespaces[] what the configuration itself does: a port as 9092, a range as
	// "20000-20010". Exactly a port or range that is reserved there; anything else
	// is an error.
	UnreservedPorts []intstr.IntOrString `json:"unreservedPorts,omitempty"`
}

// ReservedPort is a port on which something else than HTTP is spoken.
type ReservedPort struct {
	// Port is a number as 3306, or a range as "7000-7001". Required.
	Port intstr.IntOrString `json:"port"`
	// Protocol is the name of what is spoken there, as "MySQL". Required.
	Protocol string `json:"protocol,omitempty"`
	// Reason says why it cannot go through Envoy. Shown wherever the port is.
	Reason string `json:"reason,omitempty"`
	// Owner is who asked for it, so that somebody can be asked whether it is
	// still needed.
	Owner string `json:"owner,omitempty"`
	// Expires is a date as 2027-03-31. From the day after it, every injection
	// that uses the entry warns; the entry stays in force, since dropping it
	// would break traffic.
	Expires string `json:"expires,omitempty"`
}

// LifecycleSettings are about start and stop. All durations are Go's notation
// (30s, 1m30s) in whole seconds.
type LifecycleSettings struct {
	// PreDrainDelay is how long a stopping pod goes on as if nothing were, until
	// clients no longer find it in DNS or their endpoint lists. Default: 30s.
	PreDrainDelay *metav1.Duration `json:"preDrainDelay,omitempty"`
	// DrainTime is how long Envoy then tells its inbound clients to go elsewhere.
	// It ends early once no inbound connection is active. Default: 20s.
	DrainTime *metav1.Duration `json:"drainTime,omitempty"`
	// StartTimeout bounds the time from the envoy container's start to its being
	// ready; a pod that exceeds it fails with the reason. Default: 1m.
	StartTimeout *metav1.Duration `json:"startTimeout,omitempty"`
	// GracePeriod says what to do when terminationGracePeriodSeconds is too short for
	// the shutdown schedule: Raise it (the default) and record the old value, or Warn.
	GracePeriod *GracePeriodPolicy `json:"gracePeriod,omitempty"`
	// AppPreStop is what an app container without a preStop hook gets: Sleep (the
	// default) for preDrainDelay plus drainTime, so that the app does not stop while
	// clients still come, or None.
	AppPreStop *AppPreStopPolicy `json:"appPreStop,omitempty"`
	// Probes is Direct (the default), which leads the app's network probes around
	// Envoy, so that a dead app fails its probe and a busy one is not failed by load
	// shedding; or ThroughEnvoy, which leaves them as they are.
	Probes *ProbePolicy `json:"probes,omitempty"`
}

// EnvoySettings are about the proxy process.
type EnvoySettings struct {
	// LogLevel is trace, debug, info, warning, error, critical or off.
	// Default: warning.
	LogLevel *string `json:"logLevel,omitempty"`
	// Concurrency is the number of worker threads. 0, the default, takes it from
	// the container's CPU limit or else its request, never from the node's cores.
	Concurrency *int32 `json:"concurrency,omitempty"`
	// AccessLog is Off (the default) or JSON: a line on the container's standard
	// output for each request and each TCP connection.
	AccessLog *AccessLog `json:"accessLog,omitempty"`
	// MaxUpstreamAge is how old a connection gets that Envoy opened for the app, 15/32
	// of lifecycle.drainTime at most; 0s for any age. Default: 4m.
	MaxUpstreamAge *metav1.Duration `json:"maxUpstreamAge,omitempty"`
	// UpstreamIdleTimeout is how long such a connection lies unused. It has to be
	// below the servers' own keep-alive, or requests meet connections that the server
	// is about to close; 0s for as long as the server likes. Default: 4s.
	UpstreamIdleTimeout *metav1.Duration `json:"upstreamIdleTimeout,omitempty"`
	// MaxDownstreamAge is how old an HTTP connection gets that a client opened to the
	// pod, when it is told to connect anew; 0s for any age. It has to be above
	// maxUpstreamAge, so that between two sidecars the client's side closes first.
	// Default: 5m.
	MaxDownstreamAge *metav1.Duration `json:"maxDownstreamAge,omitempty"`
	// MeshService is how a service's MeshService comes to its pods: ConfigMap (the
	// default), an optional volume that kubelet keeps up to date, or Off, where it does
	// not. Each such volume is a watch that kubelet holds at kube-apiserver, one for
	// each service on a node.
	MeshService *MeshServiceDelivery `json:"meshService,omitempty"`
	// ExtraArgs are appended to Envoy's command line, one argument each. What
	// Pillion sets itself cannot be set again.
	ExtraArgs []string `json:"extraArgs,omitzero"`
}

// AnnotationPolicy says which pillion.dev/ annotations owners may use on their
// pods, and within which bounds.
type AnnotationPolicy struct {
	// Allowed are annotation names without the prefix, as "log-level"; ["*"], the
	// default, allows all. A pod with one that is not allowed is refused.
	Allowed []string `json:"allowed,omitzero"`
	// Bounds for values that owners set.
	Bounds Bounds `json:"bounds,omitzero"`
}

// Bounds are the least and the largest values that an annotation may have.
type Bounds struct {
	// CPU of requests and limits. Default: 10m to 4.
	CPU QuantityBounds `json:"cpu,omitzero"`
	// Memory of requests and limits. Default: 32Mi to 4Gi.
	Memory QuantityBounds `json:"memory,omitzero"`
	// PreDrainDelay that owners may ask for. Default: 0s to 5m.
	PreDrainDelay DurationBounds `json:"preDrainDelay,omitzero"`
	// DrainTime that owners may ask for. Default: 1s to 10m.
	DrainTime DurationBounds `json:"drainTime,omitzero"`
	// StartTimeout that owners may ask for. Default: 1s to 10m.
	StartTimeout DurationBounds `json:"startTimeout,omitzero"`
	// ConnectionAge that owners may ask for: of maxUpstreamAge, upstreamIdleTimeout
	// and maxDownstreamAge. Default: 0s to 1h0m.
	ConnectionAge DurationBounds `json:"connectionAge,omitzero"`
	// MaxConcurrency that owners may ask for. Default: 16.
	MaxConcurrency int32 `json:"maxConcurrency,omitempty"`
}

// QuantityBounds are inclusive.
type QuantityBounds struct {
	// Min is the least that is accepted.
	Min *resource.Quantity `json:"min,omitempty"`
	// Max is the most that is accepted.
	Max *resource.Quantity `json:"max,omitempty"`
}

// DurationBounds are inclusive.
type DurationBounds struct {
	// Min is the least that is accepted.
	Min *metav1.Duration `json:"min,omitempty"`
	// Max is the most that is accepted.
	Max *metav1.Duration `json:"max,omitempty"`
}
