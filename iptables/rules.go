package iptables

import (
	"fmt"
	"net/netip"
	"strings"
)

// Chain is where in the nat table a rule stands.
type Chain string

const (
	// Inbound sees connections that come to the pod from outside it.
	Inbound Chain = "PREROUTING"
	// Outbound sees connections that the pod's own processes open.
	Outbound Chain = "OUTPUT"
)

// Match is what a TCP connection has to be for a rule to apply: all that is set.
type Match struct {
	// Ports that it goes to.
	Ports []PortRange
	// Destinations that it goes to. A rule concerns the families of its
	// destinations, and both where there are none.
	Destinations []netip.Prefix
	// UID and GID of the process that opened it.
	UID, GID *uint32
	// Loopback: it leaves by the interface lo, so that it never leaves the pod.
	Loopback bool
}

// Rule is one rule of the redirect. The first that matches decides.
type Rule struct {
	Chain Chain
	Match Match
	// RedirectTo is the local port that the connection is led to; 0 leaves it alone.
	RedirectTo uint16
	// Comment says why the rule is there.
	Comment string
}

// metadataAddresses are where clouds serve a node's metadata: identity that a proxy
// must not stand in for.
func metadataAddresses() []netip.Prefix {
	return []netip.Prefix{netip.MustParsePrefix("169.254.169.254/32"), netip.MustParsePrefix("fd00:ec2::254/128")}
}

// Rules is the redirect as ordered rules, first those of Inbound. Both chains see
// TCP alone, and the families that the redirect names.
func (r Redirect) Rules() []Rule {
	r = r.Normalize()
	return append(r.inboundRules(), r.outboundRules()...)
}

func (r Redirect) inboundRules() []Rule {
	var rules []Rule
	add := func(m Match, to uint16, comment string) { rules = append(rules, Rule{Inbound, m, to, comment}) }
	// kubelet -> pod IP:15040 -> the app's own port, past Envoy.
	for _, p := range r.ProbePorts {
		add(Match{Ports: []PortRange{{p.Listen, p.Listen}}}, p.Target, "a kubelet probe: a dead app must fail it and a busy one must not")
	}
	// Prometheus or kubelet -> pod IP:15020 -> pillion-proxy.
	add(Match{Ports: []PortRange{r.OwnPorts}}, 0, "the sidecar's own ports")
	// client -> pod IP:3306 -> the app, which speaks no HTTP there.
	if len(r.ReservedInbound) > 0 {
		add(Match{Ports: r.ReservedInbound}, 0, "reserved ports: other protocols live there")
	}
	// client -> pod IP:8080 -> Envoy -> (as the proxy's user, by lo) the app.
	add(Match{}, r.InboundPort, "everything else that comes in goes through Envoy")
	return rules
}

func (r Redirect) outboundRules() []Rule {
	var rules []Rule
	add := func(m Match, to uint16, comment string) { rules = append(rules, Rule{Outbound, m, to, comment}) }
	// Envoy -> upstream. Inbound Envoy -> the app on the pod's own address, by lo.
	// Before all else: any redirect of these would loop. Nor is the second one led to
	// the inbound port where outbound Envoy has chosen this very pod: the kernel
	// cannot tell it from inbound Envoy's own connection to the app.
	add(Match{UID: &r.ProxyUID}, 0, "the proxy's own connections, which would loop")
	add(Match{GID: &r.ProxyGID}, 0, "the proxy's own connections by group, should a process change its user")
	// app -> 127.0.0.1, app -> its own pod's address: never leaves the pod.
	add(Match{Loopback: true}, 0, "an app calling itself")
	// app -> metadata service of the cloud.
	add(Match{Destinations: metadataAddresses()}, 0, "the cloud's metadata service")
	// app -> database:3306, which speaks no HTTP.
	if len(r.ReservedOutbound) > 0 {
		add(Match{Ports: r.ReservedOutbound}, 0, "reserved ports: other protocols live there")
	}
	// app -> a network that somebody excluded.
	if len(r.ExcludedCIDRs) > 0 {
		add(Match{Destinations: r.ExcludedCIDRs}, 0, "excluded destinations")
	}
	// app -> another pod's sidecar, as a Prometheus in the mesh does.
	add(Match{Ports: []PortRange{r.OwnPorts}}, 0, "ports of other pods' sidecars")
	// app -> service -> Envoy -> (as the proxy's user) the same destination. An app
	// that calls its own Service's address takes this way too, and comes back by
	// Inbound if kube-proxy picks this very pod.
	add(Match{}, r.OutboundPort, "everything else that goes out goes through Envoy")
	return rules
}

// String is the rule for people, as "inbound to port 3306: left alone".
func (r Rule) String() string {
	parts := []string{"outbound"}
	if r.Chain == Inbound {
		parts = []string{"inbound"}
	}
	if r.Match.UID != nil {
		parts = append(parts, fmt.Sprintf("by user %d", *r.Match.UID))
	}
	if r.Match.GID != nil {
		parts = append(parts, fmt.Sprintf("by group %d", *r.Match.GID))
	}
	if r.Match.Loopback {
		parts = append(parts, "over lo")
	}
	if len(r.Match.Ports) > 0 {
		parts = append(parts, "to port "+joined(r.Match.Ports, PortRange.String))
	}
	if len(r.Match.Destinations) > 0 {
		parts = append(parts, "to "+joined(r.Match.Destinations, netip.Prefix.String))
	}
	what := "left alone"
	if r.RedirectTo != 0 {
		what = "redirected to port " + port(r.RedirectTo)
	}
	return strings.Join(parts, " ") + ": " + what
}

func joined[T any](list []T, text func(T) string) string {
	texts := make([]string, len(list))
	for n, item := range list {
		texts[n] = text(item)
	}
	return strings.Join(texts, ", ")
}
