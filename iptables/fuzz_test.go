package iptables

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// roundTrips fails unless a valid redirect comes back from its own arguments, and
// those are safe tokens and the same each time.
func roundTrips(t *testing.T, r Redirect) {
	t.Helper()
	args := r.Args()
	for _, arg := range args {
		if !token.MatchString(arg) {
			t.Fatalf("%q is not a safe token", arg)
		}
	}
	again, err := ParseArgs(args)
	if err != nil {
		t.Fatalf("%q was written and cannot be read: %v", args, err)
	}
	if diff := cmp.Diff(r.Normalize(), again, sameAddresses()); diff != "" {
		t.Fatalf("%q: written -, read +\n%s", args, diff)
	}
	if diff := cmp.Diff(args, again.Args()); diff != "" {
		t.Fatalf("first -, second +\n%s", diff)
	}
}

// FuzzParseArgs takes one argument a line, as somebody might write them.
func FuzzParseArgs(f *testing.F) {
	f.Add(strings.Join(fullArgs(), "\n"))
	f.Add(strings.Join(with("reserved-inbound", "7000-7000,7001,3306,1-65535"), "\n"))
	f.Add(strings.Join(with("excluded-cidrs", "::/0,10.1.2.3/8,0.0.0.0/0,fd00::1"), "\n"))
	f.Add(strings.Join(with("excluded-cidrs", "eth0 -d 10.0.0.50 -p tcp --dport 8080"), "\n"))
	f.Add(strings.Join(with("probe-ports", "15098:1,15040:65535"), "\n"))
	for _, bad := range badPorts() {
		f.Add(strings.Join(with("reserved-outbound", bad), "\n"))
	}
	f.Fuzz(func(t *testing.T, lines string) {
		r, err := ParseArgs(strings.Split(lines, "\n"))
		if err != nil {
			return
		}
		if err := r.Validate(); err != nil {
			t.Fatalf("%q was read and is not valid: %v", lines, err)
		}
		roundTrips(t, r)
	})
}

// FuzzArgs makes a redirect of numbers, as the injector does: what is valid must
// survive its way to pillion-init. Ranges are put in order and probe ports among
// the own ones, since hardly any would be valid otherwise.
func FuzzArgs(f *testing.F) {
	f.Add(uint32(15033), uint32(15033), uint16(15006), uint16(15001), uint16(15000), uint16(15099), true, true, []byte{1, 2, 3, 4}, []byte{10, 0, 0, 0, 8})
	f.Add(uint32(15033), uint32(15033), uint16(15006), uint16(15001), uint16(15000), uint16(15099), true, true,
		[]byte("\x0c\xea\x0c\xea\x00\x28\x1f\x90\x1b\x58\x1b\x59\x0c\xec\x0c\xec\x00\x29\x1f\x91\x00\x35\x00\x35"), []byte("\xfd\x00\x00\x09\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x40\x0a\x60\x00\x00\x0c"))
	f.Add(uint32(1), uint32(4294967295), uint16(1), uint16(65535), uint16(1), uint16(65535), true, false, []byte{}, []byte{})
	f.Fuzz(func(t *testing.T, uid, gid uint32, inbound, outbound, first, last uint16, ipv4, ipv6 bool, ports, networks []byte) {
		r := Redirect{
			ProxyUID: uid, ProxyGID: gid, InboundPort: inbound, OutboundPort: outbound, OwnPorts: PortRange{first, last}, IPv4: ipv4, IPv6: ipv6,
		}
		for ; len(ports) >= 4; ports = ports[4:] {
			a, b := uint16(ports[0])<<8|uint16(ports[1]), uint16(ports[2])<<8|uint16(ports[3])
			switch ordered := (PortRange{max(1, min(a, b)), max(1, a, b)}); len(ports) / 4 % 3 {
			case 0:
				r.ReservedInbound = append(r.ReservedInbound, ordered)
			case 1:
				r.ReservedOutbound = append(r.ReservedOutbound, ordered)
			default:
				r.ProbePorts = append(r.ProbePorts, ProbePort{Listen: first + a%100, Target: b})
			}
		}
		for len(networks) >= 17 {
			r.ExcludedCIDRs = append(r.ExcludedCIDRs, netip.PrefixFrom(netip.AddrFrom16([16]byte(networks)), int(networks[16])).Masked())
			networks = networks[17:]
		}
		if len(networks) >= 5 {
			r.ExcludedCIDRs = append(r.ExcludedCIDRs, netip.PrefixFrom(netip.AddrFrom4([4]byte(networks)), int(networks[4])).Masked())
		}
		if r.Validate() == nil {
			roundTrips(t, r)
		}
	})
}

func FuzzParsePortRange(f *testing.F) {
	for _, text := range append(badPorts(), "1", "3306", "65535", "7000-7001", "80-80", "1-65535") {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := ParsePortRange(text)
		if err != nil {
			if r != (PortRange{}) || len(err.Error()) > 500 {
				t.Fatalf("%.80q: %v, %.300v", text, r, err)
			}
			return
		}
		again, err := ParsePortRange(r.String())
		if err != nil || again != r || r.First == 0 || r.First > r.Last {
			t.Fatalf("%q was read as %v, and its text as %v, %v", text, r, again, err)
		}
		// One spelling for each, but for a range of one port.
		if r.String() != text && r.String()+"-"+r.String() != text {
			t.Fatalf("%q was read as %s", text, r)
		}
	})
}

func FuzzParsePrefix(f *testing.F) {
	for _, text := range append(badPrefixes(), "10.1.2.3", "10.1.2.3/8", "fd00::/8", "::/0", "::ffff:10.0.0.0/104", "64:ff9b::1.2.3.4") {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := ParsePrefix(text)
		if err != nil {
			if p.IsValid() || len(err.Error()) > 500 {
				t.Fatalf("%.80q: %v, %.300v", text, p, err)
			}
			return
		}
		again, err := ParsePrefix(p.String())
		if err != nil || again != p || p != p.Masked() || p.Addr().Is4In6() || p.Addr().Zone() != "" {
			t.Fatalf("%q was read as %v, and its text as %v, %v", text, p, again, err)
		}
		if arg := "--excluded-cidrs=" + p.String(); !token.MatchString(arg) {
			t.Fatalf("%q is not a safe token", arg)
		}
	})
}
