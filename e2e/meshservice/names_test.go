package meshservice

import (
	"context"
	"net"
	"net/http"
	"testing"

	"github.com/pillion-mesh/pillion/bootstrap"
	"github.com/pillion-mesh/pillion/e2e/sandbox"
)

// TestAddressesThatMoveAreFollowed: when a name leads to another address, requests go
// there as soon as DNS has been asked again. Where it is hardly ever asked they stay
// where they were.
func TestAddressesThatMoveAreFollowed(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	before, after := c.pod("before", "often.test", "seldom.test"), c.pod("after")
	for _, p := range []*sandbox.Pod{before, after} {
		c.serve(p, says(p.Name), "8080")
	}
	m := c.meshed("shop", `egress:
		- {name: often, host: often.test, port: 8080, dnsRefresh: 1s}
		- {name: seldom, host: seldom.test, port: 8080, dnsRefresh: 10m}
	`, sandbox.App{})
	by := c.client(m.Pod)
	where := func(host string) string {
		a := ask(t.Context(), by, http.MethodPost, "http://"+host+".test:8080/")
		a.wants(t, host, http.StatusOK)
		return a.body
	}
	if often, seldom := where("often"), where("seldom"); often != "before" || seldom != "before" {
		t.Fatalf("requests come to %s and %s", often, seldom)
	}
	asked := c.dns.Queries("often.test")
	c.dns.Set("often.test", after.IPv4)
	c.dns.Set("seldom.test", after.IPv4)
	sandbox.Eventually(t, "requests come to the new address", longest, func() bool { return where("often") == "after" })
	// One question may have been on its way.
	if more := c.dns.Queries("often.test") - asked; more > 3 {
		t.Errorf("DNS was asked %d times until the address was followed", more)
	}
	for range 20 {
		if got := where("often"); got != "after" {
			t.Errorf("a request came to %s, which the name does not lead to any more", got)
		}
	}
	if got := where("seldom"); got != "before" {
		t.Errorf("without looking again requests come to %s: this test cannot fail", got)
	}
}

// TestDestinationsByNameAndPort: a request belongs to a destination by the name that its
// client says and the port that it connects to, whatever it says of the port. Requests to
// other ports of that name go where they were going, or are refused as undeclared ones.
func TestDestinationsByNameAndPort(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	declared, called := c.pod("declared", "cart.test"), c.pod("called")
	// Envoy's routes go by a header, which is nobody else's to say or to see.
	var told tally
	serves := func(p *sandbox.Pod, ports ...string) {
		for _, port := range ports {
			c.serve(p, func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get(bootstrap.PortAside) != "" {
					told.add(p.Name)
				}
				says(p.Name+" "+port)(w, r)
			}, port)
		}
	}
	serves(declared, "80", "8080")
	serves(called, "80", "8080", "8081")
	const egress = `egress:
		- {name: cart, host: cart.test, port: 8080}
		- {name: cart-web, host: cart.test, port: 80}
	`
	passing := c.meshed("shop", egress, sandbox.App{})
	refusing := c.meshed("shop", egress+"undeclaredEgress: Refused\n", sandbox.App{})
	for _, test := range []struct{ port, host, passed, refused string }{
		{"8080", "cart.test:8080", "declared 8080", "declared 8080"},
		{"8080", "cart.test", "declared 8080", "declared 8080"},
		{"8080", "cart.test:9999", "declared 8080", "declared 8080"},
		{"80", "cart.test", "declared 80", "declared 80"},
		{"80", "cart.test.:80", "declared 80", "declared 80"},
		{"8081", "cart.test:8080", "called 8081", ""},
		{"8081", "cart.test", "called 8081", ""},
		{"8080", "other.test:8080", "called 8080", ""},
	} {
		for pod, want := range map[*meshed]string{passing: test.passed, refusing: test.refused} {
			// The header that Envoy's routes go by is nobody else's to say.
			by := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
				return pod.DialToSpeak(ctx, network, net.JoinHostPort(called.IPv4.String(), test.port))
			}}
			a := ask(t.Context(), by, http.MethodPost, "http://"+test.host+"/", bootstrap.PortAside, "8080")
			if want == "" {
				a.wants(t, "refused: "+test.host+" on port "+test.port, http.StatusForbidden)
			} else if a.body != want {
				t.Errorf("%s on port %s: %s, want %q", test.host, test.port, a, want)
			}
		}
	}
	if told.of("declared")+told.of("called") > 0 {
		t.Errorf("servers see %s", bootstrap.PortAside)
	}
}
