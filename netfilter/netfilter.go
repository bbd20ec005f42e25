// Package netfilter puts a redirect into the kernel, in the network namespace that the
// process is in: by nf_tables over netlink, or by iptables where the kernel has no
// nf_tables. Either way it is whole or not at all, and doing it again changes nothing.
package netfilter

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"

	"github.com/pillion-mesh/pillion/iptables"
)

// Backend is the way into the kernel.
type Backend string

// The backends. Auto is nftables where the kernel takes it, and else iptables.
const (
	Auto     Backend = "auto"
	NFTables Backend = "nftables"
	IPTables Backend = "iptables"
)

// ParseBackend reads a backend's name.
func ParseBackend(name string) (Backend, error) {
	switch b := Backend(name); b {
	case Auto, NFTables, IPTables:
		return b, nil
	}
	return "", fmt.Errorf("backend %q must be %s, %s or %s", name, Auto, NFTables, IPTables)
}

// Applied says what was done.
type Applied struct {
	// Backend is never Auto.
	Backend Backend
	// Reason is why this backend, and what is worth knowing of the families.
	Reason string
}

// Apply puts a valid redirect into the kernel in place of an earlier one. lockFile is
// where iptables may keep its lock if the usual place cannot be written to.
func Apply(ctx context.Context, r iptables.Redirect, b Backend, lockFile string) (Applied, error) {
	return apply(ctx, r, b, lockFile, applyNFTables)
}

// apply is given the way by nftables, which a test may close.
func apply(ctx context.Context, r iptables.Redirect, b Backend, lockFile string, nftables func(iptables.Redirect) error) (Applied, error) {
	if b == IPTables {
		return applyIPTables(ctx, r, lockFile, "asked for")
	}
	err := nftables(r)
	switch {
	case err == nil && b == NFTables:
		return Applied{NFTables, "asked for"}, nil
	case err == nil:
		return Applied{NFTables, "the kernel took the transaction"}, nil
	case b == NFTables || !unsupported(err):
		return Applied{}, explain(err)
	}
	applied, second := applyIPTables(ctx, r, lockFile, fmt.Sprintf("the kernel did not take nftables' transaction: %v", err))
	if second != nil {
		return Applied{}, fmt.Errorf("%w; and %w", explain(err), second)
	}
	return applied, nil
}

// Clean takes the redirect out of the kernel, however it came there, and says what it
// took out.
func Clean(ctx context.Context, lockFile string) ([]Backend, error) {
	var cleaned []Backend
	had, err := cleanNFTables()
	if err != nil && !unsupported(err) {
		return nil, explain(err)
	}
	if had {
		cleaned = append(cleaned, NFTables)
	}
	had, err = cleanIPTables(ctx, lockFile)
	if had {
		cleaned = append(cleaned, IPTables)
	}
	return cleaned, err
}

// unsupported says whether the kernel lacks something, rather than this process the
// right to it.
func unsupported(err error) bool {
	for _, lacking := range [...]syscall.Errno{syscall.ENOENT, syscall.EOPNOTSUPP, syscall.EPROTONOSUPPORT, syscall.EAFNOSUPPORT, syscall.EINVAL, syscall.ENOSYS} {
		if errors.Is(err, lacking) {
			return true
		}
	}
	return false
}

// explain adds to an error of nf_tables what to do about it.
func explain(err error) error {
	switch {
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("applying the redirect with nftables: %w: the container needs the capability NET_ADMIN, which something took away", err)
	case unsupported(err):
		return fmt.Errorf("applying the redirect with nftables: %w: the node's kernel lacks nf_tables with NAT for inet tables (Linux 5.2 or newer with the modules nf_tables, nft_chain_nat and nft_redir): load them on the node, or use an image of pillion-init with iptables", err)
	default:
		return fmt.Errorf("applying the redirect with nftables: %w", err)
	}
}

// Listing is our rules in the kernel, for people to compare: those of nftables, and
// of iptables where it has any.
func Listing(ctx context.Context, lockFile string) (string, error) {
	listed, err := listNFTables()
	if err != nil && !unsupported(err) {
		return "", explain(err)
	}
	return listed + listIPTables(ctx, lockFile), nil
}
