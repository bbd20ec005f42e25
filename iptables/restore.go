package iptables

import (
	"fmt"
	"net/netip"
	"strings"
)

// Family is an IP family, each of which iptables has programs of its own for.
type Family int

// The families.
const (
	IPv4 Family = 4
	IPv6 Family = 6
)

// Redirected says whether the family's connections are redirected.
func (r Redirect) Redirected(f Family) bool {
	if f == IPv4 {
		return r.IPv4
	}
	return r.IPv6
}

// Restore is the redirect as input for `iptables-restore --noflush` of a family's nat
// table, which commits it whole or not at all. saved is what iptables-save prints of
// that table now: of the jumps to our chains there will be one each, wherever they
// stand, and nothing of others changes.
func (r Redirect) Restore(f Family, saved string) string {
	var b strings.Builder
	b.WriteString("*nat\n")
	for _, chain := range [...]Chain{Inbound, Outbound} {
		fmt.Fprintf(&b, ":%s - [0:0]\n", chain.iptables())
	}
	for _, rule := range r.Rules() {
		lines := rule.iptables(f)
		if len(lines) == 0 {
			continue
		}
		fmt.Fprintf(&b, "# %s\n", rule.Comment)
		for _, line := range lines {
			b.WriteString(line + "\n")
		}
	}
	for _, chain := range [...]Chain{Inbound, Outbound} {
		switch jump := chain.jump(); count(saved, "-A "+jump) {
		case 0:
			b.WriteString("-A " + jump + "\n")
		case 1:
		default:
			b.WriteString(strings.Repeat("-D "+jump+"\n", count(saved, "-A "+jump)-1))
		}
	}
	b.WriteString("COMMIT\n")
	return b.String()
}

// Unrestore is the input for iptables-restore that takes our chains away; empty where
// there are none.
func Unrestore(saved string) string {
	var b strings.Builder
	for _, chain := range [...]Chain{Inbound, Outbound} {
		b.WriteString(strings.Repeat("-D "+chain.jump()+"\n", count(saved, "-A "+chain.jump())))
	}
	for _, chain := range [...]Chain{Inbound, Outbound} {
		if strings.Contains(saved, "\n:"+chain.iptables()+" ") {
			fmt.Fprintf(&b, "-F %s\n-X %s\n", chain.iptables(), chain.iptables())
		}
	}
	if b.Len() == 0 {
		return ""
	}
	return "*nat\n" + b.String() + "COMMIT\n"
}

// Restored says whether the table that iptables-save printed has the redirect: our
// rules and nothing else in our chains, and one jump to each.
func (r Redirect) Restored(f Family, saved string) bool {
	var want, got []string
	for _, rule := range r.Rules() {
		want = append(want, rule.iptables(f)...)
	}
	for line := range strings.Lines(saved) {
		line = strings.TrimSpace(line)
		for _, chain := range [...]Chain{Inbound, Outbound} {
			if strings.HasPrefix(line, "-A "+chain.iptables()+" ") {
				got = append(got, line)
			}
		}
	}
	if strings.Join(want, "\n") != strings.Join(got, "\n") {
		return false
	}
	return count(saved, "-A "+Inbound.jump()) == 1 && count(saved, "-A "+Outbound.jump()) == 1
}

// count is how often a line stands in a text.
func count(text, line string) int {
	n := 0
	for l := range strings.Lines(text) {
		if strings.TrimSpace(l) == line {
			n++
		}
	}
	return n
}

// iptables is the name of the chain that the kernel's chain jumps to.
func (c Chain) iptables() string { return "PILLION_" + strings.ToUpper(c.Name()) }

// jump is the rule that leads to our chain, as iptables-save prints it.
func (c Chain) jump() string { return string(c) + " -p tcp -j " + c.iptables() }

// longestMultiport is how many ports one rule can hold; a range counts as two.
const longestMultiport = 15

// iptables are the rule's lines for a family, as iptables-save prints them. None
// where the rule is about destinations of the other family.
func (r Rule) iptables(f Family) []string {
	destinations := []string{""}
	if len(r.Match.Destinations) > 0 {
		destinations = nil
		for _, network := range of(f, r.Match.Destinations) {
			destinations = append(destinations, " -d "+network.String())
		}
	}
	out, owner, target := "", "", " -j RETURN"
	if r.Match.Loopback {
		out = " -o lo"
	}
	if r.Match.UID != nil {
		owner += fmt.Sprintf(" -m owner --uid-owner %d", *r.Match.UID)
	}
	if r.Match.GID != nil {
		owner += fmt.Sprintf(" -m owner --gid-owner %d", *r.Match.GID)
	}
	protocol := ""
	if r.RedirectTo != 0 {
		protocol, target = " -p tcp", " -j REDIRECT --to-ports "+port(r.RedirectTo)
	}
	var lines []string
	for _, destination := range destinations {
		for _, ports := range multiports(r.Match.Ports, protocol) {
			lines = append(lines, "-A "+r.Chain.iptables()+destination+out+ports+owner+target)
		}
	}
	return lines
}

func of(f Family, networks []netip.Prefix) []netip.Prefix {
	v4, v6 := Families(networks)
	if f == IPv4 {
		return v4
	}
	return v6
}

// multiports are the conditions on the port, as many as it takes.
func multiports(ports []PortRange, protocol string) []string {
	if len(ports) == 0 {
		return []string{protocol}
	}
	if len(ports) == 1 {
		return []string{" -p tcp -m tcp --dport " + colon(ports[0])}
	}
	var conditions, chunk []string
	used := 0
	flush := func() {
		if len(chunk) > 0 {
			conditions = append(conditions, " -p tcp -m multiport --dports "+strings.Join(chunk, ","))
		}
		chunk, used = nil, 0
	}
	for _, p := range ports {
		size := 1
		if p.First != p.Last {
			size = 2
		}
		if used+size > longestMultiport {
			flush()
		}
		chunk, used = append(chunk, colon(p)), used+size
	}
	flush()
	return conditions
}

// colon is how iptables writes a range.
func colon(p PortRange) string { return strings.Replace(p.String(), "-", ":", 1) }
