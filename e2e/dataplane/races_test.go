package dataplane

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pillion-mesh/pillion/e2e/sandbox"
)

func addresses(of ...*sandbox.Pod) []netip.Addr {
	var list []netip.Addr
	for _, p := range of {
		list = append(list, p.IPv4)
	}
	return list
}

// closing is how long the server of TestKeepAliveRace takes between its decision to
// close a connection and the close: what arrives meanwhile is lost, as it is on a
// real network for as long as the close is on its way.
const closing = 100 * time.Millisecond

// TestKeepAliveRace calls a server just when it closes idle connections. Envoy closes
// them before the server does, so no request meets a connection that is about to
// go; where Envoy is told not to, many do.
func TestKeepAliveRace(t *testing.T) {
	const keepAlive = 2 * time.Second
	server := sandbox.NewPod(t, "server")
	serveOn(t, server, httpPort, accept(func(c net.Conn) { serveFor(c, keepAlive) }))

	var errors [2]int64
	var both sync.WaitGroup
	for n, idle := range []string{"1s", "0s"} {
		c := run(t, sandbox.NewPod(t, "client-"+idle), want{annotations: map[string]string{"pillion.dev/upstream-idle-timeout": idle}}, sandbox.App{})
		both.Go(func() { errors[n] = raceErrors(t, c.Pod, server.IPv4.String(), keepAlive) })
	}
	both.Wait()
	if errors[0] > 0 {
		t.Errorf("%d requests failed, want 0", errors[0])
	}
	if errors[1] < 24 {
		t.Errorf("without an idle timeout %d requests failed: too few to show that this test can fail", errors[1])
	}
	t.Logf("failed requests: %d, and %d without an idle timeout", errors[0], errors[1])
}

// serveFor answers requests on a connection until none has come for some time.
func serveFor(c net.Conn, keepAlive time.Duration) {
	for requests := bufio.NewReader(c); ; {
		_ = c.SetReadDeadline(time.Now().Add(keepAlive))
		request, err := http.ReadRequest(requests)
		if err != nil {
			time.Sleep(closing)
			return
		}
		body, _ := io.ReadAll(request.Body)
		text := fmt.Sprintf("%s %s %d bytes", request.Method, request.URL.Path, len(body))
		_, _ = fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(text), text)
	}
}

// raceErrors are those of 100 clients that all ask once more just when the server's
// keep-alive is over, four times.
func raceErrors(t *testing.T, from *sandbox.Pod, host string, keepAlive time.Duration) int64 {
	t.Helper()
	var failed atomic.Int64
	var clients sync.WaitGroup
	begin := time.Now()
	for range 100 {
		clients.Go(func() {
			transport := &http.Transport{DialContext: dialer(from, func() string { return host }, httpPort)}
			for n := range 5 {
				// All at once, so that each takes a connection that has been idle.
				time.Sleep(time.Until(begin.Add(time.Duration(n) * (keepAlive + closing/2))))
				if err := postWithin(t, transport); err != nil {
					failed.Add(1)
				}
			}
		})
	}
	clients.Wait()
	return failed.Load()
}

// TestNoBreakerByDefault opens 2,500 connections, each with a request, at once:
// more than the 1,024 that Envoy allows by default. None is refused; where Envoy's
// defaults are put back, many are.
func TestNoBreakerByDefault(t *testing.T) {
	const connections = 2500
	server := sandbox.NewPod(t, "server")
	web := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(2 * time.Second) // so that all are there at once
		answer(w, r)
	})}
	serveOn(t, server, httpPort, web.Serve)
	c := run(t, sandbox.NewPod(t, "client"), want{}, sandbox.App{})

	if failed := failedAtOnce(t, c.Pod, server.IPv4.String(), connections); failed > 0 {
		t.Errorf("%d of %d requests failed", failed, connections)
	}
	if overflow := overflows(t, c); overflow > 0 {
		t.Errorf("%d overflows, want 0", overflow)
	}
	for _, limit := range []string{"max_connections", "max_pending_requests", "max_requests"} {
		admin(t, c, http.MethodPost, fmt.Sprintf("/runtime_modify?circuit_breakers.outbound_passthrough.default.%s=1024", limit))
	}
	failed := failedAtOnce(t, c.Pod, server.IPv4.String(), connections)
	if overflow := overflows(t, c); failed == 0 || overflow == 0 {
		t.Errorf("with Envoy's default breakers %d requests failed and %d overflowed, so this test cannot fail", failed, overflow)
	}
}

func overflows(t *testing.T, r *sandbox.Running) uint64 {
	t.Helper()
	all := stats(t, r)
	return all["cluster.outbound_passthrough.upstream_rq_pending_overflow"] + all["cluster.outbound_passthrough.upstream_cx_overflow"]
}

func failedAtOnce(t *testing.T, from *sandbox.Pod, host string, connections int) int64 {
	t.Helper()
	var failed atomic.Int64
	var clients sync.WaitGroup
	for range connections {
		clients.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			transport := &http.Transport{DialContext: dialer(from, func() string { return host }, httpPort), DisableKeepAlives: true}
			if err := post(ctx, transport); err != nil {
				failed.Add(1)
			}
		})
	}
	clients.Wait()
	return failed.Load()
}

// TestProbeOfADeadApp: the rewritten tcpSocket probe succeeds while the app listens
// and fails when it is dead, while Envoy itself goes on taking connections.
func TestProbeOfADeadApp(t *testing.T) {
	p := sandbox.NewPod(t, "pod")
	var listener net.Listener
	r := run(t, p, want{probe: httpProbe(httpPort)}, sandbox.App{Start: func() { listener = p.Listen(t, "tcp", ":"+httpPort) }})
	probe := r.AppContainer().ReadinessProbe.TCPSocket.Port.String()
	if probe == httpPort {
		t.Fatal("the probe's port was not rewritten")
	}
	connects := func(port string) error {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		c, err := new(net.Dialer).DialContext(ctx, "tcp", net.JoinHostPort(p.IPv4.String(), port))
		if err == nil {
			_, _ = io.WriteString(c, "")
			_ = c.Close()
		}
		return err
	}
	if err := connects(probe); err != nil {
		t.Errorf("the probe of a live app fails: %v", err)
	}
	_ = listener.Close()
	if err := connects(probe); err == nil {
		t.Error("the probe of a dead app succeeds")
	}
	if err := connects(httpPort); err != nil {
		t.Errorf("a connection to the dead app's own port fails at once, so that there was nothing to rewrite: %v", err)
	}
}
