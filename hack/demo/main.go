// Command demo shows what Pillion does to a pod: first offline, which takes no
// cluster and less than a minute even on a machine that has never built anything
// here, then through a real etcd and kube-apiserver, which it compiles meanwhile.
//
// It is two programs. This one imports the standard library only, so that it is on
// the screen at once; what needs a Kubernetes client is ./live, built while a
// person reads. Run it with `make demo`.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/pillion-mesh/pillion/hack/demo/screen"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	status := report(ctx, screen.New(os.Stdout))
	stop()
	os.Exit(status)
}

// report shows the demo and returns the exit status.
func report(ctx context.Context, out *screen.Screen) int {
	err := run(ctx, out)
	switch {
	case ctx.Err() != nil:
		out.Say(screen.Amber, "\nStopped, and everything that the demo started with it.")
		return 130
	case err != nil:
		out.Say(screen.Red, "\nThe demo did not go as promised: %v", err)
		return 1
	}
	return 0
}

// run shows both parts; it is in the repository's root.
func run(ctx context.Context, out *screen.Screen) error {
	out.Heading("Pillion puts an Envoy beside every pod whose owner asked for one.")
	ready := built(ctx)
	introduce(out, ready)
	if err := out.Wait("building pillionctl", nil, func() error { return build(ctx, "bin/pillionctl") }); err != nil {
		return err
	}
	what := "compiling etcd and kube-apiserver"
	if ready {
		what = "building the webhook"
	}
	background := compile(ctx)
	if err := offline(ctx, out); err != nil {
		return errors.Join(err, background.stop())
	}
	if err := background.show(out, what); err != nil {
		return err
	}
	return live(ctx, out)
}

// introduce says what will happen and how long it takes.
func introduce(out *screen.Screen, built bool) {
	out.Say(screen.Plain, "  1. Inject a Deployment offline. The first time this takes about a minute.")
	out.Say(screen.Plain, "  2. Let a real kube-apiserver create its pod, on loopback.")
	if !built {
		out.Say(screen.Plain, "     It has to be compiled, once: some fifteen minutes of CPU, and there are %d cores here.", runtime.NumCPU())
		out.Say(screen.Plain, "     Part 1 is shown meanwhile. Later runs take seconds.")
	}
	out.Say(screen.Dim, "  No root, no Docker, nothing installed. What it starts it stops at the end; Ctrl-C ends it early.\n")
}

// built says whether the control plane's programs are there.
func built(ctx context.Context) bool {
	output, err := exec.CommandContext(ctx, "hack/cluster/build", "--print").Output()
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(output)) {
		name, path, _ := strings.Cut(strings.TrimSpace(line), "=")
		// The others are for tests.
		if _, err := os.Stat(path); err != nil && slices.Contains([]string{"etcd", "kube-apiserver", "helm"}, name) {
			return false
		}
	}
	return true
}

// build builds one program as `make build` does, version and all.
func build(ctx context.Context, program string) error {
	output, err := exec.CommandContext(ctx, "make", program).CombinedOutput()
	if err != nil {
		return fmt.Errorf("building %s: %w\n%s", program, err, output)
	}
	return nil
}

// live hands over to the second program.
func live(ctx context.Context, out *screen.Screen) error {
	command := exec.CommandContext(ctx, filepath.Join("bin", "demo-live"))
	command.Stdout, command.Stderr = os.Stdout, os.Stderr
	// It stops what it started before it ends itself.
	command.Cancel = func() error { return command.Process.Signal(syscall.SIGTERM) }
	command.WaitDelay = 20 * time.Second
	if err := command.Run(); err != nil {
		return fmt.Errorf("part 2: %w", err)
	}
	out.Heading("What next")
	out.Fact(screen.Bold, "why", "bin/pillionctl why -f YOUR.yaml        the verdict for your own workload, and each setting's source")
	out.Fact(screen.Bold, "inject", "bin/pillionctl inject -f YOUR.yaml     the pod it would become")
	out.Fact(screen.Bold, "read", "docs/architecture.md                   how it works")
	return nil
}
