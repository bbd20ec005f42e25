package meshservice

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/pillion-mesh/pillion/e2e/injected"
	"github.com/pillion-mesh/pillion/e2e/sandbox"
	"github.com/pillion-mesh/pillion/e2e/traffic"
)

// promised are the metrics that the pages for owners name, each with the destination or
// the port that its label says.
func promised() map[string]string {
	const destination, port = `envoy_cluster_name="cart"`, `envoy_cluster_name="inbound_8080"`
	return map[string]string{
		"envoy_cluster_upstream_rq_total": destination, "envoy_cluster_upstream_rq_xx": destination, "envoy_cluster_upstream_rq_active": destination,
		"envoy_cluster_upstream_rq_timeout": destination, "envoy_cluster_upstream_rq_per_try_timeout": destination,
		"envoy_cluster_upstream_rq_retry": destination, "envoy_cluster_upstream_rq_retry_success": destination, "envoy_cluster_upstream_rq_retry_overflow": destination,
		"envoy_cluster_upstream_rq_active_overflow": port, "envoy_cluster_upstream_rq_pending_overflow": destination, "envoy_cluster_upstream_cx_overflow": destination,
		"envoy_cluster_upstream_cx_connect_fail": destination, "envoy_cluster_upstream_cx_connect_timeout": destination,
		"envoy_cluster_upstream_cx_destroy_remote_with_active_rq": destination,
		"envoy_cluster_upstream_rq_time_sum":                      destination, "envoy_cluster_upstream_rq_time_count": destination,
		"envoy_cluster_membership_healthy": destination, "envoy_cluster_membership_total": destination,
		"envoy_cluster_outlier_detection_ejections_active": destination, "envoy_cluster_outlier_detection_ejections_enforced_total": destination,
		"envoy_http_local_rate_limit_rate_limited":                              `envoy_local_http_ratelimit_prefix="inbound_8080"`,
		"envoy_http_adaptive_concurrency_gradient_controller_rq_blocked":        "inbound_http",
		"envoy_http_adaptive_concurrency_gradient_controller_concurrency_limit": "inbound_http",
		"envoy_http_downstream_rq_xx":                                           "inbound_http",
	}
}

// TestStatistics holds that what owners are told to watch is on the status port under
// the name of their own document, as much of it as they asked for, and that what
// clients send makes no further series.
func TestStatistics(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	p := c.pod("shop", "shop.test")
	server := c.pod("server", "cart.test", "other.test")
	c.serve(server, traffic.Answer, "80")
	c.serve(p, traffic.Answer, "8080")
	spec := func(statistics string) string {
		return `inbound:
			- {port: 8080, maxConcurrentRequests: 100, rateLimit: {requests: 1000}, adaptiveConcurrency: {}}
			statistics: {` + statistics + `}
			egress:
			- {name: cart, host: cart.test, port: 80, retries: {}, outlierDetection: {}, breakers: {maxRequests: 100}}
			`
	}
	m := c.meshedIn(p, spec(""), sandbox.App{})
	inside, outside := c.client(m.Pod), c.client(server)
	send := func(n int) {
		for _, host := range []string{"cart.test", fmt.Sprintf("other%d.test", n)} {
			c.dns.Set(host, server.IPv4)
			ask(t.Context(), inside, http.MethodPost, fmt.Sprintf("http://%s/path/%d?q=%d", host, n, n), fmt.Sprintf("x-%d", n), "x").wants(t, host, http.StatusOK)
		}
		ask(t.Context(), outside, http.MethodPost, fmt.Sprintf("http://shop.test:8080/%d", n), "x-request-id", fmt.Sprint(n)).wants(t, "inbound", http.StatusOK)
	}
	send(0)
	standard := m.scrape()
	for name, label := range promised() {
		if standard.with(name+"{", label) == 0 {
			t.Errorf("there is no series of %s with %s", name, label)
		}
	}
	for n := range 200 {
		send(n + 1)
	}
	if more := m.scrape(); more.series != standard.series {
		t.Errorf("there were %d series, and %d after requests with other paths, hosts and headers", standard.series, more.series)
	}
	const cart, buckets = `envoy_cluster_name="cart"`, "envoy_cluster_upstream_rq_time_bucket{"
	m.change(spec("destinations: Detailed"))
	send(0)
	if detailed := m.scrape(); standard.with(buckets, cart) != 1 || detailed.with(buckets, cart) < 10 || detailed.with("envoy_cluster_upstream_cx_active{", cart) != 1 || detailed.with("envoy_cluster_upstream_cx_total{", cart) != 1 {
		t.Errorf("%d buckets, and %d with all details", standard.with(buckets, cart), detailed.with(buckets, cart))
	}
	m.change(spec("destinations: None"))
	if none := m.scrape(); none.with("", cart) != 0 || none.with("", `"inbound_8080"`) == 0 {
		t.Errorf("%d series of a destination where none are wanted, %d of the port", none.with("", cart), none.with("", `"inbound_8080"`))
	}
	// Where destinations have too many series, some are there with all of theirs, and the
	// others, as often as it says, with none; nothing else is left out.
	several := "- {name: cart, host: cart.test, port: 80}\n"
	for port := 81; port < 86; port++ {
		several += fmt.Sprintf("- {name: cart%[1]d, host: cart.test, port: %[1]d}\n", port)
	}
	every := func(statistics string) scrape {
		m.change(`inbound:
			- {port: 8080, maxConcurrentRequests: 100, rateLimit: {requests: 1000}, adaptiveConcurrency: {}}
			statistics: {destinations: Detailed` + statistics + `}
			egress:
			` + several)
		for port := 80; port < 86; port++ {
			ask(t.Context(), inside, http.MethodPost, fmt.Sprintf("http://cart.test:%d/", port)).wants(t, "another destination", http.StatusOK)
		}
		return m.scrape()
	}
	c.serve(server, traffic.Answer, "81", "82", "83", "84", "85")
	whole, cut := every(""), every(", maxSeries: 150")
	left, seen := 0, 0
	for _, name := range []string{"cart", "cart81", "cart82", "cart83", "cart84", "cart85"} {
		label := `envoy_cluster_name="` + name + `"`
		switch got := cut.with("", label); got {
		case 0:
			left++
		case whole.with("", label):
			seen += got
		default:
			t.Errorf("%d series of %s, and without a limit there are %d", got, name, whole.with("", label))
		}
	}
	if seen == 0 || seen > 150 || left == 0 || cut.with(fmt.Sprint("pillion_proxy_envoy_metrics_cut ", left), "") != 1 || whole.with("pillion_proxy_envoy_metrics_cut 0", "") != 1 {
		t.Errorf("%d series of destinations, want 150 at most; %d destinations are left out, want some and to be told how many", seen, left)
	}
	const port = `"inbound_8080"`
	if got := cut.with("", port); got < standard.with("", port) {
		t.Errorf("%d series of the port, and there were %d", got, standard.with("", port))
	}
}

// scrape is what Prometheus gets.
type scrape struct {
	lines  []string
	series int
}

func (m *meshed) scrape() scrape {
	m.Helper()
	code, body := injected.Status(m.T, m.Pod, m.Pod, http.MethodGet, "/metrics")
	parser := expfmt.NewTextParser(model.LegacyValidation)
	if _, err := parser.TextToMetricFamilies(strings.NewReader(body)); err != nil || code != http.StatusOK {
		m.Fatalf("/metrics: HTTP %d %v", code, err)
	}
	var s scrape
	for line := range strings.Lines(body) {
		if s.lines = append(s.lines, strings.TrimSpace(line)); !strings.HasPrefix(line, "#") {
			s.series++
		}
	}
	return s
}

// with is how many series begin with a name and have a label.
func (s scrape) with(name, label string) int {
	count := 0
	for _, line := range s.lines {
		if strings.HasPrefix(line, name) && strings.Contains(line, label) {
			count++
		}
	}
	return count
}

// of are the series of a metric, of any if the name is empty, that have all of these labels.
func (s scrape) of(name string, labels ...string) []string {
	var found []string
	for _, line := range s.lines {
		lacks := func(label string) bool { return !strings.Contains(line, label) }
		if is, _, _ := strings.Cut(line, "{"); (name == "" || is == name) && !slices.ContainsFunc(labels, lacks) {
			found = append(found, line)
		}
	}
	return found
}

// sum is that of their values.
func (s scrape) sum(name string, labels ...string) int {
	sum := 0.0
	for _, line := range s.of(name, labels...) {
		value, _ := strconv.ParseFloat(line[strings.LastIndexByte(line, ' ')+1:], 64)
		sum += value
	}
	return int(sum)
}
