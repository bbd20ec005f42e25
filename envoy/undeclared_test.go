package envoy

import (
	"fmt"
	"net/http"
	"testing"
)

// TestUndeclaredPortsOfADeclaredName: where undeclared destinations are refused, requests to a
// declared name pass on the ports that are for bytes alone, and on no other.
func TestUndeclaredPortsOfADeclaredName(t *testing.T) {
	s := serve(t, say("cart"))
	p := start(t, rendered(t, fmt.Appendf(nil, `{apiVersion: pillion.dev/v1alpha1, kind: MeshService, metadata: {name: checkout, namespace: shop}, spec: {undeclaredEgress: Refused, egress: [
		{name: cart, host: here.test, port: %d}, {name: db, host: db.test, port: 5432, protocol: TCP}, {name: queue, host: queue.test, port: 5672, protocol: TCP},
		{name: a-page, host: page.test, port: 7000}, {name: b-bytes, host: bytes.test, port: 7000, protocol: TCP}]}}`, s.port)))
	for port, refused := range map[int]bool{s.port: false, 5432: false, 5672: false, 7000: true, 7001: true} {
		code, body, _ := p.call(t, "GET", fmt.Sprint("here.test:", port), "/", nil)
		if (code == http.StatusForbidden) != refused || port == s.port && body != "cart" {
			t.Errorf("port %d: HTTP %d %q, want it refused: %t", port, code, body, refused)
		}
	}
}
