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

// NewService gives a pod a second pair of addresses, which the node leads to it, as
// kube-proxy leads a Service's cluster addresses.
func NewService(tb testing.TB, to *Pod) (v4, v6 netip.Addr) {
	tb.Helper()
	n := services.Add(1)
	v4, v6 = netip.AddrFrom4([4]byte{10, 96, 0, byte(n)}), netip.MustParseAddr(fmt.Sprintf("fd96::%x", n))
	table := fmt.Sprintf("service%d", n)
	// A pod that calls its own Service would see its own address as the source.
	script := fmt.Sprintf(`table inet %s {
	chain prerouting {
		type nat hook prerouting priority -100
		ip daddr %s dnat ip to %s
		ip6 daddr %s dnat ip6 to %s
	}
	chain postrouting {
		type nat hook postrouting priority 100
		ip saddr %s ip daddr %s masquerade
		ip6 saddr %s ip6 daddr %s masquerade
	}
}`, table, v4, to.IPv4, v6, to.IPv6, to.IPv4, to.IPv4, to.IPv6, to.IPv6)
	if err := nft(script); err != nil {
		tb.Fatalf("making a Service for pod %s: %v", to.Name, err)
	}
	tb.Cleanup(func() { _ = nft("delete table inet " + table) })
	return v4, v6
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
