package meshservice

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"

	"github.com/pillion-mesh/pillion/e2e/sandbox"
	"github.com/pillion-mesh/pillion/e2e/traffic"
)

// TestUndeclaredIsRefused: HTTP to what is not declared gets 403 with a sentence that
// says what to do, other connections are closed before a byte has come to anybody,
// and what is declared works, as DNS and reserved ports do. In a pod that did not ask
// for it everything works.
func TestUndeclaredIsRefused(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	server := c.pod("server", "declared.test", "other.test")
	for _, port := range []string{"8080", "8081"} {
		c.serve(server, traffic.Answer, port)
	}
	c.rpc(server, "9000", func(string) (string, error) { return "well", nil })
	var accepted tally
	for _, port := range []string{"9777", "9778", "3306"} {
		server.Serve(t, port, traffic.Accept(func(connection net.Conn) {
			accepted.add(port)
			echo(connection)
		}))
	}
	const egress = `egress:
		- {name: http, host: declared.test, port: 8080}
		- {name: bytes, host: declared.test, port: 9777, protocol: TCP}
	`
	for _, pod := range []struct {
		*meshed
		refused bool
	}{
		{c.meshed("shop", egress+"undeclaredEgress: Refused\n", sandbox.App{}), true},
		{c.meshed("control", egress, sandbox.App{}), false},
	} {
		by, code := c.client(pod.Pod), map[bool]int{true: http.StatusForbidden, false: http.StatusOK}[pod.refused]
		ask(t.Context(), by, http.MethodPost, "http://declared.test:8080/").wants(t, pod.Name+", declared", http.StatusOK)
		for _, url := range []string{"http://other.test:8080/", "http://declared.test:8081/", "http://" + server.IPv4.String() + ":8080/"} {
			a := ask(t.Context(), by, http.MethodPost, url)
			a.wants(t, pod.Name+", "+url, code)
			host := strings.TrimSuffix(strings.TrimPrefix(url, "http://"), "/")
			if pod.refused && (!strings.Contains(a.body, host) || !strings.Contains(a.body, "MeshService default/shop") || !strings.Contains(a.body, "Refused")) {
				t.Errorf("%s: %q does not say which host, and what refuses it", url, a.body)
			}
		}
		_, err := call(t.Context(), c.channel(pod.Pod, "declared.test:9000"), "/shop.v1.Cart/Get")
		if want := map[bool]codes.Code{true: codes.PermissionDenied, false: codes.OK}[pod.refused]; status.Code(err) != want {
			t.Errorf("%s: undeclared gRPC: %v, want %s", pod.Name, err, want)
		}
		if !works(t, pod.Pod, server.IPv4.String(), "9777") || !works(t, pod.Pod, server.IPv4.String(), "3306") {
			t.Errorf("%s: a declared or reserved port does not work", pod.Name)
		}
		before := accepted.of("9778")
		if works(t, pod.Pod, server.IPv4.String(), "9778") == pod.refused {
			t.Errorf("%s: an undeclared connection works: %t", pod.Name, pod.refused)
		}
		if came := accepted.of("9778") > before; came == pod.refused {
			t.Errorf("%s: an undeclared connection came to the server: %t", pod.Name, came)
		}
		if err := c.lookUp(pod.Pod, "declared.test"); err != nil {
			t.Errorf("%s: DNS: %v", pod.Name, err)
		}
	}
}

// TestCallsByAddressWhereUndeclaredIsRefused: kube-apiserver, as client-go calls it in a pod, is
// TLS to an address without a server name. Each of the ways that the page gives lets
// that through, or the same call by name, and what it says beside that.
// TestKubernetesClientWhereUndeclaredIsRefused has client-go itself do it, on a node.
func TestCallsByAddressWhereUndeclaredIsRefused(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	server, elsewhere := c.pod("apiserver", "kubernetes.default.svc", "other.test"), c.pod("elsewhere")
	for _, p := range []*sandbox.Pod{server, elsewhere} {
		serveLine(t, p, "443", true)
		c.serve(p, traffic.Answer, "8080")
	}
	excluded := c
	excluded.owner = func(p *corev1.Pod) {
		p.Annotations = map[string]string{"pillion.dev/excluded-cidrs": server.IPv4.String() + "/32"}
	}
	told := func(c cluster, name, spec string, address netip.Addr) *meshed {
		p := sandbox.NewPod(t, name)
		p.APIServer = address
		return c.meshedIn(p, spec, sandbox.App{})
	}
	const kubernetes = "undeclaredEgress: Refused\negress: [{name: kubernetes, service: {name: kubernetes, namespace: default}, port: 443, protocol: "
	for _, test := range []struct {
		*meshed
		at netip.Addr
		// What works: by this address, with the server name of the API server, with another one, HTTP
		// to another port, and TLS to another address.
		address, name, other, http, elsewhere bool
	}{
		{told(c, "refused", "undeclaredEgress: Refused\n", server.IPv4), server.IPv4, false, false, false, false, false},
		{told(c, "declared", kubernetes+"TLS}]\n", server.IPv4), server.IPv4, true, true, true, false, false},
		{told(c, "declared6", kubernetes+"TLS}]\n", server.IPv6), server.IPv6, true, true, true, false, false},
		{told(c, "host", "undeclaredEgress: Refused\negress: [{name: kubernetes, host: kubernetes.default, port: 443, protocol: TLS}, {name: whole, host: kubernetes.default.svc.cluster.local, port: 443, protocol: TLS}]\n", server.IPv4), server.IPv4, true, true, true, false, false},
		{told(excluded, "excluded", "undeclaredEgress: Refused\n", server.IPv4), server.IPv4, true, true, true, true, false},
		{told(c, "wide", kubernetes+"TCP}]\n", server.IPv4), server.IPv4, true, true, true, false, true},
		// In clusters that tell their pods a name.
		{c.meshed("named", kubernetes+"TLS}]\n", sandbox.App{}), server.IPv4, false, true, false, false, false},
	} {
		for _, call := range []struct {
			to         netip.Addr
			serverName string
			works      bool
		}{{test.at, "", test.address}, {test.at, "kubernetes.default.svc", test.name}, {test.at, "other.test", test.other}, {elsewhere.IPv4, "", test.elsewhere}} {
			if err := shakeHands(t, test.Pod, call.to, call.serverName); (err == nil) != call.works {
				t.Errorf("%s: TLS to %s with the server name %q: %v, want it to work: %t", test.Name, call.to, call.serverName, err, call.works)
			}
		}
		code := map[bool]int{true: http.StatusOK, false: http.StatusForbidden}[test.http]
		ask(t.Context(), c.client(test.Pod), http.MethodGet, "http://"+server.IPv4.String()+":8080/").wants(t, test.Name+", HTTP by address", code)
	}
}

// shakeHands of TLS with a pod, by its address.
func shakeHands(t *testing.T, from *sandbox.Pod, to netip.Addr, serverName string) error {
	t.Helper()
	connection, err := from.Dial(t.Context(), "tcp", net.JoinHostPort(to.String(), "443"))
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	_ = connection.SetDeadline(time.Now().Add(longest))
	return tls.Client(connection, &tls.Config{ServerName: serverName, InsecureSkipVerify: true}).Handshake() //nolint:gosec // a test's
}

// lookUp asks the cluster's DNS as an app does.
func (c cluster) lookUp(from *sandbox.Pod, name string) error {
	resolver := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return from.Dial(ctx, network, net.JoinHostPort(c.dns.Address.String(), "53"))
	}}
	ctx, cancel := context.WithTimeout(c.Context(), longest)
	defer cancel()
	_, err := resolver.LookupHost(ctx, name+".")
	return err
}

// TestUndeclaredServerThatSpeaksFirst is closed without a word, too. It is let through where its
// address is kube-apiserver's, and that is declared: Envoy then has nothing to wait for.
func TestUndeclaredServerThatSpeaksFirst(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	server := c.pod("server")
	server.Serve(t, "9778", traffic.Accept(func(connection net.Conn) { _, _ = io.WriteString(connection, "hello") }))
	for spec, want := range map[string]string{
		"undeclaredEgress: Refused\n": "", "undeclaredEgress: Passthrough\n": "hello",
		"undeclaredEgress: Refused\negress: [{name: kubernetes, service: {name: kubernetes, namespace: default}, port: 9778, protocol: TLS}]\n": "hello",
	} {
		p := sandbox.NewPod(t, "shop")
		p.APIServer = server.IPv4
		m := c.meshedIn(p, spec, sandbox.App{})
		connection, err := m.Dial(t.Context(), "tcp", net.JoinHostPort(server.IPv4.String(), "9778"))
		if err != nil {
			t.Fatal(err)
		}
		_ = connection.SetDeadline(time.Now().Add(longest))
		read, _ := io.ReadAll(connection)
		_ = connection.Close()
		if string(read) != want {
			t.Errorf("%s: the server says %q, want %q", spec, read, want)
		}
	}
}

// TestBytesOfAnOpenConnection: HTTP on a port that becomes one of TCP is let through on
// connections too that were open before, by whatever name.
func TestBytesOfAnOpenConnection(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	server := c.pod("server", "ledger.test", "other.test")
	c.serve(server, traffic.Answer, "7400", "7401")
	m := c.meshed("shop", "undeclaredEgress: Passthrough\n", sandbox.App{})
	by := c.client(m.Pod)
	connections := dialled(by)
	post := func(at string) answer { return ask(t.Context(), by, http.MethodPost, "http://"+at+"/") }
	each := func(when string, codes map[string]int) {
		for at, code := range codes {
			post(at).wants(t, when+", "+at, code)
		}
	}
	each("before", map[string]int{"ledger.test:7400": 200, "other.test:7400": 200, "ledger.test:7401": 200})
	m.change(`egress:
		- {name: ledger, host: ledger.test, port: 7400, protocol: TCP}
		- {name: ledger-web, host: ledger.test, port: 7402}
	undeclaredEgress: Refused
	`)
	answers := map[string]int{"ledger.test:7400": 200, "other.test:7400": 200, "ledger.test:7401": 403}
	each("on the connections from before", answers)
	if n := connections.Load(); n != 3 {
		t.Errorf("there were %d connections: this test cannot fail", n)
	}
	by.CloseIdleConnections()
	delete(answers, "ledger.test:7401")
	each("on new connections", answers)
}
