package netfilter

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/pillion-mesh/pillion/iptables"
)

const (
	// lockSeconds is how long iptables waits for somebody else who changes rules.
	lockSeconds = 5
	// programTime bounds a program that hangs.
	programTime = 15 * time.Second
	usualLock   = "/run/xtables.lock"
)

// xtables are the programs of one IP family and one way into the kernel.
type xtables struct {
	name          string
	restore, save string
	environment   []string
}

// xtablesFor are the programs that are installed for a family, the one first that a
// kernel without nf_tables needs.
func xtablesFor(f iptables.Family, lockFile string) []xtables {
	prefix := map[iptables.Family]string{iptables.IPv4: "iptables", iptables.IPv6: "ip6tables"}[f]
	environment := []string{"PATH=" + os.Getenv("PATH")}
	// Its folder may be read-only, as all of the container is.
	if lock, err := os.OpenFile(usualLock, os.O_RDWR|os.O_CREATE, 0o600); err == nil {
		_ = lock.Close()
	} else {
		environment = append(environment, "XTABLES_LOCKFILE="+lockFile)
	}
	var found []xtables
	for _, name := range [...]string{prefix + "-legacy", prefix, prefix + "-nft"} {
		restore, err := exec.LookPath(name + "-restore")
		if err != nil {
			continue
		}
		save, err := exec.LookPath(name + "-save")
		if err != nil {
			continue
		}
		found = append(found, xtables{name, restore, save, environment})
	}
	return found
}

// run runs one of the programs, bounded in time, and is what it printed.
func (x xtables) run(ctx context.Context, input, program string, arguments ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, programTime)
	defer cancel()
	command := exec.CommandContext(ctx, program, arguments...)
	command.Env = x.environment
	command.Stdin = strings.NewReader(input)
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	if err := command.Run(); err != nil {
		if ctx.Err() != nil {
			err = fmt.Errorf("no end within %s", programTime)
		}
		return "", fmt.Errorf("%s: %w: %s", program, err, bytes.TrimSpace(stderr.Bytes()))
	}
	return stdout.String(), nil
}

// change gives the family's nat table as it is to a function, and its answer to
// iptables-restore, which commits all of it or nothing. An empty answer changes nothing.
func (x xtables) change(ctx context.Context, input func(saved string) string) (changed bool, err error) {
	saved, err := x.run(ctx, "", x.save, "-t", "nat")
	if err != nil {
		return false, err
	}
	text := input(saved)
	if text == "" {
		return false, nil
	}
	_, err = x.run(ctx, text, x.restore, "--noflush", fmt.Sprintf("--wait=%d", lockSeconds))
	return err == nil, err
}

// locked says whether a program gave up waiting for another one.
func locked(err error) bool { return strings.Contains(err.Error(), "xtables lock") }

// applyIPTables applies the redirect to both families with the first programs that
// work for them.
func applyIPTables(ctx context.Context, r iptables.Redirect, lockFile, reason string) (Applied, error) {
	reasons := []string{reason}
	for _, f := range [...]iptables.Family{iptables.IPv4, iptables.IPv6} {
		if !r.Redirected(f) {
			continue
		}
		name, err := applyFamily(ctx, r, f, lockFile)
		if err == nil {
			reasons = append(reasons, fmt.Sprintf("IPv%d by %s", f, name))
			continue
		}
		if f == iptables.IPv6 && !locked(err) {
			address, problem := globalIPv6()
			if problem == nil && address == "" {
				reasons = append(reasons, "IPv6 left out, since the pod has no address of it")
				continue
			}
			return Applied{}, fmt.Errorf("%w: the pod has the IPv6 address %s, whose traffic would bypass Envoy", err, address)
		}
		return Applied{}, err
	}
	return Applied{IPTables, strings.Join(reasons, "; ")}, nil
}

func applyFamily(ctx context.Context, r iptables.Redirect, f iptables.Family, lockFile string) (string, error) {
	programs := xtablesFor(f, lockFile)
	if len(programs) == 0 {
		return "", fmt.Errorf("applying the redirect with iptables: there is no program for IPv%d in PATH: use an image of pillion-init with iptables", f)
	}
	var tried []error
	for _, x := range programs {
		_, err := x.change(ctx, func(saved string) string { return r.Restore(f, saved) })
		if err == nil {
			return x.name, nil
		}
		if locked(err) {
			return "", fmt.Errorf("applying the redirect with %s: somebody else has held the lock %s for %d s: only one program may change a pod's rules at a time: %w", x.name, usualLock, lockSeconds, err)
		}
		tried = append(tried, err)
	}
	return "", fmt.Errorf("applying the redirect with iptables for IPv%d: %w: the node's kernel lacks the table nat of it, or the matches owner and multiport, or the container lacks the capability NET_ADMIN", f, errors.Join(tried...))
}

// cleanIPTables takes our chains out of every iptables that there is.
func cleanIPTables(ctx context.Context, lockFile string) (bool, error) {
	had := false
	for _, f := range [...]iptables.Family{iptables.IPv4, iptables.IPv6} {
		for _, x := range xtablesFor(f, lockFile) {
			// One that cannot even read has nothing of ours.
			changed, err := x.change(ctx, iptables.Unrestore)
			if had = had || changed; err != nil && locked(err) {
				return had, fmt.Errorf("cleaning up with %s: %w", x.name, err)
			}
		}
	}
	return had, nil
}

// restored says whether the redirect is there by iptables, for each of its families.
func restored(ctx context.Context, r iptables.Redirect, lockFile string) bool {
	for _, f := range [...]iptables.Family{iptables.IPv4, iptables.IPv6} {
		if !r.Redirected(f) {
			continue
		}
		found := false
		for _, x := range xtablesFor(f, lockFile) {
			saved, err := x.run(ctx, "", x.save, "-t", "nat")
			found = found || err == nil && r.Restored(f, saved)
		}
		if !found {
			address, err := globalIPv6()
			if f == iptables.IPv4 || err != nil || address != "" {
				return false
			}
		}
	}
	return true
}

// listIPTables is what iptables-save prints of our chains.
func listIPTables(ctx context.Context, lockFile string) string {
	var b strings.Builder
	for _, f := range [...]iptables.Family{iptables.IPv4, iptables.IPv6} {
		for _, x := range xtablesFor(f, lockFile) {
			saved, err := x.run(ctx, "", x.save, "-t", "nat")
			if err != nil {
				continue
			}
			for line := range strings.Lines(saved) {
				if strings.HasPrefix(line, "-A ") && strings.Contains(line, "PILLION_") {
					b.WriteString(x.name + ": " + line)
				}
			}
		}
	}
	return b.String()
}

// globalIPv6 is an address of the pod that reaches beyond its own link; empty for none.
func globalIPv6() (string, error) {
	content, err := os.ReadFile("/proc/thread-self/net/if_inet6")
	if errors.Is(err, os.ErrNotExist) {
		return "", nil // the kernel has no IPv6
	}
	if err != nil {
		return "", fmt.Errorf("reading the pod's IPv6 addresses: %w", err)
	}
	for line := range strings.Lines(string(content)) {
		// address, interface's number, prefix length, scope, flags, interface
		const scope, device = 3, 5
		if fields := strings.Fields(line); len(fields) > device && fields[scope] == "00" && fields[device] != "lo" {
			return fields[0], nil
		}
	}
	return "", nil
}
