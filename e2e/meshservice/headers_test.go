package meshservice

import (
	"bufio"
	"bytes"
	"fmt"
	"net/http"
	"testing"

	"github.com/pillion-mesh/pillion/bootstrap"
	"github.com/pillion-mesh/pillion/e2e/sandbox"
)

// TestHeadersThatAreGone: headers that documents may not have routes by match nothing,
// whoever gets such a route past the validation, and those beside them do.
func TestHeadersThatAreGone(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	server := c.pod("server", "shop.test", "other.test")
	for port, name := range map[string]string{"80": "origin", "81": "other"} {
		c.serve(server, func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X-From", name) }, port)
	}
	tests := []struct{ name, value, more, from string }{
		{"x-sandbox", "blue", "", "other"},
		{"x-envoy-other", "blue", "", "other"},
		{"upgrade", "websocket", "Connection: upgrade\r\n", "other"},
		{"te", "trailers", "Connection: te\r\n", "other"},
		{"x-forwarded-proto", "https", "", "origin"},
		{"x-envoy-max-retries", "1", "", "origin"},
		{"x-envoy-upstream-rq-timeout-ms", "1000", "", "origin"},
		{"keep-alive", "timeout=5", "Connection: keep-alive\r\n", "origin"},
		{"proxy-connection", "keep-alive", "", "origin"},
		{"transfer-encoding", "chunked", "", "origin"},
	}
	spec := "egress:\n- {name: other, host: other.test, port: 81}\n- name: shop\n  host: shop.test\n  port: 80\n  routes:\n"
	for n, test := range tests {
		spec += fmt.Sprintf("  - {headers: [{name: x-header-%02d, value: %q}], to: other}\n", n, test.value)
	}
	c.alter = func(g *bootstrap.Generation) {
		for host := range g.Outbound.VirtualHosts {
			for n, test := range tests {
				g.Outbound.VirtualHosts[host] = bytes.ReplaceAll(g.Outbound.VirtualHosts[host], fmt.Appendf(nil, "x-header-%02d", n), []byte(test.name))
			}
		}
	}
	m := c.meshed("shop", spec, sandbox.App{})
	for _, test := range tests {
		connection, err := c.dialer(m.Pod)(t.Context(), "tcp", "shop.test:80")
		if err != nil {
			t.Fatal(err)
		}
		// The end of a body in chunks, which only one of them has, is behind the others'.
		_, err = fmt.Fprintf(connection, "GET / HTTP/1.1\r\nHost: shop.test\r\n%s: %s\r\n%s\r\n0\r\n\r\n", test.name, test.value, test.more)
		if err != nil {
			t.Fatal(err)
		}
		response, err := http.ReadResponse(bufio.NewReader(connection), nil)
		if err != nil {
			t.Fatalf("%s: %v", test.name, err)
		}
		if from := response.Header.Get("X-From"); from != test.from {
			t.Errorf("%s: %s went to %q, want %q", test.name, test.value, from, test.from)
		}
		_ = response.Body.Close()
		_ = connection.Close()
	}
}
