package lifecycle

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// token is what every argument before "--" looks like: no space, no line break,
// nothing that kubelet would expand, no value that could be taken for an option.
var token = regexp.MustCompile(`\A--[a-z0-9-]+=[0-9A-Za-z][0-9A-Za-z._/-]*\z`)

func fullRun() Run {
	return Run{
		Service: "shop/checkout", InboundPort: 15006, OutboundPort: 15001, StatusPort: 15020, Concurrency: 2, MemoryLimit: 256 << 20,
		LogLevel: "warning", DrainTime: 90 * time.Second, IPv6: true,
		UpstreamAge: 240 * time.Second, UpstreamIdle: 4 * time.Second, DownstreamAge: 300 * time.Second,
		AccessLog: true, QuitWithApp: true, StayForApp: true, ExtraArgs: []string{"--component-log-level", "http:debug"},
	}
}

func fullRunArgs() []string {
	return []string{
		"--service=shop/checkout", "--inbound-port=15006", "--outbound-port=15001", "--status-port=15020", "--concurrency=2",
		"--log-level=warning", "--drain-time=90s", "--ipv6=true",
		"--upstream-age=240s", "--upstream-idle=4s", "--downstream-age=300s",
		"--memory-limit=268435456", "--access-log=true", "--quit-with-app=true", "--stay-for-app=true",
		"--", "--component-log-level", "http:debug",
	}
}

// plainRunArgs are those of fullRun without what may be missing.
func plainRunArgs() []string { return fullRunArgs()[:11] }

// with is plainRunArgs with one option's value replaced, or the option added.
func with(option, value string) []string {
	args := slices.DeleteFunc(plainRunArgs(), func(arg string) bool { return strings.HasPrefix(arg, "--"+option+"=") })
	return append(args, "--"+option+"="+value)
}

func TestRunArgs(t *testing.T) {
	plain := fullRun()
	plain.MemoryLimit, plain.AccessLog, plain.QuitWithApp, plain.StayForApp, plain.ExtraArgs = 0, false, false, false, nil
	for _, test := range []struct {
		run  Run
		args []string
	}{{fullRun(), fullRunArgs()}, {plain, plainRunArgs()}} {
		if diff := cmp.Diff(test.args, test.run.Args()); diff != "" {
			t.Errorf("Args: want -, got +\n%s", diff)
		}
		got, err := ParseRun(test.args)
		if diff := cmp.Diff(test.run, got); err != nil || diff != "" {
			t.Errorf("ParseRun: %v; want -, got +\n%s", err, diff)
		}
	}
}

// What stands behind "--" is Envoy's, whatever it looks like.
func TestExtraArgsAreVerbatim(t *testing.T) {
	for _, extra := range [][]string{
		{"--"}, {"", " "}, {"--service=other"}, {"a b", "--x=\n", "é", "\xff", "$(HOME)", "-c", "--", "--"},
	} {
		run := fullRun()
		run.ExtraArgs = extra
		got, err := ParseRun(run.Args())
		if diff := cmp.Diff(run, got); err != nil || diff != "" {
			t.Errorf("%q: %v; want -, got +\n%s", extra, err, diff)
		}
	}
	got, err := ParseRun(append(plainRunArgs(), "--"))
	if err != nil || got.ExtraArgs != nil {
		t.Errorf(`nothing behind "--": %q, %v; want nil`, got.ExtraArgs, err)
	}
}

// Every value that a configuration may hold must reach the pod: one that
// pillion-proxy refused would keep the pod from starting.
func TestRunTakesTheLargest(t *testing.T) {
	run := fullRun()
	run.Concurrency, run.MemoryLimit, run.Service = math.MaxInt32, math.MaxInt64, strings.Repeat("a", longestService)
	run.DrainTime = longestDuration
	for _, level := range LogLevels() {
		run.LogLevel = level
		got, err := ParseRun(run.Args())
		if diff := cmp.Diff(run, got); err != nil || diff != "" {
			t.Errorf("%v; want -, got +\n%s", err, diff)
		}
	}
}

func TestParseRunRefuses(t *testing.T) {
	for _, test := range []struct{ option, value, want string }{
		{"service", "", "must have 1 to 253 characters"},
		{"service", "a b", "must be of letters, digits"},
		{"inbound-port", "0", "must be a port from 1 to 65535"},
		{"outbound-port", "65536", "must be a port from 1 to 65535"},
		{"status-port", "015020", "must be a port from 1 to 65535"},
		{"status-port", "15020 ", "must be a port from 1 to 65535"},
		{"concurrency", "0", "from 1 to 2147483647"},
		{"concurrency", "-1", "from 1 to 2147483647"},
		{"concurrency", "2147483648", "from 1 to 2147483647"},
		{"concurrency", "+2", "from 1 to 2147483647"},
		{"log-level", "loud", `"loud" must be one of trace, debug`},
		{"log-level", "Info", "must be one of"},
		{"log-level", "", "must be one of"},
		{"ipv6", "1", "must be true or false"},
		{"memory-limit", "0", "from 1 to 9223372036854775807"},
		{"memory-limit", "9223372036854775808", "from 1 to"},
		{"memory-limit", "256Mi", "from 1 to"},
		{"upstream-age", "-1s", "must be a number of seconds"},
		{"upstream-idle", "4", "must be a number of seconds"},
		{"downstream-age", "5m", "must be a number of seconds"},
		{"access-log", "json", "must be true or false"},
		{"quit-with-app", "yes", "must be true or false"},
		{"stay-for-app", "", "must be true or false"},
		{"timeout", "30s", "no such option"},
	} {
		if got, err := ParseRun(with(test.option, test.value)); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("--%s=%s: %+v, %v; want an error with %q", test.option, test.value, got, err, test.want)
		}
	}
	for n, arg := range plainRunArgs() {
		if _, err := ParseRun(slices.Delete(plainRunArgs(), n, n+1)); err == nil || !strings.HasSuffix(err.Error(), "is missing") {
			t.Errorf("without %s: %v", arg, err)
		}
		if _, err := ParseRun(append(plainRunArgs(), arg)); err == nil || !strings.HasSuffix(err.Error(), "is given twice") {
			t.Errorf("with %s twice: %v", arg, err)
		}
	}
	// An option behind "--" is Envoy's, so it is missing before it.
	if _, err := ParseRun(slices.Insert(plainRunArgs(), 10, "--")); err == nil {
		t.Error(`an option behind "--" was taken for one before it`)
	}
}

func TestDurationHasOneSpelling(t *testing.T) {
	for _, value := range []string{
		"", "s", "30", "30S", " 30s", "30s ", "30 s", "+30s", "-1s", "030s", "00s", "1m", "1m30s", "1.5s", "1500ms", "1e2s", "3_0s", "30ss",
		"86400001s", "4294967296s", "18446744073709551616s", "٣s",
	} {
		_, run := ParseRun(with("drain-time", value))
		_, wait := ParseWait([]string{"--timeout=" + value, "--status-port=15020"})
		_, delay := ParseDrain([]string{"--pre-drain-delay=" + value, "--drain-time=20s"})
		_, drain := ParseDrain([]string{"--pre-drain-delay=20s", "--drain-time=" + value})
		for _, err := range []error{run, wait, delay, drain} {
			if err == nil || !strings.Contains(err.Error(), "must be a number of seconds, from 0s to 86400000s, as 30s") {
				t.Errorf("%q: %v", value, err)
			}
		}
	}
}

func TestWaitAndDrainArgs(t *testing.T) {
	wait := Wait{Timeout: time.Minute, StatusPort: 15020}
	waitArgs := []string{"--timeout=60s", "--status-port=15020"}
	drain := Drain{PreDrainDelay: 30 * time.Second}
	drainArgs := []string{"--pre-drain-delay=30s", "--drain-time=0s"}
	if got, err := ParseWait(waitArgs); err != nil || got != wait || !slices.Equal(wait.Args(), waitArgs) {
		t.Errorf("wait: %q, read as %+v, %v", wait.Args(), got, err)
	}
	if got, err := ParseDrain(drainArgs); err != nil || got != drain || !slices.Equal(drain.Args(), drainArgs) {
		t.Errorf("drain: %q, read as %+v, %v", drain.Args(), got, err)
	}
	for _, args := range [][]string{nil, waitArgs[:1], waitArgs[1:], {"--timeout=60s", "--status-port=0"}, append(waitArgs, "--"), append(waitArgs, waitArgs[0])} {
		if got, err := ParseWait(args); err == nil || got != (Wait{}) {
			t.Errorf("ParseWait(%q) = %+v, %v", args, got, err)
		}
	}
	for _, args := range [][]string{nil, drainArgs[:1], drainArgs[1:], append(drainArgs, "now"), append(drainArgs, drainArgs[0])} {
		if got, err := ParseDrain(args); err == nil || got != (Drain{}) {
			t.Errorf("ParseDrain(%q) = %+v, %v", args, got, err)
		}
	}
}

func TestValidateService(t *testing.T) {
	for _, name := range []string{
		"a", "7", "checkout", "shop/checkout", "shop.checkout.v2", "Check_Out-1", "a/b/c", "a-", "a.", "a..b", strings.Repeat("a", 253),
	} {
		if err := ValidateService(name); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	for _, name := range []string{
		"", "-a", ".a", "_a", "/a", "a/", "a//b", "..", "a/../b", "a/.", "a/-b", "a b", "a\n", "a\x00", "a=b", "a,b", "a:b", "a@b", "a%2f",
		"$(HOSTNAME)", "{{.}}", `a"b`, `a\b`, "é", "a\u202eb", "a\xff", strings.Repeat("a", 254), strings.Repeat("a", 1<<18),
	} {
		if err := ValidateService(name); err == nil || len(err.Error()) > 200 {
			t.Errorf("%.80q: %.300v", name, err)
		}
	}
}

func ExampleRun_Args() {
	run := Run{
		Service: "checkout", InboundPort: 15006, OutboundPort: 15001, StatusPort: 15020, Concurrency: 1,
		LogLevel: "warning", DrainTime: 20 * time.Second,
		UpstreamAge: 4 * time.Minute, UpstreamIdle: 4 * time.Second, DownstreamAge: 5 * time.Minute,
		ExtraArgs: []string{"--component-log-level", "http:debug"},
	}
	for _, arg := range run.Args() {
		fmt.Println(arg)
	}
	// Output:
	// --service=checkout
	// --inbound-port=15006
	// --outbound-port=15001
	// --status-port=15020
	// --concurrency=1
	// --log-level=warning
	// --drain-time=20s
	// --ipv6=false
	// --upstream-age=240s
	// --upstream-idle=4s
	// --downstream-age=300s
	// --
	// --component-log-level
	// http:debug
}

func ExampleDrain_Args() {
	fmt.Println(Drain{PreDrainDelay: 30 * time.Second, DrainTime: 20 * time.Second}.Args())
	// Output: [--pre-drain-delay=30s --drain-time=20s]
}
