package dataplane

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/pillion-mesh/pillion/e2e/sandbox"
	"github.com/pillion-mesh/pillion/iptables"
	"github.com/pillion-mesh/pillion/lifecycle"
)

// image is a root file system with pillion-init, something to copy, the floor, and
// nothing that they could run.
func image(tb testing.TB, proxy []byte) string {
	tb.Helper()
	root := tb.TempDir()
	for _, path := range []string{"/proc", lifecycle.BinDir} {
		if err := os.MkdirAll(root+path, 0o755); err != nil {
			tb.Fatal(err)
		}
	}
	for _, name := range []string{"pillion-init", "floor"} {
		content, err := os.ReadFile(program(tb, name))
		if err == nil {
			err = os.WriteFile(filepath.Join(root, name), content, 0o755)
		}
		if err != nil {
			tb.Fatal(err)
		}
	}
	if err := os.WriteFile(root+"/pillion-proxy", proxy, 0o755); err != nil {
		tb.Fatal(err)
	}
	if err := unix.Mount("/proc", root+"/proc", "", unix.MS_BIND, ""); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := unix.Unmount(root+"/proc", unix.MNT_DETACH); err != nil {
			tb.Errorf("unmounting /proc: %v", err)
		}
	})
	return root
}

// inImage is a program of an image.
func inImage(root string, arguments ...string) *exec.Cmd {
	command := exec.Command(arguments[0], arguments[1:]...)
	command.SysProcAttr = &syscall.SysProcAttr{Chroot: root}
	command.Dir = "/"
	return command
}

func pillionInit(root string, r iptables.Redirect) *exec.Cmd {
	return inImage(root, append([]string{"/pillion-init", "apply", "--backend=nftables"}, r.Args()...)...)
}

func floor(root string, r iptables.Redirect) *exec.Cmd {
	arguments := []string{"/floor"}
	for _, p := range r.ReservedInbound {
		arguments = append(arguments, p.String())
	}
	return inImage(root, arguments...)
}

// TestFloorLeavesTheSameRules: a comparison with anything else would say nothing.
func TestFloorLeavesTheSameRules(t *testing.T) {
	root := image(t, []byte("the program"))
	r := redirectOf(t, plainPod(t, "pod"))
	var left [2]string
	for n, command := range []*exec.Cmd{floor(root, r), pillionInit(root, r)} {
		p := sandbox.NewPod(t, "pod")
		command.Stderr = os.Stderr
		if err := p.Start(command); err != nil {
			t.Fatal(err)
		}
		if err := command.Wait(); err != nil {
			t.Fatalf("%s: %v", command, err)
		}
		left[n] = p.Output(t, "nft", "list", "ruleset")
	}
	if diff := cmp.Diff(left[0], left[1]); diff != "" || left[0] == "" {
		t.Errorf("floor -, pillion-init +\n%s", diff)
	}
}
