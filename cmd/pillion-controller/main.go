// Pillion-controller keeps the webhook's certificates: a CA and a serving
// certificate in one Secret, and the CA in the caBundle of the release's webhook
// configurations. It audits the pods that opted in: those that have no sidecar that works
// are counted, told of in Events and, where that is asked for, evicted. Any number can run;
// one of them leads.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/pillion-mesh/pillion/controller"
	"github.com/pillion-mesh/pillion/controller/auditor"
	"github.com/pillion-mesh/pillion/controller/certificates"
	"github.com/pillion-mesh/pillion/controller/meshservice"
	"github.com/pillion-mesh/pillion/injector"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	// A second signal ends it at once.
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:], os.Stderr))
}

// settings are what the command line says.
type settings struct {
	controller.Options
	kubeconfig string
	level      slog.Level
}

// run is the program; it returns the exit status: 2 for a command line that
// cannot be used, 1 for any other error.
func run(ctx context.Context, args []string, stderr io.Writer) int {
	s, err := parse(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		fmt.Fprintln(stderr, "pillion-controller:", err)
		return 2
	}
	s.Log = slog.New(slog.NewJSONHandler(stderr, &slog.HandlerOptions{Level: s.level}))
	logger := logr.FromSlogHandler(s.Log.Handler())
	ctrllog.SetLogger(logger)
	klog.SetLogger(logger)
	s.Log.Info("pillion-controller", "version", injector.Version)
	if err := work(ctx, s); err != nil {
		s.Log.Error("exit", "error", err)
		return 1
	}
	return 0
}

func work(ctx context.Context, s *settings) error {
	config, err := clientcmd.BuildConfigFromFlags("", s.kubeconfig)
	if err != nil {
		return fmt.Errorf("finding the API server (in a pod, or by --kubeconfig): %w", err)
	}
	c, err := controller.New(config, s.Options)
	if err != nil {
		return err
	}
	return c.Run(ctx)
}

// parse reads the command line.
func parse(args []string, stderr io.Writer) (*settings, error) {
	var (
		s          settings
		host       string
		statusPort int
		audit      auditor.Options
		mesh       meshservice.Options
		podLabel   string
		sidecar    int
		services   bool
	)
	flags := flag.NewFlagSet("pillion-controller", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&s.Namespace, "namespace", "", "`namespace` of the release (required)")
	flags.StringVar(&s.Secret, "secret", "", "`name` of the Secret that holds the certificates; made where it is missing (default: none, and somebody else sees to the certificates)")
	flags.StringVar(&s.Service, "service", "", "`name` of the webhook's Service; the serving certificate is for NAME.NAMESPACE.svc (required)")
	flags.StringVar(&s.WebhookConfiguration, "webhook-configuration", "", "`name` of the MutatingWebhookConfiguration and of the ValidatingWebhookConfiguration whose caBundle is kept (required with --secret)")
	flags.StringVar(&s.Lease, "lease", "", "`name` of the Lease by which one controller of several leads (required)")
	flags.DurationVar(&s.Policy.CALifetime, "ca-lifetime", 365*24*time.Hour, "`time` that a CA is valid; a new one is made after two thirds of it")
	flags.DurationVar(&s.Policy.ServingLifetime, "certificate-lifetime", 30*24*time.Hour, "`time` that a serving certificate is valid; a new one is made after two thirds of it")
	flags.DurationVar(&s.Policy.Settle, "settle", time.Minute, "`time` that a new CA is trusted before it signs")
	flags.StringVar(&audit.ConfigFile, "audit-config", "", "`file` with the webhook's InjectorConfig, by which pods are audited; read anew each time (default: none, and there are no audits)")
	flags.DurationVar(&audit.Interval, "audit-interval", 10*time.Minute, "`time` between the beginnings of two audits")
	flags.IntVar(&audit.EvictionsPerMinute, "evictions-per-minute", 0, "`number` of pods that are evicted in a minute at most, because their sidecar is missing or damaged and something makes them anew; 0 evicts none")
	flags.BoolVar(&services, "mesh-services", true, "whether MeshServices are seen to, once the API server knows them")
	flags.StringVar(&mesh.Revision, "revision", "", "`revision` of the release, whose namespaces' MeshServices are seen to (default: those without one)")
	flags.StringVar(&podLabel, "pod-label", "service-mesh-enabled=true", "`label` of the pods that have opted in, NAME=VALUE")
	flags.IntVar(&sidecar, "sidecar-status-port", 15020, "`port` on which sidecars are asked what they run")
	flags.DurationVar(&mesh.Interval, "ask-interval", 15*time.Second, "`time` between two looks at the pods of MeshServices")
	flags.StringVar(&s.kubeconfig, "kubeconfig", "", "`file` with the API server's address and a user (default: those of the pod's ServiceAccount)")
	flags.StringVar(&host, "host", "", "`address` to listen on (default: all)")
	flags.IntVar(&statusPort, "status-port", 8080, "`port` of /healthz, /readyz and /metrics, HTTP")
	flags.TextVar(&s.level, "log-level", slog.LevelInfo, "least `level` to log: debug, info, warn or error")
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	if statusPort < 0 || statusPort > 65535 {
		return nil, fmt.Errorf("--status-port is %d; accepted is a port, or 0 for any that is free", statusPort)
	}
	s.StatusAddress = net.JoinHostPort(host, strconv.Itoa(statusPort))
	if audit.ConfigFile != "" {
		s.Audit = &audit
	}
	if services {
		if err := completeMesh(&mesh, podLabel, sidecar); err != nil {
			return nil, err
		}
		s.MeshServices = &mesh
	}
	return &s, errors.Join(check(flags, &s.Options), checkAudit(&audit))
}

// check says what no flag's own type says.
func check(flags *flag.FlagSet, o *controller.Options) error {
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q; there are only flags, see --help", flags.Arg(0))
	}
	if o.Secret == "" && o.Audit == nil {
		return errors.New("there is nothing to do: give --secret, --audit-config or both")
	}
	for _, name := range []struct {
		flag, value string
		required    bool
	}{
		{"namespace", o.Namespace, true},
		{"secret", o.Secret, false},
		{"service", o.Service, true},
		{"webhook-configuration", o.WebhookConfiguration, o.Secret != ""},
		{"lease", o.Lease, true},
	} {
		if name.value == "" && !name.required {
			continue
		}
		if name.value == "" {
			return fmt.Errorf("--%s is required", name.flag)
		}
		if problems := validation.IsDNS1123Subdomain(name.value); len(problems) > 0 {
			return fmt.Errorf("--%s is %q; %s", name.flag, name.value, problems[0])
		}
	}
	return checkPolicy(&o.Policy)
}

// checkAudit keeps audits from following each other without a pause.
func checkAudit(o *auditor.Options) error {
	const least = time.Second
	switch {
	case o.Interval < least:
		return fmt.Errorf("--audit-interval is %s; accepted is %s or more", o.Interval, least)
	case o.EvictionsPerMinute < 0 || o.EvictionsPerMinute > 600:
		return fmt.Errorf("--evictions-per-minute is %d; accepted is 0 to 600", o.EvictionsPerMinute)
	case o.EvictionsPerMinute > 0 && o.ConfigFile == "":
		return errors.New("--evictions-per-minute is given without --audit-config, and without audits there is nothing to evict: give both or neither")
	default:
		return nil
	}
}

// completeMesh takes over what is of another form on the command line.
func completeMesh(mesh *meshservice.Options, podLabel string, statusPort int) error {
	name, value, given := strings.Cut(podLabel, "=")
	problems := append(validation.IsQualifiedName(name), validation.IsValidLabelValue(value)...)
	switch {
	case !given || len(problems) > 0:
		return fmt.Errorf("--pod-label is %q; accepted is a label NAME=VALUE %s", podLabel, strings.Join(problems, "; "))
	case statusPort < 1 || statusPort > 65535:
		return fmt.Errorf("--sidecar-status-port is %d; accepted is a port, from 1 to 65535", statusPort)
	case mesh.Interval < time.Second:
		return fmt.Errorf("--ask-interval is %s; accepted is 1s or more", mesh.Interval)
	}
	mesh.PodLabel, mesh.PodLabelValue, mesh.StatusPort = name, value, uint16(statusPort)
	return nil
}

// checkPolicy keeps every renewal ahead of an expiry.
func checkPolicy(p *certificates.Policy) error {
	const least = 10 * time.Second
	switch {
	case p.ServingLifetime < least:
		return fmt.Errorf("--certificate-lifetime is %s; accepted is %s or more", p.ServingLifetime, least)
	case p.CALifetime < 2*p.ServingLifetime:
		return fmt.Errorf("--ca-lifetime is %s; accepted is twice --certificate-lifetime (%s) or more", p.CALifetime, p.ServingLifetime)
	case p.Settle < 0 || p.Settle > p.ServingLifetime/6:
		return fmt.Errorf("--settle is %s; accepted is up to a sixth of --certificate-lifetime (%s)", p.Settle, p.ServingLifetime/6)
	default:
		return nil
	}
}
