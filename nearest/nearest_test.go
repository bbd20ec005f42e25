package nearest

import (
	"strings"
	"testing"
)

func TestName(t *testing.T) {
	known := []string{"mode", "log-level", "cpu-limit", "cpu-request", "drain-time", "drainTime", "preDrainDelay", "service"}
	tests := []struct{ name, want string }{
		{"drain-tme", "drain-time"},      // left out
		{"drain-timee", "drain-time"},    // inserted
		{"drain-tine", "drain-time"},     // replaced
		{"drain-tiem", "drain-time"},     // swapped
		{"draintime", "drainTime"},       // upper and lower case
		{"drain_time", "drain-time"},     // another notation
		{"loglevel", "log-level"},        // another notation
		{"cpu-limits", "cpu-limit"},      // the nearer of two
		{"mdoe", "mode"},                 // one slip of four letters
		{"mdeo", ""},                     // two slips of four letters
		{"memory-request", ""},           // another word
		{"", ""},                         // nothing is like nothing
		{"x", ""},                        // one letter is like nothing
		{strings.Repeat("m", 10000), ""}, // bounded
		{"drâin-time", "drain-time"},     // a letter, not two bytes
	}
	for _, test := range tests {
		got, ok := Name(test.name, known)
		if got != test.want || ok != (test.want != "") {
			t.Errorf("Name(%.20q) = %q, %v; want %q", test.name, got, ok, test.want)
		}
	}
}

func TestNameTakesTheFirstOfEquals(t *testing.T) {
	if got, _ := Name("part", []string{"port", "pert"}); got != "port" {
		t.Errorf("got %q, want the first of two equally near names", got)
	}
}

func TestNameWithLongKnownNames(t *testing.T) {
	if got, ok := Name(strings.Repeat("a", 65), []string{strings.Repeat("a", 65)}); ok {
		t.Errorf("got %q: names longer than %d letters are not compared", got, longest)
	}
}
