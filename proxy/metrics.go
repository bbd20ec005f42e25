package proxy

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/pillion-mesh/pillion/bootstrap"
	"github.com/pillion-mesh/pillion/lifecycle"
)

const (
	// scrapeTime is what Envoy gets to answer a scrape.
	scrapeTime = 10 * time.Second
	// longestLine and mostSeries, of destinations and of all others, bound a scrape,
	// whatever Envoy has come to hold.
	longestLine = 64 << 10
	mostSeries  = 100_000
)

// keptMetrics are the beginnings of the names of Envoy's metrics that are passed on.
func keptMetrics() []string {
	return []string{
		"envoy_server_live", "envoy_server_state", "envoy_server_uptime", "envoy_server_memory_", "envoy_server_concurrency",
		"envoy_server_total_connections", "envoy_overload_",
		"envoy_cluster_manager_active_clusters", "envoy_cluster_manager_warming_clusters", "envoy_cluster_manager_cds_update_",
		"envoy_listener_manager_lds_update_", "envoy_listener_manager_total_listeners_",
		"envoy_cluster_upstream_", "envoy_cluster_membership_", "envoy_cluster_outlier_detection_ejections_",
		"envoy_http_local_rate_limit_",
		"envoy_http_adaptive_concurrency_gradient_controller_rq_blocked", "envoy_http_adaptive_concurrency_gradient_controller_concurrency_limit",
		"envoy_http_adaptive_concurrency_gradient_controller_min_rtt_msecs", "envoy_http_adaptive_concurrency_gradient_controller_sample_rtt_msecs",
		"envoy_http_downstream_cx_active", "envoy_http_downstream_cx_total", "envoy_http_downstream_cx_protocol_error",
		"envoy_http_downstream_rq_active", "envoy_http_downstream_rq_total", "envoy_http_downstream_rq_xx", "envoy_http_downstream_rq_time",
		"envoy_http_rds_update_",
		"envoy_tcp_downstream_cx_total", "envoy_tcp_downstream_cx_rx_bytes_total", "envoy_tcp_downstream_cx_tx_bytes_total",
		"envoy_listener_downstream_cx_active", "envoy_listener_downstream_cx_total", "envoy_listener_downstream_cx_overload_reject",
	}
}

// metrics are Envoy's, of which some are passed on, and our own.
func (s *status) metrics(w http.ResponseWriter, r *http.Request) {
	select {
	case s.scrapes <- struct{}{}:
		defer func() { <-s.scrapes }()
	default:
		http.Error(w, fmt.Sprintf("%d scrapes are running already.", mostScrapes), http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	out := bufio.NewWriter(w)
	defer out.Flush()
	left, err := s.passOn(r.Context(), out)
	s.ownMetrics(out, left, err)
}

// passOn passes Envoy's metrics on. left is of how many destinations there are none, as
// there were too many.
func (s *status) passOn(ctx context.Context, out io.Writer) (left int, err error) {
	ctx, cancel := context.WithTimeout(ctx, scrapeTime)
	defer cancel()
	response, err := s.admin.open(ctx, http.MethodGet, "/stats/prometheus")
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return 0, &refusal{path: "/stats/prometheus", status: response.StatusCode}
	}
	return filter(response.Body, out, s.mesh.state().keeps)
}

// filter passes on the lines of metrics that are kept: samples, and the comment
// before them that says what kind of metric it is. Where there are too many, destinations
// are left out: they are what there can be thousands of.
func filter(from io.Reader, to io.Writer, keeps bootstrap.Statistics) (left int, err error) {
	kept := keptMetrics()
	lines := bufio.NewScanner(from)
	lines.Buffer(nil, longestLine)
	gathered, kind := gather(keeps), ""
	for err == nil && lines.Scan() {
		// Where Envoy broke off, the last line is a part of one.
		if lines.Err() != nil {
			break
		}
		line := lines.Text()
		name, isComment := strings.CutPrefix(line, "# TYPE ")
		if !slices.ContainsFunc(kept, func(prefix string) bool { return strings.HasPrefix(name, prefix) }) {
			continue
		}
		if isComment {
			kind = line
			continue
		}
		if destination := destinationOf(line); keepsSample(line, destination, keeps.Destinations) {
			err = gathered.add(sample{kind, line, destination})
		}
	}
	return len(gathered.left), errors.Join(err, lines.Err(), gathered.write(to))
}

// destinationOf is the destination that a sample is of, if it is of one. That of a
// fallback belongs to the destination that is called first; names have no underscore.
func destinationOf(sample string) string {
	_, labels, _ := strings.Cut(sample, `envoy_cluster_name="`)
	cluster, _, ok := strings.Cut(labels, `"`)
	if !ok || !bootstrap.OfDestination(cluster) {
		return ""
	}
	name, _, _ := strings.Cut(cluster, "_")
	return name
}

// keepsSample says whether a sample is passed on. What is no destination's always is.
func keepsSample(sample, destination, level string) bool {
	if destination == "" || level == bootstrap.StatisticsDetailed {
		return true
	}
	if level == bootstrap.StatisticsNone {
		return false
	}
	// A histogram without its buckets has a sum and a count: the mean, and the rate. The last
	// bucket is what makes it a histogram.
	bucket, _, isBucket := strings.Cut(sample, "{")
	if isBucket && strings.HasSuffix(bucket, "_bucket") {
		return strings.Contains(sample, `le="+Inf"`)
	}
	return !strings.HasPrefix(sample, "envoy_cluster_upstream_cx_active{") && !strings.HasPrefix(sample, "envoy_cluster_upstream_cx_total{")
}

// Metric is one of pillion-proxy's own, with what the reference says about it.
type Metric struct{ Name, Type, Label, Help string }

// Metrics are all of them, in the order in which they are exposed.
func Metrics() []Metric {
	return []Metric{
		{"pillion_proxy_info", "gauge", "version", "Version of pillion-proxy, always 1."},
		{"pillion_proxy_ready", "gauge", "", "Whether Envoy serves: live, with its configuration and both listeners."},
		{"pillion_proxy_draining", "gauge", "", "Whether the pod drains."},
		{"pillion_proxy_envoy_scrape_failed", "gauge", "", "Whether Envoy did not give its metrics."},
		{"pillion_proxy_envoy_metrics_cut", "gauge", "", "Destinations of which no metrics are passed on: with them there would be more series than statistics.maxSeries."},
		{"pillion_proxy_generation_info", "gauge", "version", "Version of the MeshService's generation that is in force, or passthrough; always 1."},
		{"pillion_proxy_generation_pending", "gauge", "", "Whether another generation is on the way to be in force."},
		{"pillion_proxy_generation_wanted_rejected", "gauge", "", "Whether the generation that is wanted was rejected, so that an earlier one is in force."},
		{"pillion_proxy_generation_applied_total", "counter", "", "Generations that this container has brought into force."},
		{"pillion_proxy_generation_rejected_total", "counter", "", "Generations that were rejected, by pillion-proxy or by Envoy."},
		{"pillion_proxy_start_seconds", "gauge", "", "Time from the start of this container until Envoy served, in seconds; not there until then."},
	}
}

func (s *status) ownMetrics(out io.Writer, left int, failed error) {
	is := s.mesh.state()
	running := "passthrough"
	if is.status.Running != nil {
		running = is.status.Running.Version
	}
	values := map[string]float64{
		"pillion_proxy_info":                       1,
		"pillion_proxy_ready":                      number(len(s.missing()) == 0),
		"pillion_proxy_draining":                   number(s.sidecar.drains()),
		"pillion_proxy_envoy_scrape_failed":        number(failed != nil),
		"pillion_proxy_envoy_metrics_cut":          float64(left),
		"pillion_proxy_generation_info":            1,
		"pillion_proxy_generation_pending":         number(is.status.State == lifecycle.MeshApplying),
		"pillion_proxy_generation_wanted_rejected": number(is.status.State == lifecycle.MeshRejected),
		"pillion_proxy_generation_applied_total":   float64(is.applied),
		"pillion_proxy_generation_rejected_total":  float64(is.rejected),
	}
	if after := s.readyAfter.Load(); after > 0 {
		values["pillion_proxy_start_seconds"] = time.Duration(after).Seconds()
	}
	labels := map[string]string{
		"pillion_proxy_info":            label("version", s.sidecar.Version),
		"pillion_proxy_generation_info": label("version", running),
	}
	for _, m := range Metrics() {
		if value, ok := values[m.Name]; ok {
			_, _ = fmt.Fprintf(out, "# HELP %s %s\n# TYPE %s %s\n%s%s %g\n", m.Name, m.Help, m.Name, m.Type, m.Name, labels[m.Name], value)
		}
	}
}

// label is one with any value.
func label(name, value string) string {
	return "{" + name + `="` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(value) + `"}`
}

func number(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}
