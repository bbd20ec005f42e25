package meshservice

import (
	"net/http"
	"strings"
	"testing"

	"github.com/pillion-mesh/pillion/e2e/injected"
	"github.com/pillion-mesh/pillion/e2e/sandbox"
	"github.com/pillion-mesh/pillion/e2e/traffic"
)

// TestBreakers holds that requests above a limit are answered at once and counted, and
// that there is no limit where nobody asked for one.
func TestBreakers(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	server := c.pod("server", "requests.test", "pending.test", "free.test")
	m := c.meshed("shop", `egress:
		- {name: requests, host: requests.test, port: 8080, breakers: {maxRequests: 5}}
		- {name: pending, host: pending.test, port: 8081, breakers: {maxConnections: 3, maxPendingRequests: 2}}
		- {name: free, host: free.test, port: 8082}
	`, sandbox.App{})
	by := c.client(m.Pod)
	gated := func(name, port string) (*traffic.Gate, func() answer) {
		g := traffic.NewGate()
		c.serve(server, g.ServeHTTP, port)
		return g, func() answer { return ask(t.Context(), by, http.MethodGet, "http://"+name+".test:"+port+"/") }
	}
	for name, want := range map[string]int{"requests": 5, "free": 12} {
		g, send := gated(name, map[string]string{"requests": "8080", "free": "8082"}[name])
		u := press(t, g, 12, send)
		if u.inside != want || len(u.answered) != 12-want {
			t.Errorf("%s: the server works on %d of 12 requests and %d were answered, want %d", name, u.inside, len(u.answered), want)
		}
		for _, a := range u.answered {
			a.wants(t, "one too many", http.StatusServiceUnavailable)
			if !strings.Contains(a.body, "overflow") {
				t.Errorf("the answer does not say why: %s", a)
			}
		}
		counted(m, name, "upstream_rq_active_overflow", 12-want)
		counted(m, name, "upstream_rq_pending_overflow", 0)
		counted(m, name, "upstream_cx_overflow", 0)
		if good := u.release(g); good != want {
			t.Errorf("%s: %d were served, want %d", name, good, want)
		}
	}
	// Three are on connections, two may wait, and the other seven may not.
	g, send := gated("pending", "8081")
	first := press(t, g, 3, send)
	answers := make(chan answer, 9)
	for range 9 {
		go func() { answers <- send() }()
	}
	for range 7 {
		(<-answers).wants(t, "one too many to wait", http.StatusServiceUnavailable)
	}
	counted(m, "pending", "upstream_rq_pending_overflow", 7)
	counted(m, "pending", "upstream_rq_active_overflow", 0)
	if m.stat("cluster.pending.upstream_cx_overflow") == 0 {
		t.Error("pending: no connection was one too many")
	}
	if good := first.release(g); good != 3 {
		t.Errorf("pending: %d of the first three were served", good)
	}
	for range 2 {
		(<-answers).wants(t, "one of those that may wait", http.StatusOK)
	}
}

// counted is that a destination's counter is at a number.
func counted(m *meshed, destination, counter string, want int) {
	m.Helper()
	if got := m.stat("cluster." + destination + "." + counter); int(got) != want {
		m.Errorf("%s: %s is %d, want %d", destination, counter, got, want)
	}
}

// TestNoBreakerWhereNobodyAsked has 2,500 requests under way to a destination, each on a
// connection of its own: more than the 1,024 that Envoy allows by default. None is
// refused; where Envoy's defaults are asked for, some are.
func TestNoBreakerWhereNobodyAsked(t *testing.T) {
	const requests = 2500
	c := newCluster(t)
	server := c.pod("server", "free.test", "envoys.test")
	m := c.meshed("shop", `egress:
		- {name: free, host: free.test, port: 8080}
		- {name: envoys, host: envoys.test, port: 8081, breakers: {maxConnections: 1024, maxPendingRequests: 1024, maxRequests: 1024}}
	`, sandbox.App{})
	for name, port := range map[string]string{"free": "8080", "envoys": "8081"} {
		g := traffic.NewGate()
		c.serve(server, g.ServeHTTP, port)
		failed := make(chan int64)
		go func() {
			failed <- traffic.FailedAtOnce(t.Context(), requests, "http://"+name+".test:"+port+"/", c.dialer(m.Pod))
		}()
		overflows := func() uint64 {
			all := injected.Stats(t, m.Running)
			return all["cluster."+name+".upstream_rq_pending_overflow"] + all["cluster."+name+".upstream_rq_active_overflow"]
		}
		sandbox.Eventually(t, "all requests are under way, or one has been refused", 2*longest, func() bool { return len(g.Came) == requests || overflows() > 0 })
		close(g.Open)
		if got, defaults := <-failed, name == "envoys"; (got > 0) != defaults || (overflows() > 0) != defaults {
			t.Errorf("%s: %d of %d requests failed, and %d overflowed", name, got, requests, overflows())
		}
	}
}

// TestSheddingKeepsConnections: what a breaker refuses does not cost the app its
// connection, which it would have to make anew for each, when there is too much to do
// already. Where a destination is found by the app's own DNS, it does: that is how the
// app comes to ask again.
func TestSheddingKeepsConnections(t *testing.T) {
	t.Parallel()
	const requests = 20
	c := newCluster(t)
	server := c.pod("server", "full.test", "nobody.test")
	g := traffic.NewGate()
	c.serve(server, g.ServeHTTP, "8080")
	m := c.meshed("shop", `egress:
		- {name: full, host: full.test, port: 8080, breakers: {maxRequests: 1}}
	`, sandbox.App{})
	first := press(t, g, 1, func() answer { return ask(t.Context(), c.client(m.Pod), http.MethodGet, "http://full.test:8080/") })
	for _, of := range []struct {
		what, url string
		by        *http.Transport
		header    []string
		code      int
		dials     int64
	}{
		{"HTTP/1", "http://full.test:8080/", c.client(m.Pod), nil, http.StatusServiceUnavailable, 1},
		{"HTTP/2", "http://full.test:8080/", c.client2(m.Pod), nil, http.StatusServiceUnavailable, 1},
		{"gRPC", "http://full.test:8080/", c.client2(m.Pod), []string{"Content-Type", "application/grpc"}, http.StatusOK, 1},
		{"HTTP/1 to nobody", "http://nobody.test:8081/", c.client(m.Pod), nil, http.StatusServiceUnavailable, requests},
		{"HTTP/2 to nobody", "http://nobody.test:8081/", c.client2(m.Pod), nil, http.StatusServiceUnavailable, requests},
	} {
		dials := dialled(of.by)
		for range requests {
			ask(t.Context(), of.by, http.MethodGet, of.url, of.header...).wants(t, of.what, of.code)
		}
		if got := dials.Load(); got != of.dials {
			t.Errorf("%s: %d requests that were refused took %d connections, want %d", of.what, requests, got, of.dials)
		}
	}
	if got := m.stat("cluster.full.upstream_rq_active_overflow"); got != 3*requests {
		t.Errorf("%d overflows are counted, want %d", got, 3*requests)
	}
	if good := first.release(g); good != 1 {
		t.Errorf("the request that was let through: %v", first.later)
	}
}
