// Package traffic is what tests of the data plane send through pods: servers that say
// what they were asked, and clients that repeat nothing by themselves.
package traffic

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"time"
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

// closing is how long ServeFor takes between its decision to close a connection and
// the close: what arrives meanwhile is lost, as it is on a real network for as long as
// the close is on its way.
const closing = 300 * time.Millisecond

// ServeFor answers requests on a connection until none has come for some time.
func ServeFor(c net.Conn, keepAlive time.Duration) {
	for requests := bufio.NewReader(c); ; {
		_ = c.SetReadDeadline(time.Now().Add(keepAlive))
		request, err := http.ReadRequest(requests)
		if err != nil {
			time.Sleep(closing)
			return
		}
		body, _ := io.ReadAll(request.Body)
		text := fmt.Sprintf("%s %s %d bytes", request.Method, request.URL.Path, len(body))
		_, _ = fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(text), text)
	}
}

// Certificate is the standard library's for tests.
func Certificate() *tls.Config {
	server := httptest.NewTLSServer(nil)
	server.Close()
	return &tls.Config{Certificates: server.TLS.Certificates, NextProtos: []string{"h2", "http/1.1"}} //nolint:gosec // a test's
}
