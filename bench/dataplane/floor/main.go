// Command floor puts the rules of an injected pod into the kernel and does nothing
// else: no command line to understand, no table to replace, no program to copy, no
// sentence about what went wrong. It is what pillion-init's time is compared with;
// a test holds that both leave the same rules. Its arguments are the reserved ports,
// as 21-22.
package main

import (
	"encoding/binary"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"syscall"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
)

func main() {
	if err := send(os.Args[1:]); err != nil {
		panic(err)
	}
}

func send(ports []string) error {
	c, err := nftables.New()
	if err != nil {
		return err
	}
	b := batch{Conn: c, table: c.AddTable(&nftables.Table{Name: "pillion", Family: nftables.TableFamilyINet})}
	reserved := portElements(ports)
	reservedPorts := b.set("ports_1", nftables.TypeInetService, reserved)
	metadata4 := b.set("ipv4_6", nftables.TypeIPAddr, addressElements("169.254.169.254"))
	metadata6 := b.set("ipv6_6", nftables.TypeIP6Addr, addressElements("fd00:ec2::254"))

	b.chain("inbound", nftables.ChainHookPrerouting)
	b.onlyTCP()
	b.leave("the sidecar's own ports", ownPorts()...)
	b.leave("reserved ports: other protocols live there", port(), lookup(reservedPorts))
	b.redirect("everything else that comes in goes through Envoy", 15006)

	b.chain("outbound", nftables.ChainHookOutput)
	b.onlyTCP()
	user := binary.NativeEndian.AppendUint32(nil, 15033)
	b.leave("the proxy's own connections, which would loop", meta(expr.MetaKeySKUID), is(user))
	b.leave("the proxy's own connections by group, should a process change its user", meta(expr.MetaKeySKGID), is(user))
	b.leave("an app calling itself", meta(expr.MetaKeyOIFNAME), is([]byte("lo\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00")))
	b.leave("the cloud's metadata service", meta(expr.MetaKeyNFPROTO), is([]byte{syscall.AF_INET}), destination(16, 4), lookup(metadata4))
	b.leave("the cloud's metadata service", meta(expr.MetaKeyNFPROTO), is([]byte{syscall.AF_INET6}), destination(24, 16), lookup(metadata6))
	b.leave("reserved ports: other protocols live there", port(), lookup(reservedPorts))
	b.leave("ports of other pods' sidecars", ownPorts()...)
	b.redirect("everything else that goes out goes through Envoy", 15001)
	if b.err != nil {
		return b.err
	}
	return c.Flush()
}

// batch is what is sent at once.
type batch struct {
	*nftables.Conn
	table *nftables.Table
	into  *nftables.Chain
	err   error
}

func (b *batch) set(name string, of nftables.SetDatatype, elements []nftables.SetElement) *nftables.Set {
	set := &nftables.Set{Table: b.table, Name: name, KeyType: of, Interval: true}
	if err := b.AddSet(set, elements); err != nil {
		b.err = err
	}
	return set
}

func (b *batch) chain(name string, hook *nftables.ChainHook) {
	b.into = b.AddChain(&nftables.Chain{
		Name: name, Table: b.table, Type: nftables.ChainTypeNAT, Hooknum: hook,
		Priority: nftables.ChainPriorityRef(-100), Policy: new(nftables.ChainPolicyAccept),
	})
}

func (b *batch) rule(comment string, exprs []expr.Any) {
	b.AddRule(&nftables.Rule{Table: b.table, Chain: b.into, Exprs: exprs, UserData: userdata.AppendString(nil, userdata.TypeComment, comment)})
}

func (b *batch) onlyTCP() {
	b.rule("only TCP is redirected", []expr.Any{
		meta(expr.MetaKeyL4PROTO), &expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: []byte{syscall.IPPROTO_TCP}}, &expr.Verdict{Kind: expr.VerdictReturn},
	})
}

func (b *batch) leave(comment string, match ...expr.Any) {
	b.rule(comment, append(match, &expr.Counter{}, &expr.Verdict{Kind: expr.VerdictReturn}))
}

func (b *batch) redirect(comment string, to uint16) {
	b.rule(comment, []expr.Any{
		meta(expr.MetaKeyL4PROTO), is([]byte{syscall.IPPROTO_TCP}), &expr.Counter{},
		&expr.Immediate{Register: 1, Data: binaryutil.BigEndian.PutUint16(to)},
		&expr.Redir{RegisterProtoMin: 1, RegisterProtoMax: 1, Flags: 2},
	})
}

func ownPorts() []expr.Any {
	return []expr.Any{
		port(),
		&expr.Cmp{Op: expr.CmpOpGte, Register: 1, Data: binaryutil.BigEndian.PutUint16(15000)},
		&expr.Cmp{Op: expr.CmpOpLte, Register: 1, Data: binaryutil.BigEndian.PutUint16(15099)},
	}
}

func meta(key expr.MetaKey) expr.Any { return &expr.Meta{Key: key, Register: 1} }

func is(data []byte) expr.Any { return &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: data} }

func port() expr.Any {
	return &expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2}
}

func destination(offset, length uint32) expr.Any {
	return &expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: length}
}

func lookup(set *nftables.Set) expr.Any {
	return &expr.Lookup{SourceRegister: 1, SetName: set.Name, SetID: set.ID}
}

func portElements(ports []string) []nftables.SetElement {
	var elements []nftables.SetElement
	for _, text := range ports {
		first, last, isRange := strings.Cut(text, "-")
		if !isRange {
			last = first
		}
		from, _ := strconv.Atoi(first)
		to, _ := strconv.Atoi(last)
		elements = append(elements,
			nftables.SetElement{Key: binaryutil.BigEndian.PutUint16(uint16(from))},
			nftables.SetElement{Key: binaryutil.BigEndian.PutUint16(uint16(to + 1)), IntervalEnd: true})
	}
	return elements
}

func addressElements(text string) []nftables.SetElement {
	address := netip.MustParseAddr(text)
	return []nftables.SetElement{{Key: address.AsSlice()}, {Key: address.Next().AsSlice(), IntervalEnd: true}}
}
