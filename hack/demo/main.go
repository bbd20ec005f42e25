// Command demo shows what Pillion does to a pod: first offline, which takes no
// cluster and less than a minute even on a machine that has never built anything
// here, then through a real etcd and kube-apiserver, which it compiles meanwhile. As root,
// or on a cluster of the user's own, the pod then really runs.
//
// It is three programs. This one imports the standard library only, so that it is on
// the screen at once; what needs a Kubernetes client is ./live, and what needs a
// cluster ./node, built while a person reads. Run it with `make demo`.
package main

import (
	"context"
	"errors"
	"flag"
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
	var p plan
	flag.StringVar(&p.kubeconfig, "kubeconfig", "", "`file` of a cluster for part 3; without it, root has a node started")
	flag.StringVar(&p.push, "push", "", "`registry/repository` that its images are pushed to")
	flag.StringVar(&p.tag, "tag", "dev", "`tag` of the images")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	status := report(ctx, screen.New(os.Stdout), p)
	stop()
	os.Exit(status)
}

// plan says where part 3 happens.
type plan struct{ kubeconfig, push, tag string }

// part3 says whether there is one.
func (p plan) part3() bool { return p.kubeconfig != "" || os.Geteuid() == 0 }

// report shows the demo and returns the exit status.
func report(ctx context.Context, out *screen.Screen, p plan) int {
	err := run(ctx, out, p)
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

// run shows all parts; it is in the repository's root.
func run(ctx context.Context, out *screen.Screen, p plan) error {
	out.Heading("Pillion puts an Envoy beside every pod whose owner asked for one.")
	ready := built(ctx, "etcd", "kube-apiserver", "helm")
	introduce(ctx, out, p, ready)
	if err := out.Wait("building pillionctl", nil, func() error { return build(ctx, "bin/pillionctl") }); err != nil {
		return err
	}
	what := "compiling etcd and kube-apiserver"
	if ready {
		what = "building the webhook"
	}
	background := compile(ctx, compilePart2)
	if err := offline(ctx, out); err != nil {
		return errors.Join(err, background.stop())
	}
	if err := background.show(out, what); err != nil {
		return err
	}
	if err := parts(ctx, out, p); err != nil {
		return err
	}
	out.Heading("What next")
	out.Fact(screen.Bold, "why", "bin/pillionctl why -f YOUR.yaml        the verdict for your own workload, and each setting's source")
	out.Fact(screen.Bold, "inject", "bin/pillionctl inject -f YOUR.yaml     the pod it would become")
	if !p.part3() {
		out.Fact(screen.Bold, "run it", "make demo, as root                     the same Deployment on a real node, restarted under load")
	}
	out.Fact(screen.Bold, "read", "docs/architecture.md                   how it works")
	return nil
}

// parts shows the parts that take a cluster. What the last one needs is built while the
// one before is read.
func parts(ctx context.Context, out *screen.Screen, p plan) error {
	if !p.part3() {
		return part(ctx, "part 2", "demo-live")
	}
	script := compileNode
	if p.kubeconfig != "" {
		script = compileImages
	}
	background := compile(ctx, script)
	if err := part(ctx, "part 2", "demo-live"); err != nil {
		return errors.Join(err, background.stop())
	}
	if err := background.show(out, "building what part 3 needs"); err != nil {
		return err
	}
	args := []string{"-tag", p.tag, "-kubeconfig", p.kubeconfig}
	if p.push != "" {
		args = append(args, "-images", p.push)
	}
	return part(ctx, "part 3", "demo-node", args...)
}

// introduce says what will happen and how long it takes.
func introduce(ctx context.Context, out *screen.Screen, p plan, built2 bool) {
	out.Say(screen.Plain, "  1. Inject a Deployment offline. The first time this takes about a minute.")
	out.Say(screen.Plain, "  2. Let a real kube-apiserver create its pod, on loopback.")
	if !built2 {
		out.Say(screen.Plain, "     It has to be compiled, once: some fifteen minutes of CPU, and there are %d cores here.", runtime.NumCPU())
		out.Say(screen.Plain, "     Part 1 is shown meanwhile. Later runs take seconds.")
	}
	switch {
	case p.kubeconfig != "":
		out.Say(screen.Plain, "  3. Let it run on the cluster of %s, in namespaces of its own, and restart it under load.", p.kubeconfig)
	case p.part3():
		out.Say(screen.Plain, "  3. As you are root: let it run on a real node, in namespaces of its own, and restart it under load.")
		if !built(ctx, "kubelet", "containerd", "runc", "coredns") {
			out.Say(screen.Plain, "     The node has to be compiled, too, once: as long again.")
		}
		out.Say(screen.Dim, "  No Docker. Debian packages that part 3 needs and that are missing (hack/packages lists them) are installed by apt-get, and stay.")
		out.Say(screen.Dim, "  What it starts it stops at the end; Ctrl-C ends it early.\n")
		return
	}
	out.Say(screen.Dim, "  No root, no Docker, nothing installed. What it starts it stops at the end; Ctrl-C ends it early.\n")
}

// built says whether programs of hack/cluster/build are there.
func built(ctx context.Context, programs ...string) bool {
	output, err := exec.CommandContext(ctx, "hack/cluster/build", "--print").Output()
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(output)) {
		name, path, _ := strings.Cut(strings.TrimSpace(line), "=")
		if _, err := os.Stat(path); err != nil && slices.Contains(programs, name) {
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

// part hands over to another program.
func part(ctx context.Context, name, program string, args ...string) error {
	command := exec.CommandContext(ctx, filepath.Join("bin", program), args...)
	command.Stdout, command.Stderr = os.Stdout, os.Stderr
	// It stops what it started before it ends itself.
	command.Cancel = func() error { return command.Process.Signal(syscall.SIGTERM) }
	command.WaitDelay = 3 * time.Minute
	if err := command.Run(); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}
