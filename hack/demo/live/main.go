// Command live is the demo's second part: a real etcd and kube-apiserver on
// loopback, the webhook beside them as the chart configures it, and two pods. It
// checks what it shows, and ends with an error where something is not as promised.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/pillion-mesh/pillion/hack/demo/screen"
)

func main() {
	webhook := flag.String("webhook", "bin/pillion-webhook", "the webhook's program")
	keep := flag.String("keep", "bin/demo-pod.yaml", "where to keep the pod as it was stored")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, screen.New(os.Stdout), *webhook, *keep)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// run is in the repository's root. It stops what it started.
func run(ctx context.Context, out *screen.Screen, program, keep string) (err error) {
	out.Heading("2. The same by a real kube-apiserver")
	w := &world{program: program, keep: keep}
	defer func() {
		if err != nil {
			err = fmt.Errorf("%w\nThe webhook's last words:\n%s", err, w.lastWords())
		}
		err = errors.Join(err, w.stop())
	}()
	if err := out.Wait("starting etcd and kube-apiserver on loopback", nil, func() error { return w.startControlPlane(ctx) }); err != nil {
		return err
	}
	if err := out.Wait("installing the chart, starting the webhook", nil, func() error { return w.install(ctx) }); err != nil {
		return err
	}
	if err := w.prepareNamespaces(ctx); err != nil {
		return err
	}
	if err := showInjected(ctx, out, w); err != nil {
		return err
	}
	return showUntouched(ctx, out, w)
}
