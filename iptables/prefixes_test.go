package iptables

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// badPrefixes are neither a CIDR nor an address.
func badPrefixes() []string {
	return []string{
		"", " ", "/", "/8", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/+8", "10.0.0.0/08", "10.0.0.0/8/8", "10.0.0.0/8 ", " 10.0.0.0/8",
		"10.0.0.0/8,", "10.0.0.0/8,10.1.0.0/16", "10.0.0/24", "10.0.0.0.0/8", "010.0.0.0/8", "10.0.0.256/8", "10.0.0.0-10.0.0.9", "10.0.0.0/255.0.0.0",
		"fd00::/129", "fd00:::/8", "fd00::/8\n", "fe80::1%eth0", "fe80::1%eth0/64", "[fd00::1]", "example.com", "0x0a000000/8", "10.0.0.0/8\x00",
		"eth0 -d 10.0.0.50 -p tcp --dport 8080", "-d", "any", "*", "$(IP)", strings.Repeat("1", 100000),
	}
}

func TestParsePrefix(t *testing.T) {
	for text, want := range map[string]string{
		"10.1.0.0/16":      "10.1.0.0/16",
		"10.1.2.3/16":      "10.1.0.0/16",
		"10.1.2.3":         "10.1.2.3/32",
		"10.1.2.3/32":      "10.1.2.3/32",
		"0.0.0.0/0":        "0.0.0.0/0",
		"10.0.0.0/0":       "0.0.0.0/0",
		"fd00::/8":         "fd00::/8",
		"FD12:3456::1/8":   "fd00::/8",
		"fd00:0:0::1":      "fd00::1/128",
		"::/0":             "::/0",
		"fe80::1/64":       "fe80::/64",
		"64:ff9b::1.2.3.4": "64:ff9b::102:304/128",
	} {
		if got, err := ParsePrefix(text); err != nil || got.String() != want {
			t.Errorf("ParsePrefix(%q) = %v, %v; want %s", text, got, err, want)
		}
	}
}

func TestParsePrefixRefuses(t *testing.T) {
	for _, text := range badPrefixes() {
		if got, err := ParsePrefix(text); err == nil || got.IsValid() || len(err.Error()) > 200 {
			t.Errorf("ParsePrefix(%.80q) = %v, %.300v", text, got, err)
		}
	}
	// Connections to these are IPv4 connections, which an IPv6 rule never sees.
	for _, text := range []string{"::ffff:10.0.0.0/104", "::ffff:10.0.0.1", "::ffff:a00:1/128", "::ffff:10.0.0.0/90"} {
		want := `parsing CIDR "` + text + `": write the IPv4 network that it stands for`
		if _, err := ParsePrefix(text); err == nil || err.Error() != want {
			t.Errorf("ParsePrefix(%q): %v; want %s", text, err, want)
		}
	}
}

func prefixes(texts ...string) []netip.Prefix {
	var list []netip.Prefix
	for _, text := range texts {
		list = append(list, netip.MustParsePrefix(text))
	}
	return list
}

func TestNormalizePrefixes(t *testing.T) {
	for _, test := range []struct {
		name    string
		in, out []netip.Prefix
	}{
		{"none", nil, nil},
		{"mixed families", prefixes("fd00::/8", "10.0.0.0/8", "9.0.0.0/8"), prefixes("9.0.0.0/8", "10.0.0.0/8", "fd00::/8")},
		{"twice", prefixes("10.0.0.0/8", "10.0.0.0/8"), prefixes("10.0.0.0/8")},
		{"host bits", prefixes("10.1.2.3/8", "10.0.0.0/8"), prefixes("10.0.0.0/8")},
		{"host bits hide the order", prefixes("10.9.0.0/16", "10.200.0.0/8"), prefixes("10.0.0.0/8")},
		{"covered", prefixes("10.1.0.0/16", "10.0.0.0/8", "10.255.255.255/32", "11.0.0.0/32"), prefixes("10.0.0.0/8", "11.0.0.0/32")},
		{"covered by the wider of two with one address", prefixes("10.0.0.0/16", "10.0.0.0/8"), prefixes("10.0.0.0/8")},
		{"covered by all", prefixes("10.0.0.0/8", "0.0.0.0/0", "fd00::/8"), prefixes("0.0.0.0/0", "fd00::/8")},
	} {
		before := slices.Clone(test.in)
		if diff := cmp.Diff(test.out, NormalizePrefixes(test.in), cmpopts.EquateEmpty(), sameAddresses()); diff != "" {
			t.Errorf("%s: want -, got +\n%s", test.name, diff)
		}
		if !slices.Equal(before, test.in) {
			t.Errorf("%s: the argument was changed to %v", test.name, test.in)
		}
	}
}

// Random lists mean the same before and after, and nothing is said twice.
func TestNormalizePrefixesKeepsTheMeaning(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	address := func(n int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, 0, byte(n)}) }
	for range 2000 {
		var list []netip.Prefix
		for range random.IntN(10) {
			list = append(list, netip.PrefixFrom(address(random.IntN(64)), 26+random.IntN(7)))
		}
		normal := NormalizePrefixes(list)
		covering := func(list []netip.Prefix, a netip.Addr) (n int) {
			for _, p := range list {
				if p.Contains(a) {
					n++
				}
			}
			return n
		}
		for n := range 64 {
			if got, want := covering(normal, address(n)), min(1, covering(list, address(n))); got != want {
				t.Fatalf("%v became %v, where %s is in %d of them, not %d", list, normal, address(n), got, want)
			}
		}
	}
}
