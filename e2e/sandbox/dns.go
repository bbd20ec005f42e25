package sandbox

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// DNS is the cluster's: a server on the node, which pods with it in Pod.DNS ask.
type DNS struct {
	// Address of the server, port 53.
	Address netip.Addr

	resolvConf string

	mutex   sync.Mutex
	names   map[string][]netip.Addr
	queries map[string]int
	slow    time.Duration
	fails   bool
	failing map[string]bool
}

// NewDNS starts a server that knows no name yet.
func NewDNS(tb testing.TB) *DNS {
	tb.Helper()
	n := pods.Add(1)
	d := &DNS{
		Address:    netip.AddrFrom4([4]byte{10, 97, byte(n >> 8), byte(n)}),
		resolvConf: filepath.Join(tb.TempDir(), "resolv.conf"),
		names:      map[string][]netip.Addr{}, queries: map[string]int{}, failing: map[string]bool{},
	}
	NewAddress(tb, d.Address)
	// As kubelet writes it: a name without five dots is looked for in the cluster first.
	content := fmt.Sprintf("search default.svc.cluster.local svc.cluster.local cluster.local\nnameserver %s\noptions ndots:5\n", d.Address)
	if err := os.WriteFile(d.resolvConf, []byte(content), 0o644); err != nil {
		tb.Fatal(err)
	}
	packets, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(d.Address, 53)))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = packets.Close() })
	go d.serve(packets)
	return d
}

// Set makes a name lead to addresses, which are known at once and can be empty: then
// the name does not exist.
func (d *DNS) Set(name string, addresses ...netip.Addr) {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	d.names[strings.ToLower(name)] = addresses
}

// Lookup is one of a name's addresses, and an invalid one where there is none.
func (d *DNS) Lookup(name string) netip.Addr {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	addresses := d.names[strings.ToLower(name)]
	if len(addresses) == 0 {
		return netip.Addr{}
	}
	return addresses[rand.IntN(len(addresses))]
}

// Queries is how often pods have asked for a name's IPv4 addresses.
func (d *DNS) Queries(name string) int {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	return d.queries[strings.ToLower(name)]
}

// Slow makes each answer take some time, up to the longest.
func (d *DNS) Slow(longest time.Duration) {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	d.slow = longest
}

// Fail makes each answer say that the server failed, as CoreDNS does while the one behind
// it is away.
func (d *DNS) Fail(fails bool) {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	d.fails = fails
}

// FailFor makes the answers for one name say so, wherever it is looked for.
func (d *DNS) FailFor(name string, fails bool) {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	d.failing[strings.ToLower(name)] = fails
}

// failsFor is for who holds the mutex.
func (d *DNS) failsFor(name string) bool {
	for failing, fails := range d.failing {
		if fails && (name == failing || strings.HasPrefix(name, failing+".")) {
			return true
		}
	}
	return d.fails
}

func (d *DNS) serve(packets *net.UDPConn) {
	buffer := make([]byte, 1500)
	for {
		n, from, err := packets.ReadFromUDPAddrPort(buffer)
		if err != nil {
			return
		}
		var message dnsmessage.Message
		if message.Unpack(buffer[:n]) != nil || len(message.Questions) != 1 {
			continue
		}
		after := d.answer(&message)
		if packed, err := message.Pack(); err == nil {
			time.AfterFunc(after, func() { _, _ = packets.WriteToUDPAddrPort(packed, from) })
		}
	}
}

// answer makes a question its own answer. A name without an address of the family
// that is asked for exists, if it has one of the other. It is to be given after some
// time.
func (d *DNS) answer(m *dnsmessage.Message) (after time.Duration) {
	question := m.Questions[0]
	name := strings.ToLower(strings.TrimSuffix(question.Name.String(), "."))
	d.mutex.Lock()
	defer d.mutex.Unlock()
	if question.Type == dnsmessage.TypeA {
		d.queries[name]++
	}
	m.Response, m.Authoritative, m.RecursionAvailable = true, true, true
	m.Answers, m.Authorities, m.Additionals = nil, nil, nil
	if d.failsFor(name) {
		m.RCode = dnsmessage.RCodeServerFailure
		return 0
	}
	if len(d.names[name]) == 0 {
		m.RCode = dnsmessage.RCodeNameError
	}
	for _, address := range d.names[name] {
		var body dnsmessage.ResourceBody
		switch {
		case question.Type == dnsmessage.TypeA && address.Is4():
			body = &dnsmessage.AResource{A: address.As4()}
		case question.Type == dnsmessage.TypeAAAA && address.Is6():
			body = &dnsmessage.AAAAResource{AAAA: address.As16()}
		default:
			continue
		}
		m.Answers = append(m.Answers, dnsmessage.Resource{
			Header: dnsmessage.ResourceHeader{Name: question.Name, Class: question.Class, TTL: 1}, Body: body,
		})
	}
	if d.slow > 0 {
		after = rand.N(d.slow)
	}
	return after
}
