// Cert-manager is cert-manager's three programs in one, of cert-manager's own packages:
//
//	cert-manager controller|webhook|cainjector [FLAG...]
//
// Its own commands are modules of their own, whose paths no module proxy serves. Here
// are the issuers that need no network (self-signed and CA), Certificates, the injection
// of CAs and the admission webhook; not ACME, Vault and Venafi, nor the election of a
// leader. Flags that this lacks are ignored, so that cert-manager's own chart can start it.
//
// The module's path is below cert-manager's, or Go would not let it import the packages
// that are internal there.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/pflag"

	logs "github.com/cert-manager/cert-manager/pkg/logs"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	logs.InitLogs()
	err := run(logs.NewContext(ctx, logs.Log), os.Args[1:])
	logs.FlushLogs()
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "cert-manager:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	roles := map[string]func(context.Context, []string) error{"controller": controllers, "webhook": webhook, "cainjector": injectors}
	if len(args) == 0 || roles[args[0]] == nil {
		return fmt.Errorf("%q: the first argument is controller, webhook or cainjector", args)
	}
	return roles[args[0]](ctx, args[1:])
}

// flagSet takes flags that it does not know.
func flagSet(role string) *pflag.FlagSet {
	flags := pflag.NewFlagSet(role, pflag.ContinueOnError)
	flags.ParseErrorsAllowlist.UnknownFlags = true
	return flags
}
