package meshservice

import (
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/pillion-mesh/pillion/e2e/sandbox"
	"github.com/pillion-mesh/pillion/e2e/traffic"
)

// TestStreamLimitOfAServerThatLies has clients call an app that says it takes any number
// of streams on a connection, and dies above ten. With maxConcurrentStreams it never
// sees more than ten, whatever the number of clients; without it dies. It answers nobody
// before all have come, so that the limit is all that keeps them apart. Clients are told
// of no limit that they may have passed before they hear of it.
func TestStreamLimitOfAServerThatLies(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	p := c.pod("shop", "shop.test")
	const most, requests = 10, 120
	limited, control := &liar{most: most}, &liar{most: most}
	p.Serve(t, "8080", traffic.Accept(limited.frames().serve))
	p.Serve(t, "8081", traffic.Accept(control.frames().serve))
	m := c.meshedIn(p, `inbound:
		- {port: 8080, maxConcurrentStreams: 10}
		- {port: 8081}
		- {port: 8082, maxConcurrentStreams: 150}
	`, sandbox.App{})
	outside := c.pod("clients")
	clients := []http.RoundTripper{c.client2(outside), c.client2(outside), c.client2(outside)}
	send := func(port, cluster string, app *liar) map[int]int {
		// Envoy gets to know an app's address by a request, and until it does those that come
		// at once share no connection.
		app.expect(1)
		ask(t.Context(), clients[0], http.MethodGet, "http://shop.test:"+port+"/").wants(t, "the first request", http.StatusOK)
		sandbox.Eventually(t, "Envoy knows the app", longest, func() bool { return m.stat("cluster."+cluster+".membership_total") == 1 })
		app.expect(requests)
		return together(requests, func(n int) answer {
			a := ask(t.Context(), clients[n%len(clients)], http.MethodGet, "http://shop.test:"+port+"/")
			if a.err != nil {
				t.Logf("port %s: %s", port, a)
			}
			return a
		})
	}
	codes := send("8080", "inbound_8080", limited)
	if deaths, busiest := limited.saw(); codes[http.StatusOK] != requests || deaths > 0 || busiest != most {
		t.Errorf("the answers' codes are %v, the app died %d times and saw %d streams on a connection at most, want the ten that are allowed", codes, deaths, busiest)
	}
	for port, want := range map[string]uint32{"8080": 100, "8081": 1<<31 - 1, "8082": 150} {
		if got := streamsAllowed(t, outside, net.JoinHostPort(p.IPv4.String(), port)); got != want {
			t.Errorf("port %s: clients are told that they may open %d streams, want %d", port, got, want)
		}
	}
	codes = send("8081", "inbound_8081", control)
	if deaths, _ := control.saw(); deaths == 0 || codes[http.StatusOK] == requests {
		t.Errorf("without the limit the answers' codes are %v and the app died %d times: this test cannot fail", codes, deaths)
	}
}

// streamsAllowed is what an HTTP/2 server says that a client may open at the same time.
func streamsAllowed(t *testing.T, from *sandbox.Pod, address string) uint32 {
	t.Helper()
	connection, err := from.DialToSpeak(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	_ = connection.SetDeadline(time.Now().Add(longest))
	framer := http2.NewFramer(connection, connection)
	if _, err := io.WriteString(connection, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	if err := framer.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	for {
		frame, err := framer.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		if settings, ok := frame.(*http2.SettingsFrame); ok && !settings.IsAck() {
			allowed, _ := settings.Value(http2.SettingMaxConcurrentStreams)
			return allowed
		}
	}
}
