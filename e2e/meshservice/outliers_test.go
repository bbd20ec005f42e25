package meshservice

import (
	"fmt"
	"net"
	"net/http"
	"testing"

	"github.com/pillion-mesh/pillion/e2e/sandbox"
	"github.com/pillion-mesh/pillion/e2e/traffic"
)

// TestOutlierEjection calls a destination of three addresses, of which one answers
// with errors or ends its connections. Once it is taken out no request fails any more;
// where nobody asked for that, they go on failing.
func TestOutlierEjection(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	good, also, bad := c.pod("good"), c.pod("also"), c.pod("bad")
	hosts := map[string]string{"errors": "8080", "resets": "8081"}
	for name := range hosts {
		for _, host := range []string{name + ".test", "control-" + name + ".test"} {
			c.dns.Set(host, good.IPv4, also.IPv4, bad.IPv4)
		}
	}
	for _, p := range []*sandbox.Pod{good, also} {
		c.serve(p, traffic.Answer, "8080", "8081")
	}
	c.serve(bad, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) }, "8080")
	bad.Serve(t, "8081", traffic.Accept(func(connection net.Conn) { _, _ = connection.Read(make([]byte, 1)) }))
	m := c.meshed("shop", `egress:
		- {name: errors, host: errors.test, port: 8080, outlierDetection: {consecutiveErrors: 3, ejectionTime: 60s}}
		- {name: resets, host: resets.test, port: 8081, outlierDetection: {consecutiveErrors: 3, ejectionTime: 60s}}
		- {name: control-errors, host: control-errors.test, port: 8080}
		- {name: control-resets, host: control-resets.test, port: 8081}
	`, sandbox.App{})
	by := c.client(m.Pod)
	for name, port := range hosts {
		// failures of requests one after the other.
		failures := func(host string, requests int) int {
			failed := 0
			for range requests {
				if ask(t.Context(), by, http.MethodGet, "http://"+host+".test:"+port+"/").code != http.StatusOK {
					failed++
				}
			}
			return failed
		}
		before := failures(name, 60)
		ejected := m.stat("cluster." + name + ".outlier_detection.ejections_active")
		after, control := failures(name, 60), failures("control-"+name, 120)
		t.Logf("%s: %d of 60 requests failed, then %d of 60; without it %d of 120", name, before, after, control)
		if before < 3 || before > 9 || after > 0 || ejected != 1 {
			t.Errorf("%s: %d of 60 requests failed, then %d addresses were out, and %d of 60 failed; want some three, 1 and 0", name, before, ejected, after)
		}
		if control < 20 {
			t.Errorf("%s: without it %d of 120 requests failed: this test cannot fail", name, control)
		}
	}
}

// TestOutliersOfMost: where all addresses may be taken out, the one that is left gets all
// requests, and when none is left all are called again: a destination of one address is
// called whatever it answers.
func TestOutliersOfMost(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	good, bad, also := c.pod("good"), c.pod("bad", "one.test"), c.pod("also")
	c.dns.Set("most.test", good.IPv4, bad.IPv4, also.IPv4)
	c.serve(good, traffic.Answer, "8080")
	for _, p := range []*sandbox.Pod{bad, also} {
		c.serve(p, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) }, "8080")
	}
	m := c.meshed("shop", `egress:
		- {name: most, host: most.test, port: 8080, outlierDetection: {consecutiveErrors: 3, ejectionTime: 60s, maxEjectedPercent: 100}}
		- {name: one, host: one.test, port: 8080, outlierDetection: {consecutiveErrors: 3, ejectionTime: 60s, maxEjectedPercent: 100}}
	`, sandbox.App{})
	by := c.client(m.Pod)
	for name, out := range map[string]uint64{"most": 2, "one": 1} {
		url := "http://" + name + ".test:8080/"
		sandbox.Eventually(t, name+": bad addresses are out", longest, func() bool {
			ask(t.Context(), by, http.MethodGet, url)
			return m.stat("cluster."+name+".outlier_detection.ejections_active") == out
		})
		want := map[string]int{"most": http.StatusOK, "one": http.StatusInternalServerError}[name]
		// Envoy tells its workers of a second ejection up to a second after the first.
		sandbox.Eventually(t, fmt.Sprintf("%s: thirty answers with %d in a row", name, want), longest, func() bool {
			for range 30 {
				if ask(t.Context(), by, http.MethodGet, url).code != want {
					return false
				}
			}
			return true
		})
	}
}
