package netfilter

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/pillion-mesh/pillion/e2e/sandbox"
	"github.com/pillion-mesh/pillion/iptables"
)

func checkIn(t *testing.T, p *sandbox.Pod, r iptables.Redirect) (string, error) {
	t.Helper()
	var seen []string
	var err error
	p.Do(t, func() { seen, err = Check(context.Background(), r, t.TempDir()+"/lock") })
	return strings.Join(seen, "\n"), err
}

// Check says what it saw, on each backend and for each family.
func TestCheckProves(t *testing.T) {
	for name, backend := range backends() {
		for of, r := range map[string]iptables.Redirect{"full": full(), "IPv4 only": only(true, false), "IPv6 only": only(false, true), "random": random(5)} {
			t.Run(name+"/"+of, func(t *testing.T) {
				p := sandbox.NewPod(t, "pod")
				withPrograms(t, name, func(t *testing.T) {
					t.Helper()
					applyIn(t, p, r, backend)
					seen, err := checkIn(t, p, r)
					if err != nil {
						t.Fatal(err)
					}
					for family, redirected := range map[string]bool{"IPv4: a connection to ": r.IPv4, "IPv6: a connection to ": r.IPv6} {
						if strings.Contains(seen, family) != redirected {
							t.Errorf("%q is said, or not, in:\n%s", family, seen)
						}
					}
				})
			})
		}
	}
}

// What is not in force is found, as that and not as another error.
func TestCheckFinds(t *testing.T) {
	for _, test := range []struct {
		name  string
		spoil []string // a command
		says  string
	}{
		{"a rule is gone", []string{"nft", "flush", "chain", "inet", "pillion", "inbound"}, "is not that of the redirect"},
		{"a rule too many", []string{"nft", "insert rule inet pillion outbound tcp dport 80 return"}, "is not that of the redirect"},
		{"an element is gone", []string{"nft", "delete element inet pillion ports_2 { 3306 }"}, "is not that of the redirect"},
		{"no redirect at all", []string{"nft", "flush ruleset"}, "neither nftables nor iptables has the redirect"},
		{"another table is faster", []string{"nft", "add table inet t; add chain inet t o { type nat hook output priority -101; }; add rule inet t o meta l4proto tcp redirect to :9"}, "did not arrive"},
		{"a firewall refuses", []string{"nft", "add table inet t; add chain inet t i { type filter hook input priority 0; }; add rule inet t i tcp dport 15001 reject"}, "did not arrive"},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := sandbox.NewPod(t, "pod")
			applyIn(t, p, full(), NFTables)
			p.Output(t, test.spoil[0], test.spoil[1:]...)
			_, err := checkIn(t, p, full())
			var broken *NotWorkingError
			if !errors.As(err, &broken) || !strings.Contains(err.Error(), test.says) {
				t.Errorf("%v; want %q", err, test.says)
			}
		})
	}
}

func TestCheckFindsInIPTables(t *testing.T) {
	const name = "iptables-legacy"
	for _, spoil := range []string{"-D PILLION_INBOUND 1", "-A PILLION_OUTBOUND -p tcp -j RETURN", "-F PREROUTING", "-D OUTPUT -p tcp -j PILLION_OUTBOUND"} {
		t.Run(spoil, func(t *testing.T) {
			p := sandbox.NewPod(t, "pod")
			withPrograms(t, name, func(t *testing.T) { t.Helper(); applyIn(t, p, full(), IPTables) })
			p.Output(t, "ip6tables-legacy", append([]string{"-t", "nat"}, strings.Fields(spoil)...)...)
			withPrograms(t, name, func(t *testing.T) {
				t.Helper()
				var broken *NotWorkingError
				if seen, err := checkIn(t, p, full()); !errors.As(err, &broken) {
					t.Errorf("%s, %v", seen, err)
				}
			})
		})
	}
}

// What cannot be tried is said, and is no failure.
func TestCheckSaysWhatItDidNotTry(t *testing.T) {
	everything := full()
	everything.ExcludedCIDRs = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}
	for _, test := range []struct {
		name     string
		redirect iptables.Redirect
		prepare  func(*testing.T, *sandbox.Pod)
		says     string
	}{
		{"Envoy runs", full(), func(t *testing.T, p *sandbox.Pod) { t.Helper(); p.Listen(t, "tcp", "127.0.0.1:15001") }, "IPv4: not tried, since Envoy listens on the outbound port already"},
		{"no route", full(), func(t *testing.T, p *sandbox.Pod) { t.Helper(); p.Output(t, "ip", "-6", "route", "delete", "default") }, "IPv6: not tried, since the pod has no route"},
		{"no IPv6", full(), func(t *testing.T, p *sandbox.Pod) {
			t.Helper()
			p.Output(t, "sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1")
		}, "IPv6: not tried, since the pod has no loopback address of it"},
		{"everything is excluded", everything, func(*testing.T, *sandbox.Pod) {}, "IPv4: nothing to try"},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := sandbox.NewPod(t, "pod")
			applyIn(t, p, test.redirect, NFTables)
			test.prepare(t, p)
			seen, err := checkIn(t, p, test.redirect)
			if err != nil || !strings.Contains(seen, test.says) {
				t.Errorf("%v, want %q in:\n%s", err, test.says, seen)
			}
		})
	}
}
