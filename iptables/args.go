package iptables

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/pillion-mesh/pillion/argv"
)

// Normalize is the same redirect in its one canonical form: lists sorted, ports
// and networks joined and free of what is said twice; an empty list is nil. Two
// redirects mean the same if their normal forms are equal.
func (r Redirect) Normalize() Redirect {
	r.ReservedInbound = orNil(NormalizeRanges(r.ReservedInbound))
	r.ReservedOutbound = orNil(NormalizeRanges(r.ReservedOutbound))
	r.ExcludedCIDRs = orNil(NormalizePrefixes(r.ExcludedCIDRs))
	r.ProbePorts = slices.Clone(r.ProbePorts)
	slices.SortFunc(r.ProbePorts, func(a, b ProbePort) int {
		return cmp.Or(cmp.Compare(a.Listen, b.Listen), cmp.Compare(a.Target, b.Target))
	})
	r.ProbePorts = orNil(r.ProbePorts)
	return r
}

func orNil[T any](list []T) []T {
	if len(list) == 0 {
		return nil
	}
	return list
}

// Validate says what would make the redirect loop or contradict itself.
func (r Redirect) Validate() error {
	switch {
	case r.ProxyUID == 0 || r.ProxyGID == 0:
		return fmt.Errorf("validating the redirect: the proxy's user %d and group %d must not be 0: root's traffic would bypass the proxy", r.ProxyUID, r.ProxyGID)
	case r.InboundPort == 0 || r.OutboundPort == 0 || r.InboundPort == r.OutboundPort:
		return fmt.Errorf("validating the redirect: inbound port %d and outbound port %d must be two ports", r.InboundPort, r.OutboundPort)
	case r.OwnPorts.First == 0 || r.OwnPorts.First > r.OwnPorts.Last:
		return fmt.Errorf("validating the redirect: own ports %s are not a range", r.OwnPorts)
	case !r.OwnPorts.Contains(r.InboundPort) || !r.OwnPorts.Contains(r.OutboundPort):
		return fmt.Errorf("validating the redirect: inbound port %d and outbound port %d must be among the own ports %s", r.InboundPort, r.OutboundPort, r.OwnPorts)
	case !r.IPv4 && !r.IPv6:
		return errors.New("validating the redirect: no IP family is redirected")
	}
	for _, list := range [...][]PortRange{r.ReservedInbound, r.ReservedOutbound} {
		for _, p := range list {
			if p.First == 0 || p.First > p.Last {
				return fmt.Errorf("validating the redirect: reserved ports %s are not a range", p)
			}
		}
	}
	for _, p := range r.ExcludedCIDRs {
		if !p.IsValid() || p != p.Masked() || p.Addr().Is4In6() {
			return fmt.Errorf("validating the redirect: excluded CIDR %s is not a network", p)
		}
	}
	if err := r.validateProbePorts(); err != nil {
		return err
	}
	for _, arg := range r.Args() {
		if len(arg) > longestArg {
			return fmt.Errorf("validating the redirect: %s is %d bytes long and the kernel takes %d: join ports to ranges and CIDRs to networks", argv.Quote(arg), len(arg), longestArg)
		}
	}
	return nil
}

// longestArg is Linux' MAX_ARG_STRLEN without the NUL at its end: execve fails on
// anything longer, and pillion-init would never start.
const longestArg = 128<<10 - 1

func (r Redirect) validateProbePorts() error {
	listens := map[uint16]bool{}
	for _, p := range r.ProbePorts {
		switch {
		case !r.OwnPorts.Contains(p.Listen) || p.Listen == r.InboundPort || p.Listen == r.OutboundPort || listens[p.Listen]:
			return fmt.Errorf("validating the redirect: probe port %d must be one of the own ports %s, used for nothing else", p.Listen, r.OwnPorts)
		case p.Target == 0 || r.OwnPorts.Contains(p.Target):
			return fmt.Errorf("validating the redirect: probe port %d leads to %d, which is not a port of the app", p.Listen, p.Target)
		}
		listens[p.Listen] = true
	}
	return nil
}

// Args is the redirect as pillion-init's command line, behind its command. It is
// the same for redirects that mean the same; lists that are empty are left out.
// ParseArgs reads it if the redirect is valid.
func (r Redirect) Args() []string {
	r = r.Normalize()
	args := []string{
		"--proxy-uid=" + strconv.FormatUint(uint64(r.ProxyUID), 10),
		"--proxy-gid=" + strconv.FormatUint(uint64(r.ProxyGID), 10),
		"--inbound-port=" + port(r.InboundPort),
		"--outbound-port=" + port(r.OutboundPort),
		"--own-ports=" + r.OwnPorts.String(),
		"--ipv4=" + strconv.FormatBool(r.IPv4),
		"--ipv6=" + strconv.FormatBool(r.IPv6),
	}
	args = appendList(args, "--probe-ports=", r.ProbePorts, ProbePort.append)
	args = appendList(args, "--reserved-inbound=", r.ReservedInbound, PortRange.append)
	args = appendList(args, "--reserved-outbound=", r.ReservedOutbound, PortRange.append)
	return appendList(args, "--excluded-cidrs=", r.ExcludedCIDRs, func(p netip.Prefix, to []byte) []byte { return p.AppendTo(to) })
}

func appendList[T any](args []string, option string, list []T, text func(T, []byte) []byte) []string {
	if len(list) == 0 {
		return args
	}
	const usual = 6 // bytes of an item, comma and all
	arg := append(make([]byte, 0, len(option)+usual*len(list)), option...)
	for n, item := range list {
		if n > 0 {
			arg = append(arg, ',')
		}
		arg = text(item, arg)
	}
	return append(args, string(arg))
}

func port(p uint16) string { return strconv.Itoa(int(p)) }

// append appends "15040:8080".
func (p ProbePort) append(to []byte) []byte {
	to = strconv.AppendUint(to, uint64(p.Listen), 10)
	return strconv.AppendUint(append(to, ':'), uint64(p.Target), 10)
}

// ParseArgs reads what Args wrote, and what a person may write in its place. The
// result is normalized and valid.
func ParseArgs(args []string) (Redirect, error) {
	var r Redirect
	err := argv.Parse(args, []argv.Option{
		{Name: "proxy-uid", Required: true, Set: argv.Uint(&r.ProxyUID)},
		{Name: "proxy-gid", Required: true, Set: argv.Uint(&r.ProxyGID)},
		{Name: "inbound-port", Required: true, Set: argv.Uint(&r.InboundPort)},
		{Name: "outbound-port", Required: true, Set: argv.Uint(&r.OutboundPort)},
		{Name: "own-ports", Required: true, Set: func(value string) (err error) { r.OwnPorts, err = ParsePortRange(value); return err }},
		{Name: "ipv4", Required: true, Set: argv.Bool(&r.IPv4)},
		{Name: "ipv6", Required: true, Set: argv.Bool(&r.IPv6)},
		{Name: "probe-ports", Set: list(&r.ProbePorts, parseProbePort)},
		{Name: "reserved-inbound", Set: list(&r.ReservedInbound, ParsePortRange)},
		{Name: "reserved-outbound", Set: list(&r.ReservedOutbound, ParsePortRange)},
		{Name: "excluded-cidrs", Set: list(&r.ExcludedCIDRs, ParsePrefix)},
	})
	if err != nil {
		return Redirect{}, err
	}
	r = r.Normalize()
	if err := r.Validate(); err != nil {
		return Redirect{}, err
	}
	return r, nil
}

func list[T any](to *[]T, parse func(string) (T, error)) func(string) error {
	return func(value string) error {
		for item := range strings.SplitSeq(value, ",") {
			parsed, err := parse(item)
			if err != nil {
				return err
			}
			*to = append(*to, parsed)
		}
		return nil
	}
}

func parseProbePort(s string) (ProbePort, error) {
	listen, target, ok := strings.Cut(s, ":")
	p := ProbePort{parsePort(listen), parsePort(target)}
	if !ok || p.Listen == 0 || p.Target == 0 {
		return ProbePort{}, fmt.Errorf("parsing probe port %s: must be two ports from 1 to 65535, as 15040:8080", argv.Quote(s))
	}
	return p, nil
}
