package meshservice

import (
	"net/http"
	"testing"

	"github.com/pillion-mesh/pillion/e2e/sandbox"
	"github.com/pillion-mesh/pillion/e2e/traffic"
)

// TestStreamLimitOfAServerThatLies has clients call an app that says it takes any number
// of streams on a connection, and dies above ten. With maxConcurrentStreams it never
// sees more than ten, whatever the number of clients; without it dies.
func TestStreamLimitOfAServerThatLies(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	p := c.pod("shop", "shop.test")
	limited, control := &liar{most: 10}, &liar{most: 10}
	p.Serve(t, "8080", traffic.Accept(limited.frames().serve))
	p.Serve(t, "8081", traffic.Accept(control.frames().serve))
	c.meshedIn(p, `inbound:
		- {port: 8080, maxConcurrentStreams: 10}
		- {port: 8081}
	`, sandbox.App{})
	outside := c.pod("clients")
	clients := []http.RoundTripper{c.client2(outside), c.client2(outside), c.client2(outside)}
	send := func(port string) map[int]int {
		return together(120, func(n int) answer {
			return ask(t.Context(), clients[n%len(clients)], http.MethodGet, "http://shop.test:"+port+"/")
		})
	}
	if codes := send("8080"); codes[http.StatusOK] != 120 || limited.died > 0 {
		t.Errorf("the answers' codes are %v, the app died %d times and saw %d streams at once", codes, limited.died, limited.busiest)
	}
	if limited.busiest != 10 {
		t.Errorf("the app saw %d streams on a connection at most, want the ten that are allowed", limited.busiest)
	}
	if codes := send("8081"); control.died == 0 || codes[http.StatusOK] == 120 {
		t.Errorf("without the limit the answers' codes are %v and the app died %d times: this test cannot fail", codes, control.died)
	}
}
