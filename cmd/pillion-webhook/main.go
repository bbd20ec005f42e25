// Pillion-webhook answers kube-apiserver's admission requests for pods. It needs a
// configuration file and a serving certificate, and nothing else: no kubeconfig
// and no API server. `pillion-webhook probe` asks one that runs.
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
	"syscall"
	"time"

	"github.com/pillion-mesh/pillion/injector"
	"github.com/pillion-mesh/pillion/webhook"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	// A second signal ends it at once.
	context.AfterFunc(ctx, stop)
	if len(os.Args) > 1 && os.Args[1] == "probe" {
		os.Exit(probe(ctx, os.Args[2:], os.Stdout, os.Stderr))
	}
	os.Exit(run(ctx, os.Args[1:], os.Stderr))
}

// run is the program; it returns the exit status: 2 for a command line that
// cannot be used, 1 for any other error.
func run(ctx context.Context, args []string, stderr io.Writer) int {
	options, level, err := parse(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		fmt.Fprintln(stderr, "pillion-webhook:", err)
		return 2
	}
	options.Log = slog.New(slog.NewJSONHandler(stderr, &slog.HandlerOptions{Level: level, ReplaceAttr: readable}))
	options.Log.Info("pillion-webhook", "version", injector.Version)
	server, err := webhook.Listen(options)
	if err == nil {
		err = server.Serve(ctx)
	}
	if err != nil {
		options.Log.Error("exit", "error", err)
		return 1
	}
	return 0
}

// readable writes durations with their unit, not as a number of nanoseconds.
func readable(_ []string, attribute slog.Attr) slog.Attr {
	if attribute.Value.Kind() == slog.KindDuration {
		attribute.Value = slog.StringValue(attribute.Value.Duration().String())
	}
	return attribute
}

// parse reads the command line.
func parse(args []string, stderr io.Writer) (webhook.Options, slog.Level, error) {
	var (
		o                webhook.Options
		level            slog.Level
		host             string
		port, statusPort int
	)
	flags := flag.NewFlagSet("pillion-webhook", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&o.ConfigFile, "config", "", "`file` with an InjectorConfig, YAML or JSON; read again when it changes (required)")
	flags.StringVar(&o.CertDir, "cert-dir", "", "`directory` with tls.crt and tls.key; read again when they change (required)")
	flags.StringVar(&o.ClientCAFile, "client-ca-file", "", "`file` with the authorities, in PEM, that a client's certificate has to come from (default: clients need none)")
	flags.StringVar(&host, "host", "", "`address` to listen on (default: all)")
	flags.IntVar(&port, "port", 9443, "`port` of POST /mutate, HTTPS")
	flags.IntVar(&statusPort, "status-port", 8080, "`port` of /healthz, /readyz and /metrics, HTTP")
	flags.BoolVar(&o.Pprof, "pprof", false, "serve /debug/pprof/ on the status port")
	flags.BoolVar(&o.SelfCheck, "self-check", true, "check that each patch fits its pod before it is sent")
	flags.IntVar(&o.MaxInFlight, "max-in-flight", 256, "`number` of requests that are answered at a time; more get HTTP 503 at once")
	flags.IntVar(&o.MaxConnections, "max-connections", 2048, "`number` of open connections; with more, the longest idle one is closed")
	flags.DurationVar(&o.MaxConnectionAge, "max-connection-age", 5*time.Minute, "`time` after which a client is asked to reconnect, within 20 %")
	flags.DurationVar(&o.ShutdownDelay, "shutdown-delay", 10*time.Second, "`time` to go on answering, while not ready, after SIGTERM")
	flags.DurationVar(&o.DrainTimeout, "drain-timeout", 95*time.Second, "`time` after that for clients to close their connections; kube-apiserver closes an idle one after 90 s")
	flags.TextVar(&level, "log-level", slog.LevelInfo, "least `level` to log: debug (each pod that is left alone, too), info, warn or error")
	if err := flags.Parse(args); err != nil {
		return o, level, err
	}
	for name, value := range map[string]int{"port": port, "status-port": statusPort} {
		if value < 0 || value > 65535 {
			return o, level, fmt.Errorf("--%s is %d; accepted is a port, or 0 for any that is free", name, value)
		}
	}
	o.Address = net.JoinHostPort(host, strconv.Itoa(port))
	o.StatusAddress = net.JoinHostPort(host, strconv.Itoa(statusPort))
	return o, level, check(flags, &o)
}

// check says what no flag's own type says.
func check(flags *flag.FlagSet, o *webhook.Options) error {
	switch {
	case flags.NArg() > 0:
		return fmt.Errorf("unexpected argument %q; there are only flags, see --help", flags.Arg(0))
	case o.ConfigFile == "":
		return errors.New("--config is required: the file with the InjectorConfig")
	case o.CertDir == "":
		return errors.New("--cert-dir is required: the directory with tls.crt and tls.key")
	case o.MaxInFlight < 1:
		return fmt.Errorf("--max-in-flight is %d; accepted is at least 1", o.MaxInFlight)
	case o.MaxConnections < 1:
		return fmt.Errorf("--max-connections is %d; accepted is at least 1", o.MaxConnections)
	case o.MaxConnectionAge <= 0:
		return fmt.Errorf("--max-connection-age is %s; accepted is more than 0s", o.MaxConnectionAge)
	case o.DrainTimeout < 0:
		return fmt.Errorf("--drain-timeout is %s; accepted is 0s or more", o.DrainTimeout)
	case o.ShutdownDelay < 0:
		return fmt.Errorf("--shutdown-delay is %s; accepted is 0s or more", o.ShutdownDelay)
	default:
		return nil
	}
}
