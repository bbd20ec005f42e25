package meshservice

import (
	"context"
	"net/http"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pillion-mesh/pillion/e2e/sandbox"
	"github.com/pillion-mesh/pillion/e2e/traffic"
)

// TestProtocols: a destination is spoken to in its own protocol, whatever the app
// speaks. Without the declaration the server gets what the app speaks, and does not
// understand it.
func TestProtocols(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	server := c.pod("server", "old.test", "new.test", "same.test", "undeclared.test")
	old, modern := &http.Server{Handler: http.HandlerFunc(traffic.Answer)}, &http.Server{Handler: http.HandlerFunc(traffic.Answer), Protocols: new(http.Protocols)}
	modern.Protocols.SetUnencryptedHTTP2(true)
	server.Serve(t, "8080", old.Serve)
	server.Serve(t, "8081", modern.Serve)
	c.serve(server, traffic.Answer, "8082")
	m := c.meshed("shop", `egress:
		- {name: old, host: old.test, port: 8080, protocol: HTTP1}
		- {name: new, host: new.test, port: 8081, protocol: HTTP2}
		- {name: same, host: same.test, port: 8082, protocol: HTTP}
	`, sandbox.App{})
	clients := map[string]http.RoundTripper{"HTTP/1.1": c.client(m.Pod), "HTTP/2.0": c.client2(m.Pod)}
	for _, test := range []struct {
		client, url string
		// got is what the server sees, nothing where it does not work.
		got string
	}{
		{"HTTP/2.0", "http://old.test:8080/", "HTTP/1.1"}, {"HTTP/1.1", "http://old.test:8080/", "HTTP/1.1"}, {"HTTP/2.0", "http://undeclared.test:8080/", ""},
		{"HTTP/1.1", "http://new.test:8081/", "HTTP/2.0"}, {"HTTP/2.0", "http://new.test:8081/", "HTTP/2.0"}, {"HTTP/1.1", "http://undeclared.test:8081/", ""},
		{"HTTP/1.1", "http://same.test:8082/", "HTTP/1.1"}, {"HTTP/2.0", "http://same.test:8082/", "HTTP/2.0"},
	} {
		a := ask(t.Context(), clients[test.client], http.MethodPost, test.url)
		if got := a.header.Get("X-Protocol"); got != test.got || (a.code == http.StatusOK) != (test.got != "") {
			t.Errorf("%s to %s: %s, and the server saw %q, want %q", test.client, test.url, a, got, test.got)
		}
	}
}

// TestDeclaredServicesByAllTheirNames: an app may call a Service by any name that
// leads to it, and Envoy finds the destination by it. One by host is that name alone, and the
// names of another cluster's domain are not known.
func TestDeclaredServicesByAllTheirNames(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	server := c.pod("server")
	c.serve(server, traffic.Answer, "80", "8080", "8081")
	service := sandbox.NewService(t, server)
	names := []string{"cart", "cart.default", "cart.default.svc", "cart.default.svc.cluster.local", "cart.default.svc.cluster.local."}
	const otherDomain = "cart.default.svc.corp.example"
	for _, name := range append([]string{otherDomain}, names...) {
		c.dns.Set(name, service.IPv4)
	}
	m := c.meshed("shop", `egress:
		- {name: web, service: {name: cart}, port: 80}
		- {name: other, service: {name: cart}, port: 8080}
		- {name: host, host: cart.default.svc.cluster.local, port: 8081}
	`, sandbox.App{})
	goesBy := func(name, destination string) {
		counter := "cluster." + destination + ".upstream_rq_total"
		before := m.stat(counter)
		ask(t.Context(), c.client(m.Pod), http.MethodPost, "http://"+name+"/").wants(t, name, http.StatusOK)
		if m.stat(counter) != before+1 {
			t.Errorf("%s did not go by the destination %s", name, destination)
		}
	}
	for _, name := range names {
		for port, destination := range map[string]string{"": "web", ":80": "web", ":8080": "other"} {
			goesBy(name+port, destination)
		}
	}
	goesBy(otherDomain, "outbound_passthrough")
	// A host is that name alone.
	goesBy("cart.default.svc.cluster.local:8081", "host")
	goesBy("cart:8081", "outbound_passthrough")
	goesBy("cart.default:8081", "outbound_passthrough")
}

// TestDeclaredRequestsStayWhatTheyAre: a destination with everything switched on gets
// the headers that it gets without, and the app those that the destination sends.
func TestDeclaredRequestsStayWhatTheyAre(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	server := c.pod("server", "declared.test", "undeclared.test", "other.test")
	c.serve(server, traffic.Answer, "8080")
	m := c.meshed("shop", `egress:
		- name: declared
		  host: declared.test
		  port: 8080
		  timeout: 10s
		  retries: {when: [ConnectFailure, RefusedStream, Reset, Unavailable], perTryTimeout: 5s}
		  breakers: {maxRequests: 100}
		  outlierDetection: {}
		  routes: [{headers: [{name: x-other, value: there}], to: other, fallback: {when: Fails}}]
		- {name: other, host: other.test, port: 8080}
	`, sandbox.App{})
	for client, by := range map[string]http.RoundTripper{"HTTP/1": c.client(m.Pod), "HTTP/2": c.client2(m.Pod)} {
		for _, header := range [][]string{nil, {"X-Forwarded-Proto", "https"}, {"X-Request-Id", "mine", "X-Envoy-Other", "theirs"}, {"x-other", "there"}} {
			for _, method := range []string{http.MethodGet, http.MethodPost} {
				seen := func(host string) []string {
					a := ask(t.Context(), by, method, "http://"+host+".test:8080/a", header...)
					a.wants(t, host, http.StatusOK)
					lines := a.header.Values("X-Got")
					for name := range a.header {
						lines = append(lines, name)
					}
					slices.Sort(lines)
					return lines
				}
				if diff := cmp.Diff(seen("undeclared"), seen("declared")); diff != "" {
					t.Errorf("%s, %s with %q: without a declaration -, with it +\n%s", client, method, header, diff)
				}
			}
		}
	}
}

// TestPortBecomesBytes changes the protocol of a port to TCP, whose app speaks nothing but
// HTTP/2, while a client calls it over a connection that it has. No request fails.
func TestPortBecomesBytes(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	p := c.pod("shop", "shop.test")
	app := &http.Server{Handler: http.HandlerFunc(traffic.Answer), Protocols: new(http.Protocols)}
	app.Protocols.SetUnencryptedHTTP2(true)
	p.Serve(t, "8080", app.Serve)
	m := c.meshedIn(p, "inbound: [{port: 8080, maxConnections: 100}]\n", sandbox.App{})
	by := c.client2(c.pod("client"))
	ctx, stop := context.WithCancel(t.Context())
	var calling sync.WaitGroup
	t.Cleanup(calling.Wait)
	t.Cleanup(stop)
	calling.Go(func() {
		for ctx.Err() == nil {
			ask(t.Context(), by, http.MethodPost, "http://shop.test:8080/").wants(t, "while the port changes", http.StatusOK)
		}
	})
	sandbox.Eventually(t, "requests come to the port", longest, func() bool { return m.stat("cluster.inbound_8080.upstream_rq_total") > 0 })
	m.change("inbound: [{port: 8080, protocol: TCP, maxConnections: 100}]\n")
	stop()
	calling.Wait()
}
