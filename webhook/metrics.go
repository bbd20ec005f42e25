package webhook

import (
	"crypto/x509"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pillion-mesh/pillion/injector"
	"github.com/pillion-mesh/pillion/metric"
)

// The outcomes of requests, where their durations are counted, are the verdicts about
// pods and these.
const (
	// outcomeFailed is that of a request that got an HTTP error.
	outcomeFailed = "fail"
	// outcomeReview is that of a request about a workload or a MeshService.
	outcomeReview = "review"
)

// Metrics are what the webhook tells Prometheus. Every label has a closed set of
// values, and every request is counted once: in admissions, workloads, meshServices or
// failures.
type Metrics struct {
	*metric.Set

	admissions   *prometheus.CounterVec
	workloads    *prometheus.CounterVec
	meshServices *prometheus.CounterVec
	failures     *prometheus.CounterVec
	warnings     *prometheus.CounterVec
	duration     *prometheus.HistogramVec
	inFlight     prometheus.Gauge
	panics       prometheus.Counter

	connections     prometheus.Gauge
	connectionsShed *prometheus.CounterVec

	ready                prometheus.Gauge
	configInfo           *prometheus.GaugeVec
	configReload         reloadMetrics
	certificateNotBefore prometheus.Gauge
	certificateExpiry    prometheus.Gauge
	certificateReload    reloadMetrics
}

// reloadMetrics are about a file that is polled.
type reloadMetrics struct {
	successful prometheus.Gauge
	last       prometheus.Gauge
}

func (r reloadMetrics) record(err error) {
	if err != nil {
		r.successful.Set(0)
		return
	}
	r.successful.Set(1)
	r.last.Set(float64(time.Now().Unix()))
}

// NewMetrics makes the metrics on a registry of their own.
func NewMetrics() *Metrics {
	m := &Metrics{Set: metric.NewSet("webhook", injector.Version)}
	m.admissions = m.Counters("admissions_total", "Pods that were decided on.", "verdict", "reason", "dry_run")
	m.workloads = m.Counters("workload_reviews_total", "Workloads that were looked at for what their owners should know; all are allowed.", "kind")
	m.meshServices = m.Counters("meshservice_reviews_total", "MeshServices that were made or changed: accepted, accepted with warnings (warned) or refused; other is what is none.", "outcome")
	m.failures = m.Counters("requests_failed_total", "Requests that got an HTTP error instead of a decision; failurePolicy decided about them.", "reason")
	m.warnings = m.Counters("warnings_total", "Warnings given to owners.", "reason")
	m.duration = m.Histograms("request_duration_seconds", "Time from a request's header to its response.",
		[]float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}, "outcome")
	m.inFlight = m.Gauge("requests_in_flight", "Requests that are being read or answered.")
	m.panics = m.Counters("panics_total", "Panics that were answered with HTTP 500.").WithLabelValues()
	m.connections = m.Gauge("connections", "Open connections.")
	m.connectionsShed = m.Counters("connections_shed_total", "Connections closed because there were too many (the longest idle one, or a new one where none was idle), or new ones because work waited too long for a processor (late).", "which")
	m.ready = m.Gauge("ready", "1 while /readyz answers 200, else 0.")
	m.configInfo = m.Gauges("config_info", "Hash of the configuration in force; the value is always 1.", "hash")
	m.configReload = m.reload("config")
	m.certificateReload = m.reload("certificate")
	m.certificateNotBefore = m.Gauge("certificate_not_before_timestamp_seconds", "From when the serving certificate is valid; 0 while there is none.")
	m.certificateExpiry = m.Gauge("certificate_expiry_timestamp_seconds", "When the serving certificate expires; 0 while there is none.")
	m.initialise()
	return m
}

// initialise makes every series that there can be, so that the first event of a
// kind is seen as an increase.
func (m *Metrics) initialise() {
	for _, reason := range injector.Reasons() {
		switch reason.Kind {
		case injector.KindInject, injector.KindSkip, injector.KindRefuse:
			m.admissions.WithLabelValues(string(reason.Kind), reason.Name, "false")
			m.admissions.WithLabelValues(string(reason.Kind), reason.Name, "true")
		case injector.KindWarning:
			m.warnings.WithLabelValues(reason.Name)
		case injector.KindRequest:
			m.failures.WithLabelValues(reason.Name)
		}
	}
	for _, workload := range workloadKinds() {
		m.workloads.WithLabelValues(workload.Kind)
	}
	m.workloads.WithLabelValues(otherKind)
	for _, outcome := range []string{meshAccepted, meshWarned, meshRefused, meshOther} {
		m.meshServices.WithLabelValues(outcome)
	}
	for _, outcome := range []string{string(injector.Inject), string(injector.Skip), string(injector.Refuse), outcomeReview, outcomeFailed} {
		m.duration.WithLabelValues(outcome)
	}
	m.connectionsShed.WithLabelValues(shedIdle)
	m.connectionsShed.WithLabelValues(shedNew)
	m.connectionsShed.WithLabelValues(shedLate)
}

// record counts one answered request.
func (m *Metrics) record(a *answer, took time.Duration) {
	if a.failure != nil {
		m.failures.WithLabelValues(a.failure.reason.Name).Inc()
		m.duration.WithLabelValues(outcomeFailed).Observe(took.Seconds())
		return
	}
	m.duration.WithLabelValues(a.verdict.count(m, a.request)).Observe(took.Seconds())
}

func (m *Metrics) countWarnings(warnings []injector.Warning) {
	for _, warning := range warnings {
		m.warnings.WithLabelValues(warning.Reason.Name).Inc()
	}
}

// setReady is for each scrape, since nothing else asks all the time.
func (m *Metrics) setReady(err error) {
	if err != nil {
		m.ready.Set(0)
		return
	}
	m.ready.Set(1)
}

// setCertificate notes from when until when the one in force is valid.
func (m *Metrics) setCertificate(leaf *x509.Certificate) {
	m.certificateNotBefore.Set(float64(leaf.NotBefore.Unix()))
	m.certificateExpiry.Set(float64(leaf.NotAfter.Unix()))
}

func (m *Metrics) reload(what string) reloadMetrics {
	return reloadMetrics{
		successful: m.Gauge(what+"_last_reload_successful", "1 if what the "+what+" files said last could be used, else 0, and what was used before stays in force."),
		last:       m.Gauge(what+"_last_reload_success_timestamp_seconds", "When the "+what+" was last loaded."),
	}
}
