package iptables

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/pillion-mesh/pillion/argv"
)

// String is "3306" or "7000-7001".
func (r PortRange) String() string { return string(r.append(nil)) }

func (r PortRange) append(to []byte) []byte {
	to = strconv.AppendUint(to, uint64(r.First), 10)
	if r.Last != r.First {
		to = strconv.AppendUint(append(to, '-'), uint64(r.Last), 10)
	}
	return to
}

// Contains says whether a port is in the range.
func (r PortRange) Contains(port uint16) bool { return r.First <= port && port <= r.Last }

// ParsePortRange reads a port as "3306" or a range as "7000-7001". Ports are
// decimal numbers from 1 to 65535 without sign, space or leading zero, so that
// every range has one spelling: String's, but for a range of one port.
func ParsePortRange(s string) (PortRange, error) {
	first, last, isRange := strings.Cut(s, "-")
	if !isRange {
		last = first
	}
	r := PortRange{parsePort(first), parsePort(last)}
	if r.First == 0 || r.Last == 0 {
		return PortRange{}, fmt.Errorf("parsing port %s: must be a port from 1 to 65535 as 3306, or a range as 7000-7001", argv.Quote(s))
	}
	if r.First > r.Last {
		return PortRange{}, fmt.Errorf("parsing port range %q: %d is above %d", s, r.First, r.Last)
	}
	return r, nil
}

// parsePort is 0 for what is not a port.
func parsePort(s string) uint16 {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || s[0] == '0' {
		return 0
	}
	return uint16(n)
}

// NormalizeRanges sorts ranges and joins those that overlap or touch: the shortest
// list that means the same. The argument is not changed.
func NormalizeRanges(ranges []PortRange) []PortRange {
	sorted := slices.Clone(ranges)
	slices.SortFunc(sorted, func(a, b PortRange) int {
		return cmp.Or(cmp.Compare(a.First, b.First), cmp.Compare(a.Last, b.Last))
	})
	joined := sorted[:0]
	for _, r := range sorted {
		if n := len(joined); n > 0 && int(r.First) <= int(joined[n-1].Last)+1 {
			joined[n-1].Last = max(joined[n-1].Last, r.Last)
			continue
		}
		joined = append(joined, r)
	}
	return joined
}

// ParsePrefix reads a CIDR as 10.1.0.0/16 or fd00::/8, or an address alone, which
// is the network of that one address. Bits behind the prefix are dropped. IPv6
// addresses that stand for IPv4 ones (::ffff:10.0.0.0/104) are refused:
// connections to them are IPv4 connections.
func ParsePrefix(s string) (netip.Prefix, error) {
	prefix, err := netip.ParsePrefix(s)
	if addr, addrErr := netip.ParseAddr(s); addrErr == nil && addr.Zone() == "" {
		prefix, err = netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("parsing CIDR %s: must be as 10.1.0.0/16 or fd00::/8", argv.Quote(s))
	}
	if prefix.Addr().Is4In6() {
		return netip.Prefix{}, fmt.Errorf("parsing CIDR %q: write the IPv4 network that it stands for", s)
	}
	return prefix.Masked(), nil
}

// NormalizePrefixes sorts prefixes, IPv4 first, and drops bits behind a prefix and
// prefixes that another one covers. The argument is not changed.
func NormalizePrefixes(prefixes []netip.Prefix) []netip.Prefix {
	sorted := slices.Clone(prefixes)
	for n := range sorted {
		sorted[n] = sorted[n].Masked()
	}
	slices.SortFunc(sorted, func(a, b netip.Prefix) int {
		return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
	})
	kept := sorted[:0]
	for _, p := range sorted {
		// A prefix that covers p is sorted before it. Those kept do not overlap, so
		// only the last of them can reach as far as p.
		if n := len(kept); n == 0 || !kept[n-1].Contains(p.Addr()) {
			kept = append(kept, p)
		}
	}
	return kept
}
