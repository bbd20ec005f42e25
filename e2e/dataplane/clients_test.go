package dataplane

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection/grpc_reflection_v1"

	"github.com/pillion-mesh/pillion/e2e/sandbox"
	"github.com/pillion-mesh/pillion/e2e/traffic"
)

// client is a process in a pod that calls a host: an address of another pod, of a
// Service or its own.
type client struct {
	from *sandbox.Pod
	host string
}

// dial is for what waits for the server to speak, and speak for all others.
func (c client) dial(ctx context.Context, port string) (net.Conn, error) {
	return c.by(ctx, c.from.Dial, port)
}

func (c client) speak(ctx context.Context, port string) (net.Conn, error) {
	return c.by(ctx, c.from.DialToSpeak, port)
}

func (c client) by(ctx context.Context, dial func(context.Context, string, string) (net.Conn, error), port string) (net.Conn, error) {
	connection, err := dial(ctx, "tcp", net.JoinHostPort(c.host, port))
	if err != nil {
		return nil, err
	}
	deadline, _ := ctx.Deadline()
	return connection, connection.SetDeadline(deadline)
}

func (c client) url(scheme, port, path string) string {
	return scheme + "://" + net.JoinHostPort(c.host, port) + path
}

// transport opens its connections in the pod, and none is used twice.
func (c client) transport() *http.Transport {
	return &http.Transport{DialContext: c.from.DialToSpeak, DisableKeepAlives: true}
}

func (c client) http1(ctx context.Context) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url("http", httpPort, "/a%2Fb//c"), strings.NewReader(strings.Repeat("x", 100_000)))
	if err != nil {
		return err
	}
	response, err := traffic.Do(c.transport(), request, "POST /a/b//c 100000 bytes")
	if err != nil {
		return err
	}
	if got := response.Trailer.Get("X-Sum"); got != "100000" {
		return fmt.Errorf("trailer X-Sum is %q", got)
	}
	return nil
}

// http2 with prior knowledge, several requests at once on one connection.
func (c client) http2(ctx context.Context) error {
	transport := &http.Transport{DialContext: c.from.DialToSpeak, Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	defer transport.CloseIdleConnections()
	failures := make(chan error)
	for range 3 {
		go func() {
			request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url("http", httpPort, "/"), http.NoBody)
			if err != nil {
				failures <- err
				return
			}
			response, err := traffic.Do(transport, request, "GET / 0 bytes")
			if err == nil && response.Header.Get("X-Protocol") != "HTTP/2.0" {
				err = fmt.Errorf("the server saw %s", response.Header.Get("X-Protocol"))
			}
			failures <- err
		}()
	}
	return errors.Join(<-failures, <-failures, <-failures)
}

// raw sends bytes and fails unless the answer begins as wanted.
func (c client) raw(ctx context.Context, port, send string, want ...string) error {
	connection, err := c.speak(ctx, port)
	if err != nil {
		return err
	}
	defer connection.Close()
	if _, err := io.WriteString(connection, send); err != nil {
		return err
	}
	answer := bufio.NewReader(connection)
	for _, line := range want {
		for all := ""; ; {
			got, err := answer.ReadString('\n')
			if strings.HasPrefix(strings.ToLower(got), strings.ToLower(line)) {
				break
			}
			if all += got; err != nil {
				return fmt.Errorf("waiting for %q, got %q: %w", line, all, err)
			}
		}
	}
	return nil
}

// upgradeToH2C asks for HTTP/2 on an HTTP/1 connection, which nobody has to grant.
func (c client) upgradeToH2C(ctx context.Context) error {
	return c.raw(ctx, httpPort, "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
		"HTTP/1.1 200", "X-Protocol: HTTP/1.1")
}

func (c client) http10(ctx context.Context) error {
	return c.raw(ctx, httpPort, "GET /old HTTP/1.0\r\n\r\n", "HTTP/1.", "GET /old 0 bytes")
}

func (c client) webSocket(ctx context.Context) error {
	return c.raw(ctx, httpPort, "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\nframe\n",
		"HTTP/1.1 101", "frame")
}

// expectContinue sends its body only once the server has said that it wants it.
func (c client) expectContinue(ctx context.Context) error {
	connection, err := c.speak(ctx, httpPort)
	if err != nil {
		return err
	}
	defer connection.Close()
	answer := bufio.NewReader(connection)
	for _, turn := range [][2]string{
		{"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n", "HTTP/1.1 100"}, {"body", "HTTP/1.1 200"},
	} {
		if _, err := io.WriteString(connection, turn[0]); err != nil {
			return err
		}
		for line := ""; !strings.HasPrefix(line, turn[1]); {
			if line, err = answer.ReadString('\n'); err != nil {
				return fmt.Errorf("waiting for %q: %w", turn[1], err)
			}
		}
	}
	return nil
}

// connect goes through a forward proxy to the TLS server beside it.
func (c client) connect(ctx context.Context) error {
	target := net.JoinHostPort(c.host, tlsPort)
	connection, err := c.speak(ctx, forwarderPort)
	if err != nil {
		return err
	}
	defer connection.Close()
	if _, err := fmt.Fprintf(connection, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n", target, target); err != nil {
		return err
	}
	answer := bufio.NewReader(connection)
	response, err := http.ReadResponse(answer, &http.Request{Method: http.MethodConnect})
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("CONNECT: HTTP %d", response.StatusCode)
	}
	return tls.Client(connection, &tls.Config{InsecureSkipVerify: true}).HandshakeContext(ctx) //nolint:gosec // a test's
}

// manyHeaders is more than Envoy takes by default, and less than many servers do.
func (c client) manyHeaders(ctx context.Context) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url("http", httpPort, "/"), http.NoBody)
	if err != nil {
		return err
	}
	for n := range 300 {
		request.Header.Set(fmt.Sprintf("X-Header-%d", n), strings.Repeat("v", 500))
	}
	_, err = traffic.Do(c.transport(), request, "GET / 0 bytes")
	return err
}

func (c client) tls(ctx context.Context) error {
	transport := c.transport()
	transport.TLSClientConfig = &tls.Config{InsecureSkipVerify: true} //nolint:gosec // a test's
	transport.ForceAttemptHTTP2 = true
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url("https", tlsPort, "/"), http.NoBody)
	if err != nil {
		return err
	}
	_, err = traffic.Do(transport, request, "GET / 0 bytes")
	return err
}

func (c client) grpc() (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:///"+net.JoinHostPort(c.host, grpcPort), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
			return c.from.DialToSpeak(ctx, "tcp", address)
		}))
}

func (c client) unary(ctx context.Context) error {
	connection, err := c.grpc()
	if err != nil {
		return err
	}
	defer connection.Close()
	_, err = grpc_health_v1.NewHealthClient(connection).Check(ctx, &grpc_health_v1.HealthCheckRequest{})
	return err
}

// streaming talks in both directions by turns.
func (c client) streaming(ctx context.Context) error {
	connection, err := c.grpc()
	if err != nil {
		return err
	}
	defer connection.Close()
	stream, err := grpc_reflection_v1.NewServerReflectionClient(connection).ServerReflectionInfo(ctx)
	if err != nil {
		return err
	}
	for range 3 {
		question := &grpc_reflection_v1.ServerReflectionRequest{MessageRequest: &grpc_reflection_v1.ServerReflectionRequest_ListServices{}}
		if err := stream.Send(question); err != nil {
			return err
		}
		if answer, err := stream.Recv(); err != nil || len(answer.GetListServicesResponse().GetService()) == 0 {
			return fmt.Errorf("receiving: %v, %w", answer, err)
		}
	}
	return stream.CloseSend()
}

// echo speaks first.
func (c client) echo(ctx context.Context) error {
	return c.raw(ctx, echoPort, "\x00\x01binary\n", "\x00\x01binary\n")
}

// greeted waits for the server to speak, and measures how long that took.
func (c client) greeted(ctx context.Context, port string) (time.Duration, error) {
	started := time.Now()
	connection, err := c.dial(ctx, port)
	if err != nil {
		return 0, err
	}
	defer connection.Close()
	lines := bufio.NewReader(connection)
	if line, err := lines.ReadString('\n'); err != nil || line != "220 ready\n" {
		return 0, fmt.Errorf("%q, %w", line, err)
	}
	took := time.Since(started)
	_, _ = io.WriteString(connection, "hello\n")
	if line, err := lines.ReadString('\n'); err != nil || line != "250 hello\n" {
		return 0, fmt.Errorf("%q, %w", line, err)
	}
	return took, nil
}

func (c client) udp(ctx context.Context) error {
	connection, err := c.from.Dial(ctx, "udp", net.JoinHostPort(c.host, udpPort))
	if err != nil {
		return err
	}
	defer connection.Close()
	deadline, _ := ctx.Deadline()
	_ = connection.SetDeadline(deadline)
	if _, err := io.WriteString(connection, "ping"); err != nil {
		return err
	}
	buffer := make([]byte, 10)
	n, err := connection.Read(buffer)
	if err != nil || string(buffer[:n]) != "ping" {
		return fmt.Errorf("%q, %w", buffer[:n], err)
	}
	return nil
}
