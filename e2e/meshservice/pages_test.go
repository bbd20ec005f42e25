package meshservice

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/pillion-mesh/pillion/e2e/sandbox"
)

// TestPagesNameRealMetrics: each series that the pages for owners tell to watch, with the
// labels that they give it, is on the status port of a pod that has the destinations and
// the ports of their examples.
func TestPagesNameRealMetrics(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	p := c.pod("shop", "shop.test")
	server := c.pod("server", "cart.test", "recommendations.test", "catalog.test", "cache.test")
	fails := func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) }
	for pod, ports := range map[*sandbox.Pod][]string{server: {"80"}, p: {"8080", "9090"}} {
		c.serve(pod, fails, ports...)
	}
	c.rpc(server, "9000", func(string) (string, error) { return "well", nil })
	c.rpc(server, "9001", func(string) (string, error) { return "", status.Error(codes.Unavailable, "the cache is full") })
	m := c.meshedIn(p, `inbound:
		- {port: 8080, maxConcurrentRequests: 100, rateLimit: {requests: 1000}, adaptiveConcurrency: {}}
		- {port: 9090, maxConcurrentStreams: 100}
		egress:
		- {name: cart, host: cart.test, port: 80, retries: {}, outlierDetection: {}, timeout: 5s}
		- {name: recommendations, host: recommendations.test, port: 80, breakers: {maxRequests: 50, maxPendingRequests: 20, maxConnections: 30}}
		- name: catalog
		  host: catalog.test
		  port: 9000
		  protocol: GRPC
		  routes: [{grpc: {service: shop.v1.Catalog, methods: [GetItem]}, to: catalog-cache, fallback: {when: Fails, after: 5s}}]
		- {name: catalog-cache, host: cache.test, port: 9001, protocol: GRPC}
	`, sandbox.App{})
	inside, outside := c.client(m.Pod), c.client(server)
	for url, by := range map[string]http.RoundTripper{
		"http://cart.test/": inside, "http://recommendations.test/": inside, "http://shop.test:8080/": outside, "http://shop.test:9090/": outside,
	} {
		ask(t.Context(), by, http.MethodPost, url).wants(t, url, http.StatusInternalServerError)
	}
	if got, err := call(t.Context(), c.channel(m.Pod, "catalog.test:9000"), "/shop.v1.Catalog/GetItem"); got != "well" {
		t.Errorf("the route with a fallback: %q, %v", got, err)
	}
	there := m.scrape()
	named := 0
	for _, s := range pageSeries(t) {
		named++
		if s.name == "envoy_cluster_upstream_cx_total" {
			continue // with all details only, see TestStatistics
		}
		if len(there.of(s.name, s.labels...)) == 0 {
			t.Errorf("%s tells to watch %s%v, and that is not in a pod", s.page, s.name, s.labels)
		}
	}
	if named < 28 {
		t.Errorf("only %d series are named", named)
	}
}

// series that a page names; labels are as NAME="VALUE".
type series struct {
	page, name string
	labels     []string
}

// pageSeries are Envoy's, also where a page gives a label alone.
func pageSeries(t *testing.T) []series {
	t.Helper()
	pages, err := filepath.Glob("../../docs/services/*.md")
	if err != nil || len(pages) < 10 {
		t.Fatalf("%d pages, %v", len(pages), err)
	}
	var all []series
	label := regexp.MustCompile(`[a-z_]+="[^"]+"`)
	for _, path := range pages {
		page, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, found := range regexp.MustCompile(`\b(envoy_[a-z_]+)(\{[^}]*\}|="[^"]+")?`).FindAllStringSubmatch(string(page), -1) {
			s := series{page: filepath.Base(path), name: found[1]}
			switch {
			case strings.HasPrefix(found[2], "{"):
				s.labels = label.FindAllString(found[2], -1)
				if fmt.Sprintf("{%s}", strings.Join(s.labels, ",")) != found[2] {
					t.Errorf("%s has labels that Prometheus does not read: %s", path, found[0])
				}
			case found[2] != "":
				s.name, s.labels = "", []string{found[0]}
			}
			all = append(all, s)
		}
	}
	return all
}
