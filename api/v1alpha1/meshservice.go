package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// KindMeshService is the kind of MeshService.
const KindMeshService = "MeshService"

// MeshService says what the sidecars of one service do beyond passing traffic
// through: how the service is protected from its callers, and how it calls what it
// depends on. It is named like the service, in the service's namespace. Pods belong to
// it by the service identity that injection resolves: the annotation
// pillion.dev/service, else the label app.kubernetes.io/name, else the label app, else the
// name of the pod's workload, else its own.
//
// Everything in it is optional. What it does not mention is passed through as before.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:shortName=meshsvc,categories=pillion
// +kubebuilder:subresource:status
// +kubebuilder:printcolumn:name="Accepted",type=string,JSONPath=`.status.conditions[?(@.type=="Accepted")].status`,description="whether the document is valid"
// +kubebuilder:printcolumn:name="Applied",type=string,JSONPath=`.status.conditions[?(@.type=="Applied")].status`,description="whether all pods run it"
// +kubebuilder:printcolumn:name="Current",type=integer,JSONPath=`.status.pods.current`,description="pods that run the newest version"
// +kubebuilder:printcolumn:name="Pods",type=integer,JSONPath=`.status.pods.total`,description="running pods with a sidecar"
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Rejected",type=integer,priority=1,JSONPath=`.status.pods.rejected`,description="pods whose Envoy did not accept it"
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Applied")].reason`
// +kubebuilder:printcolumn:name="Message",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Applied")].message`
// +kubebuilder:validation:XValidation:rule="size(self.metadata.name) <= 240",message="metadata.name must have at most 240 characters: a ConfigMap is named pillion-mesh- and it"
type MeshService struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec is what the owner asks for.
	Spec MeshServiceSpec `json:"spec,omitempty"`
	// Status is what has become of it. The controller writes it.
	Status MeshServiceStatus `json:"status,omitzero"`
}

// MeshServiceList is a list of them, as the API server returns it.
//
// +kubebuilder:object:root=true
type MeshServiceList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	// Items in no order.
	Items []MeshService `json:"items"`
}

// MeshServiceSpec is what the owner of a service asks for.
type MeshServiceSpec struct {
	// Inbound is about what comes to the service's pods, one entry for each port. A port
	// that is not listed is passed through.
	//
	// +listType=map
	// +listMapKey=port
	// +kubebuilder:validation:MaxItems=64
	Inbound []InboundPort `json:"inbound,omitempty"`
	// Egress are the destinations that the service depends on.
	//
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=1024
	Egress []Destination `json:"egress,omitempty"`
	// UndeclaredEgress is Passthrough (the default), which leads what is in no entry of
	// egress to where it was going, or Refused: HTTP gets 403 with a sentence, other
	// connections are closed.
	UndeclaredEgress UndeclaredEgress `json:"undeclaredEgress,omitempty"`
	// Statistics says which of Envoy's statistics the sidecar passes on.
	Statistics *Statistics `json:"statistics,omitempty"`
}

// InboundProtocol is what is spoken on a port of the service.
//
// +kubebuilder:validation:Enum=HTTP;TCP
type InboundProtocol string

const (
	// InboundHTTP is HTTP/1 or HTTP/2 without TLS, whichever the client speaks.
	InboundHTTP InboundProtocol = "HTTP"
	// InboundTCP is everything else, TLS too: bytes are passed on.
	InboundTCP InboundProtocol = "TCP"
)

// InboundPort is one port of the service. All fields but port and maxConnections
// are for HTTP only.
//
// +kubebuilder:validation:XValidation:rule="!has(self.protocol) || self.protocol != 'TCP' || !(has(self.timeout) || has(self.maxConcurrentRequests) || has(self.maxConcurrentStreams) || has(self.maxConnectionAge) || has(self.adaptiveConcurrency) || has(self.rateLimit))",message="of protocol TCP only bytes are seen: here maxConnections is accepted"
type InboundPort struct {
	// Port that the app listens on, from 1 to 65535. Required.
	//
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	// +kubebuilder:validation:XValidation:rule="self < 15000 || self > 15099",message="must not be from 15000 to 15099: those are the sidecar's own"
	Port int32 `json:"port"`
	// Protocol is HTTP (the default) or TCP.
	Protocol InboundProtocol `json:"protocol,omitempty"`
	// Timeout bounds a request, from its end until the response's end; a later
	// response becomes 504. Default: none, the client is the one who waits.
	//
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Format=duration
	// +kubebuilder:validation:Pattern=`^(0|([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+)$`
	// +kubebuilder:validation:XValidation:rule="self == duration('0s') || self >= duration('1ms') && self <= duration('1h')",message="must be from 1ms to 1h, or 0s for none"
	Timeout *metav1.Duration `json:"timeout,omitempty"`
	// MaxConcurrentRequests that the app works on at the same time; one more gets 503 at
	// once. Default: no limit.
	//
	// +kubebuilder:validation:Minimum=1
	MaxConcurrentRequests *int32 `json:"maxConcurrentRequests,omitempty"`
	// MaxConnections from Envoy to the app; one more is closed (TCP) or waits (HTTP).
	// Default: no limit.
	//
	// +kubebuilder:validation:Minimum=1
	MaxConnections *int32 `json:"maxConnections,omitempty"`
	// MaxConcurrentStreams on one HTTP/2 connection to the app: what it can serve,
	// whatever it claims itself. Clients are told the same, but never less than
	// 100. Default: no limit.
	//
	// +kubebuilder:validation:Minimum=1
	MaxConcurrentStreams *int32 `json:"maxConcurrentStreams,omitempty"`
	// MaxConnectionAge is how old a client's HTTP connection gets. Then the client is
	// told to connect anew, and no request is lost. 0s for any age. Default: the
	// sidecar's maxDownstreamAge, 5m.
	//
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Format=duration
	// +kubebuilder:validation:Pattern=`^(0|([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+)$`
	// +kubebuilder:validation:XValidation:rule="self == duration('0s') || self >= duration('1s') && self <= duration('1h')",message="must be from 1s to 1h, or 0s for any age"
	MaxConnectionAge *metav1.Duration `json:"maxConnectionAge,omitempty"`
	// AdaptiveConcurrency finds the number of requests that the app can work on at the
	// same time by how long it takes for them, and answers what is above with 503.
	// Off by default; {} switches it on.
	AdaptiveConcurrency *AdaptiveConcurrency `json:"adaptiveConcurrency,omitempty"`
	// RateLimit bounds the requests that one pod takes in a time. Default: none.
	RateLimit *RateLimit `json:"rateLimit,omitempty"`
}

// AdaptiveConcurrency is Envoy's adaptive concurrency filter with its gradient
// controller.
//
// +kubebuilder:validation:XValidation:rule="(has(self.minConcurrency) ? self.minConcurrency : 3) <= (has(self.maxConcurrency) ? self.maxConcurrency : 1000)",message="minConcurrency (3 if not given) must be at most maxConcurrency (1000 if not given)"
type AdaptiveConcurrency struct {
	// MinConcurrency is never gone below. Default: 3.
	//
	// +kubebuilder:validation:Minimum=1
	MinConcurrency *int32 `json:"minConcurrency,omitempty"`
	// MaxConcurrency is never gone above. Default: 1000.
	//
	// +kubebuilder:validation:Minimum=1
	MaxConcurrency *int32 `json:"maxConcurrency,omitempty"`
	// LatencyHeadroomPercent is how much slower than the best the app may get before
	// requests are turned away, in percent. Default: 25.
	//
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100
	LatencyHeadroomPercent *int32 `json:"latencyHeadroomPercent,omitempty"`
	// MeasureEvery is how often the best latency is measured anew, for which concurrency
	// is lowered to minConcurrency for a moment. Default: 60s.
	//
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Format=duration
	// +kubebuilder:validation:Pattern=`^(0|([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+)$`
	// +kubebuilder:validation:XValidation:rule="self >= duration('1s') && self <= duration('1h')",message="must be from 1s to 1h"
	MeasureEvery *metav1.Duration `json:"measureEvery,omitempty"`
}

// RateLimit is a token bucket in each pod.
type RateLimit struct {
	// Requests in each period; one more gets 429. Required.
	//
	// +kubebuilder:validation:Minimum=1
	Requests int32 `json:"requests"`
	// Per is the period. Default: 1s.
	//
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Format=duration
	// +kubebuilder:validation:Pattern=`^(0|([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+)$`
	// +kubebuilder:validation:XValidation:rule="self >= duration('50ms') && self <= duration('1h')",message="must be from 50ms to 1h"
	Per *metav1.Duration `json:"per,omitempty"`
	// Burst is how many requests may come at once. Default: requests.
	//
	// +kubebuilder:validation:Minimum=1
	Burst *int32 `json:"burst,omitempty"`
}

// UndeclaredEgress says what becomes of connections to destinations that are in no
// entry of egress.
//
// +kubebuilder:validation:Enum=Passthrough;Refused
type UndeclaredEgress string

const (
	// UndeclaredPassthrough leads them to where they were going.
	UndeclaredPassthrough UndeclaredEgress = "Passthrough"
	// UndeclaredRefused refuses them.
	UndeclaredRefused UndeclaredEgress = "Refused"
)

// StatisticsLevel is how much is kept of each destination.
//
// +kubebuilder:validation:Enum=Standard;Detailed;None
type StatisticsLevel string

const (
	// StatisticsStandard is what answers "is it the mesh or my app?".
	StatisticsStandard StatisticsLevel = "Standard"
	// StatisticsDetailed has the latency histograms' buckets and connection counts too.
	StatisticsDetailed StatisticsLevel = "Detailed"
	// StatisticsNone leaves destinations out.
	StatisticsNone StatisticsLevel = "None"
)

// Statistics say which statistics the sidecar passes on.
type Statistics struct {
	// Destinations is Standard (the default), Detailed or None.
	Destinations StatisticsLevel `json:"destinations,omitempty"`
	// MaxSeries of destinations that one pod passes on. Destinations that do not fit, the last
	// ones by name, are left out whole; pillion_proxy_envoy_metrics_cut is how many. Default: 2000.
	//
	// +kubebuilder:validation:Minimum=100
	// +kubebuilder:validation:Maximum=100000
	MaxSeries *int32 `json:"maxSeries,omitempty"`
}

// MeshServiceStatus is what has become of a MeshService.
type MeshServiceStatus struct {
	// ObservedGeneration is metadata.generation of what the conditions are about.
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// Version is the content hash of the generation that was rendered last.
	Version string `json:"version,omitempty"`
	// Warnings are what is accepted and probably not meant.
	Warnings []string `json:"warnings,omitempty"`
	// Pods says how far the generation has come.
	Pods MeshServicePods `json:"pods,omitzero"`
	// Conditions are Accepted, Rendered and Applied.
	//
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// MeshServicePods counts the service's pods by what their sidecars run.
type MeshServicePods struct {
	// Total of running pods with a sidecar.
	Total int32 `json:"total,omitempty"`
	// Current of them run the version of this status.
	Current int32 `json:"current,omitempty"`
	// Rejected of them were given it, and their Envoy did not accept it.
	Rejected int32 `json:"rejected,omitempty"`
	// Unknown did not say.
	Unknown int32 `json:"unknown,omitempty"`
}

// The types of conditions of a MeshService.
const (
	// ConditionAccepted says whether the document is valid.
	ConditionAccepted = "Accepted"
	// ConditionRendered says whether Envoy's configuration was made of it and stored.
	ConditionRendered = "Rendered"
	// ConditionApplied says whether all pods run it, or which one rejected it and why.
	ConditionApplied = "Applied"
)
