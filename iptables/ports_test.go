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

// sameAddresses lets cmp compare what net/netip keeps to itself.
func sameAddresses() cmp.Option {
	return cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})
}

// badPorts are neither a port nor a range.
func badPorts() []string {
	return []string{
		"", " ", "0", "65536", "-1", "+80", " 80", "80 ", "80\n", "080", "00", "8_0", "0x50", "8e1", "80.0", "http", "!3306", "٨٠",
		"80,", "80,81", "80:90", "80..90", "80-", "-80", "-", "--", "80--90", "80-90-100", "80 -90", "80- 90", "80-+90", "080-90", "80-090",
		"0-80", "80-0", "1-65536", "90-80", "80–90", "80\x00", "18446744073709551617", "$(PORT)", strings.Repeat("1", 100000),
	}
}

func TestParsePortRange(t *testing.T) {
	for _, test := range []struct {
		text, canonical string
		want            PortRange
	}{
		{"1", "1", PortRange{1, 1}},
		{"3306", "3306", PortRange{3306, 3306}},
		{"65535", "65535", PortRange{65535, 65535}},
		{"80-90", "80-90", PortRange{80, 90}},
		{"7000-7001", "7000-7001", PortRange{7000, 7001}},
		{"1-65535", "1-65535", PortRange{1, 65535}},
		{"80-80", "80", PortRange{80, 80}},
	} {
		got, err := ParsePortRange(test.text)
		if err != nil || got != test.want || got.String() != test.canonical {
			t.Errorf("ParsePortRange(%q) = %v, %v; want %v", test.text, got, err, test.want)
		}
	}
}

func TestParsePortRangeRefuses(t *testing.T) {
	for _, text := range badPorts() {
		if got, err := ParsePortRange(text); err == nil || got != (PortRange{}) || len(err.Error()) > 200 {
			t.Errorf("ParsePortRange(%.80q) = %v, %.300v", text, got, err)
		}
	}
	for text, want := range map[string]string{
		"080":   `parsing port "080": must be a port from 1 to 65535 as 3306, or a range as 7000-7001`,
		"90-80": `parsing port range "90-80": 90 is above 80`,
	} {
		if _, err := ParsePortRange(text); err == nil || err.Error() != want {
			t.Errorf("ParsePortRange(%q): %v; want %s", text, err, want)
		}
	}
}

func TestContains(t *testing.T) {
	r := PortRange{80, 82}
	for port, want := range map[uint16]bool{79: false, 80: true, 81: true, 82: true, 83: false, 0: false, 65535: false} {
		if r.Contains(port) != want {
			t.Errorf("%s contains %d: %t", r, port, !want)
		}
	}
}

func TestNormalizeRanges(t *testing.T) {
	for _, test := range []struct {
		name        string
		ranges, out []PortRange
	}{
		{"none", nil, nil},
		{"sorted", []PortRange{{90, 90}, {80, 80}}, []PortRange{{80, 80}, {90, 90}}},
		{"twice", []PortRange{{80, 80}, {80, 80}}, []PortRange{{80, 80}}},
		{"overlapping", []PortRange{{85, 95}, {80, 90}}, []PortRange{{80, 95}}},
		{"inside", []PortRange{{80, 90}, {82, 83}, {91, 92}}, []PortRange{{80, 92}}},
		{"touching", []PortRange{{80, 80}, {81, 81}, {83, 83}}, []PortRange{{80, 81}, {83, 83}}},
		{"the last port", []PortRange{{65535, 65535}, {65534, 65535}, {1, 1}}, []PortRange{{1, 1}, {65534, 65535}}},
	} {
		before := slices.Clone(test.ranges)
		if diff := cmp.Diff(test.out, NormalizeRanges(test.ranges), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s: want -, got +\n%s", test.name, diff)
		}
		if !slices.Equal(before, test.ranges) {
			t.Errorf("%s: the argument was changed to %v", test.name, test.ranges)
		}
	}
}

// Random lists mean the same before and after, and the result is the shortest.
func TestNormalizeRangesKeepsTheMeaning(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		var ranges []PortRange
		for range random.IntN(8) {
			first := 1 + random.IntN(30)
			ranges = append(ranges, PortRange{uint16(first), uint16(first + random.IntN(6))})
		}
		normal := NormalizeRanges(ranges)
		in := func(list []PortRange, port uint16) bool {
			return slices.ContainsFunc(list, func(r PortRange) bool { return r.Contains(port) })
		}
		for port := range uint16(40) {
			if in(ranges, port) != in(normal, port) {
				t.Fatalf("%v became %v, which differs at %d", ranges, normal, port)
			}
		}
		for n := 1; n < len(normal); n++ {
			if normal[n].First <= normal[n-1].Last+1 {
				t.Fatalf("%v became %v, which could be shorter", ranges, normal)
			}
		}
	}
}
