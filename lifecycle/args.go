package lifecycle

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pillion-mesh/pillion/argv"
)

// Args is the command line of `pillion-proxy run`, behind `run`. Envoy's own
// arguments come last, behind "--", one token each and unchanged. Times are in
// whole seconds, here and below: what is less than one is lost.
func (r Run) Args() []string {
	args := []string{
		"--service=" + r.Service,
		"--inbound-port=" + number(r.InboundPort),
		"--outbound-port=" + number(r.OutboundPort),
		"--status-port=" + number(r.StatusPort),
		"--concurrency=" + strconv.Itoa(r.Concurrency),
		"--log-level=" + r.LogLevel,
		"--drain-time=" + duration(r.DrainTime),
		"--ipv6=" + strconv.FormatBool(r.IPv6),
		"--upstream-age=" + duration(r.UpstreamAge),
		"--upstream-idle=" + duration(r.UpstreamIdle),
		"--downstream-age=" + duration(r.DownstreamAge),
	}
	if r.MemoryLimit > 0 {
		args = append(args, "--memory-limit="+strconv.FormatInt(r.MemoryLimit, 10))
	}
	if r.AccessLog {
		args = append(args, "--access-log=true")
	}
	if r.QuitWithApp {
		args = append(args, "--quit-with-app=true")
	}
	if r.StayForApp {
		args = append(args, "--stay-for-app=true")
	}
	if len(r.ExtraArgs) > 0 {
		args = append(append(args, "--"), r.ExtraArgs...)
	}
	return args
}

// ParseRun reads what Run.Args wrote.
func ParseRun(args []string) (Run, error) {
	var r Run
	if at := slices.Index(args, "--"); at >= 0 {
		if extra := args[at+1:]; len(extra) > 0 {
			r.ExtraArgs = slices.Clone(extra)
		}
		args = args[:at]
	}
	var concurrency, memory bounded
	err := argv.Parse(args, []argv.Option{
		{Name: "service", Required: true, Set: func(value string) error { r.Service = value; return ValidateService(value) }},
		{Name: "inbound-port", Required: true, Set: port(&r.InboundPort)},
		{Name: "outbound-port", Required: true, Set: port(&r.OutboundPort)},
		{Name: "status-port", Required: true, Set: port(&r.StatusPort)},
		{Name: "concurrency", Required: true, Set: concurrency.between(1, math.MaxInt32)},
		{Name: "log-level", Required: true, Set: func(value string) error { r.LogLevel = value; return validateLogLevel(value) }},
		{Name: "drain-time", Required: true, Set: parseDuration(&r.DrainTime)},
		{Name: "ipv6", Required: true, Set: argv.Bool(&r.IPv6)},
		{Name: "upstream-age", Required: true, Set: parseDuration(&r.UpstreamAge)},
		{Name: "upstream-idle", Required: true, Set: parseDuration(&r.UpstreamIdle)},
		{Name: "downstream-age", Required: true, Set: parseDuration(&r.DownstreamAge)},
		{Name: "memory-limit", Set: memory.between(1, math.MaxInt64)},
		{Name: "access-log", Set: argv.Bool(&r.AccessLog)},
		{Name: "quit-with-app", Set: argv.Bool(&r.QuitWithApp)},
		{Name: "stay-for-app", Set: argv.Bool(&r.StayForApp)},
	})
	if err != nil {
		return Run{}, err
	}
	r.Concurrency, r.MemoryLimit = int(concurrency), int64(memory)
	return r, nil
}

// Args is the command line of `pillion-proxy wait`, behind `wait`.
func (w Wait) Args() []string {
	return []string{"--timeout=" + duration(w.Timeout), "--status-port=" + number(w.StatusPort)}
}

// ParseWait reads what Wait.Args wrote.
func ParseWait(args []string) (Wait, error) {
	var w Wait
	err := argv.Parse(args, []argv.Option{
		{Name: "timeout", Required: true, Set: parseDuration(&w.Timeout)},
		{Name: "status-port", Required: true, Set: port(&w.StatusPort)},
	})
	if err != nil {
		return Wait{}, err
	}
	return w, nil
}

// Args is the command line of `pillion-proxy drain`, behind `drain`.
func (d Drain) Args() []string {
	return []string{"--pre-drain-delay=" + duration(d.PreDrainDelay), "--drain-time=" + duration(d.DrainTime)}
}

// ParseDrain reads what Drain.Args wrote.
func ParseDrain(args []string) (Drain, error) {
	var d Drain
	err := argv.Parse(args, []argv.Option{
		{Name: "pre-drain-delay", Required: true, Set: parseDuration(&d.PreDrainDelay)},
		{Name: "drain-time", Required: true, Set: parseDuration(&d.DrainTime)},
	})
	if err != nil {
		return Drain{}, err
	}
	return d, nil
}

// longestService is that of a Kubernetes object's name.
const longestService = 253

// ValidateService says whether a name can be a service's identity, as "checkout"
// or "shop/checkout": letters, digits, '-', '_', '.' and '/', a letter or digit
// first and behind each '/', 253 characters at most. So no part of it is ".." or
// empty, and it can be a path in a store of configuration.
func ValidateService(name string) error {
	if name == "" || len(name) > longestService {
		return fmt.Errorf("a service name must have 1 to %d characters, not %d", longestService, len(name))
	}
	if strings.ContainsFunc(name, func(c rune) bool { return !letterOrDigit(c) && !strings.ContainsRune("-_./", c) }) {
		return errors.New("a service name must be of letters, digits, '-', '_', '.' and '/' and begin with a letter or digit")
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == "" || !letterOrDigit(rune(part[0])) {
			return errors.New("a service name must begin with a letter or digit, and so must what is behind each '/'")
		}
	}
	return nil
}

func letterOrDigit(c rune) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

// LogLevels are Envoy's, from the most to the least talkative.
func LogLevels() []string {
	return []string{"trace", "debug", "info", "warning", "error", "critical", "off"}
}

func validateLogLevel(level string) error {
	if !slices.Contains(LogLevels(), level) {
		return fmt.Errorf("%s must be one of %s", argv.Quote(level), strings.Join(LogLevels(), ", "))
	}
	return nil
}

func number(port uint16) string { return strconv.Itoa(int(port)) }

// duration is whole seconds, as "90s": one spelling for each.
func duration(d time.Duration) string { return strconv.FormatInt(int64(d/time.Second), 10) + "s" }

// longestDuration keeps a number of seconds from overflowing.
const longestDuration = 1000 * 24 * time.Hour

func parseDuration(to *time.Duration) func(string) error {
	return func(value string) error {
		digits, ok := strings.CutSuffix(value, "s")
		n, err := strconv.ParseUint(digits, 10, 32)
		d := time.Duration(n) * time.Second
		if !ok || err != nil || d > longestDuration || duration(d) != value {
			return fmt.Errorf("%s must be a number of seconds, from 0s to %s, as 30s", argv.Quote(value), duration(longestDuration))
		}
		*to = d
		return nil
	}
}

func port(to *uint16) func(string) error {
	return func(value string) error {
		if err := argv.Uint(to)(value); err != nil || *to == 0 {
			return fmt.Errorf("%s must be a port from 1 to 65535", argv.Quote(value))
		}
		return nil
	}
}

// bounded is a number that must lie between two others.
type bounded uint64

func (to *bounded) between(least, most uint64) func(string) error {
	return func(value string) error {
		n, err := strconv.ParseUint(value, 10, 64)
		if err != nil || n < least || n > most || strconv.FormatUint(n, 10) != value {
			return fmt.Errorf("%s must be a whole number from %d to %d", argv.Quote(value), least, most)
		}
		*to = bounded(n)
		return nil
	}
}
