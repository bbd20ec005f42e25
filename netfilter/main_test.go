package netfilter

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"github.com/pillion-mesh/pillion/e2e/sandbox"
	"github.com/pillion-mesh/pillion/iptables"
)

func TestMain(m *testing.M) { sandbox.Main(m) }

// full is a redirect with something in every field.
func full() iptables.Redirect {
	return iptables.Redirect{
		ProxyUID: 15033, ProxyGID: 15034, InboundPort: 15006, OutboundPort: 15001, OwnPorts: iptables.PortRange{First: 15000, Last: 15099},
		ProbePorts:       []iptables.ProbePort{{Listen: 15040, Target: 8080}},
		ReservedInbound:  []iptables.PortRange{{First: 3306, Last: 3306}, {First: 7000, Last: 7001}},
		ReservedOutbound: []iptables.PortRange{{First: 25, Last: 25}, {First: 9092, Last: 9092}, {First: 65000, Last: 65535}},
		ExcludedCIDRs: []netip.Prefix{
			netip.MustParsePrefix("10.99.0.0/16"), netip.MustParsePrefix("255.255.255.255/32"), netip.MustParsePrefix("fd99::/32"), netip.MustParsePrefix("ff00::/8"),
		},
		IPv4: true, IPv6: true,
	}.Normalize()
}

// least is a redirect with nothing that may be missing.
func least() iptables.Redirect {
	r := full()
	r.ProbePorts, r.ReservedInbound, r.ReservedOutbound, r.ExcludedCIDRs = nil, nil, nil, nil
	return r
}

func only(v4, v6 bool) iptables.Redirect {
	r := full()
	r.IPv4, r.IPv6 = v4, v6
	return r
}

// random is any valid redirect, with up to some hundred items in its lists.
func random(seed uint64) iptables.Redirect {
	dice := rand.New(rand.NewPCG(seed, 1))
	ranges := func() []iptables.PortRange {
		var list []iptables.PortRange
		for range dice.IntN(1 << dice.IntN(8)) {
			first := uint16(1 + dice.IntN(65535))
			list = append(list, iptables.PortRange{First: first, Last: uint16(min(65535, int(first)+dice.IntN(1<<dice.IntN(10))))})
		}
		return list
	}
	r := full()
	r.ProxyUID, r.ProxyGID = 1+dice.Uint32N(1<<31), 1+dice.Uint32N(1<<31)
	r.ReservedInbound, r.ReservedOutbound, r.ExcludedCIDRs = ranges(), ranges(), nil
	for range dice.IntN(1 << dice.IntN(7)) {
		address := make([]byte, []int{4, 16}[dice.IntN(2)])
		for n := range address {
			address[n] = byte(dice.Uint32())
		}
		a, _ := netip.AddrFromSlice(address)
		if a.Is4In6() {
			continue
		}
		r.ExcludedCIDRs = append(r.ExcludedCIDRs, netip.PrefixFrom(a, dice.IntN(a.BitLen()+1)).Masked())
	}
	if dice.IntN(4) == 0 {
		r.ProbePorts = nil
	}
	r.IPv4 = dice.IntN(4) > 0
	r.IPv6 = !r.IPv4 || dice.IntN(4) > 0
	return r.Normalize()
}

// redirects are what tests go through that hold for any.
func redirects(t *testing.T) map[string]iptables.Redirect {
	t.Helper()
	all := map[string]iptables.Redirect{"full": full(), "least": least(), "IPv4 only": only(true, false), "IPv6 only": only(false, true)}
	for seed := range uint64(12) {
		all["random "+string(rune('a'+seed))] = random(seed)
	}
	for name, r := range all {
		if err := r.Validate(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	return all
}

// applyIn applies a redirect in a pod and fails the test if that fails.
func applyIn(t *testing.T, p *sandbox.Pod, r iptables.Redirect, b Backend) Applied {
	t.Helper()
	applied, err := tryIn(t, p, r, b)
	if err != nil {
		t.Fatal(err)
	}
	return applied
}

func tryIn(t *testing.T, p *sandbox.Pod, r iptables.Redirect, b Backend) (Applied, error) {
	t.Helper()
	var applied Applied
	var err error
	lock := t.TempDir() + "/lock"
	p.Do(t, func() { applied, err = Apply(context.Background(), r, b, lock) })
	return applied, err
}

// rules are all that a pod has of a backend, without what counts and dates them.
func rules(t *testing.T, p *sandbox.Pod, backend string) string {
	t.Helper()
	kind, xtables := strings.CutPrefix(backend, "iptables-")
	if !xtables {
		return p.Output(t, "nft", "list", "ruleset")
	}
	var b strings.Builder
	for _, family := range []string{"iptables", "ip6tables"} {
		for line := range strings.Lines(p.Output(t, family+"-"+kind+"-save", "-t", "nat")) {
			if !strings.HasPrefix(line, "#") {
				line, _, _ = strings.Cut(line, " [")
				b.WriteString(strings.TrimSpace(line) + "\n")
			}
		}
	}
	return b.String()
}
