package controller

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/pillion-mesh/pillion/controller/auditor"
	"github.com/pillion-mesh/pillion/controller/certificates"
	"github.com/pillion-mesh/pillion/controller/meshservice"
	"github.com/pillion-mesh/pillion/injector"
	"github.com/pillion-mesh/pillion/metric"
)

// What an error was about.
const (
	whatSecret      = "secret"
	whatBundle      = "ca_bundle"
	whatAudit       = "audit"
	whatMeshService = "mesh_service"
)

// Metrics are what a controller tells Prometheus. Every label has a closed set of
// values.
type Metrics struct {
	*metric.Set

	expiry       *prometheus.GaugeVec
	issued       *prometheus.CounterVec
	writes       *prometheus.CounterVec
	contested    *prometheus.GaugeVec
	errors       *prometheus.CounterVec
	leader       prometheus.Gauge
	audit        *auditor.Metrics
	meshServices *meshservice.Metrics
}

// NewMetrics makes the metrics on a registry of their own.
func NewMetrics() *Metrics {
	m := &Metrics{Set: metric.NewSet("controller", injector.Version)}
	m.expiry = m.Gauges("certificate_expiry_timestamp_seconds", "When a certificate in the Secret expires; the leader knows.", "certificate")
	m.issued = m.Counters("certificates_issued_total", "Certificates that were made, by what was wrong with the one before.", "certificate", "reason")
	m.writes = m.Counters("ca_bundle_writes_total", "Writes of the caBundle of a webhook configuration.", "kind")
	m.contested = m.Gauges("ca_bundle_contested", "1 while another hand keeps changing a caBundle.", "kind")
	m.errors = m.Counters("errors_total", "Attempts to see to the Secret, to a caBundle, to an audit or to MeshServices that failed, and were tried again.", "what")
	m.leader = m.Gauge("leader", "1 on the controller that holds the Lease.")
	m.audit = auditor.NewMetrics(m.Set)
	m.meshServices = meshservice.NewMetrics(m.Set)
	m.initialise()
	return m
}

// initialise makes the series whose first event has to be seen as an increase.
func (m *Metrics) initialise() {
	for _, kind := range []certificates.Kind{certificates.CA, certificates.Serving} {
		for _, reason := range certificates.Reasons() {
			m.issued.WithLabelValues(string(kind), string(reason))
		}
	}
	for _, kind := range []webhookKind{mutating{}, validating{}} {
		m.writes.WithLabelValues(kind.String())
		m.contested.WithLabelValues(kind.String())
	}
	m.errors.WithLabelValues(whatSecret)
	m.errors.WithLabelValues(whatBundle)
	m.errors.WithLabelValues(whatAudit)
	m.errors.WithLabelValues(whatMeshService)
}

func (m *Metrics) setContested(keeper *bundleKeeper) {
	value := 0.0
	if keeper.contested {
		value = 1
	}
	m.contested.WithLabelValues(keeper.kind.String()).Set(value)
}
