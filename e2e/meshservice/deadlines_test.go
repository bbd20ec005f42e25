package meshservice

import (
	"net/http"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/pillion-mesh/pillion/api/v1alpha1"
	"github.com/pillion-mesh/pillion/e2e/sandbox"
	"github.com/pillion-mesh/pillion/e2e/traffic"
)

// TestTimeoutOfADestination: a request that takes longer becomes 504, while one to a
// destination without a timeout, which began before, is still waited for. An owner
// whose app waits longer than that is warned.
func TestTimeoutOfADestination(t *testing.T) {
	t.Parallel()
	const spec = `egress:
		- {name: short, host: short.test, port: 8080, timeout: 300ms, clientTimeout: 2s}
		- {name: fits, host: fits.test, port: 8080, timeout: 2s, clientTimeout: 300ms}
		- {name: free, host: free.test, port: 8080}
	`
	warnings := v1alpha1.WarnMeshService(decode(t, "shop", spec))
	if len(warnings) != 1 || !strings.Contains(warnings[0], "300ms") || !strings.Contains(warnings[0], "2s") || !strings.Contains(warnings[0], "504") {
		t.Errorf("the warnings are %q, want one that names both times and says what happens", warnings)
	}
	c := newCluster(t)
	server := c.pod("server", "short.test", "fits.test", "free.test")
	g := traffic.NewGate()
	c.serve(server, g.ServeHTTP, "8080")
	m := c.meshed("shop", spec, sandbox.App{})
	by := c.client(m.Pod)
	free := press(t, g, 1, func() answer { return ask(t.Context(), by, http.MethodPost, "http://free.test:8080/") })
	for range 3 {
		ask(t.Context(), by, http.MethodPost, "http://short.test:8080/").wants(t, "a server that does not answer", http.StatusGatewayTimeout)
	}
	if got := m.stat("cluster.short.upstream_rq_timeout"); got != 3 {
		t.Errorf("%d timeouts are counted, want 3", got)
	}
	if good := free.release(g); good != 1 {
		t.Errorf("the request without a timeout: %v", free.later)
	}
}

// TestTimeoutOfAGRPCCall: a gRPC client sees DEADLINE_EXCEEDED, whichever side bounds the
// call, and sends it once though it sends UNAVAILABLE again, as many clients do. Clients
// that are no gRPC's are not told a status of it.
func TestTimeoutOfAGRPCCall(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	free, bounded := c.pod("free", "free.test"), c.pod("orders", "orders.test")
	shop := c.meshed("shop", `egress:
		- {name: free, host: free.test, port: 9000, protocol: HTTP2, timeout: 300ms}
	`, sandbox.App{})
	c.meshedIn(bounded, `inbound:
		- {port: 9000, timeout: 300ms}
	`, sandbox.App{})
	for direction, of := range map[string]struct {
		from, to *sandbox.Pod
	}{
		"outbound": {shop.Pod, free},
		"inbound":  {free, bounded},
		"both":     {shop.Pod, bounded},
	} {
		t.Run(direction, func(t *testing.T) {
			var calls tally
			done := make(chan struct{})
			server := c.serve(of.to, func(_ http.ResponseWriter, r *http.Request) {
				calls.add(r.URL.Path)
				<-done
			}, "9000")
			defer server.Close()
			defer close(done)
			_, err := call(t.Context(), c.channel(of.from, of.to.Name+".test:9000", grpc.WithDefaultServiceConfig(retriesUnavailable)), "/shop.Orders/Place")
			if got := status.Code(err); got != codes.DeadlineExceeded || calls.of("/shop.Orders/Place") != 1 {
				t.Errorf("the client sees %v, and the server %d calls, want one that is %s", err, calls.of("/shop.Orders/Place"), codes.DeadlineExceeded)
			}
			a := ask(t.Context(), c.client2(of.from), http.MethodGet, "http://"+of.to.Name+".test:9000/")
			a.wants(t, "a client that speaks no gRPC", http.StatusGatewayTimeout)
			if got, said := a.header["Grpc-Status"]; said {
				t.Errorf("a client that speaks no gRPC is told a status of it: %q", got)
			}
		})
	}
}

// retriesUnavailable is what gRPC clients are commonly told.
const retriesUnavailable = `{"methodConfig": [{"name": [{}], "retryPolicy": {
	"maxAttempts": 3, "initialBackoff": "0.01s", "maxBackoff": "0.01s", "backoffMultiplier": 1, "retryableStatusCodes": ["UNAVAILABLE"]}}]}`
