package netfilter

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/pillion-mesh/pillion/e2e/sandbox"
)

// Somebody else holds the lock: iptables waits a bounded time, and then this says
// what is the matter, rather than that another kind of iptables was tried.
func TestLockIsHeld(t *testing.T) {
	p := sandbox.NewPod(t, "pod")
	lock, err := os.OpenFile(usualLock, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	_, err = tryIn(t, p, full(), IPTables)
	want := fmt.Sprintf("somebody else has held the lock %s for %d s", usualLock, lockSeconds)
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v; want %q", err, want)
	}
	if got := rules(t, p, "iptables-nft") + rules(t, p, "iptables-legacy"); strings.Contains(got, "PILLION") {
		t.Errorf("in spite of it there is:\n%s", got)
	}
	// nftables needs no lock.
	applyIn(t, p, full(), Auto)
}

// Without ip6tables a pod that has IPv6 would bypass Envoy by it; one that has none
// would not.
func TestIP6TablesIsMissing(t *testing.T) {
	with, without := sandbox.NewPod(t, "with"), sandbox.NewPod(t, "without")
	without.Output(t, "ip", "-6", "address", "flush", "dev", "eth0", "scope", "global")
	withPrograms(t, "iptables-legacy", func(t *testing.T) {
		t.Helper()
		if _, err := tryIn(t, with, full(), IPTables); err == nil || !strings.Contains(err.Error(), "would bypass Envoy") {
			t.Errorf("with IPv6: %v", err)
		}
		applied, err := tryIn(t, without, full(), IPTables)
		if err != nil || !strings.Contains(applied.Reason, "IPv6 left out, since the pod has no address of it") {
			t.Errorf("without IPv6: %+v, %v", applied, err)
		}
		if _, err := tryIn(t, with, only(true, false), IPTables); err != nil {
			t.Errorf("where IPv6 is not wanted: %v", err)
		}
	}, "iptables")
}

func TestNoProgramAtAll(t *testing.T) {
	p := sandbox.NewPod(t, "pod")
	t.Setenv("PATH", t.TempDir())
	if _, err := tryIn(t, p, full(), IPTables); err == nil || !strings.Contains(err.Error(), "use an image of pillion-init with iptables") {
		t.Errorf("%v", err)
	}
}
