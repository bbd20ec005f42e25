package sandbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Pod is a network namespace with lo and eth0, which the node routes for.
type Pod struct {
	Name string
	// IPv4 and IPv6 are eth0's addresses.
	IPv4, IPv6 netip.Addr
	// NodeIPv4 and NodeIPv6 are the node's on the other end of eth0.
	NodeIPv4, NodeIPv6 netip.Addr
	// DNS is what the pod's containers ask; nil for none.
	DNS *DNS
	// APIServer is what the pod's containers are told of kube-apiserver, as kubelet tells all of
	// them; the zero Addr for nothing.
	APIServer netip.Addr
	// ConfigMaps are those that there are for the pod's volumes, by their names.
	ConfigMaps map[string]*ConfigMap

	namespace *os.File
}

// pods counts those that were made; each has networks of its own.
var pods atomic.Uint32 //nolint:gochecknoglobals // addresses are the node's, of which a process has one

// mostPods have networks below those of Services.
const mostPods = (96-77)<<8 - 1

// NewPod makes a pod, which is gone when the test ends. Without root the test is
// skipped.
func NewPod(tb testing.TB, name string) *Pod {
	tb.Helper()
	if os.Getuid() != 0 {
		tb.Skip("a pod needs network namespaces, so root: sudo make test")
	}
	if err := Inside(); err != nil {
		tb.Fatal(err)
	}
	n := pods.Add(1)
	p := &Pod{
		Name: name,
		IPv4: netip.AddrFrom4([4]byte{10, byte(77 + n>>8), byte(n), 2}), NodeIPv4: netip.AddrFrom4([4]byte{10, byte(77 + n>>8), byte(n), 1}),
		IPv6: netip.MustParseAddr(fmt.Sprintf("fd77:%x::2", n)), NodeIPv6: netip.MustParseAddr(fmt.Sprintf("fd77:%x::1", n)),
	}
	if n > mostPods {
		tb.Fatalf("a node has room for %d pods", mostPods)
	}
	if err := p.connect(fmt.Sprintf("pod%d", n)); err != nil {
		tb.Fatalf("making the pod %s: %v", name, err)
	}
	tb.Cleanup(func() {
		_ = ip(fmt.Sprintf("link delete pod%d", n))
		_ = p.namespace.Close()
	})
	return p
}

// connect makes the namespace and a pair of interfaces between it and the node.
func (p *Pod) connect(onNode string) error {
	var err error
	onThread(func() {
		if err = unix.Unshare(unix.CLONE_NEWNET); err == nil {
			p.namespace, err = os.Open("/proc/thread-self/ns/net")
		}
	})
	if err != nil {
		return fmt.Errorf("making a network namespace: %w", err)
	}
	err = ip(
		fmt.Sprintf("link add %s type veth peer name eth0 netns /proc/%d/fd/%d", onNode, os.Getpid(), p.namespace.Fd()),
		fmt.Sprintf("address add %s/24 dev %s", p.NodeIPv4, onNode),
		fmt.Sprintf("address add %s/64 dev %s nodad", p.NodeIPv6, onNode),
		fmt.Sprintf("link set %s up", onNode),
	)
	if err != nil {
		return err
	}
	p.in(func() {
		// For DialToSpeak: clients send in their first packet, whether the server takes that or not.
		if err = os.WriteFile("/proc/sys/net/ipv4/tcp_fastopen", []byte("5"), 0); err != nil {
			return
		}
		err = ip(
			"link set lo up",
			fmt.Sprintf("address add %s/24 dev eth0", p.IPv4),
			fmt.Sprintf("address add %s/64 dev eth0 nodad", p.IPv6),
			"link set eth0 up",
			fmt.Sprintf("route add default via %s", p.NodeIPv4),
			fmt.Sprintf("-6 route add default via %s", p.NodeIPv6),
		)
	})
	return err
}

// ip runs commands of ip(8), in the namespace of the calling thread.
func ip(commands ...string) error {
	for _, arguments := range commands {
		output, err := exec.Command("ip", strings.Fields(arguments)...).CombinedOutput() //nolint:noctx // done at once
		if err != nil {
			return fmt.Errorf("ip %s: %w: %s", arguments, err, bytes.TrimSpace(output))
		}
	}
	return nil
}

// onThread runs f on a thread that nobody uses afterwards.
func onThread(f func()) {
	var done sync.WaitGroup
	done.Go(func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		f()
	})
	done.Wait()
}

// in runs f on a thread that is in the pod's network namespace.
func (p *Pod) in(f func()) {
	onThread(func() {
		if err := unix.Setns(int(p.namespace.Fd()), unix.CLONE_NEWNET); err != nil {
			panic(fmt.Sprintf("entering the network namespace of pod %s: %v", p.Name, err))
		}
		f()
	})
}

// Do runs f on a thread that is in the pod's network namespace: what f itself opens
// is the pod's; goroutines that it starts are not. f must not end the test.
func (p *Pod) Do(tb testing.TB, f func()) {
	tb.Helper()
	p.in(f)
}

// Start starts a command in the pod's network namespace.
func (p *Pod) Start(command *exec.Cmd) error {
	var err error
	p.in(func() { err = command.Start() })
	if err != nil {
		return fmt.Errorf("starting %s in pod %s: %w", command.Path, p.Name, err)
	}
	return nil
}

// Output is what a program prints that ran in the pod's network namespace. The test
// ends if it fails.
func (p *Pod) Output(tb testing.TB, name string, arguments ...string) string {
	tb.Helper()
	command := exec.CommandContext(tb.Context(), name, arguments...)
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	err := p.Start(command)
	if err == nil {
		err = command.Wait()
	}
	if err != nil {
		tb.Fatalf("%s: %v\n%s%s", command, err, stdout.String(), stderr.String())
	}
	return stdout.String()
}

// freed is how long a port is waited for that was in use a moment ago.
const freed = 10 * time.Second

// Listen listens in the pod; an address without host takes both families.
func (p *Pod) Listen(tb testing.TB, network, address string) net.Listener {
	tb.Helper()
	var listener net.Listener
	var err error
	p.in(func() {
		listener, err = net.Listen(network, address)
		// A process that is being started has a copy of what was closed meanwhile, until it executes.
		for deadline := time.Now().Add(freed); errors.Is(err, unix.EADDRINUSE) && time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
			listener, err = net.Listen(network, address)
		}
	})
	if err != nil {
		tb.Fatalf("listening in pod %s: %v", p.Name, err)
	}
	tb.Cleanup(func() { _ = listener.Close() })
	return listener
}

// ListenPacket is Listen for UDP.
func (p *Pod) ListenPacket(tb testing.TB, network, address string) net.PacketConn {
	tb.Helper()
	var packets net.PacketConn
	var err error
	p.in(func() { packets, err = new(net.ListenConfig).ListenPacket(context.Background(), network, address) })
	if err != nil {
		tb.Fatalf("listening in pod %s: %v", p.Name, err)
	}
	tb.Cleanup(func() { _ = packets.Close() })
	return packets
}

// Dial connects from the pod, as a process of root. The address has to be one IP
// address and a port.
func (p *Pod) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	var connection net.Conn
	var err error
	p.in(func() { connection, err = new(net.Dialer).DialContext(ctx, network, address) })
	return connection, err
}

// DialToSpeak is Dial for a client that speaks first: nothing is sent before it does, and
// its first words arrive together with the connection. Envoy waits for them for some tenths
// of a second, and a busy machine may keep a process from running for as long between
// connecting and writing. A connection that is refused is an error of the first write or
// read; one that is to be there before anything is said takes an empty write.
func (p *Pod) DialToSpeak(ctx context.Context, network, address string) (net.Conn, error) {
	dialer := &net.Dialer{Control: func(_, _ string, c syscall.RawConn) error {
		var failed error
		err := c.Control(func(fd uintptr) { failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_FASTOPEN_CONNECT, 1) })
		return errors.Join(err, failed)
	}}
	var connection net.Conn
	var err error
	p.in(func() { connection, err = dialer.DialContext(ctx, network, address) })
	if err != nil {
		return nil, err
	}
	return speaker{connection}, nil
}

// speaker is a connection that is made by its first write.
type speaker struct{ net.Conn }

func (s speaker) Write(b []byte) (int, error) {
	n, err := s.Conn.Write(b)
	if n > 0 || !errors.Is(err, unix.EINPROGRESS) {
		return n, err
	}
	// It is on its way, and took nothing along.
	if len(b) == 0 {
		return 0, nil
	}
	return s.Conn.Write(b)
}
