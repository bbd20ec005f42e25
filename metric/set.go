// Package metric holds the metrics of one program, together with what the reference
// says about them: there is no metric that is exposed and not described.
package metric

import (
	"runtime"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// Description of a metric, for the reference.
type Description struct {
	Name string
	// Type as Prometheus calls it.
	Type   string
	Labels []string
	Help   string
}

// Set is the metrics of one program on a registry of their own, with those of Go's
// runtime and of the process. The values of a label are to be of a closed set.
type Set struct {
	Registry *prometheus.Registry
	// Described are the metrics in the order in which they were made.
	Described []Description

	program string
}

// NewSet makes a Set whose names start with pillion_ and the program's, as webhook.
func NewSet(program, version string) *Set {
	s := &Set{Registry: prometheus.NewRegistry(), program: program}
	s.Registry.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	s.Gauges("build_info", "What is running; the value is always 1.", "version", "go_version").
		WithLabelValues(version, runtime.Version()).Set(1)
	return s
}

// Counters makes a counter with labels.
func (s *Set) Counters(name, help string, labels ...string) *prometheus.CounterVec {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: s.describe("counter", name, help, labels), Help: help}, labels)
	s.Registry.MustRegister(c)
	return c
}

// Gauges makes a gauge with labels.
func (s *Set) Gauges(name, help string, labels ...string) *prometheus.GaugeVec {
	g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: s.describe("gauge", name, help, labels), Help: help}, labels)
	s.Registry.MustRegister(g)
	return g
}

// Gauge makes a gauge.
func (s *Set) Gauge(name, help string) prometheus.Gauge {
	return s.Gauges(name, help).WithLabelValues()
}

// Histograms makes a histogram with labels.
func (s *Set) Histograms(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
	h := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: s.describe("histogram", name, help, labels), Help: help, Buckets: buckets}, labels)
	s.Registry.MustRegister(h)
	return h
}

// describe notes a metric and returns its whole name.
func (s *Set) describe(kind, name, help string, labels []string) string {
	name = prometheus.BuildFQName("pillion", s.program, name)
	s.Described = append(s.Described, Description{Name: name, Type: kind, Labels: labels, Help: help})
	return name
}
