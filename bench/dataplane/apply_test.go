package dataplane

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pillion-mesh/pillion/iptables"
)

// applyRounds are enough for a median that another run finds again within a tenth.
const applyRounds = 30

// way is one of those into the kernel: programs, one behind the other.
type way struct {
	name     string
	commands func() []*exec.Cmd
	took     []time.Duration
}

// BenchmarkApply gives a fresh network namespace its rules in each way, in turn. The
// time is that of whole processes, from before fork to their end. The goals:
// pillion-init at most 1.5 times the floor, and with 1,000 reserved ports at most
// twice what 10 take.
func BenchmarkApply(b *testing.B) {
	ways := waysIntoTheKernel(b)
	for round := range applyRounds + 1 {
		// Nobody always comes behind the same one, whose namespace the kernel still takes down.
		for n := range ways {
			w := &ways[(n*round+n+round)%len(ways)]
			took, err := inFreshNamespace(w.commands())
			if err != nil {
				b.Fatalf("%s: %v", w.name, err)
			}
			if round > 0 { // the first one finds no program in memory
				w.took = append(w.took, took)
			}
		}
	}
	floor := &ways[0]
	for n := range ways {
		w := &ways[n]
		b.Run(w.name, func(b *testing.B) {
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(milliseconds(median(w.took)), "ms")
			b.ReportMetric(float64(median(w.took))/float64(median(floor.took)), "x-floor")
			b.ReportMetric(milliseconds(slices.Max(w.took)), "max-ms")
		})
	}
}

func waysIntoTheKernel(b *testing.B) []way {
	b.Helper()
	small := image(b, []byte("the program"))
	proxy, err := os.ReadFile(program(b, "pillion-proxy"))
	if err != nil {
		b.Fatal(err)
	}
	shipped := image(b, proxy)
	r := redirectOf(b, plainPod(b, "pod"))
	init := func(root string, r iptables.Redirect) func() []*exec.Cmd {
		return func() []*exec.Cmd { return []*exec.Cmd{pillionInit(root, r)} }
	}
	sent := func(r iptables.Redirect) func() []*exec.Cmd {
		return func() []*exec.Cmd { return []*exec.Cmd{floor(small, r)} }
	}
	restore := func(backend string) func() []*exec.Cmd {
		return func() []*exec.Cmd {
			return []*exec.Cmd{
				fed(r.Restore(iptables.IPv4, ""), "iptables-"+backend+"-restore", "--noflush"),
				fed(r.Restore(iptables.IPv6, ""), "ip6tables-"+backend+"-restore", "--noflush"),
			}
		}
	}
	return []way{
		{name: "floor", commands: sent(r)},
		{name: "floor-1000-ports", commands: sent(reserving(b, r, 1000))},
		{name: "pillion-init", commands: init(small, r)},
		{name: "pillion-init-real-proxy", commands: init(shipped, r)},
		{name: "pillion-init-10-ports", commands: init(small, reserving(b, r, 10))},
		{name: "pillion-init-1000-ports", commands: init(small, reserving(b, r, 1000))},
		{name: "nft", commands: func() []*exec.Cmd { return []*exec.Cmd{fed(r.NFT(), "nft", "-f", "-")} }},
		{name: "iptables-nft-restore", commands: restore("nft")},
		{name: "iptables-legacy-restore", commands: restore("legacy")},
	}
}

// reserving is a redirect with so many reserved ports in each direction, no two of
// them one range.
func reserving(tb testing.TB, r iptables.Redirect, ports int) iptables.Redirect {
	tb.Helper()
	r.ReservedInbound = nil
	for n := range ports {
		p := uint16(20000 + 2*n)
		r.ReservedInbound = append(r.ReservedInbound, iptables.PortRange{First: p, Last: p})
	}
	r.ReservedOutbound = r.ReservedInbound
	if r = r.Normalize(); len(r.ReservedInbound) != ports {
		tb.Fatalf("%d reserved ports have become %d", ports, len(r.ReservedInbound))
	}
	return r
}

// fed is a program of the machine with something on its standard input.
func fed(input string, arguments ...string) *exec.Cmd {
	command := exec.Command(arguments[0], arguments[1:]...)
	command.Stdin = strings.NewReader(input)
	return command
}

// inFreshNamespace runs programs one after the other in a network namespace that is
// there for them alone.
func inFreshNamespace(commands []*exec.Cmd) (took time.Duration, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked: the namespace goes with the thread
		if err = unix.Unshare(unix.CLONE_NEWNET); err != nil {
			err = fmt.Errorf("making a network namespace: %w", err)
			return
		}
		start := time.Now()
		for _, command := range commands {
			var said bytes.Buffer
			command.Stderr = &said
			if err = command.Run(); err != nil {
				err = fmt.Errorf("%s: %w: %s", command.Path, err, said.Bytes())
				return
			}
		}
		took = time.Since(start)
	}()
	<-done
	return took, err
}

func median(of []time.Duration) time.Duration {
	sorted := slices.Sorted(slices.Values(of))
	return sorted[len(sorted)/2]
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
