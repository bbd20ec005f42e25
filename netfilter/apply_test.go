package netfilter

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pillion-mesh/pillion/e2e/sandbox"
	"github.com/pillion-mesh/pillion/iptables"
)

// backends are all ways into the kernel, and what shows the rules.
func backends() map[string]Backend {
	return map[string]Backend{"nftables": NFTables, "iptables-legacy": IPTables, "iptables-nft": IPTables}
}

// withPrograms runs f with a PATH that has only the programs of a backend, under
// their plain names, and only those for some families.
func withPrograms(t *testing.T, name string, f func(t *testing.T), families ...string) {
	t.Helper()
	kind, xtables := strings.CutPrefix(name, "iptables-")
	if families == nil {
		families = []string{"iptables", "ip6tables"}
	}
	t.Run("", func(t *testing.T) {
		if xtables {
			folder := t.TempDir()
			for _, family := range families {
				for _, program := range []string{"restore", "save"} {
					path, err := exec.LookPath(family + "-" + kind + "-" + program)
					if err != nil {
						t.Fatal(err)
					}
					if err := os.Symlink(path, filepath.Join(folder, family+"-"+program)); err != nil {
						t.Fatal(err)
					}
				}
			}
			t.Setenv("PATH", folder)
		}
		f(t)
	})
}

// Three times is once, for each redirect and each way.
func TestApplyIsIdempotent(t *testing.T) {
	for name, backend := range backends() {
		for of, r := range redirects(t) {
			t.Run(name+"/"+of, func(t *testing.T) {
				p := sandbox.NewPod(t, "pod")
				var after [3]string
				for n := range after {
					withPrograms(t, name, func(t *testing.T) { t.Helper(); applyIn(t, p, r, backend) })
					after[n] = rules(t, p, name)
				}
				if after[0] != after[1] || after[1] != after[2] {
					t.Errorf("once -, thrice +\n%s", cmp.Diff(after[0], after[2]))
				}
				if !strings.Contains(after[0], "15001") {
					t.Errorf("no redirect in:\n%s", after[0])
				}
			})
		}
	}
}

// One redirect replaces another, whatever each has, and Clean takes it away.
func TestApplyReplacesAndCleans(t *testing.T) {
	for name, backend := range backends() {
		t.Run(name, func(t *testing.T) {
			p := sandbox.NewPod(t, "pod")
			for _, r := range []iptables.Redirect{full(), random(3), least()} {
				withPrograms(t, name, func(t *testing.T) { t.Helper(); applyIn(t, p, r, backend) })
			}
			got := rules(t, p, name)
			fresh := sandbox.NewPod(t, "fresh")
			withPrograms(t, name, func(t *testing.T) { t.Helper(); applyIn(t, fresh, least(), backend) })
			if diff := cmp.Diff(rules(t, fresh, name), got); diff != "" {
				t.Errorf("on an empty pod -, over other redirects +\n%s", diff)
			}
			for _, want := range []string{"[" + string(backend) + "]", "[]"} {
				var cleaned []Backend
				var err error
				p.Do(t, func() { cleaned, err = Clean(context.Background(), t.TempDir()+"/lock") })
				if err != nil || fmt.Sprint(cleaned) != want {
					t.Errorf("cleaned %v, %v; want %s", cleaned, err, want)
				}
			}
			if after := strings.ToLower(rules(t, p, name)); strings.Contains(after, "pillion") {
				t.Errorf("after Clean:\n%s", after)
			}
		})
	}
}

// What others put into the same tables stays, where it was.
func TestForeignRulesAreKept(t *testing.T) {
	for name, backend := range backends() {
		t.Run(name, func(t *testing.T) {
			p := sandbox.NewPod(t, "pod")
			if name == "nftables" {
				p.Output(t, "nft", "add table inet theirs; add chain inet theirs output { type nat hook output priority -100; }; add rule inet theirs output tcp dport 99 redirect to :98")
			} else {
				for _, family := range []string{"iptables", "ip6tables"} {
					for _, rule := range []string{"-N THEIRS", "-A THEIRS -p tcp --dport 99 -j RETURN", "-A OUTPUT -j THEIRS", "-A PREROUTING -p udp --dport 53 -j RETURN"} {
						p.Output(t, family+strings.TrimPrefix(name, "iptables"), append([]string{"-t", "nat"}, strings.Fields(rule)...)...)
					}
				}
			}
			foreign := rules(t, p, name)
			for range 2 {
				withPrograms(t, name, func(t *testing.T) { t.Helper(); applyIn(t, p, full(), backend) })
			}
			with := rules(t, p, name)
			for line := range strings.Lines(foreign) {
				if !strings.Contains(with, strings.TrimSpace(line)) {
					t.Errorf("%q is gone from:\n%s", line, with)
				}
			}
			p.Do(t, func() { _, _ = Clean(context.Background(), t.TempDir()+"/lock") })
			if diff := cmp.Diff(foreign, rules(t, p, name)); diff != "" {
				t.Errorf("before -, after Clean +\n%s", diff)
			}
		})
	}
}

// A jump that somebody doubled is one again, where the first stood.
func TestDoubledJumpsAreMended(t *testing.T) {
	const name = "iptables-legacy"
	p := sandbox.NewPod(t, "pod")
	withPrograms(t, name, func(t *testing.T) { t.Helper(); applyIn(t, p, full(), IPTables) })
	want := rules(t, p, name)
	for range 3 {
		p.Output(t, "iptables-legacy", "-t", "nat", "-A", "OUTPUT", "-p", "tcp", "-j", "PILLION_OUTBOUND")
	}
	withPrograms(t, name, func(t *testing.T) { t.Helper(); applyIn(t, p, full(), IPTables) })
	if diff := cmp.Diff(want, rules(t, p, name)); diff != "" {
		t.Errorf("before -, after +\n%s", diff)
	}
}

// auto is nftables unless the kernel lacks it; a missing right is no reason for
// another backend.
func TestAutoIsChosenByFunction(t *testing.T) {
	lacking := func(errno error) func(iptables.Redirect) error {
		return func(iptables.Redirect) error { return fmt.Errorf("conn.Receive: %w", errno) }
	}
	for _, test := range []struct {
		name     string
		nftables func(iptables.Redirect) error
		want     Backend
		says     string
	}{
		{"the kernel has nf_tables", applyNFTables, NFTables, "the kernel took the transaction"},
		{"no nf_tables", lacking(syscall.EPROTONOSUPPORT), IPTables, "protocol not supported"},
		{"no NAT for inet tables", lacking(syscall.ENOENT), IPTables, "IPv6 by ip6tables"},
		{"no right to it", lacking(syscall.EPERM), "", "NET_ADMIN"},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := sandbox.NewPod(t, "pod")
			var applied Applied
			var err error
			p.Do(t, func() { applied, err = apply(context.Background(), full(), Auto, t.TempDir()+"/lock", test.nftables) })
			if applied.Backend != test.want || !strings.Contains(applied.Reason+fmt.Sprint(err), test.says) {
				t.Errorf("%+v, %v; want %s and %q", applied, err, test.want, test.says)
			}
		})
	}
	err := explain(lacking(syscall.ENOENT)(full()))
	if !strings.Contains(err.Error(), "nft_redir") || !errors.Is(err, syscall.ENOENT) {
		t.Errorf("the sentence for a kernel without it: %v", err)
	}
}
