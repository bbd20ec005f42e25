package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// Protocol is what a destination speaks.
//
// +kubebuilder:validation:Enum=HTTP;HTTP1;HTTP2;GRPC;TLS;TCP
type Protocol string

const (
	// ProtocolHTTP is whatever the client spoke, HTTP/1 or HTTP/2.
	ProtocolHTTP Protocol = "HTTP"
	// ProtocolHTTP1 is HTTP/1.1, even where the client speaks HTTP/2.
	ProtocolHTTP1 Protocol = "HTTP1"
	// ProtocolHTTP2 is HTTP/2 without TLS, even where the client speaks HTTP/1.
	ProtocolHTTP2 Protocol = "HTTP2"
	// ProtocolGRPC is HTTP2 with what gRPC expects of it.
	ProtocolGRPC Protocol = "GRPC"
	// ProtocolTLS is TLS that the app itself speaks; the destination is known by the
	// server name (SNI).
	ProtocolTLS Protocol = "TLS"
	// ProtocolTCP is anything else; the destination is known by its port alone.
	ProtocolTCP Protocol = "TCP"
)

// Destination is one thing that the service calls. Exactly one of host and service
// is given.
//
// +kubebuilder:validation:XValidation:rule="has(self.host) != has(self.service)",message="give host (a DNS name) or service (a Kubernetes Service), one of them"
// +kubebuilder:validation:XValidation:rule="!has(self.protocol) || !(self.protocol in ['TLS', 'TCP']) || !(has(self.timeout) || has(self.clientTimeout) || has(self.retries) || has(self.outlierDetection) || has(self.maxConnectionAge) || has(self.idleTimeout) || has(self.dnsRefresh) || (has(self.routes) && size(self.routes) > 0) || (has(self.breakers) && (has(self.breakers.maxPendingRequests) || has(self.breakers.maxRequests))))",message="of protocols TLS and TCP only connections are seen: here connectTimeout and breakers.maxConnections are accepted"
// +kubebuilder:validation:XValidation:rule="!has(self.protocol) || self.protocol != 'HTTP1' || !((has(self.retries) && has(self.retries.safeMethods) && size(self.retries.safeMethods) > 0) || (has(self.routes) && self.routes.exists(r, has(r.grpc))))",message="retries.safeMethods and routes[].grpc do not go with protocol HTTP1: gRPC needs HTTP/2"
// +kubebuilder:validation:XValidation:rule="!has(self.timeout) || self.timeout == duration('0s') || !has(self.retries) || !has(self.retries.perTryTimeout) || self.retries.perTryTimeout < self.timeout",message="retries.perTryTimeout must be below timeout: nothing of it would be left for a retry"
// +kubebuilder:validation:XValidation:rule="!has(self.routes) || self.routes.all(r, r.to != self.name)",message="routes[].to must be another destination than the one that the route is of"
type Destination struct {
	// Name of the destination within this document: it is in statistics, and routes
	// refer to it. Lower-case letters, digits and dashes, at most 63. Required.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",message="must be of a-z, 0-9 and -, with a letter or digit at both ends"
	// +kubebuilder:validation:XValidation:rule="self != 'blackhole'",message="must not be blackhole: in statistics that is what is refused"
	Name string `json:"name"`
	// Host is a DNS name, as api.example.com. With port it is what the app calls.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')",message="must be a DNS name in lower case as api.example.com, without port, wildcard or dot at its end"
	// +kubebuilder:validation:XValidation:rule="!self.matches('(^|[.])([0-9]+|0x[0-9a-f]*)$')",message="must be a DNS name as api.example.com, not an address: what is called by address is undeclared"
	// +kubebuilder:validation:XValidation:rule="!self.matches('(^|[.])localhost$') && self != 'metadata.google.internal'",message="must not be the pod itself or the cloud's metadata service: they never come to the sidecar"
	Host string `json:"host,omitempty"`
	// Service is a Kubernetes Service.
	Service *ServiceReference `json:"service,omitempty"`
	// Port that the app calls, from 1 to 65535. Required.
	//
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	// +kubebuilder:validation:XValidation:rule="self < 15000 || self > 15099",message="must not be from 15000 to 15099: those are the sidecar's own"
	Port int32 `json:"port"`
	// Protocol is HTTP (the default), HTTP1, HTTP2, GRPC, TLS or TCP.
	Protocol Protocol `json:"protocol,omitempty"`

	// Timeout bounds a request with all of its retries; a later response becomes 504.
	// Default: none.
	//
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Format=duration
	// +kubebuilder:validation:Pattern=`^(0|([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+)$`
	// +kubebuilder:validation:XValidation:rule="self == duration('0s') || self >= duration('1ms') && self <= duration('1h')",message="must be from 1ms to 1h, or 0s for none"
	Timeout *metav1.Duration `json:"timeout,omitempty"`
	// ClientTimeout is how long the app itself waits, if it is known. It changes
	// nothing; a warning is given where it is longer than timeout, since the app would
	// then see 504 where it expects its own deadline.
	//
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Format=duration
	// +kubebuilder:validation:Pattern=`^(0|([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+)$`
	// +kubebuilder:validation:XValidation:rule="self >= duration('1ms') && self <= duration('1h')",message="must be from 1ms to 1h"
	ClientTimeout *metav1.Duration `json:"clientTimeout,omitempty"`
	// Retries of requests. Default: none.
	Retries *Retries `json:"retries,omitempty"`
	// Breakers bound what is under way to the destination at the same time. Default: off.
	Breakers *Breakers `json:"breakers,omitempty"`
	// OutlierDetection takes an address that keeps failing out for a while. Off by
	// default; {} switches it on.
	OutlierDetection *OutlierDetection `json:"outlierDetection,omitempty"`
	// MaxConnectionAge is how old a connection to the destination gets, so that calls
	// spread over servers anew; 0s for any age. Default: 4m.
	//
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Format=duration
	// +kubebuilder:validation:Pattern=`^(0|([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+)$`
	// +kubebuilder:validation:XValidation:rule="self == duration('0s') || self >= duration('1s') && self <= duration('1h')",message="must be from 1s to 1h, or 0s for any age"
	MaxConnectionAge *metav1.Duration `json:"maxConnectionAge,omitempty"`
	// IdleTimeout is how long a connection lies unused. It has to be below the server's
	// own keep-alive. Default: 4s.
	//
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Format=duration
	// +kubebuilder:validation:Pattern=`^(0|([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+)$`
	// +kubebuilder:validation:XValidation:rule="self >= duration('1ms') && self <= duration('1h')",message="must be from 1ms to 1h"
	IdleTimeout *metav1.Duration `json:"idleTimeout,omitempty"`
	// ConnectTimeout bounds the making of a connection. Where somebody else is tried after it,
	// it is shortened: to perTryTimeout and half of timeout with retries on ConnectFailure, to
	// fallback.after or half of the timeout for where a route with a fallback leads.
	// Default: 5s.
	//
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Format=duration
	// +kubebuilder:validation:Pattern=`^(0|([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+)$`
	// +kubebuilder:validation:XValidation:rule="self >= duration('1ms') && self <= duration('1h')",message="must be from 1ms to 1h"
	ConnectTimeout *metav1.Duration `json:"connectTimeout,omitempty"`
	// DNSRefresh is how often the host's addresses are asked for. Default: 5s.
	//
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Format=duration
	// +kubebuilder:validation:Pattern=`^(0|([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+)$`
	// +kubebuilder:validation:XValidation:rule="self >= duration('1s') && self <= duration('1h')",message="must be from 1s to 1h"
	DNSRefresh *metav1.Duration `json:"dnsRefresh,omitempty"`
	// Routes lead some requests to this destination elsewhere, the first that matches.
	// For HTTP only.
	//
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=32
	Routes []Route `json:"routes,omitempty"`
}

// ServiceReference is a Kubernetes Service, called by its cluster DNS name.
type ServiceReference struct {
	// Name of the Service. Required.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z]([-a-z0-9]*[a-z0-9])?$`
	Name string `json:"name"`
	// Namespace of the Service. Default: that of the document.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	Namespace string `json:"namespace,omitempty"`
}

// RetryCondition is one for which a request is sent once more.
//
// +kubebuilder:validation:Enum=ConnectFailure;RefusedStream;Reset;Unavailable
type RetryCondition string

const (
	// RetryConnectFailure is a connection that could not be made: safe for every request.
	RetryConnectFailure RetryCondition = "ConnectFailure"
	// RetryRefusedStream is a stream that the server did not begin to work on: safe
	// for every request.
	RetryRefusedStream RetryCondition = "RefusedStream"
	// RetryReset is a connection that ended before a response: only GET, HEAD, OPTIONS,
	// PUT and DELETE are sent again.
	RetryReset RetryCondition = "Reset"
	// RetryUnavailable is a response of 502, 503 or 504, or gRPC's UNAVAILABLE: only GET,
	// HEAD, OPTIONS, PUT and DELETE are sent again, and the gRPC methods in safeMethods.
	RetryUnavailable RetryCondition = "Unavailable"
)

// Retries say when a request is sent once more.
type Retries struct {
	// Attempts beside the first, from 1 to 5. Default: 1.
	//
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=5
	Attempts *int32 `json:"attempts,omitempty"`
	// When are the conditions. Default: ConnectFailure and RefusedStream, which are safe for
	// every request.
	//
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=4
	When []RetryCondition `json:"when,omitempty"`
	// SafeMethods are gRPC methods that may be carried out twice, as
	// package.Service/Method.
	//
	// +listType=set
	// +kubebuilder:validation:MaxItems=128
	// +kubebuilder:validation:items:MaxLength=256
	// +kubebuilder:validation:items:Pattern=`^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*/[A-Za-z_][A-Za-z0-9_]*$`
	SafeMethods []string `json:"safeMethods,omitempty"`
	// PerTryTimeout bounds each attempt at a request that Reset or Unavailable sends again.
	// Other requests have all of timeout. Default: none but timeout.
	//
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Format=duration
	// +kubebuilder:validation:Pattern=`^(0|([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+)$`
	// +kubebuilder:validation:XValidation:rule="self >= duration('1ms') && self <= duration('1h')",message="must be from 1ms to 1h"
	PerTryTimeout *metav1.Duration `json:"perTryTimeout,omitempty"`
	// BudgetPercent is how many retries there may be at the same time, in percent of the
	// requests under way; three at least. Default: 20.
	//
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100
	BudgetPercent *int32 `json:"budgetPercent,omitempty"`
}

// Breakers are limits in each pod. One that is not given is off.
type Breakers struct {
	// MaxConnections to the destination; one more HTTP/1 request waits.
	//
	// +kubebuilder:validation:Minimum=1
	MaxConnections *int32 `json:"maxConnections,omitempty"`
	// MaxPendingRequests that wait for a connection; one more gets 503 at once.
	//
	// +kubebuilder:validation:Minimum=1
	MaxPendingRequests *int32 `json:"maxPendingRequests,omitempty"`
	// MaxRequests under way; one more gets 503 at once.
	//
	// +kubebuilder:validation:Minimum=1
	MaxRequests *int32 `json:"maxRequests,omitempty"`
}

// OutlierDetection is Envoy's, by failures in a row.
type OutlierDetection struct {
	// ConsecutiveErrors in a row (5xx, resets, failed connections) after which an address is
	// taken out. Default: 5.
	//
	// +kubebuilder:validation:Minimum=1
	ConsecutiveErrors *int32 `json:"consecutiveErrors,omitempty"`
	// EjectionTime of the first time, and that much longer each further time.
	// Default: 30s.
	//
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Format=duration
	// +kubebuilder:validation:Pattern=`^(0|([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+)$`
	// +kubebuilder:validation:XValidation:rule="self >= duration('1s') && self <= duration('1h')",message="must be from 1s to 1h"
	EjectionTime *metav1.Duration `json:"ejectionTime,omitempty"`
	// MaxEjectedPercent of the addresses at the same time. Default: 30; one address
	// may always be taken out.
	//
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100
	MaxEjectedPercent *int32 `json:"maxEjectedPercent,omitempty"`
}

// Route leads requests that match to another destination. Headers and grpc both have
// to match where both are given.
//
// +kubebuilder:validation:XValidation:rule="(has(self.headers) && size(self.headers) > 0) || has(self.grpc)",message="give headers or grpc: a route for all requests would take the place of the destination"
type Route struct {
	// Headers that a request has, all of them.
	//
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=8
	Headers []HeaderMatch `json:"headers,omitempty"`
	// GRPC is a method that is called.
	GRPC *GRPCMatch `json:"grpc,omitempty"`
	// To is the name of another destination of this document. Required.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	To string `json:"to"`
	// Fallback leads a request back to the destination that it was for. Default: none.
	Fallback *Fallback `json:"fallback,omitempty"`
}

// HeaderMatch is a header with exactly this value.
type HeaderMatch struct {
	// Name of the header, in any case. Not the host, and none that is gone before routes are
	// looked at: x-forwarded-proto, keep-alive, proxy-connection, transfer-encoding, those
	// that give Envoy orders, as x-envoy-max-retries, and x-pillion-. Required.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9!#$%&'*+.^_|~-]+$`
	Name string `json:"name"`
	// Value that it has, to the letter. Required.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:Pattern=`^[\x21-\x7E]([\x20-\x7E]*[\x21-\x7E])?$`
	Value string `json:"value"`
}

// GRPCMatch is a gRPC method.
type GRPCMatch struct {
	// Service with its package, as shop.v1.Cart. Required.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:Pattern=`^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*$`
	Service string `json:"service"`
	// Methods of it. Default: all.
	//
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=128
	// +kubebuilder:validation:items:MaxLength=256
	// +kubebuilder:validation:items:Pattern=`^[A-Za-z_][A-Za-z0-9_]*$`
	Methods []string `json:"methods,omitempty"`
}

// FallbackWhen says for which failures there is a fallback.
//
// +kubebuilder:validation:Enum=Absent;Fails
type FallbackWhen string

const (
	// FallbackAbsent is a destination that has no address or takes no connection: a
	// sandbox that does not exist.
	FallbackAbsent FallbackWhen = "Absent"
	// FallbackFails is that, or any failure: 5xx, a reset, or no response in time. The
	// request may be carried out twice then, so it is for GET, HEAD, OPTIONS, PUT and DELETE, the
	// gRPC methods that the route names, and those in retries.safeMethods. For all others
	// it is Absent.
	FallbackFails FallbackWhen = "Fails"
)

// Fallback leads a request to the destination that it was for.
//
// +kubebuilder:validation:XValidation:rule="!has(self.after) || (has(self.when) && self.when == 'Fails')",message="after goes with when: Fails only: what is absent is known at once"
type Fallback struct {
	// When is Absent (the default), or Fails for requests that may be carried out twice:
	// GET, HEAD, OPTIONS, PUT and DELETE, the gRPC methods that the route names, and those in
	// retries.safeMethods. For other requests Fails is Absent.
	When FallbackWhen `json:"when,omitempty"`
	// After is how long a response is waited for where when is Fails, and a connection to
	// the destination, whatever its connectTimeout is. Default: 100ms.
	//
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Format=duration
	// +kubebuilder:validation:Pattern=`^(0|([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+)$`
	// +kubebuilder:validation:XValidation:rule="self >= duration('1ms') && self <= duration('1h')",message="must be from 1ms to 1h"
	After *metav1.Duration `json:"after,omitempty"`
}
