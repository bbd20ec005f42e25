package dataplane

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection"

	"github.com/pillion-mesh/pillion/e2e/sandbox"
)

// Ports of the servers in a pod. 3306 and 25 are among those that Pillion reserves.
const (
	httpPort      = "8080" // HTTP/1 and HTTP/2 without TLS
	grpcPort      = "9000"
	tlsPort       = "8443"
	echoPort      = "9777" // raw TCP, the client speaks first
	greetPort     = "9778" // raw TCP, the server speaks first, on a port nobody reserved
	mysqlPort     = "3306" // the server speaks first, reserved
	smtpPort      = "25"
	forwarderPort = "3128" // a forward proxy, for CONNECT
	udpPort       = "5353"
)

// serve starts every kind of server in a pod, on all addresses.
func serve(t *testing.T, p *sandbox.Pod) {
	t.Helper()
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	plain := &http.Server{Handler: http.HandlerFunc(answer), Protocols: &protocols, MaxHeaderBytes: 1 << 20}
	serveOn(t, p, httpPort, plain.Serve)
	secure := &http.Server{Handler: http.HandlerFunc(answer), TLSConfig: certificate(t)}
	serveOn(t, p, tlsPort, func(l net.Listener) error { return secure.ServeTLS(l, "", "") })
	forwarder := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { forward(w, r, p) })}
	serveOn(t, p, forwarderPort, forwarder.Serve)

	rpc := grpc.NewServer()
	grpc_health_v1.RegisterHealthServer(rpc, health.NewServer())
	reflection.Register(rpc)
	t.Cleanup(rpc.Stop)
	serveOn(t, p, grpcPort, rpc.Serve)

	serveOn(t, p, echoPort, accept(func(c net.Conn) { _, _ = io.Copy(c, c) }))
	for _, port := range []string{greetPort, mysqlPort, smtpPort} {
		serveOn(t, p, port, accept(greet))
	}
	packets := p.ListenPacket(t, "udp", ":"+udpPort)
	go func() {
		buffer := make([]byte, 1500)
		for {
			n, from, err := packets.ReadFrom(buffer)
			if err != nil {
				return
			}
			_, _ = packets.WriteTo(buffer[:n], from)
		}
	}()
}

func serveOn(t *testing.T, p *sandbox.Pod, port string, serve func(net.Listener) error) {
	t.Helper()
	listener := p.Listen(t, "tcp", ":"+port)
	go func() { _ = serve(listener) }()
}

// accept serves each connection by itself.
func accept(one func(net.Conn)) func(net.Listener) error {
	return func(listener net.Listener) error {
		for {
			c, err := listener.Accept()
			if err != nil {
				return err
			}
			go func() {
				defer c.Close()
				one(c)
			}()
		}
	}
}

// greet speaks first, as SMTP and MySQL do, and then answers each line.
func greet(c net.Conn) {
	if _, err := io.WriteString(c, "220 ready\n"); err != nil {
		return
	}
	for lines := bufio.NewScanner(c); lines.Scan(); {
		if _, err := fmt.Fprintf(c, "250 %s\n", lines.Text()); err != nil {
			return
		}
	}
}

// answer says what it was asked, so that the client can see what changed on the way.
func answer(w http.ResponseWriter, r *http.Request) {
	if strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
		hijack(w, r)
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("X-Protocol", r.Proto)
	w.Header().Set("X-Host", r.Host)
	w.Header().Set("Trailer", "X-Sum")
	for name, values := range r.Header {
		w.Header().Add("X-Got", name+"="+strings.Join(values, ","))
	}
	_, _ = fmt.Fprintf(w, "%s %s %d bytes", r.Method, r.URL.Path, len(body))
	w.Header().Set("X-Sum", fmt.Sprint(len(body)))
}

// hijack takes the connection over and echoes, as behind a WebSocket's handshake.
func hijack(w http.ResponseWriter, r *http.Request) {
	c, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer c.Close()
	_, _ = fmt.Fprintf(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n", r.Header.Get("Upgrade"))
	_, _ = io.Copy(c, buffered)
}

// forward is a forward proxy that knows CONNECT.
func forward(w http.ResponseWriter, r *http.Request, p *sandbox.Pod) {
	ctx, cancel := context.WithTimeout(r.Context(), 10*time.Second)
	defer cancel()
	upstream, err := p.Dial(ctx, "tcp", r.Host)
	if err != nil || r.Method != http.MethodConnect {
		http.Error(w, fmt.Sprintf("%s %s: %v", r.Method, r.Host, err), http.StatusBadGateway)
		return
	}
	defer upstream.Close()
	c, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer c.Close()
	_, _ = io.WriteString(c, "HTTP/1.1 200 Connection established\r\n\r\n")
	go func() { _, _ = io.Copy(upstream, buffered) }()
	_, _ = io.Copy(c, upstream)
}

// certificate is the standard library's for tests.
func certificate(t *testing.T) *tls.Config {
	t.Helper()
	server := httptest.NewTLSServer(nil)
	server.Close()
	return &tls.Config{Certificates: server.TLS.Certificates, NextProtos: []string{"h2", "http/1.1"}} //nolint:gosec // a test's
}
