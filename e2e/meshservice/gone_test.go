package meshservice

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/pillion-mesh/pillion/e2e/sandbox"
	"github.com/pillion-mesh/pillion/e2e/traffic"
)

// TestServersThatAreGone: a node that vanishes says nothing to those whose calls it has. A
// gRPC client hears of it from the kernel, declared or not; the control is a destination of
// which Envoy does not know beforehand that it is HTTP/2. A server that is there and does
// not read for all that time keeps its connection.
func TestServersThatAreGone(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	gone, busy := c.pod("gone", "declared.test", "control.test"), c.pod("busy")
	c.dns.Set("six.test", gone.IPv6)
	server := grpc.NewServer(grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
		for {
			if err := errors.Join(stream.RecvMsg(&emptypb.Empty{}), stream.SendMsg(&emptypb.Empty{})); err != nil {
				return err
			}
		}
	}))
	t.Cleanup(server.Stop)
	for _, port := range []string{"9000", "9001", "9002"} {
		gone.Serve(t, port, server.Serve)
	}
	m := c.meshed("shop", `egress:
		- {name: declared, host: declared.test, port: 9000, protocol: GRPC}
		- {name: six, host: six.test, port: 9000, protocol: HTTP2}
		- {name: control, host: control.test, port: 9001}
	`, sandbox.App{})
	streams, ended := map[string]grpc.ClientStream{}, map[string]chan error{}
	for name, target := range map[string]string{
		"declared": "declared.test:9000", "declared, IPv6": "six.test:9000", "control": "control.test:9001",
		"undeclared": net.JoinHostPort(gone.IPv4.String(), "9002"), "undeclared, IPv6": net.JoinHostPort(gone.IPv6.String(), "9002"),
	} {
		streams[name], ended[name] = c.stream(m, target), make(chan error, 1)
	}
	if got := m.stat("cluster.outbound_passthrough.upstream_rq_total"); got != 2 {
		t.Errorf("%d undeclared calls are counted, want 2", got)
	}
	full := c.fill(m, busy)
	gone.Output(t, "nft", "table inet gone { chain in { type filter hook input priority 0; policy drop; }; chain out { type filter hook output priority 0; policy drop; }; }")
	heard, cancel := context.WithTimeout(t.Context(), 2*longest)
	defer cancel()
	for name, stream := range streams {
		// Nobody acknowledges this, so the kernel sends no probes.
		if err := stream.SendMsg(&emptypb.Empty{}); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		go func() { ended[name] <- stream.RecvMsg(&emptypb.Empty{}) }()
	}
	for name, end := range ended {
		if name == "control" {
			continue
		}
		select {
		case err := <-end:
			// The server had begun to answer, so it is no call that may be sent again.
			if status.Code(err) != codes.Internal {
				t.Errorf("%s: %v, want %s", name, err, codes.Internal)
			}
		case <-heard.Done():
			t.Errorf("%s: nothing is heard of a server that is gone", name)
		}
	}
	select {
	case err := <-ended["control"]:
		t.Errorf("without the bound the client hears of it as early, so this test cannot fail: %v", err)
	default:
	}
	if read, err := full(); err != nil || read != fullBytes {
		t.Errorf("a server that did not read got %d of %d bytes: %v", read, fullBytes, err)
	}
}

// fullBytes are more than fit into all buffers between a client and a server.
const fullBytes = 64 << 20

// fill sends them to a server that does not read until it is asked what it has got.
func (c cluster) fill(m *meshed, server *sandbox.Pod) (read func() (int64, error)) {
	c.Helper()
	accepted := make(chan net.Conn, 1)
	server.Serve(c.T, "9777", traffic.Accept(func(connection net.Conn) {
		accepted <- connection
		<-c.Context().Done()
	}))
	connection, err := m.DialToSpeak(c.Context(), "tcp", net.JoinHostPort(server.IPv4.String(), "9777"))
	if err != nil {
		c.Fatal(err)
	}
	c.Cleanup(func() { _ = connection.Close() })
	written := make(chan error, 1)
	go func() {
		_, err := connection.Write(make([]byte, fullBytes))
		written <- err
	}()
	peer := <-accepted
	return func() (int64, error) {
		_ = peer.SetReadDeadline(time.Now().Add(longest))
		n, err := io.CopyN(io.Discard, peer, fullBytes)
		return n, errors.Join(err, <-written)
	}
}

// stream is one to a server that has answered once.
func (c cluster) stream(m *meshed, target string) grpc.ClientStream {
	c.Helper()
	ctx, cancel := context.WithCancel(c.Context())
	c.Cleanup(cancel)
	stream, err := c.channel(m.Pod, target).NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, "/shop.Cart/Watch")
	if err == nil {
		err = errors.Join(stream.SendMsg(&emptypb.Empty{}), stream.RecvMsg(&emptypb.Empty{}))
	}
	if err != nil {
		c.Fatalf("%s: %v", target, err)
	}
	return stream
}
