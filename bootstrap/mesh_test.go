package bootstrap

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pillion-mesh/pillion/e2e/sandbox"
)

func originalDestination(name string) Cluster {
	return Cluster{Name: name, Message: json.RawMessage(fmt.Sprintf(
		`{"@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster", "name": %q, "type": "ORIGINAL_DST", "lb_policy": "CLUSTER_PROVIDED", "connect_timeout": "5s"}`, name))}
}

func static(name string, to netip.Addr, port int) Cluster {
	return Cluster{Name: name, Message: json.RawMessage(fmt.Sprintf(`{"@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster", "name": %q, "type": "STATIC", "connect_timeout": "5s",
		"load_assignment": {"cluster_name": %[1]q, "endpoints": [{"lb_endpoints": [{"endpoint": {"address": {"socket_address": {"address": %q, "port_value": %d}}}}]}]}}`, name, to, port))}
}

const refusal = "%REQ(:AUTHORITY)% is in no entry of egress of MeshService checkout"

// declared is a generation with something in every field.
func declared() *Generation {
	age := Duration(90 * time.Second)
	g := &Generation{
		Service: "checkout", Namespace: "shop", Created: 1_700_000_000, Number: 3,
		Clusters: []Cluster{originalDestination("inbound-8080@1"), originalDestination("db@1"), static("payments@1", netip.MustParseAddr("192.0.2.1"), 8000)},
		Inbound: []InboundPort{
			{
				Port: 8080, Cluster: "inbound-8080@1", Timeout: Duration(1500 * time.Millisecond), MaxConcurrentStreams: 7, MaxConnectionAge: &age,
				HTTPFilters: []json.RawMessage{json.RawMessage(`{"name": "envoy.filters.http.local_ratelimit", "typed_config":
					{"@type": "type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit", "stat_prefix": "inbound-8080"}}`)},
			},
			{Port: 8081},
			{Port: 9777, TCP: true},
		},
		Outbound: Destinations{
			VirtualHosts: []json.RawMessage{json.RawMessage(`{"name": "payments", "domains": ["payments.test"],
				"routes": [{"match": {"prefix": ""}, "route": {"cluster": "payments@1", "timeout": "2s"}}]}`)},
			BytePorts: []uint16{5432},
			Connections: []Connection{
				{Name: "db", Port: 5432, Cluster: "db@1"},
				{Name: "api", Port: 443, ServerNames: []string{"api.test"}, Cluster: "payments@1"},
				{Name: "other", Port: 443, ServerNames: []string{"other.test"}, Cluster: "db@1"},
				{Name: "kubernetes", Port: 443, ServerNames: []string{"kubernetes.default", "kubernetes.default.svc"}, Cluster: "db@1"},
			},
			RefuseUndeclared: refusal,
		},
	}
	if _, err := g.Seal(); err != nil {
		panic(err)
	}
	return g
}

func TestGenerationFiles(t *testing.T) {
	c := full()
	c.Generation = declared()
	expect(t, c, "testdata/generation")
}

// TestAPIServerByAddress: any of the names of kube-apiserver makes it known by its address, and
// for no two destinations on one port.
func TestAPIServerByAddress(t *testing.T) {
	connection := func(name string, port uint16, names ...string) Connection {
		return Connection{Name: name, Port: port, ServerNames: names, Cluster: "db@1"}
	}
	for _, test := range []struct {
		of   []Connection
		want []string
	}{
		{[]Connection{connection("a", 443, "kubernetes.default")}, []string{"a by address"}},
		{[]Connection{connection("a", 443, "kubernetes.default.svc")}, []string{"a by address"}},
		{[]Connection{connection("a", 443, "kubernetes.default.svc.cluster.local")}, []string{"a by address"}},
		{[]Connection{connection("a", 443, "other.test", "kubernetes.default")}, []string{"a by address"}},
		{[]Connection{connection("a", 443, "kubernetes.default"), connection("b", 443, "kubernetes.default.svc"), connection("c", 6443, "kubernetes.default")}, []string{"a by address", "c by address"}},
		{[]Connection{connection("a", 443, "kubernetes"), connection("b", 443, "kubernetes.shop.svc"), connection("c", 443, "kubernetes.default.svc.test")}, nil},
		{[]Connection{connection("a", 443)}, nil},
	} {
		c := full()
		c.Generation = &Generation{Outbound: Destinations{Connections: test.of}}
		var got []string
		for _, chain := range c.outboundChains() {
			if chain.Match.PrefixRanges != nil {
				got = append(got, chain.Name)
			}
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%v: by address are %q, want %q", test.of, got, test.want)
		}
	}
}

// meshed is a pod whose Envoy has a generation, and one that both ends of its
// connections are in.
func meshed(t *testing.T, change func(g *Generation, other *sandbox.Pod)) (pod, other *sandbox.Pod) {
	t.Helper()
	pod, other = sandbox.NewPod(t, "pod"), sandbox.NewPod(t, "other")
	c := inFolder(full(), "")
	c.Generation = declared()
	change(c.Generation, other)
	start(t, pod, c)
	redirect(t, pod)
	return pod, other
}

func serveHTTP(t *testing.T, p *sandbox.Pod, port int, answer string) {
	t.Helper()
	listener := p.Listen(t, "tcp", fmt.Sprint(":", port))
	app := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			<-r.Context().Done()
		}
		_, _ = io.WriteString(w, answer)
	})}
	go func() { _ = app.Serve(listener) }()
	t.Cleanup(func() { _ = app.Close() })
}

// ask asks a port of a pod under a name.
func ask(t *testing.T, from, to *sandbox.Pod, port int, host, path string) (int, string) {
	t.Helper()
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return from.Dial(ctx, network, net.JoinHostPort(to.IPv4.String(), fmt.Sprint(port)))
	}}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+host+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return 0, err.Error()
	}
	defer response.Body.Close()
	body, _ := io.ReadAll(response.Body)
	return response.StatusCode, string(body)
}

// TestInboundPorts: a port's own timeout and filters are its own alone, and TCP is
// passed on as it is.
func TestInboundPorts(t *testing.T) {
	pod, other := meshed(t, func(g *Generation, _ *sandbox.Pod) {
		g.Inbound[0].Timeout = Duration(200 * time.Millisecond)
		g.Inbound[0].HTTPFilters = nil
		g.Inbound[1].HTTPFilters = []json.RawMessage{json.RawMessage(`{"name": "envoy.filters.http.fault", "typed_config":
			{"@type": "type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault", "abort": {"http_status": 418, "percentage": {"numerator": 100}}}}`)}
	})
	for port, want := range map[int]struct {
		path string
		code int
		body string
	}{
		8080: {"/slow", http.StatusGatewayTimeout, "upstream request timeout"},
		8081: {"/", http.StatusTeapot, "fault filter abort"},
		9777: {"/", http.StatusOK, "app"}, 7000: {"/", http.StatusOK, "app"},
	} {
		serveHTTP(t, pod, port, "app")
		if code, body := ask(t, other, pod, port, "pod", want.path); code != want.code || body != want.body {
			t.Errorf("port %d: HTTP %d %q, want %d %q", port, code, body, want.code, want.body)
		}
	}
}

// TestNoOrdersByHeader: neither who calls the pod nor the app tells Envoy by headers how
// long to wait or how to count, not even who claims to come from inside.
func TestNoOrdersByHeader(t *testing.T) {
	pod, other := meshed(t, func(g *Generation, _ *sandbox.Pod) { g.Outbound = Destinations{} })
	headers := make(chan http.Header, 1)
	for _, p := range []*sandbox.Pod{pod, other} {
		app := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			time.Sleep(200 * time.Millisecond) // longer than what is asked for, 1 ms
			headers <- r.Header
		})}
		listener := p.Listen(t, "tcp", ":8081")
		go func() { _ = app.Serve(listener) }()
		t.Cleanup(func() { _ = app.Close() })
	}
	for name, of := range map[string][2]*sandbox.Pod{"inbound": {other, pod}, "outbound": {pod, other}} {
		for _, from := range []string{"", "10.0.0.1"} {
			c, err := of[0].Dial(t.Context(), "tcp", net.JoinHostPort(of[1].IPv4.String(), "8081"))
			if err != nil {
				t.Fatal(err)
			}
			request := "GET / HTTP/1.1\r\nHost: pod\r\nConnection: close\r\nx-envoy-other: kept\r\n"
			for _, header := range ordersByHeader() {
				request += header + ": 1\r\n"
			}
			if from != "" {
				request += "x-forwarded-for: " + from + "\r\n"
			}
			_ = c.SetDeadline(time.Now().Add(10 * time.Second))
			_, _ = io.WriteString(c, request+"\r\n")
			said, err := io.ReadAll(c)
			_ = c.Close()
			if !strings.HasPrefix(string(said), "HTTP/1.1 200") {
				t.Fatalf("%s from %q: %v %s", name, from, err, said)
			}
			arrived := <-headers
			for _, header := range ordersByHeader() {
				if arrived.Get(header) != "" {
					t.Errorf("%s from %q: %s arrives", name, from, header)
				}
			}
			if arrived.Get("x-envoy-other") != "kept" {
				t.Errorf("%s from %q: what is no order is gone: %v", name, from, arrived)
			}
		}
	}
}

// TestBytes: what is no HTTP in the clear is passed on where HTTP is expected, too.
func TestBytes(t *testing.T) {
	pod, other := meshed(t, func(*Generation, *sandbox.Pod) {})
	for _, port := range []int{8080, 8081, 9777, 7000} {
		go echo(pod.Listen(t, "tcp", fmt.Sprint(":", port)))
		for _, line := range []string{"no HTTP", clientHello("pod.test")} {
			if got, err := said(t, other, pod.IPv4, port, line); got != line || err != nil {
				t.Errorf("port %d answered %.20q, %v to %.20q", port, got, err, line)
			}
		}
	}
}

func echo(listener net.Listener) {
	for {
		c, err := listener.Accept()
		if err != nil {
			return
		}
		go func() { defer c.Close(); _, _ = io.Copy(c, c) }()
	}
}

// said is what comes back for some bytes, and as many of them.
func said(t *testing.T, from *sandbox.Pod, to netip.Addr, port int, bytes string) (string, error) {
	t.Helper()
	c, err := from.Dial(t.Context(), "tcp", netip.AddrPortFrom(to, uint16(port)).String())
	if err != nil {
		return "", err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(c, bytes); err != nil {
		return "", err
	}
	answer := make([]byte, len(bytes))
	n, err := io.ReadFull(c, answer)
	return string(answer[:n]), err
}

// clientHello is what a TLS client says first.
func clientHello(name string) string {
	near, far := net.Pipe()
	go func() {
		_ = tls.Client(near, &tls.Config{ServerName: name}).Handshake() //nolint:gosec // nobody answers
	}()
	hello := make([]byte, 4096)
	n, _ := far.Read(hello)
	_ = far.Close()
	return string(hello[:n])
}

// TestDestinations: a declared one is found by its name, whatever address the app
// called, and by port and server name where it is no HTTP. Others are refused.
func TestDestinations(t *testing.T) {
	pod, other := meshed(t, func(g *Generation, other *sandbox.Pod) { g.Clusters[2] = static("payments@1", other.IPv4, 8000) })
	serveHTTP(t, other, 8000, "payments")
	for _, port := range []int{80, 8080} {
		serveHTTP(t, other, port, "passed through")
	}
	for _, port := range []int{443, 444, 5432} {
		go echo(other.Listen(t, "tcp", fmt.Sprint(":", port)))
	}
	for host, want := range map[string]struct {
		code int
		body string
	}{
		"payments.test": {http.StatusOK, "payments"},
		"else.test":     {http.StatusForbidden, strings.Replace(refusal, "%REQ(:AUTHORITY)%", "else.test", 1)},
	} {
		if code, body := ask(t, pod, other, 80, host, "/"); code != want.code || body != want.body {
			t.Errorf("%s: HTTP %d %q, want %d %q", host, code, body, want.code, want.body)
		}
	}
	for _, test := range []struct {
		port    int
		line    string
		arrives bool
	}{
		{5432, "no HTTP", true}, {5432, clientHello("db.test"), true},
		{443, clientHello("other.test"), true}, {443, clientHello("else.test"), false}, {443, "no HTTP", false},
		{444, clientHello("other.test"), false}, {444, "no HTTP", false},
	} {
		if got, err := said(t, pod, other.IPv4, test.port, test.line); (got == test.line) != test.arrives {
			t.Errorf("port %d answered %.20q, %v to %.20q", test.port, got, err, test.line)
		}
	}
	// The cluster leads TLS for api.test to the server of payments, which speaks HTTP.
	if got, _ := said(t, pod, other.IPv4, 443, clientHello("api.test")); !strings.HasPrefix(got, "HTTP/1.1 400") {
		t.Errorf("TLS for api.test was answered %q", got)
	}
}

// TestHTTPOnATCPPort: HTTP to a destination that is declared by its port is passed on as
// the bytes that it is, also where others are refused. Beside one with HTTP on the same port it
// is known by its host.
func TestHTTPOnATCPPort(t *testing.T) {
	for name, refuses := range map[string]string{"passed": "", "refused": refusal} {
		t.Run(name, func(t *testing.T) {
			pod, other := meshed(t, func(g *Generation, other *sandbox.Pod) {
				g.Clusters[2] = static("payments@1", other.IPv4, 8000)
				g.Outbound.Connections = append(g.Outbound.Connections, Connection{Name: "beside", Port: 80, Cluster: "db@1"})
				g.Outbound.RefuseUndeclared = refuses
			})
			serveHTTP(t, other, 8000, "payments")
			serveHTTP(t, other, 80, "beside")
			go echo(other.Listen(t, "tcp", ":5432"))
			// Envoy's HTTP would change the case of the header.
			const request = "GET / HTTP/1.1\r\nhOST: db.test\r\n\r\n"
			if got, err := said(t, pod, other.IPv4, 5432, request); got != request {
				t.Errorf("%q arrived, %v", got, err)
			}
			if code, body := ask(t, pod, other, 80, "payments.test", "/"); code != http.StatusOK || body != "payments" {
				t.Errorf("payments: HTTP %d %s", code, body)
			}
		})
	}
}

// TestRefusedCalls: a gRPC client hears it in gRPC's words, one of a forward proxy in
// HTTP's.
func TestRefusedCalls(t *testing.T) {
	pod, other := meshed(t, func(*Generation, *sandbox.Pod) {})
	serveHTTP(t, other, 80, "passed through")
	for _, test := range []struct {
		request string
		says    []string
	}{
		{"POST /shop.Cart/Add HTTP/1.1\r\nHost: else.test\r\nContent-Type: application/grpc\r\nContent-Length: 0\r\n\r\n", []string{"HTTP/1.1 200", "grpc-status: 7", "else.test"}},
		{"CONNECT else.test:443 HTTP/1.1\r\nHost: else.test:443\r\n\r\n", []string{"HTTP/1.1 403", "else.test:443 is in no entry"}},
	} {
		c, err := pod.Dial(t.Context(), "tcp", net.JoinHostPort(other.IPv4.String(), "80"))
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		_, _ = io.WriteString(c, test.request)
		answer := make([]byte, 4096)
		n, err := c.Read(answer)
		for _, says := range test.says {
			if !strings.Contains(string(answer[:n]), says) {
				t.Errorf("no %q (%v) in the answer to %.40q:\n%s", says, err, test.request, answer[:n])
			}
		}
		_ = c.Close()
	}
}

// TestLateClients: a client that is silent for longer than Envoy looks at its connection
// is an HTTP client all the same where only those get through.
func TestLateClients(t *testing.T) {
	pod, other := meshed(t, func(g *Generation, other *sandbox.Pod) { g.Clusters[2] = static("payments@1", other.IPv4, 8000) })
	serveHTTP(t, other, 8000, "payments")
	serveHTTP(t, other, 80, "passed through")
	for host, code := range map[string]int{"payments.test": http.StatusOK, "else.test": http.StatusForbidden} {
		transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			c, err := pod.Dial(ctx, network, net.JoinHostPort(other.IPv4.String(), "80"))
			time.Sleep(2 * outboundDetection) // what this client does
			return c, err
		}}
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+host+"/", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		response, err := transport.RoundTrip(request)
		if err != nil {
			t.Errorf("%s: %v", host, err)
			continue
		}
		_ = response.Body.Close()
		if response.StatusCode != code {
			t.Errorf("%s: HTTP %d, want %d", host, response.StatusCode, code)
		}
	}
}
