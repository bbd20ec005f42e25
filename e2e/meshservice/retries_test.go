package meshservice

import (
	"bufio"
	"net"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/pillion-mesh/pillion/bootstrap"
	"github.com/pillion-mesh/pillion/e2e/sandbox"
	"github.com/pillion-mesh/pillion/e2e/traffic"
)

// TestRetriesOnlyWhereSafe has servers fail once each request that has come, behind
// having counted it. What may be carried out twice is sent again, and what may not is
// carried out once; what the server did not begin to work on is always sent again.
func TestRetriesOnlyWhereSafe(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	server := c.pod("server", "resets.test", "unavailable.test", "refuses.test", "default.test", "grpc.test",
		"only.test", "control-resets.test", "control-unavailable.test", "control-refuses.test", "control-grpc.test")
	gone := c.pod("gone")
	for _, host := range []string{"gone.test", "control-gone.test"} {
		c.dns.Set(host, server.IPv4, gone.IPv4)
	}
	f := &failOnce{}
	server.Serve(t, "8080", traffic.Accept(f.reset))
	c.serve(server, f.unavailable, "8081")
	server.Serve(t, "8082", traffic.Accept(frames{streams: 100, request: f.refuse}.serve))
	c.serve(server, traffic.Answer, "8083")
	c.rpc(server, "9000", f.grpc)
	const all = "[ConnectFailure, RefusedStream, Reset, Unavailable]"
	m := c.meshed("shop", `egress:
		- {name: resets, host: resets.test, port: 8080, retries: {when: `+all+`}}
		- {name: only, host: only.test, port: 8080, retries: {when: [Reset]}}
		- {name: unavailable, host: unavailable.test, port: 8081, retries: {when: `+all+`}}
		- {name: refuses, host: refuses.test, port: 8082, protocol: HTTP2, retries: {}}
		- {name: default, host: default.test, port: 8080, retries: {}}
		- {name: gone, host: gone.test, port: 8083, retries: {}, maxConnectionAge: 0s}
		- {name: grpc, host: grpc.test, port: 9000, protocol: GRPC, retries: {when: `+all+`, safeMethods: [shop.v1.Cart/Get]}}
		- {name: control-resets, host: control-resets.test, port: 8080}
		- {name: control-unavailable, host: control-unavailable.test, port: 8081}
		- {name: control-refuses, host: control-refuses.test, port: 8082, protocol: HTTP2}
		- {name: control-gone, host: control-gone.test, port: 8083, maxConnectionAge: 0s}
		- {name: control-grpc, host: control-grpc.test, port: 9000, protocol: GRPC}
	`, sandbox.App{})
	by := c.client(m.Pod)
	for _, test := range []struct {
		host, port, method string
		// carried is how often the server is to have the request, and works whether it
		// comes to a good end.
		carried int
		works   bool
	}{
		{"resets", "8080", "GET", 2, true}, {"resets", "8080", "PUT", 2, true}, {"resets", "8080", "DELETE", 2, true},
		{"resets", "8080", "POST", 1, false}, {"resets", "8080", "PATCH", 1, false}, {"control-resets", "8080", "GET", 1, false},
		{"only", "8080", "GET", 2, true}, {"only", "8080", "POST", 1, false}, {"default", "8080", "GET", 1, false}, {"default", "8080", "POST", 1, false},
		{"unavailable", "8081", "GET", 2, true}, {"unavailable", "8081", "POST", 1, false}, {"control-unavailable", "8081", "GET", 1, false},
		{"refuses", "8082", "GET", 2, true}, {"refuses", "8082", "POST", 2, true}, {"control-refuses", "8082", "GET", 1, false},
	} {
		path := "/" + test.host + "/" + test.method
		a := ask(t.Context(), by, test.method, "http://"+test.host+".test:"+test.port+path)
		if works := a.code == http.StatusOK; works != test.works || f.seen.of(path) != test.carried {
			t.Errorf("%s to %s: %s, and the server had it %d times, want %d", test.method, test.host, a, f.seen.of(path), test.carried)
		}
	}
	for _, test := range []struct {
		host, method string
		carried      int
		code         codes.Code
	}{
		{"grpc", "/shop.v1.Cart/Get", 2, codes.OK}, {"grpc", "/shop.v1.Cart/Add", 1, codes.Unavailable}, {"control-grpc", "/shop.v1.Cart/Control", 1, codes.Unavailable},
	} {
		_, err := call(t.Context(), c.channel(m.Pod, test.host+".test:9000"), test.method)
		if status.Code(err) != test.code || f.seen.of(test.method) != test.carried {
			t.Errorf("%s of %s: %v, and the server had it %d times, want %s and %d", test.method, test.host, err, f.seen.of(test.method), test.code, test.carried)
		}
	}
	// One of two addresses takes no connection.
	failures := func(host string) int {
		failed := 0
		for range 30 {
			if ask(t.Context(), by, http.MethodPost, "http://"+host+".test:8083/").code != http.StatusOK {
				failed++
			}
		}
		return failed
	}
	if failed, control := failures("gone"), failures("control-gone"); failed > 0 || control < 5 {
		t.Errorf("%d of 30 requests failed where one of two addresses takes no connection, and %d of 30 without retries", failed, control)
	}
}

// failOnce are servers that count requests by their path, and fail each for the first
// time.
type failOnce struct{ seen tally }

// reset ends the connection without an answer.
func (f *failOnce) reset(connection net.Conn) {
	for requests := bufio.NewReader(connection); ; {
		request, err := http.ReadRequest(requests)
		if err != nil || f.seen.add(request.URL.Path) == 1 {
			if tcp, ok := connection.(*net.TCPConn); ok {
				_ = tcp.SetLinger(0)
			}
			return
		}
		_, _ = connection.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"))
	}
}

func (f *failOnce) unavailable(w http.ResponseWriter, r *http.Request) {
	if f.seen.add(r.URL.Path) == 1 {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
}

func (f *failOnce) refuse(c *frameConn, stream uint32, path string) {
	if f.seen.add(path) == 1 {
		_ = c.refuse(stream)
		return
	}
	_ = c.answer(stream, "well")
}

func (f *failOnce) grpc(method string) (string, error) {
	if f.seen.add(method) == 1 {
		return "", status.Error(codes.Unavailable, "not now")
	}
	return "well", nil
}

// TestRetryBudget has a server fail everything. One request at a time is tried as
// often as its owner said; when many are under way, the budget keeps retries to a part
// of them, so that the server does not get several times what it could not do anyway.
// Without a budget it does.
func TestRetryBudget(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	server := c.pod("server", "bounded.test", "control.test")
	var failing waves
	c.serve(server, failing.ServeHTTP, "8080")
	spec := `egress:
		- {name: bounded, host: bounded.test, port: 8080, retries: {attempts: 5, when: [Unavailable]}}
	`
	bounded := c.meshed("shop", spec, sandbox.App{})
	c.alter = withoutBudget
	control := c.meshed("control", strings.ReplaceAll(spec, "bounded", "control"), sandbox.App{})
	// storm is how many times the requests the server has.
	storm := func(m *meshed, host string, clients, each int) float64 {
		by, before := c.client(m.Pod), failing.join(clients)
		together(clients, func(int) answer {
			defer failing.leave()
			for range each {
				ask(t.Context(), by, http.MethodGet, "http://"+host+".test:8080/")
			}
			return answer{}
		})
		return float64(failing.join(0)-before) / float64(clients*each)
	}
	alone, many, without := storm(bounded, "bounded", 1, 2), storm(bounded, "bounded", 50, 6), storm(control, "control", 50, 2)
	t.Logf("the server has %.1f times the requests of one client, %.2f times those of fifty, and %.2f times those without a budget", alone, many, without)
	if alone != 6 || without != 6 {
		t.Errorf("the server has %.1f times the requests of one client, and %.1f times those without a budget, want 6", alone, without)
	}
	if many > 2 {
		t.Errorf("the server has %.2f times the requests of fifty clients, want less than twice", many)
	}
	if bounded.stat("cluster.bounded.upstream_rq_retry_overflow") == 0 {
		t.Error("no retry is counted that the budget has not allowed")
	}
}

// withoutBudget lets there be any number of retries.
func withoutBudget(g *bootstrap.Generation) {
	budget := regexp.MustCompile(`"retry_budget":\{[^{}]*\{[^{}]*\}[^{}]*\}`)
	for n := range g.Clusters {
		g.Clusters[n].Message = budget.ReplaceAll(g.Clusters[n].Message, []byte(`"max_retries":4294967295`))
	}
}
