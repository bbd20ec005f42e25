package envoy

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// reset ends the connection in place of a response.
func reset(w http.ResponseWriter, _ *http.Request) {
	if c, _, err := http.NewResponseController(w).Hijack(); err == nil {
		_ = c.Close()
	}
}

// unavailable is a gRPC server's answer.
func unavailable(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/grpc")
	w.Header().Set("Grpc-Status", "14")
}

// TestRetries: a request is sent once more only where that is asked for and may be done.
func TestRetries(t *testing.T) {
	const (
		none = `{}`
		all  = `{when: [ConnectFailure, RefusedStream, Reset, Unavailable], safeMethods: [shop.v1.Cart/Get], attempts: 2}`
	)
	grpc := http.Header{"Content-Type": {"application/grpc"}}
	for _, test := range []struct {
		retries, method, path string
		header                http.Header
		answer                http.HandlerFunc
		times                 int32
	}{
		{none, "GET", "/", nil, fail(503), 1},
		{none, "GET", "/", nil, reset, 1},
		{all, "GET", "/", nil, fail(503), 3},
		{all, "PUT", "/", nil, fail(502), 3},
		{all, "DELETE", "/", nil, fail(504), 3},
		{all, "GET", "/", nil, fail(500), 1},
		{all, "GET", "/", nil, reset, 3},
		{all, "POST", "/", nil, fail(503), 1},
		{all, "POST", "/", nil, reset, 1},
		{all, "PATCH", "/", nil, reset, 1},
		{all, "POST", "/shop.v1.Cart/Get", nil, fail(503), 1}, // no gRPC
		{all, "POST", "/shop.v1.Cart/Get", grpc, unavailable, 3},
		{all, "POST", "/shop.v1.Cart/Get", grpc, reset, 3},
		{all, "POST", "/shop.v1.Cart/Add", grpc, unavailable, 1},
		{all, "POST", "/shop.v1.Cart/GetAll", grpc, reset, 1},
		{`{when: [Unavailable]}`, "GET", "/", nil, fail(503), 2},
		{`{when: [Reset]}`, "GET", "/", nil, fail(503), 1},
		{`{when: [Reset]}`, "GET", "/", nil, reset, 2},
	} {
		t.Run(strings.Join([]string{test.method, test.path, test.retries}, " "), func(t *testing.T) {
			t.Parallel()
			s := serve(t, test.answer)
			p := start(t, rendered(t, fmt.Appendf(nil, `{apiVersion: pillion.dev/v1alpha1, kind: MeshService, metadata: {name: checkout, namespace: shop},
				spec: {egress: [{name: cart, host: here.test, port: %d, timeout: 10s, retries: %s}]}}`, s.port, test.retries)))
			p.call(t, test.method, fmt.Sprint("here.test:", s.port), test.path, test.header)
			if got := s.requests.Load(); got != test.times {
				t.Errorf("the server was asked %d times, want %d", got, test.times)
			}
			// Nothing that was not there tells the server about the timeout, but for a retry,
			// for which Envoy has no switch.
			for name := range *s.header.Load() {
				if strings.HasPrefix(name, "X-Envoy-Expected") && test.times == 1 {
					t.Errorf("the server was sent %s", name)
				}
			}
		})
	}
}

// TestPerTryTimeout: an attempt is given up for another one, and never for none: what may
// not be sent again has the whole timeout.
func TestPerTryTimeout(t *testing.T) {
	grpc := http.Header{"Content-Type": {"application/grpc"}}
	for _, test := range []struct {
		when, method, path string
		header             http.Header
		times              int32
	}{
		{"[Reset]", "GET", "/", nil, 2},
		{"[Unavailable]", "PUT", "/", nil, 2},
		{"[Reset]", "POST", "/", nil, 1},
		{"[ConnectFailure, RefusedStream, Reset, Unavailable]", "POST", "/", nil, 1},
		{"[ConnectFailure, RefusedStream]", "GET", "/", nil, 1},
		{"[Unavailable]", "POST", "/shop.v1.Cart/Get", grpc, 2},
		{"[Unavailable]", "POST", "/shop.v1.Cart/Add", grpc, 1},
	} {
		t.Run(strings.Join([]string{test.method, test.path, test.when}, " "), func(t *testing.T) {
			t.Parallel()
			var s *server
			s = serve(t, func(w http.ResponseWriter, r *http.Request) {
				// The first attempt is slower than perTryTimeout.
				if s.requests.Load() == 1 {
					after(700*time.Millisecond, say("slow"))(w, r)
				}
			})
			p := start(t, rendered(t, fmt.Appendf(nil, `{apiVersion: pillion.dev/v1alpha1, kind: MeshService, metadata: {name: checkout, namespace: shop},
				spec: {egress: [{name: cart, host: here.test, port: %d, timeout: 10s, retries: {when: %s, safeMethods: [shop.v1.Cart/Get], perTryTimeout: 300ms}}]}}`, s.port, test.when)))
			code, body, _ := p.call(t, test.method, fmt.Sprint("here.test:", s.port), test.path, test.header)
			if got := s.requests.Load(); code != http.StatusOK || got != test.times {
				t.Errorf("HTTP %d %q, and the server was asked %d times, want 200 and %d", code, body, got, test.times)
			}
		})
	}
}
