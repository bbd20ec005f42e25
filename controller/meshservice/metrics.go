package meshservice

import (
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/types"

	"github.com/pillion-mesh/pillion/metric"
)

// States of a MeshService, each of which is in one.
const (
	stateInvalid     = "invalid"
	stateNotRendered = "not_rendered"
	stateRejected    = "rejected"
	stateUnderway    = "underway"
	stateApplied     = "applied"
)

func states() []string {
	return []string{stateInvalid, stateNotRendered, stateRejected, stateUnderway, stateApplied}
}

// States of a pod, each of which is in one.
const (
	podCurrent  = "current"
	podUnderway = "underway"
	podRejected = "rejected"
	podUnknown  = "unknown"
)

// What was written, and what came of asking a pod.
const (
	wroteConfigMap = "configmap"
	wroteStatus    = "status"
	askedOK        = "ok"
	askedFailed    = "failed"
)

// Metrics of the MeshServices. No label names one, or a namespace.
type Metrics struct {
	services *prometheus.GaugeVec
	pods     *prometheus.GaugeVec
	writes   *prometheus.CounterVec
	asked    *prometheus.CounterVec
	last     prometheus.Gauge
}

// NewMetrics adds them to a program's set, with every series that there can be.
func NewMetrics(set *metric.Set) *Metrics {
	m := &Metrics{
		services: set.Gauges("mesh_services", "MeshServices by how far they have come; the leader knows.", "state"),
		pods:     set.Gauges("mesh_service_pods", "Running pods with a sidecar, of services with a MeshService, by what they said of it; the leader knows.", "state"),
		writes:   set.Counters("mesh_service_writes_total", "ConfigMaps and statuses of MeshServices that were written.", "what"),
		asked:    set.Counters("mesh_service_asked_total", "Sidecars that were asked what they run, by whether they answered.", "result"),
		last:     set.Gauge("mesh_service_pods_last_asked_timestamp_seconds", "When the last look at the pods ended, which asks those that may have something new to say; 0 while there was none."),
	}
	for _, state := range states() {
		m.services.WithLabelValues(state)
	}
	for _, state := range []string{podCurrent, podUnderway, podRejected, podUnknown} {
		m.pods.WithLabelValues(state)
	}
	for _, what := range []string{wroteConfigMap, wroteStatus} {
		m.writes.WithLabelValues(what)
	}
	for _, result := range []string{askedOK, askedFailed} {
		m.asked.WithLabelValues(result)
	}
	return m
}

func (m *Metrics) setServices(services map[types.NamespacedName]service) {
	counts := map[string]int{}
	for _, s := range services {
		counts[s.state]++
	}
	for _, state := range states() {
		m.services.WithLabelValues(state).Set(float64(counts[state]))
	}
}

func (m *Metrics) setPods(tallies map[types.NamespacedName]*tally) {
	var current, rejected, unknown, total int32
	for _, t := range tallies {
		current, rejected, unknown, total = current+t.pods.Current, rejected+t.pods.Rejected, unknown+t.pods.Unknown, total+t.pods.Total
	}
	m.pods.WithLabelValues(podCurrent).Set(float64(current))
	m.pods.WithLabelValues(podRejected).Set(float64(rejected))
	m.pods.WithLabelValues(podUnknown).Set(float64(unknown))
	m.pods.WithLabelValues(podUnderway).Set(float64(total - current - rejected - unknown))
}
