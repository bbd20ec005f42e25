// Command node is the demo's third part: the Deployment of the parts before really runs,
// a request goes through its Envoys, and its pods are replaced under load while what
// fails is counted. It runs on a node that this starts, as root, or on a cluster of the
// user's own. It checks what it shows, and takes away what it brought.
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
	"strings"
	"syscall"
	"time"

	"github.com/pillion-mesh/pillion/hack/demo/screen"
)

func main() {
	d := &demo{out: screen.New(os.Stdout)}
	flag.StringVar(&d.kubeconfig, "kubeconfig", "", "`file` of a cluster with a context to use; without it a node is started")
	flag.StringVar(&d.images, "images", "docker.io/pillion-mesh", "`registry/repository` of the images")
	flag.StringVar(&d.tag, "tag", "", "`tag` of the images")
	flag.DurationVar(&d.lasts, "for", time.Minute, "how long the load `lasts`; a rolling restart has to fit into it")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := d.run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// demo is in the repository's root.
type demo struct {
	out                     *screen.Screen
	kubeconfig, images, tag string
	kubectl, helm           string // programs
	mine                    bool   // the cluster is a node that was started here
	lasts                   time.Duration
}

func (d *demo) run(ctx context.Context) (err error) {
	d.mine = d.kubeconfig == ""
	if err := d.findPrograms(ctx); err != nil {
		return err
	}
	if d.mine {
		d.out.Heading("3. It really runs: kubelet, containerd, kube-proxy and CoreDNS, in namespaces of their own")
		defer func() { err = errors.Join(err, d.finish("stopping the node", d.stopNode)) }()
		if err := d.out.Wait("starting the node", nil, func() error { return d.startNode(ctx) }); err != nil {
			return err
		}
	} else {
		d.out.Heading("3. It really runs, in the namespaces " + namespace + " and " + system + " of your cluster")
		if err := d.findRoom(ctx); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, d.finish("removing both namespaces and the release", d.remove)) }()
	}
	if err := d.out.Wait("installing the chart with this tree's images", nil, func() error { return d.install(ctx) }); err != nil {
		return err
	}
	if err := d.out.Wait("rolling out deployment/checkout", nil, func() error { return d.deploy(ctx) }); err != nil {
		return err
	}
	if err := d.showPods(ctx); err != nil {
		return err
	}
	if err := d.showRequest(ctx); err != nil {
		return err
	}
	return d.showRestart(ctx)
}

// finish does what is to be done however the demo ended, its context included.
func (d *demo) finish(what string, do func(context.Context) error) error {
	d.out.Say(screen.Plain, "")
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	return d.out.Wait(what, nil, func() error { return do(ctx) })
}

// findPrograms are those of hack/cluster/build, but on the user's cluster the user's kubectl.
func (d *demo) findPrograms(ctx context.Context) error {
	output, err := exec.CommandContext(ctx, "hack/cluster/build", "--print").Output()
	if err != nil {
		return fmt.Errorf("asking hack/cluster/build for its programs: %w", err)
	}
	for line := range strings.Lines(string(output)) {
		switch name, path, _ := strings.Cut(strings.TrimSpace(line), "="); name {
		case "kubectl":
			d.kubectl = path
		case "helm":
			d.helm = path
		}
	}
	if d.mine {
		return nil
	}
	if d.kubectl, err = exec.LookPath("kubectl"); err != nil {
		return fmt.Errorf("your cluster is shown with your kubectl: %w", err)
	}
	return nil
}

func (d *demo) startNode(ctx context.Context) error {
	if exec.CommandContext(ctx, "hack/cluster/node/exec", "true").Run() == nil {
		return errors.New("a node runs already, and may be somebody's: stop it by hack/cluster/node/down, or show this on it by make demo KUBECONFIG=$(hack/cluster/node/up --print-kubeconfig)")
	}
	if _, err := said(ctx, "", "hack/cluster/node/up"); err != nil {
		return err
	}
	archives, err := filepath.Glob("bin/images/*-" + runtime.GOARCH + ".tar")
	if err != nil || len(archives) == 0 {
		return fmt.Errorf("there are no images in bin/images (%w): make demo-images makes them", err)
	}
	if _, err := said(ctx, "", "hack/cluster/node/load", archives...); err != nil {
		return err
	}
	d.kubeconfig, err = said(ctx, "", "hack/cluster/node/up", "--print-kubeconfig")
	d.kubeconfig = strings.TrimSpace(d.kubeconfig)
	return err
}

func (d *demo) stopNode(ctx context.Context) error {
	_, err := said(ctx, "", "hack/cluster/node/down")
	return err
}

// kube runs kubectl.
func (d *demo) kube(ctx context.Context, input string, args ...string) (string, error) {
	return said(ctx, input, d.kubectl, append([]string{"--kubeconfig", d.kubeconfig}, args...)...)
}

// said runs a program, and is what it prints. An error has what it said.
func said(ctx context.Context, input, program string, args ...string) (string, error) {
	command := exec.CommandContext(ctx, program, args...)
	// Ctrl-C reaches this program alone, which tells them.
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	command.Stdin = strings.NewReader(input)
	var stderr strings.Builder
	command.Stderr = &stderr
	output, err := command.Output()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s%s", filepath.Base(program), strings.Join(args, " "), err, output, stderr.String())
	}
	return string(output), nil
}
