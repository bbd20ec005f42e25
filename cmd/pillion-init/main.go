// Command pillion-init is the init container of an injected pod: it leads the pod's
// traffic through Envoy and puts pillion-proxy where the sidecar finds it. The webhook
// writes its command line: see package iptables.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"

	"github.com/pillion-mesh/pillion/argv"
	"github.com/pillion-mesh/pillion/iptables"
	"github.com/pillion-mesh/pillion/lifecycle"
	"github.com/pillion-mesh/pillion/netfilter"
)

const usage = `pillion-init leads a pod's TCP traffic through Envoy.

  pillion-init apply [OPTIONS] REDIRECT   copies pillion-proxy beside Envoy and puts the redirect into the kernel
  pillion-init check REDIRECT             proves that the redirect is in force
  pillion-init print REDIRECT             prints the rules for nft and iptables-restore; needs no rights
  pillion-init clean                      takes the redirect out of the kernel
  pillion-init version

OPTIONS
  --backend=auto|nftables|iptables        the way into the kernel; auto takes nftables where the kernel does
  --show-changes=true                     prints the rules before and after

REDIRECT is --name=value arguments, which Pillion's webhook writes; a missing one is named.
All but print work on the network namespace that they run in, and need the capability NET_ADMIN there.

Exit codes: 0 done; 1 failed; 2 wrong arguments; 3 the redirect is not in force (check).
`

// The exit codes.
const (
	failed     = 1
	wrongUsage = 2
	notWorking = 3
)

// terminationLog is kubelet's default terminationMessagePath.
const terminationLog = "/dev/termination-log"

// Signals are left as they are: the kernel's own bounds are the only thing to wait
// for, and watching for signals would take a third of the time that all of it takes.
func main() { os.Exit(run(context.Background(), os.Args[1:], os.Stdout)) }

// run is one command. What went wrong is said on standard error and in the
// container's termination message.
func run(ctx context.Context, arguments []string, out io.Writer) int {
	if len(arguments) == 0 {
		fmt.Fprint(os.Stderr, usage)
		return wrongUsage
	}
	command, arguments := arguments[0], arguments[1:]
	var err error
	switch command {
	case "apply":
		err = apply(ctx, arguments, out)
	case "check":
		err = check(ctx, arguments, out)
	case "print":
		err = printRules(arguments, out)
	case "clean":
		err = clean(ctx, arguments, out)
	case "version":
		_, err = fmt.Fprintln(out, "pillion-init", version())
	case "help", "--help", "-h":
		_, err = fmt.Fprint(out, usage)
	default:
		err = &argumentsError{errors.New("no such command")}
	}
	return report(command, err)
}

func report(command string, err error) int {
	if err == nil {
		return 0
	}
	sentence := fmt.Sprintf("pillion-init %s: %v", command, err)
	fmt.Fprintln(os.Stderr, sentence)
	lastWords(sentence)
	var wrong *argumentsError
	var broken *netfilter.NotWorkingError
	switch {
	case errors.As(err, &wrong):
		fmt.Fprintf(os.Stderr, "\n%s", usage)
		return wrongUsage
	case errors.As(err, &broken):
		return notWorking
	default:
		return failed
	}
}

// lastWords is what kubectl shows of the container, if kubelet has made the file.
func lastWords(sentence string) {
	file, err := os.OpenFile(terminationLog, os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return // not in a container
	}
	defer file.Close()
	_, _ = file.WriteString(sentence)
}

// argumentsError is a mistake on the command line.
type argumentsError struct{ error }

func (w *argumentsError) Unwrap() error { return w.error }

// options are those of apply.
type options struct {
	backend     netfilter.Backend
	showChanges bool
}

// parse reads a redirect and what comes with it.
func parse(arguments []string) (options, iptables.Redirect, error) {
	o := options{backend: netfilter.Auto}
	var own, redirect []string
	for _, argument := range arguments {
		if strings.HasPrefix(argument, "--backend=") || strings.HasPrefix(argument, "--show-changes=") {
			own = append(own, argument)
		} else {
			redirect = append(redirect, argument)
		}
	}
	err := argv.Parse(own, []argv.Option{
		{Name: "backend", Set: func(value string) (err error) { o.backend, err = netfilter.ParseBackend(value); return err }},
		{Name: "show-changes", Set: argv.Bool(&o.showChanges)},
	})
	if err != nil {
		return o, iptables.Redirect{}, &argumentsError{err}
	}
	r, err := iptables.ParseArgs(redirect)
	if err != nil {
		return o, r, &argumentsError{err}
	}
	return o, r, nil
}

// lockFile is a place for iptables' lock that is writable where nothing else is.
func lockFile() string { return filepath.Join(lifecycle.BinDir, ".xtables.lock") }

func apply(ctx context.Context, arguments []string, out io.Writer) error {
	o, r, err := parse(arguments)
	if err != nil {
		return err
	}
	// Before the rules: with them, and nobody to take connections, the pod would be cut off.
	if err := copyProxy(); err != nil {
		return err
	}
	if err := o.show(ctx, "before", out); err != nil {
		return err
	}
	applied, err := netfilter.Apply(ctx, r, o.backend, lockFile())
	if err != nil {
		return err
	}
	if err := o.show(ctx, "after", out); err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "redirect applied: backend=%s ipv4=%t ipv6=%t rules=%d reason=%q\n", applied.Backend, r.IPv4, r.IPv6, len(r.Rules()), applied.Reason)
	return err
}

func (o options) show(ctx context.Context, when string, out io.Writer) error {
	if !o.showChanges {
		return nil
	}
	listing, err := netfilter.Listing(ctx, lockFile())
	if err != nil {
		return err
	}
	if listing == "" {
		listing = "no rules\n"
	}
	_, err = fmt.Fprintf(out, "%s:\n%s", when, listing)
	return err
}

func check(ctx context.Context, arguments []string, out io.Writer) error {
	_, r, err := parse(arguments)
	if err != nil {
		return err
	}
	seen, err := netfilter.Check(ctx, r, lockFile())
	for _, sentence := range seen {
		fmt.Fprintln(out, sentence)
	}
	return err
}

func printRules(arguments []string, out io.Writer) error {
	_, r, err := parse(arguments)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "# nft -f\n%s", r.NFT())
	for _, f := range [...]struct {
		family  iptables.Family
		program string
	}{{iptables.IPv4, "iptables-restore"}, {iptables.IPv6, "ip6tables-restore"}} {
		if r.Redirected(f.family) {
			fmt.Fprintf(out, "\n# %s --noflush\n%s", f.program, r.Restore(f.family, ""))
		}
	}
	return nil
}

func clean(ctx context.Context, arguments []string, out io.Writer) error {
	if len(arguments) > 0 {
		return &argumentsError{fmt.Errorf("clean takes no arguments, and %s was given", argv.Quote(arguments[0]))}
	}
	cleaned, err := netfilter.Clean(ctx, lockFile())
	if err != nil {
		return err
	}
	if len(cleaned) == 0 {
		_, err = fmt.Fprintln(out, "there was no redirect")
		return err
	}
	_, err = fmt.Fprintf(out, "redirect taken away: %v\n", cleaned)
	return err
}

// version is that of the module, which Go takes from git.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	return info.Main.Version
}
