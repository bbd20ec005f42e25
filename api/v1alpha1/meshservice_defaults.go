package v1alpha1

import "time"

const (
	// DefaultMaxSeries of statistics.maxSeries.
	DefaultMaxSeries = 2000
	// DefaultConnectionAge of a destination's connections. Below the age to which the
	// server's own sidecar keeps them, so that it is the client who ends them.
	DefaultConnectionAge = 4 * time.Minute
	// defaultConnectTimeout is the passthrough's.
	defaultConnectTimeout = 5 * time.Second
)

// DefaultMeshService fills in what a document does not say. What stays empty has a
// meaning of its own: no limit, no timeout, not switched on.
func DefaultMeshService(mesh *MeshService) {
	for n := range mesh.Spec.Inbound {
		defaultInbound(&mesh.Spec.Inbound[n])
	}
	for n := range mesh.Spec.Egress {
		defaultDestination(&mesh.Spec.Egress[n], mesh.Namespace)
	}
	defaultTo(&mesh.Spec.UndeclaredEgress, UndeclaredPassthrough)
	defaultPointer(&mesh.Spec.Statistics, Statistics{})
	defaultTo(&mesh.Spec.Statistics.Destinations, StatisticsStandard)
	defaultPointer(&mesh.Spec.Statistics.MaxSeries, DefaultMaxSeries)
}

func defaultInbound(port *InboundPort) {
	defaultTo(&port.Protocol, InboundHTTP)
	if adaptive := port.AdaptiveConcurrency; adaptive != nil {
		defaultPointer(&adaptive.MinConcurrency, 3)
		defaultPointer(&adaptive.MaxConcurrency, 1000)
		defaultPointer(&adaptive.LatencyHeadroomPercent, 25)
		defaultDuration(&adaptive.MeasureEvery, time.Minute)
	}
	if rate := port.RateLimit; rate != nil {
		defaultDuration(&rate.Per, time.Second)
		if rate.Requests > 0 {
			defaultPointer(&rate.Burst, rate.Requests)
		}
	}
}

// defaultDestination gives no default to a field that does not go with the
// protocol, so that validation knows what was given.
func defaultDestination(to *Destination, namespace string) {
	if to.Service != nil {
		defaultTo(&to.Service.Namespace, namespace)
	}
	defaultTo(&to.Protocol, ProtocolHTTP)
	defaultDuration(&to.ConnectTimeout, defaultConnectTimeout)
	if !to.Protocol.IsHTTP() {
		return
	}
	defaultDuration(&to.MaxConnectionAge, DefaultConnectionAge)
	// Below Node.js' keep-alive, 5 s, the shortest that is common.
	defaultDuration(&to.IdleTimeout, 4*time.Second)
	defaultDuration(&to.DNSRefresh, 5*time.Second)
	if retries := to.Retries; retries != nil {
		defaultPointer(&retries.Attempts, 1)
		if retries.When == nil {
			retries.When = []RetryCondition{RetryConnectFailure, RetryRefusedStream}
		}
		defaultPointer(&retries.BudgetPercent, 20)
	}
	if outliers := to.OutlierDetection; outliers != nil {
		defaultPointer(&outliers.ConsecutiveErrors, 5)
		defaultDuration(&outliers.EjectionTime, 30*time.Second)
		defaultPointer(&outliers.MaxEjectedPercent, 30)
	}
	for n := range to.Routes {
		defaultFallback(to.Routes[n].Fallback)
	}
}

func defaultFallback(fallback *Fallback) {
	if fallback == nil {
		return
	}
	defaultTo(&fallback.When, FallbackAbsent)
	if fallback.When == FallbackFails {
		defaultDuration(&fallback.After, 100*time.Millisecond)
	}
}

// IsHTTP says whether requests are seen, rather than bytes.
func (p Protocol) IsHTTP() bool { return p != ProtocolTLS && p != ProtocolTCP }
