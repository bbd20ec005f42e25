package iptables

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// connection is a TCP connection at the moment in which the nat table sees it.
type connection struct {
	chain    Chain
	to       netip.AddrPort
	uid, gid uint32 // of the process that opened it; Outbound only
}

// The addresses of the tests' pod, and its Service's, behind which the node may
// choose that very pod.
const (
	pod4, pod6         = "10.1.0.5", "fd00:1::5"
	service4, service6 = "10.96.0.7", "fd00:9::7"
)

// local says whether the kernel takes an address by lo: it never leaves the pod.
func local(a netip.Addr) bool {
	return a.IsLoopback() || a == netip.MustParseAddr(pod4) || a == netip.MustParseAddr(pod6)
}

// decide walks the rules as the kernel does: the first that matches decides.
func decide(r *Redirect, rules []Rule, c connection) (redirectTo uint16) {
	if c.to.Addr().Is4() && !r.IPv4 || c.to.Addr().Is6() && !r.IPv6 {
		return 0
	}
	for _, rule := range rules {
		m := rule.Match
		switch {
		case rule.Chain != c.chain,
			len(m.Ports) > 0 && !slices.ContainsFunc(m.Ports, func(p PortRange) bool { return p.Contains(c.to.Port()) }),
			len(m.Destinations) > 0 && !slices.ContainsFunc(m.Destinations, func(p netip.Prefix) bool { return p.Contains(c.to.Addr()) }),
			m.UID != nil && *m.UID != c.uid, m.GID != nil && *m.GID != c.gid, m.Loopback && !local(c.to.Addr()):
			continue
		}
		return rule.RedirectTo
	}
	return 0
}

// journey follows a connection to its end, over each Envoy on its way, as "Envoy
// inbound, 10.1.0.5:8080". Envoy opens each redirected connection anew, as its own
// user and to where the first one went.
func journey(r *Redirect, rules []Rule, c connection) string {
	var steps []string
	for range 5 {
		switch port := decide(r, rules, c); port {
		case r.InboundPort, r.OutboundPort:
			steps = append(steps, map[uint16]string{r.InboundPort: "Envoy inbound", r.OutboundPort: "Envoy outbound"}[port])
			c = connection{Outbound, c.to, r.ProxyUID, r.ProxyGID}
			continue
		case 0:
		default:
			// The destination of what comes in is the pod's own address.
			c.to = netip.AddrPortFrom(c.to.Addr(), port)
		}
		steps = append(steps, c.to.String())
		return strings.Join(steps, ", ")
	}
	return strings.Join(append(steps, "a loop"), ", ")
}

type journeyCase struct {
	name string
	connection
	want string
}

func in(name, to, want string) journeyCase {
	return journeyCase{name, connection{chain: Inbound, to: netip.MustParseAddrPort(to)}, want}
}

func out(name, to, want string) journeyCase {
	return journeyCase{name, connection{Outbound, netip.MustParseAddrPort(to), 1000, 1000}, want}
}

func by(uid, gid uint32, c journeyCase) journeyCase {
	c.uid, c.gid = uid, gid
	return c
}

// journeys of connections under full().
func journeys() []journeyCase {
	return []journeyCase{
		in("client", "10.1.0.5:8080", "Envoy inbound, 10.1.0.5:8080"),
		in("client, IPv6", "[fd00:1::5]:8080", "Envoy inbound, [fd00:1::5]:8080"),
		in("client of a reserved port", "10.1.0.5:3306", "10.1.0.5:3306"),
		in("client of a reserved port, IPv6", "[fd00:1::5]:3306", "[fd00:1::5]:3306"),
		in("first port of a reserved range", "10.1.0.5:7000", "10.1.0.5:7000"),
		in("last port of a reserved range", "10.1.0.5:7001", "10.1.0.5:7001"),
		in("port before a reserved range", "10.1.0.5:6999", "Envoy inbound, 10.1.0.5:6999"),
		in("port behind a reserved range", "10.1.0.5:7002", "Envoy inbound, 10.1.0.5:7002"),
		in("port that is reserved only outbound", "10.1.0.5:9092", "Envoy inbound, 10.1.0.5:9092"),
		in("probe", "10.1.0.5:15040", "10.1.0.5:8080"),
		in("probe, IPv6", "[fd00:1::5]:15041", "[fd00:1::5]:9090"),
		in("own port that no probe has", "10.1.0.5:15042", "10.1.0.5:15042"),
		in("metrics", "10.1.0.5:15020", "10.1.0.5:15020"),
		in("first own port", "10.1.0.5:15000", "10.1.0.5:15000"),
		in("last own port", "10.1.0.5:15099", "10.1.0.5:15099"),
		in("port before the own ones", "10.1.0.5:14999", "Envoy inbound, 10.1.0.5:14999"),
		in("port behind the own ones", "10.1.0.5:15100", "Envoy inbound, 10.1.0.5:15100"),

		out("app to a service", "192.0.2.1:80", "Envoy outbound, 192.0.2.1:80"),
		out("app to a service, IPv6", "[2001:db8::1]:80", "Envoy outbound, [2001:db8::1]:80"),
		out("app to a reserved port", "192.0.2.1:9092", "192.0.2.1:9092"),
		out("app to a reserved port, IPv6", "[2001:db8::1]:9092", "[2001:db8::1]:9092"),
		out("app to a port that is reserved only inbound", "192.0.2.1:3306", "Envoy outbound, 192.0.2.1:3306"),
		out("app to its own localhost", "127.0.0.1:8080", "127.0.0.1:8080"),
		out("app to another loopback address", "127.0.0.53:8080", "127.0.0.53:8080"),
		out("app to its own localhost, IPv6", "[::1]:8080", "[::1]:8080"),
		out("app to its own pod's address", "10.1.0.5:8080", "10.1.0.5:8080"),
		out("app to its own pod's address, IPv6", "[fd00:1::5]:8080", "[fd00:1::5]:8080"),
		out("app to a probe port of its own pod", "10.1.0.5:15040", "10.1.0.5:15040"),
		out("app to metadata", "169.254.169.254:80", "169.254.169.254:80"),
		out("app to metadata, IPv6", "[fd00:ec2::254]:80", "[fd00:ec2::254]:80"),
		out("app beside metadata", "169.254.169.253:80", "Envoy outbound, 169.254.169.253:80"),
		out("app to an excluded network", "10.100.0.1:80", "10.100.0.1:80"),
		out("app behind an excluded network", "10.112.0.0:80", "Envoy outbound, 10.112.0.0:80"),
		out("app to an excluded network, IPv6", "[fd00:9::1]:80", "[fd00:9::1]:80"),
		out("app behind an excluded network, IPv6", "[fd00:9:0:1::]:80", "Envoy outbound, [fd00:9:0:1::]:80"),
		out("app to another pod's sidecar", "10.1.0.6:15020", "10.1.0.6:15020"),
		by(0, 0, out("root of the app", "192.0.2.1:80", "Envoy outbound, 192.0.2.1:80")),
		by(15033, 15034, out("proxy to a service", "192.0.2.1:80", "192.0.2.1:80")),
		by(15033, 15034, out("proxy to a service, IPv6", "[2001:db8::1]:80", "[2001:db8::1]:80")),
		by(15033, 0, out("proxy with another group", "192.0.2.1:80", "192.0.2.1:80")),
		by(0, 15034, out("proxy with another user", "192.0.2.1:80", "192.0.2.1:80")),
		// A user's number is not a group's.
		by(15034, 15033, out("app with the numbers crossed", "192.0.2.1:80", "Envoy outbound, 192.0.2.1:80")),
		// Were this led to the inbound port, so would be what inbound Envoy opens.
		by(15033, 15034, out("proxy that chose its own pod", "10.1.0.5:8080", "10.1.0.5:8080")),
		by(15033, 15034, out("proxy that chose its own pod, IPv6", "[fd00:1::5]:8080", "[fd00:1::5]:8080")),
	}
}

func TestJourneys(t *testing.T) {
	r := full()
	for _, test := range journeys() {
		if got := journey(&r, r.Rules(), test.connection); got != test.want {
			t.Errorf("%s: %s\nwent %s\nwant %s", test.name, test.to, got, test.want)
		}
	}
}

// Without a rule, some connection goes elsewhere: none is there for nothing, and
// the cases above see each. So they do if two rules with different verdicts that
// stand side by side in a chain change places.
func TestEveryRuleMatters(t *testing.T) {
	r := full()
	noticed := func(rules []Rule) bool {
		return slices.ContainsFunc(journeys(), func(test journeyCase) bool { return journey(&r, rules, test.connection) != test.want })
	}
	rules := r.Rules()
	for n, rule := range rules {
		if !noticed(slices.Delete(slices.Clone(rules), n, n+1)) {
			t.Errorf("nothing goes elsewhere without the rule %q", rule)
		}
		if n == 0 || rules[n-1].Chain != rule.Chain || rules[n-1].RedirectTo == rule.RedirectTo {
			continue
		}
		swapped := slices.Clone(rules)
		swapped[n-1], swapped[n] = swapped[n], swapped[n-1]
		// Two probe ports concern different connections, in whatever order.
		if disjoint := len(rule.Match.Ports) > 0 && rules[n-1].RedirectTo != 0 && rule.RedirectTo != 0; !noticed(swapped) && !disjoint {
			t.Errorf("nothing goes elsewhere with the rule %q before %q", rule, rules[n-1])
		}
	}
}

// An app that calls its own Service leaves the pod through outbound Envoy, and
// comes back through inbound Envoy if the node chooses this very pod.
func TestOwnService(t *testing.T) {
	r := full()
	r.ExcludedCIDRs = nil
	for service, pod := range map[string]string{service4: pod4, service6: pod6} {
		to := netip.AddrPortFrom(netip.MustParseAddr(service), 80)
		if got, want := journey(&r, r.Rules(), connection{Outbound, to, 1000, 1000}), fmt.Sprintf("Envoy outbound, %s", to); got != want {
			t.Errorf("out: went %s, want %s", got, want)
		}
		back := netip.AddrPortFrom(netip.MustParseAddr(pod), 8080)
		if got, want := journey(&r, r.Rules(), connection{chain: Inbound, to: back}), fmt.Sprintf("Envoy inbound, %s", back); got != want {
			t.Errorf("back: went %s, want %s", got, want)
		}
	}
}

// Nothing is reserved, excluded or probed where nobody says so, and one family
// alone is redirected where one is named.
func TestRulesOfAPlainRedirect(t *testing.T) {
	r := full()
	r.ProbePorts, r.ReservedInbound, r.ReservedOutbound, r.ExcludedCIDRs, r.IPv6 = nil, nil, nil, nil, false
	for _, test := range []journeyCase{
		in("formerly reserved", "10.1.0.5:3306", "Envoy inbound, 10.1.0.5:3306"),
		in("formerly a probe", "10.1.0.5:15040", "10.1.0.5:15040"),
		out("formerly reserved", "192.0.2.1:9092", "Envoy outbound, 192.0.2.1:9092"),
		out("formerly excluded", "10.100.0.1:80", "Envoy outbound, 10.100.0.1:80"),
		in("other family in", "[fd00:1::5]:8080", "[fd00:1::5]:8080"),
		out("other family out", "[2001:db8::1]:80", "[2001:db8::1]:80"),
	} {
		if got := journey(&r, r.Rules(), test.connection); got != test.want {
			t.Errorf("%s: %s went %s, want %s", test.name, test.to, got, test.want)
		}
	}
}

func TestRuleString(t *testing.T) {
	var got []string
	for _, rule := range full().Rules() {
		if rule.Comment == "" {
			t.Errorf("%s: no comment", rule)
		}
		got = append(got, rule.String())
	}
	want := []string{
		"inbound to port 15040: redirected to port 8080",
		"inbound to port 15041: redirected to port 9090",
		"inbound to port 15000-15099: left alone",
		"inbound to port 3306, 7000-7001: left alone",
		"inbound: redirected to port 15006",
		"outbound by user 15033: left alone",
		"outbound by group 15034: left alone",
		"outbound over lo: left alone",
		"outbound to 169.254.169.254/32, fd00:ec2::254/128: left alone",
		"outbound to port 25, 9092: left alone",
		"outbound to 10.96.0.0/12, fd00:9::/64: left alone",
		"outbound to port 15000-15099: left alone",
		"outbound: redirected to port 15001",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("want -, got +\n%s", diff)
	}
}
