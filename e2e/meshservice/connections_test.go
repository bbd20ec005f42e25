package meshservice

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/pillion-mesh/pillion/e2e/sandbox"
	"github.com/pillion-mesh/pillion/e2e/traffic"
)

// TestConnectionsKeepTheirDestination: TLS is told by its server name and other bytes
// by their port, for limits and statistics; where a connection goes is what the app
// called, also where it calls another host by a name or port that is declared.
func TestConnectionsKeepTheirDestination(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	a, b := c.pod("a", "a.test"), c.pod("b", "b.test")
	for _, p := range []*sandbox.Pod{a, b} {
		serveLine(t, p, "8443", true)
		serveLine(t, p, "9777", false)
		serveLine(t, p, "9778", false)
	}
	m := c.meshed("shop", `egress:
		- {name: secure, host: a.test, port: 8443, protocol: TLS, breakers: {maxConnections: 2}}
		- {name: bytes, host: a.test, port: 9777, protocol: TCP, breakers: {maxConnections: 2}}
	`, sandbox.App{})
	for _, test := range []struct {
		to         *sandbox.Pod
		port, name string // the server name of TLS
		by         string // the cluster that counts it
	}{
		{a, "8443", "a.test", "secure"}, {b, "8443", "a.test", "secure"},
		{b, "8443", "b.test", "outbound_passthrough"}, {a, "8443", "b.test", "outbound_passthrough"},
		{a, "9777", "", "bytes"}, {b, "9777", "", "bytes"}, {a, "9778", "", "outbound_passthrough"}, {b, "9778", "", "outbound_passthrough"},
	} {
		counter := "cluster." + test.by + ".upstream_cx_total"
		before := m.stat(counter)
		connection, got := line(t, m.Pod, test.to, test.port, test.name)
		_ = connection.Close()
		if got != test.to.Name {
			t.Errorf("port %s, server name %q: came to %q, and the app called %s", test.port, test.name, got, test.to.Name)
		}
		if m.stat(counter) != before+1 {
			t.Errorf("port %s, server name %q: not counted for %s", test.port, test.name, test.by)
		}
	}
	for _, limited := range []struct {
		name, port, serverName, control string
	}{{"secure", "8443", "a.test", "b.test"}, {"bytes", "9777", "", ""}} {
		sandbox.Eventually(t, "connections have ended", longest, func() bool { return m.stat("cluster."+limited.name+".upstream_cx_active") == 0 })
		open := func(port, serverName string) int {
			works := 0
			for range 5 {
				if _, got := line(t, m.Pod, a, port, serverName); got == "a" {
					works++
				}
			}
			return works
		}
		if works := open(limited.port, limited.serverName); works != 2 {
			t.Errorf("%s: %d connections at the same time work, want 2", limited.name, works)
		}
		if closed := m.stat("cluster." + limited.name + ".upstream_cx_overflow"); closed != 3 {
			t.Errorf("%s: %d are counted as one too many, want 3", limited.name, closed)
		}
		port := map[bool]string{true: "8443", false: "9778"}[limited.control != ""]
		if works := open(port, limited.control); works != 5 {
			t.Errorf("%s: %d connections to what has no limit work, want 5", limited.name, works)
		}
	}
}

// serveLine answers each line with the pod's name, behind TLS or not.
func serveLine(t *testing.T, p *sandbox.Pod, port string, secure bool) {
	t.Helper()
	certificate := traffic.Certificate()
	p.Serve(t, port, traffic.Accept(func(connection net.Conn) {
		if secure {
			connection = tls.Server(connection, certificate)
		}
		for lines := bufio.NewScanner(connection); lines.Scan(); {
			if _, err := io.WriteString(connection, p.Name+"\n"); err != nil {
				return
			}
		}
	}))
}

// line opens a connection, which stays open for the rest of the test, and is what the
// server says; with TLS where there is a server name.
func line(t *testing.T, from, to *sandbox.Pod, port, serverName string) (net.Conn, string) {
	t.Helper()
	connection, err := from.DialToSpeak(t.Context(), "tcp", net.JoinHostPort(to.IPv4.String(), port))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = connection.Close() })
	_ = connection.SetDeadline(time.Now().Add(longest))
	if serverName != "" {
		connection = tls.Client(connection, &tls.Config{ServerName: serverName, InsecureSkipVerify: true}) //nolint:gosec // a test's
	}
	_, _ = io.WriteString(connection, "who?\n")
	said, _ := bufio.NewReader(connection).ReadString('\n')
	return connection, strings.TrimSuffix(said, "\n")
}
