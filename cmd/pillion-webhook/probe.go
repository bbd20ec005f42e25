package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/pillion-mesh/pillion/webhook"
)

// probe is `pillion-webhook probe`: it asks a webhook that runs about a pod. The
// chart's `helm test` is this; the image has no other program.
func probe(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	options, err := parseProbe(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		fmt.Fprintln(stderr, "pillion-webhook probe:", err)
		return 2
	}
	said, err := webhook.Probe(ctx, options)
	if err != nil {
		fmt.Fprintln(stderr, "pillion-webhook probe:", err)
		return 1
	}
	fmt.Fprintln(stdout, said)
	return 0
}

func parseProbe(args []string, stderr io.Writer) (webhook.ProbeOptions, error) {
	var (
		o     webhook.ProbeOptions
		label string
	)
	flags := flag.NewFlagSet("pillion-webhook probe", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&o.Address, "address", "", "`host:port` of the webhook; its certificate is to be for the host (required)")
	flags.StringVar(&o.CAFile, "ca", "", "`file` with the authorities of the webhook's certificate, in PEM (required)")
	flags.StringVar(&label, "label", "service-mesh-enabled=true", "the label that opts a pod in, as `key=value`")
	flags.StringVar(&o.Namespace, "namespace", "pillion-probe", "`name` of the namespace that the pod in question is said to be in")
	flags.DurationVar(&o.Timeout, "timeout", 10*time.Second, "`time` for everything")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q; there are only flags, see --help", flags.Arg(0))
	}
	o.Label, o.Value, _ = strings.Cut(label, "=")
	return o, o.Check()
}
