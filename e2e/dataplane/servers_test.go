package dataplane

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection"

	"github.com/pillion-mesh/pillion/e2e/sandbox"
	"github.com/pillion-mesh/pillion/e2e/traffic"
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

// serverURL is what clients call whose connections lead to a pod's httpPort anyway.
const serverURL = "http://server:" + httpPort + "/"

// serve starts every kind of server in a pod, on all addresses.
func serve(t *testing.T, p *sandbox.Pod) {
	t.Helper()
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	plain := &http.Server{Handler: http.HandlerFunc(traffic.Answer), Protocols: &protocols, MaxHeaderBytes: 1 << 20}
	p.Serve(t, httpPort, plain.Serve)
	secure := &http.Server{Handler: http.HandlerFunc(traffic.Answer), TLSConfig: traffic.Certificate()}
	p.Serve(t, tlsPort, func(l net.Listener) error { return secure.ServeTLS(l, "", "") })
	forwarder := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { forward(w, r, p) })}
	p.Serve(t, forwarderPort, forwarder.Serve)

	rpc := grpc.NewServer()
	grpc_health_v1.RegisterHealthServer(rpc, health.NewServer())
	reflection.Register(rpc)
	t.Cleanup(rpc.Stop)
	p.Serve(t, grpcPort, rpc.Serve)

	p.Serve(t, echoPort, traffic.Accept(func(c net.Conn) { _, _ = io.Copy(c, c) }))
	for _, port := range []string{greetPort, mysqlPort, smtpPort} {
		p.Serve(t, port, traffic.Accept(greet))
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
