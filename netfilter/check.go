package netfilter

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/pillion-mesh/pillion/iptables"
)

// NotWorkingError is an error of Check that says that connections are not redirected as
// they should be, rather than that this could not be found out.
type NotWorkingError struct{ Sentence string }

func (n *NotWorkingError) Error() string { return n.Sentence }

// Check proves that a redirect is in force, and says what it saw. It compares the
// kernel's rules with the redirect, for both directions, and opens a connection from
// here for each family, which must arrive at the outbound port with its original
// destination. What comes in from elsewhere cannot be tried from inside the pod.
func Check(ctx context.Context, r iptables.Redirect, lockFile string) ([]string, error) {
	listed, err := listNFTables()
	if err != nil && !unsupported(err) {
		return nil, explain(err)
	}
	var seen []string
	switch {
	case listed == expectedListing(r):
		seen = append(seen, "nftables: the rules are those of the redirect")
	case listed != "":
		return nil, &NotWorkingError{fmt.Sprintf("the table inet %s is not that of the redirect; the kernel has\n%sinstead of\n%s", iptables.Table, listed, expectedListing(r))}
	case restored(ctx, r, lockFile):
		seen = append(seen, "iptables: the rules are those of the redirect")
	default:
		return nil, &NotWorkingError{"neither nftables nor iptables has the redirect: pillion-init apply has not run here, or something took its rules away"}
	}
	for _, family := range families(r) {
		sentence, err := family.try(ctx, r)
		if err != nil {
			return seen, err
		}
		seen = append(seen, sentence)
	}
	return seen, nil
}

// family is how Check tries one.
type family struct {
	name, network, loopback string
	// beyond are addresses that nobody has (RFC 5737 and RFC 3849).
	beyond      []netip.Addr
	originalDst func(fd int) (netip.AddrPort, error)
}

func families(r iptables.Redirect) []family {
	var redirected []family
	if r.IPv4 {
		redirected = append(redirected, family{
			"IPv4", "tcp4", "127.0.0.1",
			[]netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("203.0.113.1")}, originalDst4,
		})
	}
	if r.IPv6 {
		redirected = append(redirected, family{"IPv6", "tcp6", "::1", []netip.Addr{netip.MustParseAddr("2001:db8::1")}, originalDst6})
	}
	return redirected
}

// tryTime is what a connection inside this machine may take.
const tryTime = 2 * time.Second

// try opens a connection that the redirect has to catch.
func (f family) try(ctx context.Context, r iptables.Redirect) (string, error) {
	target, ok := f.target(r)
	if !ok {
		return f.name + ": nothing to try, since the redirect leaves every address alone that could be tried", nil
	}
	listener, err := net.Listen(f.network, net.JoinHostPort(f.loopback, strconv.Itoa(int(r.OutboundPort))))
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return f.name + ": not tried, since Envoy listens on the outbound port already", nil
	case errors.Is(err, syscall.EADDRNOTAVAIL) || errors.Is(err, syscall.EAFNOSUPPORT):
		return f.name + ": not tried, since the pod has no loopback address of it", nil
	case err != nil:
		return "", fmt.Errorf("trying the redirect of %s: %w", f.name, err)
	}
	defer listener.Close()
	ctx, cancel := context.WithTimeout(ctx, tryTime)
	defer cancel()
	connection, err := new(net.Dialer).DialContext(ctx, f.network, target.String())
	if errors.Is(err, syscall.ENETUNREACH) || errors.Is(err, syscall.EHOSTUNREACH) || errors.Is(err, syscall.EADDRNOTAVAIL) {
		return f.name + ": not tried, since the pod has no route: nothing can leave by it", nil
	}
	if err != nil {
		return "", &NotWorkingError{fmt.Sprintf("%s: a connection to %s did not arrive at the outbound port %d: %v", f.name, target, r.OutboundPort, err)}
	}
	defer connection.Close()
	got, err := f.accepted(listener)
	if err != nil {
		return "", &NotWorkingError{fmt.Sprintf("%s: a connection to %s arrived somewhere else than at the outbound port %d: %v", f.name, target, r.OutboundPort, err)}
	}
	if got != target {
		return "", &NotWorkingError{fmt.Sprintf("%s: a connection to %s arrived as one to %s", f.name, target, got)}
	}
	return fmt.Sprintf("%s: a connection to %s arrived at the outbound port %d with its destination known", f.name, target, r.OutboundPort), nil
}

// target is a destination that the redirect does not leave alone.
func (f family) target(r iptables.Redirect) (netip.AddrPort, bool) {
	reserved := append(slices.Clone(r.ReservedOutbound), r.OwnPorts)
	for _, address := range f.beyond {
		if slices.ContainsFunc(r.ExcludedCIDRs, func(p netip.Prefix) bool { return p.Contains(address) }) {
			continue
		}
		for port := uint16(80); port != 79; port++ {
			if port != 0 && !slices.ContainsFunc(reserved, func(p iptables.PortRange) bool { return p.Contains(port) }) {
				return netip.AddrPortFrom(address, port), true
			}
		}
	}
	return netip.AddrPort{}, false
}

// accepted is the original destination of the next connection.
func (f family) accepted(listener net.Listener) (netip.AddrPort, error) {
	if l, ok := listener.(*net.TCPListener); ok {
		_ = l.SetDeadline(time.Now().Add(tryTime))
	}
	connection, err := listener.Accept()
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return netip.AddrPort{}, fmt.Errorf("nothing came within %s", tryTime)
	}
	if err != nil {
		return netip.AddrPort{}, err
	}
	defer connection.Close()
	return originalDestination(connection, f.originalDst)
}

// soOriginalDst is SO_ORIGINAL_DST and IP6T_SO_ORIGINAL_DST.
const soOriginalDst = 80

// originalDestination asks the kernel where a redirected connection was going.
func originalDestination(connection net.Conn, ask func(fd int) (netip.AddrPort, error)) (netip.AddrPort, error) {
	socket, ok := connection.(syscall.Conn)
	if !ok {
		return netip.AddrPort{}, fmt.Errorf("asking for the original destination: a %T is no socket", connection)
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("asking for the original destination: %w", err)
	}
	var original netip.AddrPort
	var failed error
	if err := raw.Control(func(fd uintptr) { original, failed = ask(int(fd)) }); err != nil {
		return netip.AddrPort{}, fmt.Errorf("asking for the original destination: %w", err)
	}
	return original, failed
}

// originalDst4 reads a sockaddr_in, which is as large as what this call is meant for.
func originalDst4(fd int) (netip.AddrPort, error) {
	value, err := syscall.GetsockoptIPv6Mreq(fd, syscall.IPPROTO_IP, soOriginalDst)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("asking for SO_ORIGINAL_DST: %w", err)
	}
	raw := value.Multiaddr
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte(raw[4:8])), binary.BigEndian.Uint16(raw[2:4])), nil
}

// originalDst6 reads a sockaddr_in6, with which this call's own value begins.
func originalDst6(fd int) (netip.AddrPort, error) {
	value, err := syscall.GetsockoptIPv6MTUInfo(fd, syscall.IPPROTO_IPV6, soOriginalDst)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("asking for IP6T_SO_ORIGINAL_DST: %w", err)
	}
	// The port is in network byte order, whatever the type of its field.
	port := binary.BigEndian.Uint16(binary.NativeEndian.AppendUint16(nil, value.Addr.Port))
	return netip.AddrPortFrom(netip.AddrFrom16(value.Addr.Addr), port), nil
}
