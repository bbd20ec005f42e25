package iptables

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Table is the name of the nftables table that holds the redirect, of family inet.
const Table = "pillion"

// Priority of the redirect's chains: that of destination NAT, which nft cannot name
// for the output hook.
const Priority = -100

// NFT is the redirect as a script for `nft -f`, which replaces what an earlier one
// made, in one transaction.
func (r Redirect) NFT() string {
	var b strings.Builder
	fmt.Fprintf(&b, "add table inet %s\ndelete table inet %s\ntable inet %s {\n", Table, Table, Table)
	rules := r.Rules()
	names := map[string]string{}
	for _, set := range Sets(rules) {
		for _, rule := range set.Users {
			names[rule] = set.Name
		}
		fmt.Fprintf(&b, "\tset %s {\n\t\ttype %s\n\t\tflags interval\n\t\telements = { %s }\n\t}\n", set.Name, set.Type, strings.Join(set.texts(), ", "))
	}
	for _, chain := range [...]Chain{Inbound, Outbound} {
		fmt.Fprintf(&b, "\tchain %s {\n\t\ttype nat hook %s priority %d; policy accept;\n", chain.Name(), chain.Hook(), Priority)
		for _, line := range r.exemptions() {
			fmt.Fprintf(&b, "\t\t%s\n", line)
		}
		for n, rule := range rules {
			if rule.Chain == chain {
				for _, match := range rule.nftMatches(n, names) {
					fmt.Fprintf(&b, "\t\t%scounter %s comment %q\n", match, rule.nftVerdict(), rule.Comment)
				}
			}
		}
		b.WriteString("\t}\n")
	}
	b.WriteString("}\n")
	return b.String()
}

// exemptions come first in each chain.
func (r Redirect) exemptions() []string {
	lines := []string{`meta l4proto != tcp return comment "only TCP is redirected"`}
	if !r.IPv4 {
		lines = append(lines, `meta nfproto ipv4 return comment "IPv4 is not redirected"`)
	}
	if !r.IPv6 {
		lines = append(lines, `meta nfproto ipv6 return comment "IPv6 is not redirected"`)
	}
	return lines
}

// Name of the chain in nftables.
func (c Chain) Name() string {
	if c == Inbound {
		return "inbound"
	}
	return "outbound"
}

// Hook that the chain is at.
func (c Chain) Hook() string {
	if c == Inbound {
		return "prerouting"
	}
	return "output"
}

// Set is a list of ports or networks that rules look things up in, however long.
type Set struct {
	Name string
	// Users are the SetNames of the rules that look things up in it: one set serves
	// all that look for the same.
	Users []string
	// Type is inet_service, ipv4_addr or ipv6_addr.
	Type string
	// Ports or Networks are its elements, sorted and apart from each other.
	Ports    []PortRange
	Networks []netip.Prefix
}

// Sets are those that the rules need, each named after the place of its first user.
func Sets(rules []Rule) []Set {
	var sets []Set
	use := func(set Set) {
		same := func(other Set) bool {
			return other.Type == set.Type && slices.Equal(other.Ports, set.Ports) && slices.Equal(other.Networks, set.Networks)
		}
		at := slices.IndexFunc(sets, same)
		if at < 0 {
			at, sets = len(sets), append(sets, set)
		}
		sets[at].Users = append(sets[at].Users, set.Name)
	}
	for n, rule := range rules {
		if len(rule.Match.Ports) > 1 {
			use(Set{Name: SetName("ports", n), Type: "inet_service", Ports: rule.Match.Ports})
		}
		v4, v6 := Families(rule.Match.Destinations)
		if len(v4) > 0 {
			use(Set{Name: SetName("ipv4", n), Type: "ipv4_addr", Networks: v4})
		}
		if len(v6) > 0 {
			use(Set{Name: SetName("ipv6", n), Type: "ipv6_addr", Networks: v6})
		}
	}
	return sets
}

// SetName is a rule's name for the set of a kind that it looks things up in; that of
// the set itself, unless it is shared.
func SetName(kind string, rule int) string { return kind + "_" + strconv.Itoa(rule) }

// Families are the networks of each IP family.
func Families(networks []netip.Prefix) (v4, v6 []netip.Prefix) {
	for _, network := range networks {
		if network.Addr().Is4() {
			v4 = append(v4, network)
		} else {
			v6 = append(v6, network)
		}
	}
	return v4, v6
}

func (s Set) texts() []string {
	var texts []string
	for _, p := range s.Ports {
		texts = append(texts, p.String())
	}
	for _, network := range s.Networks {
		if network.IsSingleIP() {
			texts = append(texts, network.Addr().String())
		} else {
			texts = append(texts, network.String())
		}
	}
	return texts
}

// nftMatches are the rule's conditions: one line, or one for each family of its
// destinations. names are those of the sets behind SetNames.
func (r Rule) nftMatches(n int, names map[string]string) []string {
	match := ""
	if r.Match.UID != nil {
		match += fmt.Sprintf("meta skuid %d ", *r.Match.UID)
	}
	if r.Match.GID != nil {
		match += fmt.Sprintf("meta skgid %d ", *r.Match.GID)
	}
	if r.Match.Loopback {
		match += `oifname "lo" `
	}
	switch ports := r.Match.Ports; len(ports) {
	case 0:
	case 1:
		match += fmt.Sprintf("th dport %s ", ports[0])
	default:
		match += fmt.Sprintf("th dport @%s ", names[SetName("ports", n)])
	}
	if r.RedirectTo != 0 {
		match += "meta l4proto tcp "
	}
	var matches []string
	v4, v6 := Families(r.Match.Destinations)
	if len(v4) > 0 {
		matches = append(matches, fmt.Sprintf("%sip daddr @%s ", match, names[SetName("ipv4", n)]))
	}
	if len(v6) > 0 {
		matches = append(matches, fmt.Sprintf("%sip6 daddr @%s ", match, names[SetName("ipv6", n)]))
	}
	if matches == nil {
		return []string{match}
	}
	return matches
}

func (r Rule) nftVerdict() string {
	if r.RedirectTo == 0 {
		return "return"
	}
	return "redirect to :" + port(r.RedirectTo)
}
