package dataplane

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pillion-mesh/pillion/api/v1alpha1"
	"github.com/pillion-mesh/pillion/bootstrap"
	"github.com/pillion-mesh/pillion/e2e/injected"
	"github.com/pillion-mesh/pillion/e2e/sandbox"
	"github.com/pillion-mesh/pillion/e2e/traffic"
)

// TestBytesOutliveChanges: a connection that Envoy passes on byte by byte lives on when
// the limits of its destination or port change, whatever the drain time: its client cannot
// be told to go. It ends when nothing is said about its destination or port any more. A
// request that is under way to the pod comes to its end.
func TestBytesOutliveChanges(t *testing.T) {
	t.Parallel()
	s := newShop(t, want{configure: func(c *v1alpha1.InjectorConfig) { c.Lifecycle.DrainTime.Duration = time.Second }})
	of := &changes{}
	limited := func(limit *int32, connectSeconds int32) *bootstrap.Generation {
		connect, most := &metav1.Duration{Duration: time.Duration(connectSeconds) * time.Second}, &v1alpha1.Breakers{MaxConnections: limit}
		return of.of(t, v1alpha1.MeshServiceSpec{
			Inbound: []v1alpha1.InboundPort{
				{Port: number(echoPort), Protocol: v1alpha1.InboundTCP, MaxConnections: limit},
				{Port: number(tlsPort), MaxConnections: limit}, {Port: number(httpPort), MaxConcurrentRequests: limit},
			},
			Egress: []v1alpha1.Destination{
				{Name: "secure", Host: hostOf("payments"), Port: number(tlsPort), Protocol: v1alpha1.ProtocolTLS, ConnectTimeout: connect, Breakers: most},
				{Name: "bytes", Host: hostOf("payments"), Port: number(echoPort), Protocol: v1alpha1.ProtocolTCP, ConnectTimeout: connect, Breakers: most},
			},
		})
	}
	first := limited(nil, 10)
	s.apply(first)
	s.await(first.Version)
	connections := s.byteConnections()
	end := s.beginRequest()
	for limit := range int32(5) {
		g := limited(new(20+limit), 11+limit)
		s.apply(g)
		s.await(g.Version)
	}
	s.drained()
	if err := end(); err != nil {
		t.Errorf("a request that was under way: %v", err)
	}
	for name, connection := range connections {
		if err := speak(connection); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	g := of.of(t, v1alpha1.MeshServiceSpec{})
	s.apply(g)
	s.await(g.Version)
	s.drained()
	for name, connection := range connections {
		if speak(connection) == nil {
			t.Errorf("%s lives on when nothing is said about it any more: this test cannot fail", name)
		}
	}
}

// byteConnections are one to each server whose bytes are only passed on, used once.
func (s *shop) byteConnections() map[string]net.Conn {
	s.t.Helper()
	open := func(from, to *sandbox.Pod, port string) net.Conn {
		connection, err := traffic.Dialer(from, func() string { return to.IPv4.String() }, port)(s.t.Context(), "", "")
		if err != nil {
			s.t.Fatal(err)
		}
		s.t.Cleanup(func() { _ = connection.Close() })
		return connection
	}
	secure := func(c net.Conn) net.Conn {
		return tls.Client(c, &tls.Config{ServerName: hostOf("payments"), InsecureSkipVerify: true}) //nolint:gosec // a test's
	}
	payments := s.backends["payments"]
	all := map[string]net.Conn{
		"TLS to payments": secure(open(s.pod.Pod, payments, tlsPort)), "TLS from outside": secure(open(s.outside, s.pod.Pod, tlsPort)),
		"TCP to payments": open(s.pod.Pod, payments, echoPort), "TCP from outside": open(s.outside, s.pod.Pod, echoPort),
	}
	for name, connection := range all {
		if err := speak(connection); err != nil {
			s.t.Fatalf("%s: %v", name, err)
		}
	}
	return all
}

// beginRequest sends the first half of a request to the pod; end sends the other one.
func (s *shop) beginRequest() (end func() error) {
	s.t.Helper()
	connection, err := traffic.Dialer(s.outside, func() string { return s.pod.IPv4.String() }, httpPort)(s.t.Context(), "", "")
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = connection.Close() })
	if _, err := io.WriteString(connection, "POST / HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 5\r\n\r\nhe"); err != nil {
		s.t.Fatal(err)
	}
	sandbox.Eventually(s.t, "it is under way to the app", 20*time.Second, func() bool {
		return injected.Stats(s.t, s.pod)["cluster.inbound_"+httpPort+".upstream_rq_active"] == 1
	})
	return func() error {
		_ = connection.SetDeadline(time.Now().Add(10 * time.Second))
		if _, err := io.WriteString(connection, "llo"); err != nil {
			return err
		}
		answer, err := http.ReadResponse(bufio.NewReader(connection), nil)
		if err != nil {
			return err
		}
		defer answer.Body.Close()
		body, err := io.ReadAll(answer.Body)
		if answer.StatusCode != http.StatusOK || string(body) != "POST / 5 bytes" {
			return fmt.Errorf("HTTP %d %s: %w", answer.StatusCode, body, err)
		}
		return err
	}
}

// speak sends a request of HTTP, which both kinds of servers answer.
func speak(connection net.Conn) error {
	_ = connection.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(connection, "GET / HTTP/1.1\r\nHost: payments.test\r\n\r\n"); err != nil {
		return err
	}
	heard := make([]byte, 1000)
	switch n, err := connection.Read(heard); {
	case err != nil:
		return err
	case n == 0:
		return errors.New("nothing was heard")
	}
	return nil
}

// drained waits until no filter chain drains any more.
func (s *shop) drained() {
	s.t.Helper()
	sandbox.Eventually(s.t, "the drain is over", 20*time.Second, func() bool {
		return injected.Stats(s.t, s.pod)["listener_manager.total_filter_chains_draining"] == 0
	})
}
