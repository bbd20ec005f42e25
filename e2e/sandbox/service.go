package sandbox

import (
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
)

// services counts those that were made; each has addresses of its own.
var services atomic.Uint32 //nolint:gochecknoglobals // addresses are the node's, of which a process has one

// Service is a pair of addresses that the node leads to pods, as kube-proxy leads a
// Service's cluster addresses: each connection to the next pod.
type Service struct {
	IPv4, IPv6 netip.Addr

	table string
}

// NewService leads to pods until the test's end.
func NewService(tb testing.TB, to ...*Pod) *Service {
	tb.Helper()
	n := services.Add(1)
	s := &Service{netip.AddrFrom4([4]byte{10, 96, 0, byte(n)}), netip.MustParseAddr(fmt.Sprintf("fd96::%x", n)), fmt.Sprintf("service%d", n)}
	s.Lead(tb, to...)
	tb.Cleanup(func() { _ = nft("delete table inet " + s.table) })
	return s
}

// Lead leads new connections to other pods. Those that are open stay where they are.
func (s *Service) Lead(tb testing.TB, to ...*Pod) {
	tb.Helper()
	var v4, v6, own strings.Builder
	for n, pod := range to {
		fmt.Fprintf(&v4, "%d : %s, ", n, pod.IPv4)
		fmt.Fprintf(&v6, "%d : %s, ", n, pod.IPv6)
		// A pod that calls its own Service would see its own address as the source.
		fmt.Fprintf(&own, "ip saddr %s ip daddr %s masquerade\nip6 saddr %s ip6 daddr %s masquerade\n", pod.IPv4, pod.IPv4, pod.IPv6, pod.IPv6)
	}
	script := fmt.Sprintf(`add table inet %[1]s
delete table inet %[1]s
table inet %[1]s {
	chain prerouting {
		type nat hook prerouting priority -100
		ip daddr %[2]s dnat ip to numgen inc mod %[3]d map { %[4]s }
		ip6 daddr %[5]s dnat ip6 to numgen inc mod %[3]d map { %[6]s }
	}
	chain postrouting {
		type nat hook postrouting priority 100
		%[7]s
	}
}`, s.table, s.IPv4, len(to), v4.String(), s.IPv6, v6.String(), own.String())
	if err := nft(script); err != nil {
		tb.Fatalf("making the Service %s: %v", s.IPv4, err)
	}
}

// nft changes the node's own rules.
func nft(script string) error {
	if err := Inside(); err != nil {
		return err
	}
	command := exec.Command("nft", "-f", "-") //nolint:noctx // done at once
	command.Stdin = strings.NewReader(script)
	if output, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("nft: %w: %s", err, output)
	}
	return nil
}

// NewAddress gives the node itself another address, for what is outside the cluster.
func NewAddress(tb testing.TB, address netip.Addr) {
	tb.Helper()
	if err := Inside(); err != nil {
		tb.Fatal(err)
	}
	usable := "" // at once
	if address.Is6() {
		usable = " nodad"
	}
	if err := ip(fmt.Sprintf("address add %s/%d dev lo%s", address, address.BitLen(), usable)); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = ip(fmt.Sprintf("address delete %s/%d dev lo", address, address.BitLen())) })
}
