package dataplane

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/pillion-mesh/pillion/api/v1alpha1"
	"github.com/pillion-mesh/pillion/e2e/injected"
	"github.com/pillion-mesh/pillion/e2e/sandbox"
	"github.com/pillion-mesh/pillion/injector"
	"github.com/pillion-mesh/pillion/iptables"
)

// folder is where the programs are built, as they are shipped.
var folder = filepath.Join(os.TempDir(), fmt.Sprintf("pillion-bench-%d", os.Getpid()))

func TestMain(m *testing.M) { sandbox.Main(m, func() { _ = os.RemoveAll(folder) }) }

var programs = sync.OnceValue(func() error {
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", folder+"/", "../../cmd/pillion-init", "../../cmd/pillion-proxy", "./floor")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if output, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("building the pod's programs: %w\n%s", err, output)
	}
	return nil
})

// program is the path of one of them. Without root the test is skipped.
func program(tb testing.TB, name string) string {
	tb.Helper()
	needsRoot(tb)
	if err := programs(); err != nil {
		tb.Fatal(err)
	}
	return filepath.Join(folder, name)
}

// needsRoot skips where there can be no namespaces, and ends the test where rules
// would be the machine's own.
func needsRoot(tb testing.TB) {
	tb.Helper()
	if os.Getuid() != 0 {
		tb.Skip("the data plane is measured in network namespaces, which need root: sudo make bench")
	}
	if err := sandbox.Inside(); err != nil {
		tb.Fatal(err)
	}
}

// plainPod is a pod with one container, as the webhook with its default configuration
// would return it.
func plainPod(tb testing.TB, name string) *corev1.Pod {
	tb.Helper()
	return injected.Pod(tb, v1alpha1.DefaultConfig(), name, nil)
}

// redirectOf is what injection has pillion-init put into the kernel.
func redirectOf(tb testing.TB, pod *corev1.Pod) iptables.Redirect {
	tb.Helper()
	for n := range pod.Spec.InitContainers {
		c := &pod.Spec.InitContainers[n]
		if c.Name != injector.InitContainerName {
			continue
		}
		args := c.Args
		for len(args) > 0 && (!strings.HasPrefix(args[0], "--") || strings.HasPrefix(args[0], "--backend=") || strings.HasPrefix(args[0], "--show-changes=")) {
			args = args[1:]
		}
		r, err := iptables.ParseArgs(args)
		if err != nil {
			tb.Fatal(err)
		}
		return r
	}
	tb.Fatalf("pod %s has no %s", pod.Name, injector.InitContainerName)
	return iptables.Redirect{}
}
