package netfilter

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pillion-mesh/pillion/e2e/sandbox"
	"github.com/pillion-mesh/pillion/iptables"
)

// What goes to the kernel by netlink is what `pillion-init print` shows, as nft
// makes it; and what is read back is what was meant.
func TestNFTablesIsWhatIsPrinted(t *testing.T) {
	for name, r := range redirects(t) {
		t.Run(name, func(t *testing.T) {
			p := sandbox.NewPod(t, "pod")
			applyIn(t, p, r, NFTables)
			ours := rules(t, p, "nftables")
			var listed string
			var err error
			p.Do(t, func() { listed, err = listNFTables() })
			if diff := cmp.Diff(expectedListing(r), listed); err != nil || diff != "" {
				t.Errorf("%v; expected -, listed +\n%s", err, diff)
			}
			script := filepath.Join(t.TempDir(), "script")
			if err := os.WriteFile(script, []byte(r.NFT()), 0o600); err != nil {
				t.Fatal(err)
			}
			p.Output(t, "nft", "flush", "ruleset")
			for range 2 { // the second replaces the first
				p.Output(t, "nft", "-f", script)
			}
			if diff := cmp.Diff(rules(t, p, "nftables"), ours); diff != "" {
				t.Errorf("nft -f -, netlink +\n%s", diff)
			}
			p.Do(t, func() { listed, err = listNFTables() })
			if diff := cmp.Diff(expectedListing(r), listed); err != nil || diff != "" {
				t.Errorf("what nft made: %v; expected -, listed +\n%s", err, diff)
			}
		})
	}
}

// A list as long as can be fits into the transaction.
func TestNFTablesTakesTheLongestLists(t *testing.T) {
	r := least()
	for n := range 1000 {
		r.ReservedInbound = append(r.ReservedInbound, iptables.PortRange{First: uint16(1 + 3*n), Last: uint16(2 + 3*n)})
		r.ReservedOutbound = append(r.ReservedOutbound, iptables.PortRange{First: uint16(20_001 + 3*n), Last: uint16(20_002 + 3*n)})
	}
	for n := range 1000 {
		prefix, err := iptables.ParsePrefix(fmt.Sprintf("fd00:%x::/64", 2*n))
		if err != nil {
			t.Fatal(err)
		}
		r.ExcludedCIDRs = append(r.ExcludedCIDRs, prefix)
	}
	r = r.Normalize()
	p := sandbox.NewPod(t, "pod")
	applyIn(t, p, r, NFTables)
	var listed string
	var err error
	p.Do(t, func() { listed, err = listNFTables() })
	if listed != expectedListing(r) {
		t.Errorf("%v; the kernel has not what was sent:\n%.2000s", err, listed)
	}
	// However many ports: a set each, and as many rules as with two.
	short := r
	short.ReservedInbound, short.ReservedOutbound, short.ExcludedCIDRs = r.ReservedInbound[:2], r.ReservedOutbound[:2], r.ExcludedCIDRs[:2]
	if long, short := len(r.Rules()), len(short.Rules()); long != short {
		t.Errorf("%d rules with long lists, %d with short ones", long, short)
	}
}
