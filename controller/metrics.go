package controller

import (
	"runtime"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/pillion-mesh/pillion/controller/certificates"
	"github.com/pillion-mesh/pillion/injector"
)

// What an error was about.
const (
	whatSecret = "secret"
	whatBundle = "ca_bundle"
)

// metrics are what a controller tells Prometheus. Every label has a closed set of
// values.
type metrics struct {
	registry *prometheus.Registry

	expiry    *prometheus.GaugeVec
	issued    *prometheus.CounterVec
	writes    *prometheus.CounterVec
	contested *prometheus.GaugeVec
	errors    *prometheus.CounterVec
	leader    prometheus.Gauge
}

func newMetrics() *metrics {
	m := &metrics{registry: prometheus.NewRegistry()}
	m.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.expiry = m.gauges("certificate_expiry_timestamp_seconds", "When a certificate in the Secret expires; the leader knows.", "certificate")
	m.issued = m.counters("certificates_issued_total", "Certificates that were made, by what was wrong with the one before.", "certificate", "reason")
	m.writes = m.counters("ca_bundle_writes_total", "Writes of the caBundle of a webhook configuration.", "kind")
	m.contested = m.gauges("ca_bundle_contested", "1 while another hand keeps changing a caBundle.", "kind")
	m.errors = m.counters("errors_total", "Attempts to see to the Secret or to a caBundle that failed, and were tried again.", "what")
	m.leader = m.gauges("leader", "1 on the controller that holds the Lease.").WithLabelValues()
	m.gauges("build_info", "What is running; the value is always 1.", "version", "go_version").WithLabelValues(injector.Version, runtime.Version()).Set(1)
	m.initialise()
	return m
}

// initialise makes the series whose first event has to be seen as an increase.
func (m *metrics) initialise() {
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
}

func (m *metrics) setContested(keeper *bundleKeeper) {
	value := 0.0
	if keeper.contested {
		value = 1
	}
	m.contested.WithLabelValues(keeper.kind.String()).Set(value)
}

func (m *metrics) counters(name, help string, labels ...string) *prometheus.CounterVec {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "pillion", Subsystem: "controller", Name: name, Help: help}, labels)
	m.registry.MustRegister(c)
	return c
}

func (m *metrics) gauges(name, help string, labels ...string) *prometheus.GaugeVec {
	g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: "pillion", Subsystem: "controller", Name: name, Help: help}, labels)
	m.registry.MustRegister(g)
	return g
}
