package auditor

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/pillion-mesh/pillion/injector"
	"github.com/pillion-mesh/pillion/metric"
)

// Results of an eviction.
const (
	// resultEvicted: the pod goes.
	resultEvicted = "evicted"
	// resultBudget: a PodDisruptionBudget did not allow it now.
	resultBudget = "budget"
	// resultGone: the pod had gone by itself.
	resultGone = "gone"
	// resultFailed: kube-apiserver refused or failed.
	resultFailed = "failed"
)

// Metrics of the audits.
type Metrics struct {
	pods      *prometheus.GaugeVec
	last      prometheus.Gauge
	interval  prometheus.Gauge
	evictions *prometheus.CounterVec
	leftAlone prometheus.Gauge
}

// NewMetrics adds them to a program's set, with every series that there can be.
func NewMetrics(set *metric.Set) *Metrics {
	m := &Metrics{
		pods:      set.Gauges("audited_pods", "Running pods that opted in, by how they stand to the configuration, as the last complete audit found them; the leader knows.", "state"),
		last:      set.Gauge("audit_last_success_timestamp_seconds", "When the last complete audit ended, and before the first one when this controller began to lead; 0 on those that do not lead."),
		interval:  set.Gauge("audit_interval_seconds", "Time between the beginnings of two audits; 0 where there are none."),
		evictions: set.Counters("audit_evictions_total", "Evictions of pods whose sidecar is missing or damaged, by what came of them.", "result"),
		leftAlone: set.Gauge("audit_workloads_left_alone", "Workloads that are not evicted any more, because the pod that came in place of an evicted one has no sidecar that works either, or none that is Ready came."),
	}
	for _, state := range []injector.State{injector.Injected, injector.Outdated, injector.Damaged, injector.Missed, injector.NotInjected} {
		m.pods.WithLabelValues(string(state))
	}
	for _, result := range []string{resultEvicted, resultBudget, resultGone, resultFailed} {
		m.evictions.WithLabelValues(result)
	}
	return m
}

// set takes over what a complete audit counted.
func (m *Metrics) set(f *findings) {
	for _, state := range []injector.State{injector.Injected, injector.Outdated, injector.Damaged, injector.Missed, injector.NotInjected} {
		m.pods.WithLabelValues(string(state)).Set(float64(f.pods[state]))
	}
}
