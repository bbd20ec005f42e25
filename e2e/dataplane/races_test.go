package dataplane

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pillion-mesh/pillion/e2e/injected"
	"github.com/pillion-mesh/pillion/e2e/sandbox"
	"github.com/pillion-mesh/pillion/e2e/traffic"
)

func addresses(of ...*sandbox.Pod) []netip.Addr {
	var list []netip.Addr
	for _, p := range of {
		list = append(list, p.IPv4)
	}
	return list
}

// TestKeepAliveRace calls a server just when it closes idle connections. Envoy closes
// them before the server does, so no request meets a connection that is about to
// go; where Envoy is told not to, many do.
func TestKeepAliveRace(t *testing.T) {
	const keepAlive = 3 * time.Second
	var errors [2]int64
	var both sync.WaitGroup
	for n, idle := range []string{"1s", "0s"} {
		server, closer := sandbox.NewPod(t, "server"), traffic.NewCloser(keepAlive)
		server.Serve(t, httpPort, traffic.Accept(closer.Serve))
		c := run(t, sandbox.NewPod(t, "client-"+idle), want{annotations: map[string]string{"pillion.dev/upstream-idle-timeout": idle}}, sandbox.App{})
		both.Go(func() {
			errors[n] = closer.RaceErrors(t.Context(), serverURL, traffic.Dialer(c.Pod, server.IPv4.String, httpPort))
		})
	}
	both.Wait()
	if errors[0] > 0 {
		t.Errorf("%d requests failed, want 0", errors[0])
	}
	if errors[1] < 100 {
		t.Errorf("without an idle timeout %d requests failed: too few to show that this test can fail", errors[1])
	}
	t.Logf("failed requests: %d, and %d without an idle timeout", errors[0], errors[1])
}

// TestNoBreakerByDefault opens 2,500 connections, each with a request, at once:
// more than the 1,024 that Envoy allows by default. None is refused; where Envoy's
// defaults are put back, many are.
func TestNoBreakerByDefault(t *testing.T) {
	const connections = 2500
	server := sandbox.NewPod(t, "server")
	var gate atomic.Pointer[traffic.Gate]
	web := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { gate.Load().ServeHTTP(w, r) })}
	server.Serve(t, httpPort, web.Serve)
	c := run(t, sandbox.NewPod(t, "client"), want{}, sandbox.App{})
	// failures of requests that are all there at once, or of which one has been refused.
	failures := func() int64 {
		g := traffic.NewGate()
		gate.Store(g)
		failed := make(chan int64)
		go func() {
			failed <- traffic.FailedAtOnce(t.Context(), connections, serverURL, traffic.Dialer(c.Pod, server.IPv4.String, httpPort))
		}()
		sandbox.Eventually(t, "all requests are under way, or one has been refused", 2*longest, func() bool { return len(g.Came) == connections || overflows(t, c) > 0 })
		close(g.Open)
		return <-failed
	}
	if failed, overflow := failures(), overflows(t, c); failed > 0 || overflow > 0 {
		t.Errorf("%d of %d requests failed, and %d overflowed, want none", failed, connections, overflow)
	}
	for _, limit := range []string{"max_connections", "max_pending_requests", "max_requests"} {
		injected.Admin(t, c, http.MethodPost, fmt.Sprintf("/runtime_modify?circuit_breakers.outbound_passthrough.default.%s=1024", limit))
	}
	if failed, overflow := failures(), overflows(t, c); failed == 0 || overflow == 0 {
		t.Errorf("with Envoy's default breakers %d requests failed and %d overflowed, so this test cannot fail", failed, overflow)
	}
}

func overflows(t *testing.T, r *sandbox.Running) uint64 {
	t.Helper()
	overflows := uint64(0)
	for name, value := range injected.Stats(t, r) {
		if strings.HasPrefix(name, "cluster.outbound_passthrough.") && strings.HasSuffix(name, "_overflow") {
			overflows += value
		}
	}
	return overflows
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
		ctx, cancel := context.WithTimeout(t.Context(), longest)
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
