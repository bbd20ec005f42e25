// Package traffic is what tests of the data plane send through pods: servers that say
// what they were asked, and clients that repeat nothing by themselves.
package traffic

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
)

// Accept serves each connection by itself, and closes it behind that.
func Accept(one func(net.Conn)) func(net.Listener) error {
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

// Answer says what it was asked, so that the client can see what changed on the way.
func Answer(w http.ResponseWriter, r *http.Request) {
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
	w.Header().Set("X-Sum", strconv.Itoa(len(body)))
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

// Gate holds requests that have come until it is opened, and then answers them.
type Gate struct {
	// Came gets the path of each.
	Came chan string
	Open chan struct{}
}

// NewGate is one that is closed.
func NewGate() *Gate { return &Gate{make(chan string, 10_000), make(chan struct{})} }

func (g *Gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.Came <- r.URL.Path
	select {
	case <-g.Open:
		Answer(w, r)
	case <-r.Context().Done():
	}
}

// Certificate is the standard library's for tests.
func Certificate() *tls.Config {
	server := httptest.NewTLSServer(nil)
	server.Close()
	return &tls.Config{Certificates: server.TLS.Certificates, NextProtos: []string{"h2", "http/1.1"}} //nolint:gosec // a test's
}
