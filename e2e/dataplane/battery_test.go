package dataplane

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/pillion-mesh/pillion/e2e/injected"
	"github.com/pillion-mesh/pillion/e2e/sandbox"
	"github.com/pillion-mesh/pillion/e2e/traffic"
)

// What a connection may go through, as TestInterception says it.
const (
	nothing  = "no Envoy"
	bothHTTP = "outbound HTTP, inbound HTTP"
	bothTCP  = "outbound TCP, inbound TCP"
)

// call is one kind of traffic and which Envoys it has to go through.
type call struct {
	name string
	do   func(client, context.Context) error
	want string
}

// betweenPods is what one pod of the mesh may ask of another.
func betweenPods() []call {
	return []call{
		{"HTTP/1.1", client.http1, bothHTTP},
		{"HTTP/1.0", client.http10, bothHTTP},
		{"HTTP/1.1 with 300 headers of 500 bytes", client.manyHeaders, bothHTTP},
		{"HTTP/1.1 with Expect: 100-continue", client.expectContinue, bothHTTP},
		{"HTTP/2 with prior knowledge", client.http2, bothHTTP},
		{"h2c upgrade, which stays HTTP/1.1", client.upgradeToH2C, bothHTTP},
		{"gRPC unary", client.unary, bothHTTP},
		{"gRPC streaming", client.streaming, bothHTTP},
		{"WebSocket", client.webSocket, bothHTTP},
		{"CONNECT through a forward proxy", client.connect, bothHTTP},
		{"TLS", client.tls, bothTCP},
		{"raw TCP", client.echo, bothTCP},
		{"server-first on an unreserved port", serverFirst(greetPort, time.Second), bothTCP},
		{"server-first on a reserved port: MySQL", serverFirst(mysqlPort, noDelay), nothing},
		{"server-first on a reserved port: SMTP", serverFirst(smtpPort, noDelay), nothing},
		{"UDP", client.udp, nothing},
	}
}

// noDelay is far below what a listener filter's timeout costs, and far above what
// connecting does.
const noDelay = 300 * time.Millisecond

// serverFirst waits for the greeting and fails where it always takes longer: a busy machine
// is slow at times, and a delay that is due to us is there every time.
func serverFirst(port string, longest time.Duration) func(client, context.Context) error {
	return func(c client, ctx context.Context) error {
		var quickest time.Duration
		for n := range 20 {
			took, err := c.greeted(ctx, port)
			if err != nil || took <= longest {
				return err
			}
			if n == 0 || took < quickest {
				quickest = took
			}
		}
		return fmt.Errorf("the server's greeting took %s at least, longer than %s", quickest, longest)
	}
}

// TestInterception sends every kind of traffic through every backend, with both
// families, and says for each which Envoys it went through.
func TestInterception(t *testing.T) {
	for _, backend := range []string{"nftables", "iptables"} {
		t.Run(backend, func(t *testing.T) {
			a, b := sandbox.NewPod(t, "a"), sandbox.NewPod(t, "b")
			serve(t, a)
			serve(t, b)
			w := want{backend: backend, annotations: map[string]string{"pillion.dev/excluded-cidrs": "198.18.0.0/15,2001:2::/48"}}
			route := route{from: run(t, a, w, sandbox.App{}), to: run(t, b, w, sandbox.App{})}
			service := sandbox.NewService(t, a)
			for _, family := range []struct{ name, own, other, service, loopback, excluded, metadata string }{
				{"IPv4", a.IPv4.String(), b.IPv4.String(), service.IPv4.String(), "127.0.0.1", "198.18.0.1", "169.254.169.254"},
				{"IPv6", a.IPv6.String(), b.IPv6.String(), service.IPv6.String(), "::1", "2001:2::1", "fd00:ec2::254"},
			} {
				t.Run(family.name, func(t *testing.T) {
					for _, c := range betweenPods() {
						route.goes(t, c, client{a, family.other})
					}
					outside := sandbox.NewPod(t, "outside")
					for _, c := range []struct {
						call
						client
					}{
						{call{"localhost", client.http1, nothing}, client{a, family.loopback}},
						{call{"the pod's own address", client.http1, nothing}, client{a, family.own}},
						{call{"the pod's own Service", client.http1, "outbound HTTP, own inbound HTTP"}, client{a, family.service}},
						{call{"from a pod outside the mesh", client.http1, "inbound HTTP"}, client{outside, family.other}},
						{call{"from a pod outside the mesh, raw TCP", client.echo, "inbound TCP"}, client{outside, family.other}},
						{call{"from a pod outside the mesh, MySQL", serverFirst(mysqlPort, noDelay), nothing}, client{outside, family.other}},
					} {
						route.goes(t, c.call, c.client)
					}
					for name, host := range map[string]string{"an excluded network": family.excluded, "the metadata service": family.metadata} {
						onNode(t, host)
						route.goes(t, call{name, client.echo, nothing}, client{a, host})
					}
					onNode(t, strings.Replace(strings.Replace(family.excluded, "198.18", "203.0", 1), "2001:2", "2001:3", 1))
					route.goes(t, call{"a network beside the excluded one", client.echo, "outbound TCP"},
						client{a, strings.Replace(strings.Replace(family.excluded, "198.18", "203.0", 1), "2001:2", "2001:3", 1)})
				})
			}
		})
	}
}

// onNode gives the node an address with an echo server.
func onNode(t *testing.T, host string) {
	t.Helper()
	sandbox.NewAddress(t, netip.MustParseAddr(host))
	listener, err := net.Listen("tcp", net.JoinHostPort(host, echoPort))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		_ = traffic.Accept(func(c net.Conn) { buffer := make([]byte, 100); n, _ := c.Read(buffer); _, _ = c.Write(buffer[:n]) })(listener)
	}()
}

// route is two pods of the mesh, and what their Envoys count.
type route struct{ from, to *sandbox.Running }

// goes makes a call and fails unless it works and goes where it should.
func (r route) goes(t *testing.T, c call, by client) {
	t.Helper()
	t.Run(c.name, func(t *testing.T) {
		before := r.counts(t)
		ctx, cancel := context.WithTimeout(t.Context(), longest)
		defer cancel()
		if err := c.do(by, ctx); err != nil {
			t.Fatalf("%v", err)
		}
		var through []string
		for _, count := range r.counts(t) {
			if count.value > before.of(count.name) {
				through = append(through, count.name)
			}
		}
		got := strings.Join(through, ", ")
		if got == "" {
			got = nothing
		}
		if got != c.want {
			t.Errorf("went through %s, want %s", got, c.want)
		}
	})
}

// count is a counter of an Envoy, by the name under which TestInterception says it.
type count struct {
	name  string
	value uint64
}

type counts []count

func (c counts) of(name string) uint64 {
	for _, one := range c {
		if one.name == name {
			return one.value
		}
	}
	return 0
}

func (r route) counts(t *testing.T) counts {
	t.Helper()
	from, to := injected.Stats(t, r.from), injected.Stats(t, r.to)
	return counts{
		{"outbound HTTP", from["http.outbound_http.downstream_rq_total"]}, {"outbound TCP", from["tcp.outbound_tcp.downstream_cx_total"]},
		{"own inbound HTTP", from["http.inbound_http.downstream_rq_total"]}, {"own inbound TCP", from["tcp.inbound_tcp.downstream_cx_total"]},
		{"inbound HTTP", to["http.inbound_http.downstream_rq_total"]}, {"inbound TCP", to["tcp.inbound_tcp.downstream_cx_total"]},
		{"other's outbound HTTP", to["http.outbound_http.downstream_rq_total"]}, {"other's outbound TCP", to["tcp.outbound_tcp.downstream_cx_total"]},
	}
}
