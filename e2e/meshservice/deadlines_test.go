package meshservice

import (
	"net/http"
	"strings"
	"testing"

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
