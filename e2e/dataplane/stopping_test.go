package dataplane

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pillion-mesh/pillion/api/v1alpha1"
	"github.com/pillion-mesh/pillion/e2e/injected"
	"github.com/pillion-mesh/pillion/e2e/sandbox"
	"github.com/pillion-mesh/pillion/e2e/traffic"
)

// drain runs the preStop hook, and is what it said and how long it took.
func drain(t *testing.T, r *sandbox.Running, delay, longest time.Duration) (string, time.Duration) {
	t.Helper()
	began := time.Now()
	out, err := r.Envoy.Exec(context.Background(), "/pillion/bin/pillion-proxy", "drain",
		fmt.Sprintf("--pre-drain-delay=%ds", delay/time.Second), fmt.Sprintf("--drain-time=%ds", longest/time.Second))
	if err != nil {
		t.Errorf("drain: %v", err)
	}
	return out, time.Since(began)
}

// TestDrainSchedule: it serves on for the delay; then it waits for clients, and for
// no longer than it may.
func TestDrainSchedule(t *testing.T) {
	t.Parallel()
	p, outside := sandbox.NewPod(t, "pod"), sandbox.NewPod(t, "outside")
	r := run(t, p, want{}, serverApp(t, p))
	if out, took := drain(t, r, time.Second, 30*time.Second); !strings.Contains(out, "no client has ever connected") || took > 25*time.Second || took < time.Second {
		t.Errorf("nobody ever connected, and it took %s: %s", took, out)
	}
	transport := &http.Transport{DialContext: outside.DialToSpeak}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, client{outside, p.IPv4.String()}.url("http", httpPort, "/"), http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	held, err := outside.Dial(t.Context(), "tcp", net.JoinHostPort(p.IPv4.String(), httpPort))
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	if out, took := drain(t, r, 0, 2*time.Second); !strings.Contains(out, "the time is over with 1 inbound connections left") || took < 2*time.Second {
		t.Errorf("with a client connected it took %s: %s", took, out)
	}
	_ = held.Close()
	if out, took := drain(t, r, 0, 30*time.Second); !strings.Contains(out, "no client has been connected for 5s") || took < 5*time.Second || took > 28*time.Second {
		t.Errorf("with no client any more it took %s: %s", took, out)
	}
	// It still serves, and tells everybody to go.
	response, err := traffic.Do(transport, request, "GET / 0 bytes")
	if err != nil {
		t.Fatalf("a new connection after the drain: %v", err)
	}
	if !response.Close || response.Header.Get("X-Pillion-Draining") == "" {
		t.Errorf("a client is not told: close %t, %v", response.Close, response.Header)
	}
	if code, body := injected.Status(t, p, p, http.MethodGet, "/readyz"); code != http.StatusServiceUnavailable || body != "the pod is draining\n" {
		t.Errorf("/readyz: HTTP %d %q", code, body)
	}
	// And the app's own calls go on.
	serverApp(t, outside).Start()
	if err := (client{p, outside.IPv4.String()}).unary(t.Context()); err != nil {
		t.Errorf("outbound: %v", err)
	}
}

// TestListenersStayOpen: clients whose DNS is later than Envoy's drain time still come,
// and are served.
func TestListenersStayOpen(t *testing.T) {
	t.Parallel()
	p, outside := sandbox.NewPod(t, "pod"), sandbox.NewPod(t, "outside")
	r := run(t, p, want{annotations: map[string]string{"pillion.dev/drain-time": "1s"}}, serverApp(t, p))
	if err := (client{outside, p.IPv4.String()}).unary(t.Context()); err != nil {
		t.Fatal(err)
	}
	drain(t, r, 0, time.Second)
	// Envoy closes listeners a drain time after the drain has begun, where it does.
	time.Sleep(1500 * time.Millisecond)
	if err := (client{outside, p.IPv4.String()}).unary(t.Context()); err != nil {
		t.Errorf("behind the drain time: %v", err)
	}
}

// TestDrainTwiceAndInterrupted: neither does harm.
func TestDrainTwiceAndInterrupted(t *testing.T) {
	t.Parallel()
	p := sandbox.NewPod(t, "pod")
	r := run(t, p, want{}, serverApp(t, p))
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	if _, err := r.Envoy.Exec(ctx, "/pillion/bin/pillion-proxy", "drain", "--pre-drain-delay=30s", "--drain-time=30s"); err == nil {
		t.Error("a drain of 30 s ended within 500 ms")
	}
	var both sync.WaitGroup
	for range 2 {
		both.Go(func() { drain(t, r, 0, time.Second) })
	}
	both.Wait()
	if err := (client{sandbox.NewPod(t, "outside"), p.IPv4.String()}).unary(t.Context()); err != nil {
		t.Errorf("behind them: %v", err)
	}
	r.Envoy.Signal(unix.SIGTERM)
	if code := r.Envoy.Wait(t, longest); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// TestSidecarTellsItsOwnClients: a client behind its own sidecar hears that the pod it
// is connected to drains, on HTTP/1 and HTTP/2, and never sees the header that says so.
func TestSidecarTellsItsOwnClients(t *testing.T) {
	t.Parallel()
	server, c := sandbox.NewPod(t, "server"), sandbox.NewPod(t, "client")
	serve(t, server)
	r := run(t, server, want{}, sandbox.App{})
	run(t, c, want{}, sandbox.App{})
	for _, h2 := range []bool{false, true} {
		dials, ended := 0, make(chan struct{}, 100)
		transport := &http.Transport{Protocols: new(http.Protocols), DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			dials++
			connection, err := c.DialToSpeak(ctx, network, address)
			return closed{connection, func() { ended <- struct{}{} }}, err
		}}
		transport.Protocols.SetHTTP1(!h2)
		transport.Protocols.SetUnencryptedHTTP2(h2)
		ask := func() {
			t.Helper()
			request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, client{c, server.IPv4.String()}.url("http", httpPort, "/"), http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			response, err := traffic.Do(transport, request, "GET / 0 bytes")
			if err != nil {
				t.Fatal(err)
			}
			for name := range response.Header {
				if strings.HasPrefix(name, "X-Pillion") || strings.HasPrefix(name, "X-Envoy") {
					t.Errorf("the app sees the header %s", name)
				}
			}
		}
		for range 3 {
			ask()
		}
		if dials != 1 {
			t.Errorf("HTTP/2 %t: %d connections for three requests, want 1", h2, dials)
		}
		injected.Admin(t, r, http.MethodPost, "/runtime_modify?pillion.draining=100")
		for range 3 {
			ask()
			// A GOAWAY comes behind the answer. A connection without requests would end by itself
			// some time later.
			select {
			case <-ended:
			case <-time.After(10 * time.Second):
				t.Fatalf("HTTP/2 %t: the client keeps its connection while the pod drains", h2)
			}
		}
		if dials != 3 {
			t.Errorf("HTTP/2 %t: %d connections after three more while the pod drains, want one for each request", h2, dials)
		}
		injected.Admin(t, r, http.MethodPost, "/runtime_modify?pillion.draining=")
	}
}

// closed is a connection that says when the client closes it.
type closed struct {
	net.Conn
	hears func()
}

func (c closed) Close() error {
	c.hears()
	return c.Conn.Close()
}

// TestStayForApp: in classic mode Envoy gets its SIGTERM with the app, and stays for
// as long as the app uses the network. A second SIGTERM ends it at once.
func TestStayForApp(t *testing.T) {
	t.Parallel()
	for _, impatient := range []bool{false, true} {
		p, outside := sandbox.NewPod(t, "pod"), sandbox.NewPod(t, "outside")
		app := p.Listen(t, "tcp", ":"+httpPort)
		r := run(t, p, want{mode: v1alpha1.ModeClassic}, sandbox.App{})
		serverApp(t, outside).Start()
		r.Envoy.Signal(unix.SIGTERM)
		time.Sleep(time.Second)
		if !r.Envoy.Running() {
			t.Fatal("Envoy ended before the app")
		}
		if err := (client{p, outside.IPv4.String()}).unary(t.Context()); err != nil {
			t.Errorf("what the app calls while it ends: %v", err)
		}
		if impatient {
			r.Envoy.Signal(unix.SIGTERM)
		} else {
			_ = app.Close()
		}
		if code := r.Envoy.Wait(t, longest); code != 0 {
			t.Errorf("exit code %d", code)
		}
	}
}

// TestFirstProcess: pillion-proxy reaps what nobody else does, passes signals on, and
// takes Envoy along when it is killed.
func TestFirstProcess(t *testing.T) {
	t.Parallel()
	r := run(t, sandbox.NewPod(t, "pod"), want{annotations: map[string]string{"pillion.dev/log-level": "info"}}, sandbox.App{})
	if _, err := r.Envoy.Exec(t.Context(), "/bin/sh", "-c", "(sleep 0.2 & exec sleep 0.1) >/dev/null 2>&1 & exec true"); err != nil {
		t.Fatal(err)
	}
	var out string
	sandbox.Eventually(t, "they have ended, and nothing is left of them", longest, func() bool {
		var err error
		out, err = r.Envoy.Exec(t.Context(), "/bin/sh", "-c", `for s in /proc/[0-9]*/stat; do read -r _ name state _ < "$s" && echo "$name $state"; done`)
		return err == nil && !strings.Contains(out, "(sleep)")
	})
	if !strings.Contains(out, "(pillion-proxy)") {
		t.Errorf("processes:\n%s", out)
	}
	envoy := childOf(t, r.Envoy.PID())
	r.Envoy.Signal(unix.SIGUSR1)
	sandbox.Eventually(t, "Envoy hears SIGUSR1", longest, func() bool { return strings.Contains(r.Envoy.Logs(), "SIGUSR1") })
	r.Envoy.Signal(unix.SIGKILL)
	sandbox.Eventually(t, "Envoy is gone", longest, func() bool { return errors.Is(unix.Kill(envoy, 0), unix.ESRCH) })
}

// TestWithoutIPv6: a pod whose kernel has IPv6 switched off is served by IPv4.
func TestWithoutIPv6(t *testing.T) {
	t.Parallel()
	p, outside := sandbox.NewPod(t, "pod"), sandbox.NewPod(t, "outside")
	p.Output(t, "sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1")
	r := run(t, p, want{}, serverApp(t, p))
	if !strings.Contains(r.Envoy.Logs(), "this pod has no IPv6: Envoy listens on IPv4 only") {
		t.Errorf("logs: %s", r.Envoy.Logs())
	}
	if err := (client{outside, p.IPv4.String()}).unary(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestAccessLog: a line of JSON for each request where it is on, and none elsewhere.
func TestAccessLog(t *testing.T) {
	t.Parallel()
	for _, value := range []string{"JSON", "Off"} {
		p, outside := sandbox.NewPod(t, "pod"), sandbox.NewPod(t, "outside")
		r := run(t, p, want{annotations: map[string]string{"pillion.dev/access-log": value}}, serverApp(t, p))
		if err := (client{outside, p.IPv4.String()}).expectContinue(t.Context()); err != nil && !errors.Is(err, io.EOF) {
			t.Log(err)
		}
		logged := func() bool {
			return strings.Contains(r.Envoy.Logs(), `"direction":"inbound"`) && strings.Contains(r.Envoy.Logs(), `"method":"POST"`)
		}
		if value == "JSON" {
			sandbox.Eventually(t, "the request is logged", longest, logged)
		} else if time.Sleep(time.Second); logged() {
			t.Errorf("the request is logged: %s", r.Envoy.Logs())
		}
	}
}
