package meshservice

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/pillion-mesh/pillion/e2e/sandbox"
	"github.com/pillion-mesh/pillion/e2e/traffic"
)

// states of the cache in TestMethodRouteWithFallback, and the port that it is on.
func cacheStates() map[string]string {
	return map[string]string{"well": "9001", "failing": "9002", "down": "9003", "hanging": "9004", "unreachable": "9001", "unknown": "9001"}
}

// TestMethodRouteWithFallback leads one gRPC method to a cache. Whatever the cache
// does, no call fails; the cache's answers are used where it has any, and the other
// methods never come to it. Without the fallback calls fail wherever the cache does.
func TestMethodRouteWithFallback(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	origin, cache := c.pod("origin"), c.pod("cache")
	c.rpc(origin, "9000", func(string) (string, error) { return "origin", nil })
	c.rpc(cache, "9001", func(method string) (string, error) {
		if method != "/shop.v1.Items/Get" {
			return "", status.Errorf(codes.Unimplemented, "the cache was asked for %s", method)
		}
		return "cache", nil
	})
	c.rpc(cache, "9002", func(string) (string, error) { return "", status.Error(codes.Unavailable, "the cache is full") })
	cache.Serve(t, "9004", traffic.Accept(func(connection net.Conn) {
		for buffer := make([]byte, 4096); ; {
			if _, err := connection.Read(buffer); err != nil {
				return
			}
		}
	}))
	spec := "egress:\n"
	for state, port := range cacheStates() {
		for _, kind := range []string{"fallback", "none"} {
			name := state + "-" + kind
			c.dns.Set(name+".test", origin.IPv4)
			c.dns.Set("cache-"+name+".test", cacheAddress(state, cache)...)
			timeout, after := patience(state, kind)
			fallback := map[string]string{"fallback": ", fallback: {when: Fails, after: " + after + "}"}[kind]
			spec += fmt.Sprintf(`- {name: %[1]s, host: %[1]s.test, port: 9000, protocol: GRPC, timeout: %[4]s, routes: [{grpc: {service: shop.v1.Items, methods: [Get]}, to: cache-%[1]s%[2]s}]}
				- {name: cache-%[1]s, host: cache-%[1]s.test, port: %[3]s, protocol: GRPC}
			`, name, fallback, port, timeout)
		}
	}
	m := c.meshed("shop", spec, sandbox.App{})
	var all sync.WaitGroup
	for state := range cacheStates() {
		all.Go(func() { itemsCalls(c, m, state) })
	}
	all.Wait()
	counted := m.scrape()
	for state := range cacheStates() {
		both := fmt.Sprintf(`envoy_cluster_name="cache-%[1]s-fallback_else_%[1]s-fallback"`, state)
		fell := cacheCalls(state)
		if state == "well" || state == "unknown" {
			fell = 0 // a cache without an address is not asked, so nothing is sent a second time
		}
		if got := counted.sum("envoy_cluster_upstream_rq_retry", both); got != fell {
			t.Errorf("cache %s: %d requests fell back by the metric, want %d", state, got, fell)
		}
		if got := counted.sum("envoy_cluster_upstream_rq_xx", both, `envoy_response_code_class="2"`); got != cacheCalls(state) {
			t.Errorf("cache %s: %d answers by the metric, want %d", state, got, cacheCalls(state))
		}
	}
}

// cacheCalls is how often the method that is led to the cache is called.
func cacheCalls(state string) int {
	if state == "hanging" || state == "unreachable" {
		return 5 // each of which waits for the cache
	}
	return 20
}

// patience is the timeout of calls and of the cache: short where it has to pass, and longer
// than a machine is ever busy where it must not.
func patience(state, kind string) (timeout, after string) {
	switch waits := state == "hanging" || state == "unreachable"; {
	case !waits:
		return "50s", "40s"
	case kind == "none":
		return "1s", ""
	}
	return "50s", "1s"
}

// cacheAddress is what DNS says of the cache in a state.
func cacheAddress(state string, cache *sandbox.Pod) []netip.Addr {
	switch state {
	case "unreachable": // nobody has this address
		return []netip.Addr{cache.IPv4.Next()}
	case "unknown":
		return nil
	}
	return []netip.Addr{cache.IPv4}
}

// itemsCalls calls the method that is led to the cache and one that is not.
func itemsCalls(c cluster, m *meshed, state string) {
	by, control := c.channel(m.Pod, state+"-fallback.test:9000"), c.channel(m.Pod, state+"-none.test:9000")
	want := map[bool]string{true: "cache", false: "origin"}[state == "well"]
	for n := range cacheCalls(state) {
		if got, err := call(c.Context(), by, "/shop.v1.Items/Get"); err != nil || got != want {
			c.Errorf("cache %s: call %d: %q, %v, want the answer of the %s", state, n+1, got, err, want)
		}
		if got, err := call(c.Context(), by, "/shop.v1.Items/List"); err != nil || got != "origin" {
			c.Errorf("cache %s: another method: %q, %v, want the answer of the origin", state, got, err)
		}
	}
	if got, err := call(c.Context(), control, "/shop.v1.Items/Get"); (err == nil) != (state == "well") {
		c.Errorf("cache %s, no fallback: %q, %v", state, got, err)
	}
}

// TestStatusesThatFallBack: of a gRPC method, the statuses that the page names fall back, if
// the server has sent nothing before them. All others are answers.
func TestStatusesThatFallBack(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	origin, cache := c.pod("origin", "items.test"), c.pod("cache", "cache.test")
	c.rpc(origin, "9000", func(string) (string, error) { return "origin", nil })
	var methods []string
	statuses := map[string]codes.Code{}
	for code := codes.Canceled; code <= codes.Unauthenticated; code++ {
		methods = append(methods, code.String(), code.String()+"Late")
		statuses["/shop.v1.Items/"+code.String()] = code
	}
	server := grpc.NewServer(grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
		method, _ := grpc.MethodFromServerStream(stream)
		early, late := strings.CutSuffix(method, "Late")
		if late {
			if err := stream.SendHeader(metadata.Pairs("x-begun", "yes")); err != nil {
				return err
			}
		}
		return status.Error(statuses[early], "by the cache")
	}))
	t.Cleanup(server.Stop)
	cache.Serve(t, "9000", server.Serve)
	m := c.meshed("shop", fmt.Sprintf(`egress:
		- {name: items, host: items.test, port: 9000, protocol: GRPC, routes: [{grpc: {service: shop.v1.Items, methods: [%s]}, to: cache, fallback: {when: Fails, after: 5s}}]}
		- {name: cache, host: cache.test, port: 9000, protocol: GRPC}
	`, strings.Join(methods, ", ")), sandbox.App{})
	by := c.channel(m.Pod, "items.test:9000")
	var fell []string
	for _, method := range methods {
		path := "/shop.v1.Items/" + method
		got, err := call(t.Context(), by, path)
		early, late := strings.CutSuffix(path, "Late")
		switch {
		case err == nil && got == "origin" && !late:
			fell = append(fell, word(statuses[path]))
		case status.Code(err) != statuses[early]:
			t.Errorf("%s: %q, %v", method, got, err)
		}
	}
	page, err := os.ReadFile("../../docs/services/routes.md")
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(fell)
	said := regexp.MustCompile(`statuses ([A-Z_, \n]+ and [A-Z_]+)`).FindString(string(page))
	if !slices.Equal(fell, regexp.MustCompile(`[A-Z_]+`).FindAllString(said, -1)) {
		t.Errorf("%v fall back, and the page says %q", fell, said)
	}
}

// word is a status as gRPC's own pages write it.
func word(code codes.Code) string {
	return strings.ToUpper(regexp.MustCompile(`([a-z])([A-Z])`).ReplaceAllString(strings.Replace(code.String(), "Canceled", "Cancelled", 1), "${1}_$2"))
}

// TestHeaderRouteToASandbox leads requests with a header to a sandbox of the service: it
// gets exactly those. A sandbox that does not exist, or that fails, costs no request
// where there is a fallback for that, and fails visibly where there is none. One that
// comes later is found.
func TestHeaderRouteToASandbox(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	origin, alice, bob := c.pod("origin", "shop.test", "carol.test"), c.pod("alice", "alice.test"), c.pod("bob")
	c.dns.Set("gone.test", c.pod("nobody").IPv4)
	for _, p := range []*sandbox.Pod{origin, alice, bob} {
		c.serve(p, func(w http.ResponseWriter, _ *http.Request) { says(p.Name)(w, nil) }, "80")
	}
	broken := c.pod("broken", "broken.test")
	c.serve(broken, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) }, "8081")
	c.serve(broken, traffic.NewGate().ServeHTTP, "8082")
	broken.Serve(t, "8083", traffic.Accept(func(connection net.Conn) { _, _ = connection.Read(make([]byte, 1)) }))
	m := c.meshed("shop", `egress:
		- name: shop
		  host: shop.test
		  port: 80
		  routes:
		    - {headers: [{name: X-Sandbox, value: alice}], to: alice, fallback: {}}
		    - {headers: [{name: X-Sandbox, value: bob}], to: bob, fallback: {}}
		    - {headers: [{name: X-Sandbox, value: gone}], to: gone, fallback: {}}
		    - {headers: [{name: X-Sandbox, value: broken}], to: broken, fallback: {when: Fails}}
		    - {headers: [{name: X-Sandbox, value: hangs}], to: hangs, fallback: {when: Fails}}
		    - {headers: [{name: X-Sandbox, value: resets}], to: resets, fallback: {when: Fails}}
		    - {headers: [{name: X-Sandbox, value: broken-alone}], to: broken}
		    - {headers: [{name: X-Sandbox, value: bob-alone}], to: bob}
		    - {headers: [{name: X-Sandbox, value: gone-alone}], to: gone}
		- {name: alice, host: alice.test, port: 80}
		- {name: bob, host: bob.test, port: 80, dnsRefresh: 1s}
		- {name: gone, host: gone.test, port: 80}
		- {name: broken, host: broken.test, port: 8081}
		- {name: hangs, host: broken.test, port: 8082}
		- {name: resets, host: broken.test, port: 8083}
	`, sandbox.App{})
	by := c.client(m.Pod)
	sent := func(method, sandbox string) answer {
		headers := []string{}
		if sandbox != "" {
			headers = []string{"x-sandbox", sandbox}
		}
		return ask(t.Context(), by, method, "http://shop.test/", headers...)
	}
	send := func(sandbox string) answer { return sent(http.MethodPost, sandbox) }
	for method, headers := range map[string]map[string]string{
		http.MethodPost: {"": "origin", "alice": "alice", "Alice": "origin", "alice2": "origin", "bob": "origin", "gone": "origin"},
		// What a sandbox failed at may be done already, so only what may be done twice goes back.
		http.MethodGet: {"alice": "alice", "broken": "origin", "hangs": "origin", "resets": "origin"},
	} {
		for header, want := range headers {
			for range 10 {
				if a := sent(method, header); a.code != http.StatusOK || a.body != want {
					t.Errorf("%s, x-sandbox %q: %s, want the answer of %s", method, header, a, want)
				}
			}
		}
	}
	for header, code := range map[string]int{
		"broken": http.StatusInternalServerError, "resets": http.StatusServiceUnavailable,
		"bob-alone": http.StatusServiceUnavailable, "gone-alone": http.StatusServiceUnavailable, "broken-alone": http.StatusInternalServerError,
	} {
		send(header).wants(t, header+" has no fallback for POST", code)
	}
	c.dns.Set("bob.test", bob.IPv4)
	sandbox.Eventually(t, "bob's sandbox gets requests", longest, func() bool {
		a := send("bob")
		a.wants(t, "while bob's sandbox comes", http.StatusOK)
		return a.body == "bob"
	})
	if a := send("bob-alone"); a.body != "bob" {
		t.Errorf("without a fallback: %s", a)
	}
}

// TestNodesThatDoNotAnswer: a connection that nobody answers, as one to a node that is
// gone, is given up while there is time to call somebody else.
func TestNodesThatDoNotAnswer(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	origin, alive := c.pod("origin", "shop.test"), c.pod("alive")
	for _, p := range []*sandbox.Pod{origin, alive} {
		c.serve(p, func(w http.ResponseWriter, _ *http.Request) { says(p.Name)(w, nil) }, "80")
	}
	dead := c.pod("dead", "dead.test")
	dead.Output(t, "nft", "table inet gone { chain swallow { type filter hook input priority 0; policy drop; }; }")
	for _, host := range []string{"retried.test", "control.test"} {
		c.dns.Set(host, alive.IPv4, dead.IPv4)
	}
	m := c.meshed("shop", `egress:
		- name: shop
		  host: shop.test
		  port: 80
		  timeout: 2s
		  routes:
		    - {headers: [{name: x-to, value: falls-back}], to: dead, fallback: {}}
		    - {headers: [{name: x-to, value: control}], to: dead-control}
		- {name: dead, host: dead.test, port: 80}
		- {name: dead-control, host: dead.test, port: 81}
		- {name: retried, host: retried.test, port: 80, timeout: 2s, retries: {}, maxConnectionAge: 0s}
		- {name: control, host: control.test, port: 80, timeout: 2s, maxConnectionAge: 0s}
	`, sandbox.App{})
	by := c.client(m.Pod)
	for range 3 {
		if a := ask(t.Context(), by, http.MethodPost, "http://shop.test/", "x-to", "falls-back"); a.body != "origin" {
			t.Errorf("with a fallback: %s", a)
		}
	}
	ask(t.Context(), by, http.MethodPost, "http://shop.test/", "x-to", "control").wants(t, "without a fallback", http.StatusGatewayTimeout)
	// As many at the same time as any budget lets be retried.
	const atOnce, times = 3, 3
	failures := func(host string) int {
		failed := 0
		for range times {
			answered := together(atOnce, func(int) answer { return ask(t.Context(), by, http.MethodPost, "http://"+host+"/") })
			failed += atOnce - answered[http.StatusOK]
		}
		return failed
	}
	if failed, control := failures("retried.test"), failures("control.test"); failed > 0 || control == 0 {
		t.Errorf("one of two addresses does not answer: %d of %d requests failed with retries, and %d without", failed, atOnce*times, control)
	}
}
