package dataplane

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
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
// the limits of its destination or port change, whatever the drain time: nobody can tell its
// ends to go. It ends when its destination is not declared any more.
func TestBytesOutliveChanges(t *testing.T) {
	t.Parallel()
	s := newShop(t, want{configure: func(c *v1alpha1.InjectorConfig) { c.Lifecycle.DrainTime.Duration = time.Second }})
	of := &changes{}
	limited := func(limit *int32, connectSeconds int32) *bootstrap.Generation {
		connect, most := &metav1.Duration{Duration: time.Duration(connectSeconds) * time.Second}, &v1alpha1.Breakers{MaxConnections: limit}
		return of.of(t, v1alpha1.MeshServiceSpec{
			Inbound: []v1alpha1.InboundPort{{Port: number(echoPort), Protocol: v1alpha1.InboundTCP, MaxConnections: limit}},
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
	for limit := range int32(5) {
		g := limited(new(20+limit), 11+limit)
		s.apply(g)
		s.await(g.Version)
	}
	s.drained()
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
	payments := s.backends["payments"]
	all := map[string]net.Conn{
		"TLS to payments": tls.Client(open(s.pod.Pod, payments, tlsPort), &tls.Config{ServerName: hostOf("payments"), InsecureSkipVerify: true}), //nolint:gosec // a test's
		"TCP to payments": open(s.pod.Pod, payments, echoPort), "TCP from outside": open(s.outside, s.pod.Pod, echoPort),
	}
	for name, connection := range all {
		if err := speak(connection); err != nil {
			s.t.Fatalf("%s: %v", name, err)
		}
	}
	return all
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
