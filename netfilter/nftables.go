package netfilter

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"syscall"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"github.com/mdlayher/netlink"

	"github.com/pillion-mesh/pillion/iptables"
)

// The registers and numbers that nft itself uses.
const (
	register = 1
	// protoSpecified is NF_NAT_RANGE_PROTO_SPECIFIED: the redirect names a port.
	protoSpecified = 2
	// destinationPort is at this offset of a TCP header, two bytes long.
	destinationPort = 2
	// longestInterface is IFNAMSIZ, to which an interface's name is filled up.
	longestInterface = 16
	// elementsPerMessage keeps a message below netlink's 64 KiB for one attribute.
	elementsPerMessage = 500
	// sendBuffer holds a redirect with every list at its bound. It is the kernel's
	// promise, not memory.
	sendBuffer = 4 << 20
)

// applyNFTables makes our table, or replaces it, in one transaction.
func applyNFTables(r iptables.Redirect) error {
	// In a fresh pod there is none, and a transaction that deletes nothing takes the
	// kernel a fraction of the time.
	err := transact(r, false)
	if errors.Is(err, syscall.EEXIST) {
		return transact(r, true)
	}
	return err
}

func transact(r iptables.Redirect, replace bool) error {
	connection, err := nftables.New(nftables.WithSockOptions(func(c *netlink.Conn) error {
		return errors.Join(c.SetWriteBuffer(sendBuffer), c.SetReadBuffer(sendBuffer))
	}))
	if err != nil {
		return fmt.Errorf("opening a netlink connection: %w", err)
	}
	if err := fill(connection, r, replace); err != nil {
		return err
	}
	return connection.Flush()
}

// fill puts the transaction together. One that replaces adds the table, so that the
// deletion finds it, deletes it, and adds it with its contents; one that does not
// fails where there is a table.
func fill(connection *nftables.Conn, r iptables.Redirect, replace bool) error {
	table := &nftables.Table{Name: iptables.Table, Family: nftables.TableFamilyINet}
	if replace {
		connection.AddTable(table)
		connection.DelTable(table)
	}
	connection.CreateTable(table)
	rules := r.Rules()
	sets, err := addSets(connection, table, rules)
	if err != nil {
		return err
	}
	for _, chain := range addChains(connection, table) {
		for _, rule := range translate(r, rules, chain.where, sets) {
			connection.AddRule(&nftables.Rule{
				Table: table, Chain: chain.Chain, Exprs: rule.exprs,
				UserData: userdata.AppendString(nil, userdata.TypeComment, rule.comment),
			})
		}
	}
	return nil
}

// cleanNFTables says whether there was a table to delete.
func cleanNFTables() (bool, error) {
	connection, err := nftables.New()
	if err != nil {
		return false, fmt.Errorf("opening a netlink connection: %w", err)
	}
	connection.DelTable(&nftables.Table{Name: iptables.Table, Family: nftables.TableFamilyINet})
	err = connection.Flush()
	if errors.Is(err, syscall.ENOENT) {
		return false, nil
	}
	return err == nil, err
}

// chain is one of nftables' with the place that our rules name.
type chain struct {
	*nftables.Chain
	where iptables.Chain
}

func addChains(connection *nftables.Conn, table *nftables.Table) []chain {
	hooks := map[iptables.Chain]*nftables.ChainHook{iptables.Inbound: nftables.ChainHookPrerouting, iptables.Outbound: nftables.ChainHookOutput}
	var chains []chain
	for _, where := range [...]iptables.Chain{iptables.Inbound, iptables.Outbound} {
		added := connection.AddChain(&nftables.Chain{
			Name: where.Name(), Table: table, Type: nftables.ChainTypeNAT, Hooknum: hooks[where],
			Priority: nftables.ChainPriorityRef(iptables.Priority), Policy: new(nftables.ChainPolicyAccept),
		})
		chains = append(chains, chain{added, where})
	}
	return chains
}

// addSets adds the lists that rules look things up in. They are found by the rules'
// own names for them, of which several may mean one set.
func addSets(connection *nftables.Conn, table *nftables.Table, rules []iptables.Rule) (map[string]*nftables.Set, error) {
	types := map[string]nftables.SetDatatype{"inet_service": nftables.TypeInetService, "ipv4_addr": nftables.TypeIPAddr, "ipv6_addr": nftables.TypeIP6Addr}
	sets := map[string]*nftables.Set{}
	for _, of := range iptables.Sets(rules) {
		set := &nftables.Set{Table: table, Name: of.Name, KeyType: types[of.Type], Interval: true}
		if err := connection.AddSet(set, nil); err != nil {
			return nil, fmt.Errorf("adding the set %s: %w", of.Name, err)
		}
		for elements := elementsOf(of); len(elements) > 0; {
			chunk := elements[:min(len(elements), elementsPerMessage)]
			elements = elements[len(chunk):]
			if err := connection.SetAddElements(set, chunk); err != nil {
				return nil, fmt.Errorf("adding to the set %s: %w", of.Name, err)
			}
		}
		for _, user := range of.Users {
			sets[user] = set
		}
	}
	return sets, nil
}

// elementsOf are a set's intervals as the kernel has them: where each begins, and
// the first value behind it, which is missing where the interval ends with the last.
func elementsOf(set iptables.Set) []nftables.SetElement {
	var elements []nftables.SetElement
	add := func(first, behind []byte) {
		elements = append(elements, nftables.SetElement{Key: first})
		if behind != nil {
			elements = append(elements, nftables.SetElement{Key: behind, IntervalEnd: true})
		}
	}
	for _, p := range set.Ports {
		var behind []byte
		if p.Last < 65535 {
			behind = binaryutil.BigEndian.PutUint16(p.Last + 1)
		}
		add(binaryutil.BigEndian.PutUint16(p.First), behind)
	}
	for _, network := range set.Networks {
		var behind []byte
		if next := lastOf(network).Next(); next.IsValid() {
			behind = next.AsSlice()
		}
		add(network.Addr().AsSlice(), behind)
	}
	return elements
}

// lastOf is a network's last address.
func lastOf(network netip.Prefix) netip.Addr {
	address := network.Addr().AsSlice()
	for bit := network.Bits(); bit < len(address)*8; bit++ {
		address[bit/8] |= 1 << (7 - bit%8)
	}
	last, _ := netip.AddrFromSlice(address)
	return last
}

// rule is one of nftables', for one family where it is about destinations.
type rule struct {
	exprs   []expr.Any
	comment string
}

// translate is a chain's rules, as nft would make them of iptables.Redirect.NFT.
func translate(r iptables.Redirect, rules []iptables.Rule, where iptables.Chain, sets map[string]*nftables.Set) []rule {
	translated := []rule{{append(l4proto(expr.CmpOpNeq), verdict()...), "only TCP is redirected"}}
	if !r.IPv4 {
		translated = append(translated, rule{append(nfproto(syscall.AF_INET), verdict()...), "IPv4 is not redirected"})
	}
	if !r.IPv6 {
		translated = append(translated, rule{append(nfproto(syscall.AF_INET6), verdict()...), "IPv6 is not redirected"})
	}
	for n, of := range rules {
		if of.Chain != where {
			continue
		}
		for _, match := range matches(of, n, sets) {
			exprs := append(slices.Clip(match), &expr.Counter{})
			if of.RedirectTo == 0 {
				exprs = append(exprs, verdict()...)
			} else {
				exprs = append(exprs, redirect(of.RedirectTo)...)
			}
			translated = append(translated, rule{exprs, of.Comment})
		}
	}
	return translated
}

// matches are a rule's conditions, once or for each family of its destinations.
func matches(of iptables.Rule, n int, sets map[string]*nftables.Set) [][]expr.Any {
	var match []expr.Any
	if of.Match.UID != nil {
		match = append(match, &expr.Meta{Key: expr.MetaKeySKUID, Register: register}, equal(native(*of.Match.UID)))
	}
	if of.Match.GID != nil {
		match = append(match, &expr.Meta{Key: expr.MetaKeySKGID, Register: register}, equal(native(*of.Match.GID)))
	}
	if of.Match.Loopback {
		name := make([]byte, longestInterface)
		copy(name, "lo")
		match = append(match, &expr.Meta{Key: expr.MetaKeyOIFNAME, Register: register}, equal(name))
	}
	match = append(match, portMatch(of.Match.Ports, sets[iptables.SetName("ports", n)])...)
	if of.RedirectTo != 0 {
		match = append(match, l4proto(expr.CmpOpEq)...)
	}
	if len(of.Match.Destinations) == 0 {
		return [][]expr.Any{match}
	}
	var all [][]expr.Any
	if set := sets[iptables.SetName("ipv4", n)]; set != nil {
		all = append(all, append(match[:len(match):len(match)], destination(syscall.AF_INET, 16, 4, set)...))
	}
	if set := sets[iptables.SetName("ipv6", n)]; set != nil {
		all = append(all, append(match[:len(match):len(match)], destination(syscall.AF_INET6, 24, 16, set)...))
	}
	return all
}

func portMatch(ports []iptables.PortRange, set *nftables.Set) []expr.Any {
	if len(ports) == 0 {
		return nil
	}
	load := &expr.Payload{DestRegister: register, Base: expr.PayloadBaseTransportHeader, Offset: destinationPort, Len: 2}
	first, last := binaryutil.BigEndian.PutUint16(ports[0].First), binaryutil.BigEndian.PutUint16(ports[0].Last)
	switch {
	case set != nil:
		return []expr.Any{load, lookup(set)}
	case ports[0].First == ports[0].Last:
		return []expr.Any{load, equal(first)}
	default:
		return []expr.Any{load, &expr.Cmp{Op: expr.CmpOpGte, Register: register, Data: first}, &expr.Cmp{Op: expr.CmpOpLte, Register: register, Data: last}}
	}
}

// destination looks the packet's destination up, where it is of the family: it stands
// at an offset of the family's header.
func destination(family byte, offset, length uint32, set *nftables.Set) []expr.Any {
	return append(nfproto(family),
		&expr.Payload{DestRegister: register, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: length}, lookup(set))
}

func lookup(set *nftables.Set) expr.Any {
	return &expr.Lookup{SourceRegister: register, SetName: set.Name, SetID: set.ID}
}

func equal(data []byte) expr.Any {
	return &expr.Cmp{Op: expr.CmpOpEq, Register: register, Data: data}
}

func l4proto(op expr.CmpOp) []expr.Any {
	return []expr.Any{&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: register}, &expr.Cmp{Op: op, Register: register, Data: []byte{syscall.IPPROTO_TCP}}}
}

func nfproto(family byte) []expr.Any {
	return []expr.Any{&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: register}, equal([]byte{family})}
}

func verdict() []expr.Any { return []expr.Any{&expr.Verdict{Kind: expr.VerdictReturn}} }

func redirect(port uint16) []expr.Any {
	return []expr.Any{
		&expr.Immediate{Register: register, Data: binaryutil.BigEndian.PutUint16(port)},
		&expr.Redir{RegisterProtoMin: register, RegisterProtoMax: register, Flags: protoSpecified},
	}
}

// native is a number in the machine's own byte order, as the kernel keeps users.
func native(n uint32) []byte { return binary.NativeEndian.AppendUint32(nil, n) }
