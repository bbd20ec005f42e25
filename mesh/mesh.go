// Package mesh is the resolved model of a service: what its MeshService asks for, with
// nothing left to look up or to fill in. Package envoy renders Envoy's configuration of
// it, and pillionctl tells what has changed between two of them.
//
// The way of a document. Package v1alpha1 decodes, defaults and validates it; Resolve
// finds the names under which destinations are called and those that routes refer to,
// and leaves no pointer and no order that means nothing.
//
// This package is pure: it knows no Envoy and no API server.
package mesh

import "time"

// Service is what the sidecars of one service do beyond passing traffic through.
type Service struct {
	// Name and Namespace of the MeshService and of the service.
	Name, Namespace string
	// Created is when the MeshService was created, in seconds since 1970, and Number
	// counts its changes since then. Both are 0 for one that is no object of an API server.
	Created, Number int64
	// Inbound are the service's ports, by number.
	Inbound []Inbound
	// Egress are its destinations, by name.
	Egress []Destination
	// RefuseUndeclared refuses connections to what is in no entry of Egress.
	RefuseUndeclared bool
	// Statistics say what the sidecars pass on.
	Statistics Statistics
}

// Inbound is one port of the service. In limits 0 stands for none.
type Inbound struct {
	// Port that the app listens on.
	Port uint16
	// TCP passes bytes on; the rest but MaxConnections is empty then.
	TCP bool
	// Timeout of a request.
	Timeout time.Duration
	// MaxRequests and MaxConnections that the app has at the same time.
	MaxRequests, MaxConnections uint32
	// MaxStreams of one HTTP/2 connection to the app.
	MaxStreams uint32
	// MaxConnectionAge of clients' connections.
	MaxConnectionAge InboundAge
	// Adaptive limits what the app works on by how long it takes.
	Adaptive Adaptive
	// Rate bounds requests in a time.
	Rate Rate
}

// InboundAge is how old a client's connection gets.
type InboundAge struct {
	// Given is false for what the sidecar itself is configured with.
	Given bool
	// Limit is 0 for any age.
	Limit time.Duration
}

// fewestStreams is what a client may open before it has heard of a limit, as Go's does,
// and what RFC 9113 recommends to allow at least.
const fewestStreams = 100

// ClientStreams is what clients are told of MaxStreams. Envoy ends the whole connection of
// one that opens more, so it is never less than what they open before they have heard.
// Towards the app the limit holds as it is.
func (p Inbound) ClientStreams() uint32 {
	if p.MaxStreams == 0 {
		return 0
	}
	return max(p.MaxStreams, fewestStreams)
}

// Adaptive is adaptive concurrency. It is off where Max is 0.
type Adaptive struct {
	// Min and Max requests at the same time.
	Min, Max uint32
	// HeadroomPercent is how much slower than the best the app may get.
	HeadroomPercent uint32
	// MeasureEvery is how often the best is measured.
	MeasureEvery time.Duration
}

// Rate is a token bucket. It is off where Requests is 0.
type Rate struct {
	// Requests in each period, and how many of them at once.
	Requests, Burst uint32
	Per             time.Duration
}

// Protocol is what a destination speaks.
type Protocol string

// The protocols are those of v1alpha1.
const (
	HTTP  Protocol = "HTTP"
	HTTP1 Protocol = "HTTP1"
	HTTP2 Protocol = "HTTP2"
	GRPC  Protocol = "GRPC"
	TLS   Protocol = "TLS"
	TCP   Protocol = "TCP"
)

// IsHTTP says whether requests are seen, rather than bytes.
func (p Protocol) IsHTTP() bool { return p != TLS && p != TCP }

// Destination is one thing that the service calls. In limits 0 stands for none.
type Destination struct {
	// Name within the document.
	Name string
	// Address is the DNS name that its addresses are found by.
	Address string
	// Hosts are the names that the app may call it by, Address among them, without a
	// port and in lower case.
	Hosts []string
	// Port that the app calls.
	Port uint16
	// Protocol decides which of the other fields have a meaning.
	Protocol Protocol

	// Timeout of a request with its retries.
	Timeout time.Duration
	// Retries of requests.
	Retries Retries
	// MaxConnections, MaxPending and MaxRequests are breakers.
	MaxConnections, MaxPending, MaxRequests uint32
	// Outliers are addresses that keep failing.
	Outliers Outliers
	// MaxConnectionAge and IdleTimeout of a connection, ConnectTimeout of making one.
	MaxConnectionAge, IdleTimeout, ConnectTimeout time.Duration
	// DNSRefresh is how often Address is looked up.
	DNSRefresh time.Duration
	// Routes lead some requests elsewhere, the first that matches.
	Routes []Route
}

// Retries say when a request is sent once more. There are none where Attempts is 0.
type Retries struct {
	// Attempts beside the first.
	Attempts uint32
	// ConnectFailure and RefusedStream are for every request; Reset and Unavailable only for
	// those that may be carried out twice.
	ConnectFailure, RefusedStream, Reset, Unavailable bool
	// SafeMethods are gRPC methods that may be carried out twice, as
	// package.Service/Method, by name.
	SafeMethods []string
	// PerTryTimeout of each attempt.
	PerTryTimeout time.Duration
	// BudgetPercent of the requests under way may be retries.
	BudgetPercent uint32
}

// Outliers are taken out for a while. Off where ConsecutiveErrors is 0.
type Outliers struct {
	// ConsecutiveErrors after which an address is taken out.
	ConsecutiveErrors uint32
	// EjectionTime of the first time.
	EjectionTime time.Duration
	// MaxEjectedPercent of the addresses at the same time.
	MaxEjectedPercent uint32
}

// Route leads requests that match to another destination.
type Route struct {
	// Headers that a request has, all of them; names are in lower case.
	Headers []Header
	// Service is a gRPC service, empty for any request, and Methods those of it, none for
	// all.
	Service string
	Methods []string
	// To is the name of another destination of the same service.
	To string
	// Fallback to the destination that the route is of.
	Fallback Fallback
	// After is how long a response is waited for where Fallback is FallbackFails.
	After time.Duration
}

// Header has exactly this value.
type Header struct{ Name, Value string }

// Fallback says for which failures there is one.
type Fallback string

const (
	// NoFallback leaves a failure as it is.
	NoFallback Fallback = ""
	// FallbackAbsent is for a destination without an address or a connection.
	FallbackAbsent Fallback = "Absent"
	// FallbackFails is for that and any failure.
	FallbackFails Fallback = "Fails"
)

// Level is how much is kept of each destination's statistics.
type Level string

// The levels are those of v1alpha1.
const (
	Standard Level = "Standard"
	Detailed Level = "Detailed"
	None     Level = "None"
)

// Statistics say what the sidecars pass on.
type Statistics struct {
	Destinations Level
	// MaxSeries that one pod passes on; 0 for the sidecar's own number.
	MaxSeries int
}

// Destination of a name; false where there is none.
func (s *Service) Destination(name string) (Destination, bool) {
	for _, d := range s.Egress {
		if d.Name == name {
			return d, true
		}
	}
	return Destination{}, false
}
