package meshservice

import (
	"net/http"
	"testing"

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
