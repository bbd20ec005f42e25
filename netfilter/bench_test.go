package netfilter

import (
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"

	"github.com/pillion-mesh/pillion/e2e/sandbox"
	"github.com/pillion-mesh/pillion/iptables"
)

// batchOf is the transaction as bytes, as it goes to the kernel.
func batchOf(tb testing.TB, r iptables.Redirect) []byte {
	tb.Helper()
	var batch []byte
	connection, err := nftables.New(nftables.WithTestDial(func(messages []netlink.Message) ([]netlink.Message, error) {
		var answers []netlink.Message
		for n, m := range messages {
			m.Header.Length = uint32(syscall.NLMSG_HDRLEN + len(m.Data))
			m.Header.Sequence = uint32(n + 1)
			batch = binary.NativeEndian.AppendUint32(batch, m.Header.Length)
			batch = binary.NativeEndian.AppendUint16(batch, uint16(m.Header.Type))
			batch = binary.NativeEndian.AppendUint16(batch, uint16(m.Header.Flags))
			batch = binary.NativeEndian.AppendUint32(batch, m.Header.Sequence)
			batch = binary.NativeEndian.AppendUint32(batch, 0)
			batch = append(append(batch, m.Data...), make([]byte, -len(m.Data)&3)...)
			answers = append(answers, netlink.Message{Header: netlink.Header{Type: netlink.Error}, Data: make([]byte, 4)})
		}
		return answers, nil
	}))
	if err != nil {
		tb.Fatal(err)
	}
	if err := fill(connection, r, false); err != nil {
		tb.Fatal(err)
	}
	_ = connection.Flush() // nobody answers as a kernel would
	return batch
}

// static builds a program as it is shipped.
func static(tb testing.TB, folder, name, path string) string {
	tb.Helper()
	to := filepath.Join(folder, name)
	command := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", to, path)
	command.Env = append(os.Environ(), "CGO_ENABLED=0")
	if output, err := command.CombinedOutput(); err != nil {
		tb.Fatalf("building %s: %v\n%s", path, err, output)
	}
	return to
}

// initRoot is a root file system for pillion-init: its image, and the volume.
func initRoot(tb testing.TB, proxy string) string {
	tb.Helper()
	root := tb.TempDir()
	for _, folder := range []string{"proc", "dev", "pillion/bin"} {
		if err := os.MkdirAll(filepath.Join(root, folder), 0o755); err != nil {
			tb.Fatal(err)
		}
	}
	static(tb, root, "pillion-init", "../cmd/pillion-init")
	if proxy != "" {
		static(tb, root, "pillion-proxy", proxy)
	} else if err := os.WriteFile(filepath.Join(root, "pillion-proxy"), []byte("stands for it"), 0o755); err != nil {
		tb.Fatal(err)
	}
	if err := syscall.Mount("/proc", filepath.Join(root, "proc"), "", syscall.MS_BIND, ""); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = syscall.Unmount(filepath.Join(root, "proc"), 0) })
	return root
}

// contender is one way to apply a redirect: programs that run one after the other.
type contender struct {
	name     string
	commands func() []*exec.Cmd
	times    []time.Duration
}

// run applies the redirect in a fresh namespace and notes how long that took.
func (c *contender) run(b *testing.B) {
	b.Helper()
	p := sandbox.NewPod(b, "pod")
	commands := c.commands()
	began := time.Now()
	for _, command := range commands {
		var stderr strings.Builder
		command.Stderr = &stderr
		if err := p.Start(command); err != nil {
			b.Fatal(err)
		}
		if err := command.Wait(); err != nil {
			b.Fatalf("%s: %v: %s", c.name, err, stderr.String())
		}
	}
	c.times = append(c.times, time.Since(began))
}

func (c *contender) median() time.Duration {
	slices.Sort(c.times)
	return c.times[len(c.times)/2]
}

func chrooted(root string, r iptables.Redirect) func() []*exec.Cmd {
	return func() []*exec.Cmd {
		command := exec.Command("/pillion-init", append([]string{"apply"}, r.Args()...)...)
		command.SysProcAttr = &syscall.SysProcAttr{Chroot: root}
		command.Dir = "/"
		return []*exec.Cmd{command}
	}
}

// peak is pillion-init's resident memory, in MiB.
func peak(b *testing.B, root string, r iptables.Redirect) float64 {
	b.Helper()
	static(b, root, "rss", "./testdata/rss")
	command := exec.Command("/rss", append([]string{"/pillion-init", "apply"}, r.Args()...)...)
	command.SysProcAttr, command.Dir = &syscall.SysProcAttr{Chroot: root}, "/"
	var stdout, stderr strings.Builder
	command.Stdout, command.Stderr = &stdout, &stderr
	if err := sandbox.NewPod(b, "pod").Start(command); err != nil {
		b.Fatal(err)
	}
	if err := command.Wait(); err != nil {
		b.Fatalf("%v: %s", err, stderr.String())
	}
	kib, err := strconv.Atoi(strings.TrimSpace(stdout.String()))
	if err != nil {
		b.Fatal(err)
	}
	return float64(kib) / 1024
}

// BenchmarkApply applies the redirect of a usual pod to a fresh network namespace, by
// pillion-init and by others, in turns. What is reported are medians, each with what it
// is in terms of the floor: a program that only sends the same batch.
func BenchmarkApply(b *testing.B) {
	if os.Getuid() != 0 {
		b.Skip("needs network namespaces, so root: sudo make bench")
	}
	usual, many := full(), full()
	for n := range 1000 {
		many.ReservedInbound = append(many.ReservedInbound, iptables.PortRange{First: uint16(20_001 + 3*n), Last: uint16(20_002 + 3*n)})
	}
	many = many.Normalize()
	folder := b.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			b.Fatal(err)
		}
		return path
	}
	floor := static(b, folder, "floor", "./testdata/floor")
	batch, script := write("batch", string(batchOf(b, usual))), write("script", usual.NFT())
	v4, v6 := write("v4", usual.Restore(iptables.IPv4, "")), write("v6", usual.Restore(iptables.IPv6, ""))
	restore := func(kind string) func() []*exec.Cmd {
		return func() []*exec.Cmd {
			return []*exec.Cmd{exec.Command("iptables-"+kind+"-restore", "--noflush", v4), exec.Command("ip6tables-"+kind+"-restore", "--noflush", v6)}
		}
	}
	small := initRoot(b, "")
	contenders := []*contender{
		{name: "floor", commands: func() []*exec.Cmd { return []*exec.Cmd{exec.Command(floor, batch)} }},
		{name: "pillion-init", commands: chrooted(small, usual)},
		{name: "pillion-init-with-copy", commands: chrooted(initRoot(b, "../cmd/pillion-proxy"), usual)},
		{name: "pillion-init-1000-ports", commands: chrooted(small, many)},
		{name: "nft", commands: func() []*exec.Cmd { return []*exec.Cmd{exec.Command("nft", "-f", script)} }},
		{name: "iptables-nft", commands: restore("nft")},
		{name: "iptables-legacy", commands: restore("legacy")},
	}
	for b.Loop() {
		for _, c := range contenders {
			c.run(b)
		}
	}
	least := contenders[0].median()
	b.ReportMetric(0, "ns/op") // a round of all of them says nothing
	for _, c := range contenders {
		b.ReportMetric(float64(c.median().Microseconds())/1000, c.name+"-ms")
		b.ReportMetric(float64(c.median())/float64(least), c.name+"-x")
	}
	b.ReportMetric(peak(b, small, usual), "pillion-init-MiB")
}
