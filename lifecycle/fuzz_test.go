package lifecycle

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// roundTrips fails unless what was read comes back from its own arguments, and
// those are safe tokens but for Envoy's own.
func roundTrips[T interface{ Args() []string }](t *testing.T, value T, parse func([]string) (T, error)) {
	t.Helper()
	args := value.Args()
	for _, arg := range args {
		if arg == "--" {
			break
		}
		if !token.MatchString(arg) {
			t.Fatalf("%q is not a safe token", arg)
		}
	}
	again, err := parse(args)
	if diff := cmp.Diff(value, again); err != nil || diff != "" {
		t.Fatalf("%q: %v; written -, read +\n%s", args, err, diff)
	}
	if diff := cmp.Diff(args, again.Args()); diff != "" {
		t.Fatalf("first -, second +\n%s", diff)
	}
}

// FuzzParseRun takes one argument a line, as somebody might write them.
func FuzzParseRun(f *testing.F) {
	f.Add(strings.Join(fullRunArgs(), "\n"))
	f.Add(strings.Join(plainRunArgs(), "\n"))
	f.Add(strings.Join(with("service", "a/../b"), "\n"))
	f.Add(strings.Join(with("drain-time", "86400000s"), "\n"))
	f.Add(strings.Join(append(plainRunArgs(), "--", "", "--", "--x=\t"), "\n"))
	f.Fuzz(func(t *testing.T, lines string) {
		run, err := ParseRun(strings.Split(lines, "\n"))
		if err != nil {
			return
		}
		if err := ValidateService(run.Service); err != nil {
			t.Fatal(err)
		}
		roundTrips(t, run, ParseRun)
	})
}

// FuzzRunArgs makes a run of values, as the injector does.
func FuzzRunArgs(f *testing.F) {
	f.Add("checkout", uint16(15006), uint16(15001), uint16(15020), int32(2), int64(256<<20), uint8(3), uint32(20), true, false, "--a\x00b c\x00")
	f.Add("a", uint16(1), uint16(65535), uint16(2), int32(1), int64(0), uint8(0), uint32(0), false, true, "")
	f.Fuzz(func(t *testing.T, service string, inbound, outbound, status uint16, concurrency int32, memory int64, level uint8, drain uint32, ipv6, quit bool, extra string) {
		run := Run{
			Service: service, InboundPort: max(inbound, 1), OutboundPort: max(outbound, 1), StatusPort: max(status, 1),
			Concurrency: int(max(concurrency, 1)), MemoryLimit: max(memory, 0), LogLevel: LogLevels()[int(level)%len(LogLevels())],
			DrainTime: min(time.Duration(drain)*time.Second, longestDuration), IPv6: ipv6,
			UpstreamAge: time.Duration(drain%7) * time.Second, UpstreamIdle: time.Duration(drain%5) * time.Second, DownstreamAge: time.Duration(drain%3) * time.Second,
			AccessLog: drain%2 == 0, QuitWithApp: quit, StayForApp: !quit,
		}
		if extra != "" {
			run.ExtraArgs = strings.Split(extra, "\x00")
		}
		if ValidateService(service) != nil {
			if _, err := ParseRun(run.Args()); err == nil {
				t.Fatalf("%q was written and read", service)
			}
			return
		}
		roundTrips(t, run, ParseRun)
	})
}

func FuzzParseWait(f *testing.F) {
	for _, timeout := range []string{"60s", "0s", "86400000s", "86400001s", "060s", "1m"} {
		f.Add("--timeout=" + timeout + "\n--status-port=15020")
	}
	f.Add("--status-port=1\n--timeout=1s\n--")
	f.Fuzz(func(t *testing.T, lines string) {
		if wait, err := ParseWait(strings.Split(lines, "\n")); err == nil {
			roundTrips(t, wait, ParseWait)
		}
	})
}

func FuzzParseDrain(f *testing.F) {
	for _, drain := range []string{"20s", "0s", "86400000s", "4294967296s", "+1s", "1.5s"} {
		f.Add("--pre-drain-delay=30s\n--drain-time=" + drain)
	}
	f.Fuzz(func(t *testing.T, lines string) {
		drain, err := ParseDrain(strings.Split(lines, "\n"))
		if err != nil {
			return
		}
		roundTrips(t, drain, ParseDrain)
		for _, original := range []time.Duration{0, time.Second, 30 * time.Second, longestDuration} {
			with, without := drain.GracePeriod(original, true), drain.GracePeriod(original, false)
			if shortest := slices.Min([]time.Duration{with, without}); shortest < original || shortest < drain.AppSleep() {
				t.Fatalf("%+v: %s with and %s without the sleep, of %s", drain, with, without, original)
			}
		}
	})
}
