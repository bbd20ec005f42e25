package netfilter

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"

	"github.com/pillion-mesh/pillion/iptables"
)

// listNFTables is our table as the kernel has it, in words close to nft's; empty
// where there is none. Two tables with the same listing do the same.
func listNFTables() (string, error) {
	connection, err := nftables.New()
	if err != nil {
		return "", fmt.Errorf("opening a netlink connection: %w", err)
	}
	table, err := connection.ListTableOfFamily(iptables.Table, nftables.TableFamilyINet)
	if errors.Is(err, syscall.ENOENT) || err == nil && table == nil {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("reading the table inet %s: %w", iptables.Table, err)
	}
	var b strings.Builder
	sets, err := connection.GetSets(table)
	if err != nil {
		return "", fmt.Errorf("reading the sets of the table inet %s: %w", iptables.Table, err)
	}
	slices.SortFunc(sets, func(a, b *nftables.Set) int { return strings.Compare(a.Name, b.Name) })
	for _, set := range sets {
		elements, err := connection.GetSetElements(set)
		if err != nil {
			return "", fmt.Errorf("reading the set %s: %w", set.Name, err)
		}
		writeSet(&b, set.Name, elements)
	}
	chains, err := connection.ListChainsOfTableFamily(nftables.TableFamilyINet)
	if err != nil {
		return "", fmt.Errorf("reading the chains of the table inet %s: %w", iptables.Table, err)
	}
	for _, chain := range chains {
		if chain.Table.Name != iptables.Table {
			continue
		}
		rules, err := connection.GetRules(table, chain)
		if err != nil {
			return "", fmt.Errorf("reading the chain %s: %w", chain.Name, err)
		}
		writeChain(&b, chain)
		for _, rule := range rules {
			fmt.Fprintf(&b, "\t%s\n", inWords(rule.Exprs))
		}
	}
	return b.String(), nil
}

// expectedListing is what listNFTables says behind applyNFTables.
func expectedListing(r iptables.Redirect) string {
	var b strings.Builder
	rules := r.Rules()
	named := map[string]*nftables.Set{}
	sets := iptables.Sets(rules)
	slices.SortFunc(sets, func(a, b iptables.Set) int { return strings.Compare(a.Name, b.Name) })
	for _, set := range sets {
		for _, user := range set.Users {
			named[user] = &nftables.Set{Name: set.Name}
		}
		writeSet(&b, set.Name, elementsOf(set))
	}
	for _, chain := range addChains(&nftables.Conn{}, &nftables.Table{Name: iptables.Table, Family: nftables.TableFamilyINet}) {
		writeChain(&b, chain.Chain)
		for _, rule := range translate(r, rules, chain.where, named) {
			fmt.Fprintf(&b, "\t%s\n", inWords(rule.exprs))
		}
	}
	return b.String()
}

func writeChain(b *strings.Builder, chain *nftables.Chain) {
	hook, priority := "none", "none"
	if chain.Hooknum != nil {
		hook = map[nftables.ChainHook]string{*nftables.ChainHookPrerouting: "prerouting", *nftables.ChainHookOutput: "output"}[*chain.Hooknum]
	}
	if chain.Priority != nil {
		priority = fmt.Sprint(*chain.Priority)
	}
	fmt.Fprintf(b, "chain %s: type %s hook %s priority %s\n", chain.Name, chain.Type, hook, priority)
}

// writeSet writes a set's intervals, from the first to the last.
func writeSet(b *strings.Builder, name string, elements []nftables.SetElement) {
	slices.SortFunc(elements, func(a, b nftables.SetElement) int {
		// An interval may begin where another ends.
		if c := bytes.Compare(a.Key, b.Key); c != 0 || a.IntervalEnd == b.IntervalEnd {
			return c
		}
		if a.IntervalEnd {
			return -1
		}
		return 1
	})
	fmt.Fprintf(b, "set %s:", name)
	for n, element := range elements {
		// nft marks the space before the first interval, which says nothing.
		if n == 0 && element.IntervalEnd {
			continue
		}
		if element.IntervalEnd {
			fmt.Fprintf(b, " up to %s", value(element.Key))
		} else {
			fmt.Fprintf(b, " from %s", value(element.Key))
		}
	}
	b.WriteString("\n")
}

// value is a port or an address.
func value(key []byte) string {
	if len(key) == 2 {
		return strconv.Itoa(int(binary.BigEndian.Uint16(key)))
	}
	address, ok := netip.AddrFromSlice(key)
	if !ok {
		return hex.EncodeToString(key)
	}
	return address.String()
}

// inWords is a rule as nft would write it, more or less: without its counter, which
// counts, and with what nobody here makes as Go sees it.
func inWords(exprs []expr.Any) string {
	var words []string
	loaded, immediate := "", ""
	for _, e := range exprs {
		switch e := e.(type) {
		case *expr.Counter:
		case *expr.Meta:
			loaded = map[expr.MetaKey]string{
				expr.MetaKeySKUID: "skuid", expr.MetaKeySKGID: "skgid", expr.MetaKeyOIFNAME: "oifname",
				expr.MetaKeyL4PROTO: "l4proto", expr.MetaKeyNFPROTO: "nfproto",
			}[e.Key]
		case *expr.Payload:
			loaded = fmt.Sprintf("bytes %d at %d of header %d", e.Len, e.Offset, e.Base)
			if e.Base == expr.PayloadBaseTransportHeader && e.Offset == destinationPort {
				loaded = "dport"
			} else if e.Base == expr.PayloadBaseNetworkHeader && (e.Offset == 16 || e.Offset == 24) {
				loaded = "daddr"
			}
		case *expr.Cmp:
			words = append(words, compared(loaded, e))
		case *expr.Lookup:
			words = append(words, loaded+" in @"+e.SetName)
		case *expr.Immediate:
			immediate = value(e.Data)
		case *expr.Redir:
			words = append(words, "redirect to :"+immediate)
		case *expr.Verdict:
			words = append(words, map[expr.VerdictKind]string{expr.VerdictReturn: "return", expr.VerdictAccept: "accept", expr.VerdictDrop: "drop"}[e.Kind])
		default:
			words = append(words, fmt.Sprintf("%+v", e))
		}
	}
	return strings.Join(words, " ")
}

func compared(loaded string, e *expr.Cmp) string {
	operator := map[expr.CmpOp]string{expr.CmpOpEq: "", expr.CmpOpNeq: "!= ", expr.CmpOpGte: ">= ", expr.CmpOpLte: "<= "}[e.Op]
	text := hex.EncodeToString(e.Data)
	switch loaded {
	case "skuid", "skgid":
		text = strconv.FormatUint(uint64(binary.NativeEndian.Uint32(e.Data)), 10)
	case "oifname":
		text = string(bytes.TrimRight(e.Data, "\x00"))
	case "dport":
		text = value(e.Data)
	case "l4proto":
		if bytes.Equal(e.Data, []byte{syscall.IPPROTO_TCP}) {
			text = "tcp"
		}
	case "nfproto":
		if bytes.Equal(e.Data, []byte{syscall.AF_INET}) {
			text = "ipv4"
		} else if bytes.Equal(e.Data, []byte{syscall.AF_INET6}) {
			text = "ipv6"
		}
	}
	return loaded + " " + operator + text
}
