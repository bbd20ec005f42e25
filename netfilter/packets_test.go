package netfilter

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/pillion-mesh/pillion/e2e/sandbox"
)

// arrivals of redirected connections at a port of a pod: where each was going.
func arrivals(t *testing.T, p *sandbox.Pod, port uint16) <-chan netip.AddrPort {
	t.Helper()
	to := make(chan netip.AddrPort, 10)
	for _, network := range []string{"tcp4", "tcp6"} {
		ask := map[string]func(int) (netip.AddrPort, error){"tcp4": originalDst4, "tcp6": originalDst6}[network]
		listener := p.Listen(t, network, fmt.Sprintf(":%d", port))
		go func() {
			for {
				c, err := listener.Accept()
				if err != nil {
					return
				}
				original, err := originalDestination(c, ask)
				if err != nil {
					// It was not redirected.
					original = netip.AddrPort{}
				}
				to <- original
				_ = c.Close()
			}
		}()
	}
	return to
}

// way is what one connection is expected to do.
type way struct {
	name     string
	host     netip.Addr
	port     uint16
	uid, gid uint32
	redirect bool
}

// TestEachRule opens a connection for each rule, and one that misses it, on each
// backend with both families: redirected connections arrive with their original
// destination, all others where they were going.
func TestEachRule(t *testing.T) {
	for name, backend := range backends() {
		t.Run(name, func(t *testing.T) {
			p, other := sandbox.NewPod(t, "pod"), sandbox.NewPod(t, "other")
			r := full()
			r.ExcludedCIDRs = append(r.ExcludedCIDRs, netip.PrefixFrom(sandboxAddress(t, "198.18.0.1"), 32), netip.PrefixFrom(sandboxAddress(t, "2001:2::1"), 128))
			for _, address := range []string{"198.18.0.2", "2001:2::2", "169.254.169.254", "fd00:ec2::254"} {
				sandboxAddress(t, address)
			}
			r = r.Normalize()
			withPrograms(t, name, func(t *testing.T) { t.Helper(); applyIn(t, p, r, backend) })
			out, in := arrivals(t, p, r.OutboundPort), arrivals(t, p, r.InboundPort)
			for _, family := range []struct{ pod, other, excluded, beside, metadata, loopback string }{
				{p.IPv4.String(), other.IPv4.String(), "198.18.0.1", "198.18.0.2", "169.254.169.254", "127.0.0.1"},
				{p.IPv6.String(), other.IPv6.String(), "2001:2::1", "2001:2::2", "fd00:ec2::254", "::1"},
			} {
				at := netip.MustParseAddr
				for _, w := range []way{
					{"to anywhere", at(family.other), 8080, 0, 0, true},
					{"to anywhere, as another user", at(family.other), 8080, 1000, 1000, true},
					{"as the proxy's user", at(family.other), 8080, 15033, 1000, false},
					{"as the proxy's group", at(family.other), 8080, 1000, 15034, false},
					{"to the pod itself", at(family.pod), 8080, 0, 0, false},
					{"to loopback", at(family.loopback), 8080, 0, 0, false},
					{"to the metadata service", at(family.metadata), 80, 0, 0, false},
					{"to a reserved port", at(family.other), 25, 0, 0, false},
					{"to the first of a reserved range", at(family.other), 65000, 0, 0, false},
					{"to the last of a reserved range", at(family.other), 65535, 0, 0, false},
					{"beside a reserved range", at(family.other), 64999, 0, 0, true},
					{"to a port reserved inbound only", at(family.other), 3306, 0, 0, true},
					{"to an excluded network", at(family.excluded), 8080, 0, 0, false},
					{"beside the excluded network", at(family.beside), 8080, 0, 0, true},
					{"to another pod's sidecar", at(family.other), 15020, 0, 0, false},
					{"beside the sidecar's ports", at(family.other), 15100, 0, 0, true},
				} {
					t.Run("outbound "+w.name+" "+w.host.String(), func(t *testing.T) { w.check(t, p, out) })
				}
				for _, w := range []way{
					{name: "to anywhere", host: at(family.pod), port: 9999, redirect: true},
					{name: "to a reserved port", host: at(family.pod), port: 3306},
					{name: "to a port reserved outbound only", host: at(family.pod), port: 25, redirect: true},
					{name: "to a reserved range", host: at(family.pod), port: 7001},
					{name: "beside a reserved range", host: at(family.pod), port: 7002, redirect: true},
					{name: "to the status port", host: at(family.pod), port: 15020},
					{name: "to a probe port whose app is dead", host: at(family.pod), port: 15040},
				} {
					t.Run("inbound "+w.name+" "+w.host.String(), func(t *testing.T) { w.check(t, other, in) })
				}
			}
			t.Run("a probe port leads to the app", func(t *testing.T) {
				app := arrivals(t, p, 8080)
				w := way{host: p.IPv4, port: 15040, redirect: true}
				w.check(t, other, app)
			})
		})
	}
}

// sandboxAddress is an address that the node has.
func sandboxAddress(t *testing.T, text string) netip.Addr {
	t.Helper()
	address := netip.MustParseAddr(text)
	sandbox.NewAddress(t, address)
	return address
}

// check connects to a port where nobody listens: only a redirected connection comes
// to be.
func (w way) check(t *testing.T, from *sandbox.Pod, arrived <-chan netip.AddrPort) {
	t.Helper()
	to := netip.AddrPortFrom(w.host, w.port)
	err := w.connect(t, from, to)
	if !w.redirect {
		if err == nil {
			t.Fatalf("a connection to %s came to be: it was redirected to %s", to, <-arrived)
		}
		return
	}
	if err != nil {
		t.Fatalf("a connection to %s was not redirected: %v", to, err)
	}
	select {
	case got := <-arrived:
		if got != to {
			t.Errorf("a connection to %s arrived as one to %s", to, got)
		}
	case <-time.After(5 * time.Second):
		t.Errorf("a connection to %s came to be, and arrived nowhere", to)
	}
}

// connect connects as a user: in a process of its own but for root.
func (w way) connect(t *testing.T, from *sandbox.Pod, to netip.AddrPort) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if w.uid == 0 {
		c, err := from.Dial(ctx, "tcp", to.String())
		if err == nil {
			_ = c.Close()
		}
		return err
	}
	command := exec.CommandContext(ctx, "/bin/bash", "-c", fmt.Sprintf("exec 3<>/dev/tcp/%s/%d", to.Addr(), to.Port()))
	command.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: w.uid, Gid: w.gid}}
	if err := from.Start(command); err != nil {
		t.Fatal(err)
	}
	return command.Wait()
}

// A family that is switched off is left alone, and UDP always is.
func TestWhatIsLeftAlone(t *testing.T) {
	for name, backend := range backends() {
		t.Run(name, func(t *testing.T) {
			p, other := sandbox.NewPod(t, "pod"), sandbox.NewPod(t, "other")
			withPrograms(t, name, func(t *testing.T) { t.Helper(); applyIn(t, p, only(true, false), backend) })
			out := arrivals(t, p, 15001)
			for _, w := range []way{{host: other.IPv4, port: 8080, redirect: true}, {host: other.IPv6, port: 8080}} {
				w.check(t, p, out)
			}
			packets := other.ListenPacket(t, "udp", ":8080")
			c, err := p.Dial(t.Context(), "udp", net.JoinHostPort(other.IPv4.String(), "8080"))
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if _, err := c.Write([]byte("ping")); err != nil {
				t.Fatal(err)
			}
			_ = packets.SetReadDeadline(time.Now().Add(5 * time.Second))
			if n, from, err := packets.ReadFrom(make([]byte, 10)); err != nil || n != 4 || from.(*net.UDPAddr).IP.String() != p.IPv4.String() {
				t.Errorf("UDP: %d bytes from %v, %v", n, from, err)
			}
		})
	}
}
