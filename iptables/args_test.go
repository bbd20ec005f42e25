package iptables

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// token is what every argument looks like: no space, no line break, nothing that a
// shell or kubelet would expand, no value that could be taken for an option.
var token = regexp.MustCompile(`\A--[a-z0-9-]+=[0-9A-Za-z:][0-9A-Za-z.,:/-]*\z`)

// full is a redirect with something in every field.
func full() Redirect {
	return Redirect{
		ProxyUID: 15033, ProxyGID: 15034, InboundPort: 15006, OutboundPort: 15001, OwnPorts: PortRange{15000, 15099},
		ProbePorts:       []ProbePort{{15040, 8080}, {15041, 9090}},
		ReservedInbound:  []PortRange{{3306, 3306}, {7000, 7001}},
		ReservedOutbound: []PortRange{{25, 25}, {9092, 9092}},
		ExcludedCIDRs:    prefixes("10.96.0.0/12", "fd00:9::/64"),
		IPv4:             true, IPv6: true,
	}
}

func fullArgs() []string {
	return []string{
		"--proxy-uid=15033", "--proxy-gid=15034", "--inbound-port=15006", "--outbound-port=15001", "--own-ports=15000-15099",
		"--ipv4=true", "--ipv6=true", "--probe-ports=15040:8080,15041:9090", "--reserved-inbound=3306,7000-7001",
		"--reserved-outbound=25,9092", "--excluded-cidrs=10.96.0.0/12,fd00:9::/64",
	}
}

// with is fullArgs with one option's value replaced, or the option added.
func with(option, value string) []string {
	args := slices.DeleteFunc(fullArgs(), func(arg string) bool { return strings.HasPrefix(arg, "--"+option+"=") })
	return append(args, "--"+option+"="+value)
}

func TestArgs(t *testing.T) {
	if diff := cmp.Diff(fullArgs(), full().Args()); diff != "" {
		t.Errorf("want -, got +\n%s", diff)
	}
	got, err := ParseArgs(fullArgs())
	if diff := cmp.Diff(full(), got, sameAddresses()); err != nil || diff != "" {
		t.Errorf("%v; want -, got +\n%s", err, diff)
	}
}

func TestArgsLeaveOutEmptyLists(t *testing.T) {
	r := full()
	r.ProbePorts, r.ReservedInbound, r.ReservedOutbound, r.ExcludedCIDRs = []ProbePort{}, nil, []PortRange{}, nil
	if diff := cmp.Diff(fullArgs()[:7], r.Args()); diff != "" {
		t.Errorf("want -, got +\n%s", diff)
	}
	got, err := ParseArgs(r.Args())
	if diff := cmp.Diff(r.Normalize(), got, sameAddresses()); err != nil || diff != "" {
		t.Errorf("%v; want -, got +\n%s", err, diff)
	}
}

// Redirects that mean the same have the same arguments, and keep what they hold.
func TestArgsAreCanonical(t *testing.T) {
	messy := full()
	messy.ProbePorts = []ProbePort{{15041, 9090}, {15040, 8080}}
	messy.ReservedInbound = []PortRange{{7001, 7001}, {7000, 7000}, {3306, 3306}, {3306, 3306}}
	messy.ExcludedCIDRs = prefixes("fd00:9::/64", "10.100.1.2/16", "10.96.0.0/12", "fd00:9::1/128")
	if diff := cmp.Diff(fullArgs(), messy.Args()); diff != "" {
		t.Errorf("want -, got +\n%s", diff)
	}
	if messy.ProbePorts[0].Listen != 15041 || messy.ReservedInbound[0].First != 7001 || messy.ExcludedCIDRs[0].Addr().Is4() {
		t.Errorf("Args changed its receiver: %+v", messy)
	}
	backwards := with("reserved-inbound", "7000-7000,7001,3306,7000-7001")
	slices.Reverse(backwards)
	got, err := ParseArgs(backwards)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(fullArgs(), got.Args()); diff != "" {
		t.Errorf("want -, got +\n%s", diff)
	}
}

func TestParseArgsRefuses(t *testing.T) {
	for _, test := range []struct{ option, value, want string }{
		{"proxy-uid", "0", "root's traffic would bypass the proxy"},
		{"proxy-gid", "0", "root's traffic would bypass the proxy"},
		{"proxy-uid", "-1", "whole number from 0 to 4294967295"},
		{"proxy-uid", "4294967296", "whole number from 0 to 4294967295"},
		{"proxy-uid", "015033", "whole number"},
		{"inbound-port", "0", "must be two ports"},
		{"inbound-port", "65536", "whole number from 0 to 65535"},
		{"inbound-port", "15001", "must be two ports"},
		{"inbound-port", "15100", "must be among the own ports 15000-15099"},
		{"outbound-port", "8080", "must be among the own ports 15000-15099"},
		{"own-ports", "15099-15000", "15099 is above 15000"},
		{"own-ports", "15000-15005", "must be among the own ports"},
		{"own-ports", "15000-15099,80", "must be a port"},
		{"ipv4", "yes", "must be true or false"},
		{"probe-ports", "15040", "must be two ports"},
		{"probe-ports", "15040-8080", "must be two ports"},
		{"probe-ports", "15040:0", "must be two ports"},
		{"probe-ports", "15040:65536", "must be two ports"},
		{"probe-ports", "15040:8080:1", "must be two ports"},
		{"probe-ports", "15040:8080,", "must be two ports"},
		{"probe-ports", "8080:15040", "must be one of the own ports"},
		{"probe-ports", "15006:8080", "used for nothing else"},
		{"probe-ports", "15001:8080", "used for nothing else"},
		{"probe-ports", "15040:8080,15040:9090", "used for nothing else"},
		{"probe-ports", "15040:15020", "not a port of the app"},
		{"excluded-cidrs", "::ffff:10.0.0.0/104", "write the IPv4 network"},
		{"reserved-in", "80", "no such option"},
		{"reserved-inbound ", "80", "no such option"},
	} {
		if got, err := ParseArgs(with(test.option, test.value)); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("--%s=%s: %+v, %v; want an error with %q", test.option, test.value, got, err, test.want)
		}
	}
	for _, args := range [][]string{nil, {}, fullArgs()[1:], append(fullArgs(), "--ipv4=true"), append(fullArgs(), "apply"), append(fullArgs(), "")} {
		if got, err := ParseArgs(args); err == nil {
			t.Errorf("ParseArgs(%q) = %+v", args, got)
		}
	}
	neither := slices.Replace(fullArgs(), 5, 7, "--ipv4=false", "--ipv6=false")
	if _, err := ParseArgs(neither); err == nil || !strings.Contains(err.Error(), "no IP family") {
		t.Errorf("no family: %v", err)
	}
}

// Each bad item is refused alone, first and last, in each list that it can be in.
func TestParseArgsRefusesBadItems(t *testing.T) {
	lists := map[string]struct {
		good string
		bad  []string
	}{
		"reserved-inbound":  {"8443", badPorts()},
		"reserved-outbound": {"8443", badPorts()},
		"excluded-cidrs":    {"192.168.0.0/16", badPrefixes()},
	}
	for option, list := range lists {
		for _, bad := range list.bad {
			for _, value := range []string{bad, list.good + "," + bad, bad + "," + list.good} {
				_, itself := ParseArgs(with(option, value))
				// Two good items are not a bad one: the table has them as one item.
				if itself == nil && bad != "80,81" && bad != "10.0.0.0/8,10.1.0.0/16" {
					t.Errorf("--%s=%.80q was taken", option, value)
				}
				if itself != nil && len(itself.Error()) > 400 {
					t.Errorf("--%s=%.80q: an error of %d bytes", option, value, len(itself.Error()))
				}
			}
		}
	}
}

func TestValidateRefusesWhatParsingCannotMake(t *testing.T) {
	for name, change := range map[string]func(*Redirect){
		"zero own ports":           func(r *Redirect) { r.OwnPorts = PortRange{} },
		"zero reserved port":       func(r *Redirect) { r.ReservedInbound = []PortRange{{}} },
		"reserved range backwards": func(r *Redirect) { r.ReservedOutbound = []PortRange{{90, 80}} },
		"no prefix":                func(r *Redirect) { r.ExcludedCIDRs = []netip.Prefix{{}} },
		"host bits":                func(r *Redirect) { r.ExcludedCIDRs = prefixes("10.1.2.3/8") },
		"IPv4 in IPv6":             func(r *Redirect) { r.ExcludedCIDRs = prefixes("::ffff:10.0.0.0/104") },
		"probe to no port":         func(r *Redirect) { r.ProbePorts = []ProbePort{{15040, 0}} },
		"nothing at all":           func(r *Redirect) { *r = Redirect{} },
	} {
		r := full()
		change(&r)
		if err := r.Validate(); err == nil || !strings.HasPrefix(err.Error(), "validating the redirect: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := full().Validate(); err != nil {
		t.Error(err)
	}
}

// A thousand ports fit; what the kernel would not hand to pillion-init is refused.
func TestLongLists(t *testing.T) {
	r := full()
	r.ReservedInbound = nil
	for n := range 1000 {
		r.ReservedInbound = append(r.ReservedInbound, PortRange{uint16(1 + 3*n), uint16(2 + 3*n)})
	}
	got, err := ParseArgs(r.Args())
	if diff := cmp.Diff(r, got, sameAddresses()); err != nil || diff != "" {
		t.Errorf("1000 ranges: %v; want -, got +\n%s", err, diff)
	}
	for n := range 32000 {
		r.ReservedOutbound = append(r.ReservedOutbound, PortRange{uint16(2 * (n + 1)), uint16(2 * (n + 1))})
	}
	if err := r.Validate(); err == nil || !strings.Contains(err.Error(), "the kernel takes 131071") || len(err.Error()) > 300 {
		t.Errorf("32000 ports in one argument: %v", err)
	}
}

func ExampleRedirect_Args() {
	r := Redirect{
		ProxyUID: 15033, ProxyGID: 15033, InboundPort: 15006, OutboundPort: 15001, OwnPorts: PortRange{15000, 15099},
		ReservedOutbound: []PortRange{{7001, 7001}, {3306, 3306}, {7000, 7000}},
		IPv4:             true, IPv6: true,
	}
	for _, arg := range r.Args() {
		fmt.Println(arg)
	}
	// Output:
	// --proxy-uid=15033
	// --proxy-gid=15033
	// --inbound-port=15006
	// --outbound-port=15001
	// --own-ports=15000-15099
	// --ipv4=true
	// --ipv6=true
	// --reserved-outbound=3306,7000-7001
}
