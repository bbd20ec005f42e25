package meshservice

import (
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/pillion-mesh/pillion/e2e/sandbox"
	"github.com/pillion-mesh/pillion/e2e/traffic"
)

// Ports of TestInboundLimits. The last ones are not in the document: they are the
// controls.
const (
	concurrentPort, ratePort, timeoutPort, waitingPort, bytesPort = "8080", "8081", "8082", "8083", "8084"
	freePort, freeBytesPort                                       = "8090", "8091"
)

// TestInboundLimits holds what each limit of a port does, beside a port without.
func TestInboundLimits(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	p := c.pod("shop", "shop.test")
	m := c.meshedIn(p, `inbound:
		- {port: 8080, maxConcurrentRequests: 5}
		- {port: 8081, rateLimit: {requests: 5, per: 60s}}
		- {port: 8082, timeout: 300ms}
		- {port: 8083, maxConnections: 2}
		- {port: 8084, protocol: TCP, maxConnections: 2}
	`, sandbox.App{})
	clients := c.pod("clients")
	l := limits{c, m, clients}
	t.Run("concurrent requests", l.concurrent)
	t.Run("rate", l.rate)
	t.Run("timeout", l.timeout)
	t.Run("connections of HTTP wait", l.waiting)
	t.Run("connections of bytes are closed", l.bytes)
}

type limits struct {
	cluster
	of      *meshed
	clients *sandbox.Pod
}

// gated serves a gate on a port until closed, and sends requests to it over HTTP/1.
func (l limits) gated(t *testing.T, port string) (*traffic.Gate, func() answer) {
	t.Helper()
	return l.gatedBy(t, port, cluster{T: t, dns: l.dns}.client(l.clients))
}

func (l limits) gatedBy(t *testing.T, port string, by http.RoundTripper) (*traffic.Gate, func() answer) {
	t.Helper()
	g := traffic.NewGate()
	web := &http.Server{Handler: g, Protocols: both()}
	l.of.Serve(t, port, web.Serve)
	t.Cleanup(func() { _ = web.Close() })
	return g, func() answer { return ask(t.Context(), by, http.MethodGet, "http://shop.test:"+port+"/") }
}

func (l limits) concurrent(t *testing.T) {
	t.Run("HTTP/1", func(t *testing.T) { l.concurrentBy(t, cluster{T: t, dns: l.dns}.client(l.clients)) })
	t.Run("HTTP/2", func(t *testing.T) { l.concurrentBy(t, cluster{T: t, dns: l.dns}.client2(l.clients)) })
}

func (l limits) concurrentBy(t *testing.T, by http.RoundTripper) {
	t.Helper()
	for port, want := range map[string]int{concurrentPort: 5, freePort: 12} {
		g, send := l.gatedBy(t, port, by)
		u := press(t, g, 12, send)
		if u.inside != want || len(u.answered) != 12-want {
			t.Errorf("port %s: the app works on %d of 12 requests and %d were answered, want %d", port, u.inside, len(u.answered), want)
		}
		for _, a := range u.answered {
			a.wants(t, "one too many", http.StatusServiceUnavailable)
		}
		if good := u.release(g); good != want {
			t.Errorf("port %s: %d were served, want %d", port, good, want)
		}
	}
}

func (l limits) rate(t *testing.T) {
	for port, want := range map[string]int{ratePort: 5, freePort: 20} {
		g, send := l.gated(t, port)
		close(g.Open)
		codes := together(20, func(int) answer { return send() })
		if codes[http.StatusOK] != want || codes[http.StatusTooManyRequests] != 20-want {
			t.Errorf("port %s: answers by their codes %v, want %d with 200 and the others with 429", port, codes, want)
		}
	}
}

// timeout waits for three requests that are given up, while one on a port without a
// timeout, which began before them, is still waited for.
func (l limits) timeout(t *testing.T) {
	free, sendFree := l.gated(t, freePort)
	waiting := press(t, free, 1, sendFree)
	_, send := l.gated(t, timeoutPort)
	for range 3 {
		send().wants(t, "an app that does not answer", http.StatusGatewayTimeout)
	}
	if good := waiting.release(free); good != 1 {
		t.Errorf("the request without a timeout: %v", waiting.later)
	}
}

func (l limits) waiting(t *testing.T) {
	for port, most := range map[string]int{waitingPort: 2, freePort: 6} {
		g, send := l.gated(t, port)
		// Envoy counts connections by the app's address, which it gets to know by a request.
		// This one stays, or Envoy would forget it again.
		first := press(t, g, 1, send)
		if port == waitingPort {
			sandbox.Eventually(t, "Envoy knows the app", longest, func() bool { return l.of.stat("cluster.inbound_"+port+".membership_total") == 1 })
		}
		sent := make(chan answer, 5)
		for range 5 {
			go func() { sent <- send() }()
		}
		for range most - 1 {
			<-g.Came
		}
		// All six have come to Envoy; the app sees the others only once it has answered one.
		sandbox.Eventually(t, "Envoy has six requests", longest, func() bool { return l.of.stat("http.inbound_http.downstream_rq_active") >= 6 })
		if more := len(g.Came); more > 0 {
			t.Errorf("port %s: the app got %d requests, want %d", port, most+more, most)
		}
		if good := first.release(g); good != 1 {
			t.Errorf("port %s: the first request: %v", port, first.later)
		}
		for range 5 {
			(<-sent).wants(t, "one that waited", http.StatusOK)
		}
	}
}

func (l limits) bytes(t *testing.T) {
	for port, most := range map[string]int{bytesPort: 2, freeBytesPort: 6} {
		l.of.Serve(t, port, traffic.Accept(echo))
		open := 0
		for range 6 {
			if works(t, l.clients, l.of.IPv4.String(), port) {
				open++
			}
		}
		if open != most {
			t.Errorf("port %s: %d connections work, want %d", port, open, most)
		}
	}
}

// works opens a connection to an echo server, which stays open, and says whether it
// echoes.
func works(t *testing.T, from *sandbox.Pod, host, port string) bool {
	t.Helper()
	connection, err := from.DialToSpeak(t.Context(), "tcp", net.JoinHostPort(host, port))
	if err != nil {
		return false
	}
	t.Cleanup(func() { _ = connection.Close() })
	_ = connection.SetDeadline(time.Now().Add(longest))
	_, _ = io.WriteString(connection, "hello\n")
	read := make([]byte, 6)
	_, err = io.ReadFull(connection, read)
	return err == nil && string(read) == "hello\n"
}
