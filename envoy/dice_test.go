package envoy

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pillion-mesh/pillion/api/v1alpha1"
)

// dice make documents, with the least, the most, and something in between in every field,
// of bytes: each decides one thing, so that a fuzzer which changes one finds out what it
// does. When there are no more, the rest of the document is as short as it can be.
//
// Ports, destinations and routes are taken from few hosts, ports and names, and one
// that contradicts the others is dropped.
type dice struct {
	thrown        []byte
	kept, dropped int
}

// number is below n.
func (d *dice) number(n int64) int64 {
	var got int64
	for most := int64(1); most < n && len(d.thrown) > 0; most <<= 8 {
		got, d.thrown = got<<8|int64(d.thrown[0]), d.thrown[1:]
		if most > math.MaxInt64>>9 {
			break
		}
	}
	return got % n
}

func (d *dice) maybe() bool { return d.number(2) == 1 }

func one[T any](d *dice, of ...T) T { return of[d.number(int64(len(of)))] }

// some of these, each once and in their order.
func some[T any](d *dice, of ...T) []T {
	return slices.DeleteFunc(of, func(T) bool { return !d.maybe() })
}

func (d *dice) limit(least, most int32) *int32 {
	return one(d, nil, &least, &most, new(least+int32(d.number(int64(most)-int64(least)+1))))
}

func (d *dice) duration(least, most time.Duration) *metav1.Duration {
	between := (least + time.Duration(d.number(int64(most-least)+1))).Truncate(time.Millisecond)
	chosen := one(d, -1, least, most, least+time.Millisecond, most-time.Millisecond, max(least, between))
	if chosen < 0 {
		return nil
	}
	return &metav1.Duration{Duration: chosen}
}

// orNone is a duration, or the 0 that stands for none.
func (d *dice) orNone(least, most time.Duration) *metav1.Duration {
	if d.number(4) == 3 {
		return &metav1.Duration{}
	}
	return d.duration(least, most)
}

const mainNamespace = "shop"

func (d *dice) document() *v1alpha1.MeshService {
	m := &v1alpha1.MeshService{}
	m.Name, m.Namespace = one(d, "a", "checkout", "shop.v2", strings.Repeat("a", v1alpha1.LongestMeshService)), one(d, mainNamespace, mainNamespace, strings.Repeat("n", 63))
	m.Generation, m.CreationTimestamp = d.number(5), metav1.Unix(d.number(2_000_000_000), 0)
	m.Spec.UndeclaredEgress = one(d, "", v1alpha1.UndeclaredPassthrough, v1alpha1.UndeclaredRefused)
	if d.maybe() {
		m.Spec.Statistics = &v1alpha1.Statistics{
			Destinations: one(d, "", v1alpha1.StatisticsStandard, v1alpha1.StatisticsDetailed, v1alpha1.StatisticsNone), MaxSeries: d.limit(100, 100_000),
		}
	}
	for range d.number(6) {
		keep(d, m, &m.Spec.Inbound, d.inbound())
	}
	for n := range d.number(25) {
		keep(d, m, &m.Spec.Egress, d.destination(int(n)))
	}
	// Where a route leads to, there are none: half of the destinations are for that.
	var from, to []*v1alpha1.Destination
	for n := range m.Spec.Egress {
		switch destination := &m.Spec.Egress[n]; {
		case !isHTTP(destination.Protocol):
		case len(from) > len(to):
			to = append(to, destination)
		default:
			from = append(from, destination)
		}
	}
	for n := range from {
		for range d.number(6) {
			if len(to) > 0 {
				keep(d, m, &from[n].Routes, d.route(one(d, to...).Name))
			}
		}
	}
	return m
}

// keep has a part in the document if that is valid with it.
func keep[T any](d *dice, m *v1alpha1.MeshService, parts *[]T, part T) {
	*parts = append(*parts, part)
	whole := m.DeepCopy()
	v1alpha1.DefaultMeshService(whole)
	if len(v1alpha1.ValidateMeshService(whole)) == 0 {
		d.kept++
		return
	}
	*parts = (*parts)[:len(*parts)-1]
	if len(*parts) == 0 {
		*parts = nil
	}
	d.dropped++
}

func (d *dice) port() int32 {
	return one[int32](d, 80, 443, 8080, 8443, 9000, 5432, 1, 65_535, v1alpha1.FirstOwnPort-1, v1alpha1.LastOwnPort+1)
}

func (d *dice) inbound() v1alpha1.InboundPort {
	p := v1alpha1.InboundPort{Port: d.port(), Protocol: one(d, "", v1alpha1.InboundHTTP, v1alpha1.InboundTCP), MaxConnections: d.limit(1, math.MaxInt32)}
	if p.Protocol == v1alpha1.InboundTCP {
		return p
	}
	p.Timeout = d.orNone(time.Millisecond, v1alpha1.MaxDuration)
	p.MaxConcurrentRequests, p.MaxConcurrentStreams = d.limit(1, math.MaxInt32), d.limit(1, math.MaxInt32)
	p.MaxConnectionAge = d.orNone(time.Second, v1alpha1.MaxDuration)
	if d.maybe() {
		p.AdaptiveConcurrency = &v1alpha1.AdaptiveConcurrency{
			MinConcurrency: d.limit(1, 1000), MaxConcurrency: d.limit(1, math.MaxInt32),
			LatencyHeadroomPercent: d.limit(1, 100), MeasureEvery: d.duration(time.Second, v1alpha1.MaxDuration),
		}
	}
	if d.maybe() {
		p.RateLimit = &v1alpha1.RateLimit{
			Requests: one[int32](d, 1, 100, math.MaxInt32), Per: d.duration(50*time.Millisecond, v1alpha1.MaxDuration), Burst: d.limit(1, math.MaxInt32),
		}
	}
	return p
}

// destination has a name that bootstrap has for other things, or one by its number.
func (d *dice) destination(n int) v1alpha1.Destination {
	to := v1alpha1.Destination{
		Name: one(d, fmt.Sprint("d", n), fmt.Sprint(n), fmt.Sprint(strings.Repeat("d", 60), n), fmt.Sprint("d-else-", n),
			one(d, "passthrough", "refused", "http", "tcp", "inbound", "outbound", "connect", "admin")),
		Port:     d.port(),
		Protocol: one(d, "", v1alpha1.ProtocolHTTP, v1alpha1.ProtocolHTTP1, v1alpha1.ProtocolHTTP2, v1alpha1.ProtocolGRPC, v1alpha1.ProtocolTLS, v1alpha1.ProtocolTCP),
	}
	if d.maybe() {
		to.Host = one(d, "a", "api.example.com", "example.com", "1.2.3.example", "xn--bcher-kva.example", "cart", "cart.shop", "cart.other.svc",
			"cart.shop.svc.cluster.local", strings.Repeat(strings.Repeat("l", 61)+".", 4)+"tests")
	} else {
		to.Service = &v1alpha1.ServiceReference{Name: one(d, "a", "cart", "ledger", strings.Repeat("s", 63)), Namespace: one(d, "", mainNamespace, "other", strings.Repeat("n", 63), "0")}
	}
	to.ConnectTimeout = d.duration(time.Millisecond, v1alpha1.MaxDuration)
	if d.maybe() {
		to.Breakers = &v1alpha1.Breakers{MaxConnections: d.limit(1, math.MaxInt32)}
	}
	if !isHTTP(to.Protocol) {
		return to
	}
	to.Timeout, to.ClientTimeout = d.orNone(time.Millisecond, v1alpha1.MaxDuration), d.duration(time.Millisecond, v1alpha1.MaxDuration)
	to.MaxConnectionAge = d.orNone(time.Second, v1alpha1.MaxDuration)
	to.IdleTimeout, to.DNSRefresh = d.duration(time.Millisecond, v1alpha1.MaxDuration), d.duration(time.Second, v1alpha1.MaxDuration)
	if to.Breakers != nil {
		to.Breakers.MaxPendingRequests, to.Breakers.MaxRequests = d.limit(1, math.MaxInt32), d.limit(1, math.MaxInt32)
	}
	if d.maybe() {
		to.OutlierDetection = &v1alpha1.OutlierDetection{
			ConsecutiveErrors: d.limit(1, math.MaxInt32), EjectionTime: d.duration(time.Second, v1alpha1.MaxDuration), MaxEjectedPercent: d.limit(1, 100),
		}
	}
	if d.maybe() {
		to.Retries = d.retries(to.Protocol)
	}
	return to
}

func (d *dice) retries(protocol v1alpha1.Protocol) *v1alpha1.Retries {
	r := &v1alpha1.Retries{Attempts: d.limit(1, 5), BudgetPercent: d.limit(1, 100), PerTryTimeout: d.duration(time.Millisecond, one(d, 900*time.Millisecond, v1alpha1.MaxDuration))}
	if when := some(d, v1alpha1.RetryUnavailable, v1alpha1.RetryConnectFailure, v1alpha1.RetryReset, v1alpha1.RetryRefusedStream); len(when) > 0 {
		r.When = when
	}
	if protocol != v1alpha1.ProtocolHTTP1 && d.maybe() {
		for _, service := range services() {
			for _, method := range some(d, methodNames()...) {
				if safe := service + "/" + method; len(safe) <= v1alpha1.MaxValue {
					r.SafeMethods = append(r.SafeMethods, safe)
				}
			}
		}
	}
	return r
}

func services() []string {
	return []string{"S", "shop.v1.Cart", "_a.B_1", strings.Repeat("s", v1alpha1.MaxValue-len("/Get")), strings.Repeat("s", v1alpha1.MaxValue)}
}

func methodNames() []string {
	return []string{"Get", "List", "_1", strings.Repeat("m", v1alpha1.MaxValue)}
}

func (d *dice) route(to string) v1alpha1.Route {
	r := v1alpha1.Route{To: to}
	if d.maybe() {
		r.GRPC = &v1alpha1.GRPCMatch{Service: one(d, services()...)}
		if methods := some(d, methodNames()...); len(methods) > 0 {
			r.GRPC.Methods = methods
		}
	}
	if r.GRPC == nil || d.maybe() {
		for range 1 + d.number(3) {
			r.Headers = append(r.Headers, v1alpha1.HeaderMatch{
				Name:  one(d, "x-sandbox", "X-Any!", "path", "content-type", "x-envoy-retry-on", "a'b|c~", strings.Repeat("h", v1alpha1.MaxValue)),
				Value: one(d, "blue", "blue ~", "%REQ(x)%", `"\{{`, "*", strings.Repeat("v", v1alpha1.MaxValue), fmt.Sprint(d.number(1000))),
			})
		}
	}
	switch d.number(3) {
	case 1:
		r.Fallback = &v1alpha1.Fallback{When: one(d, "", v1alpha1.FallbackAbsent)}
	case 2:
		r.Fallback = &v1alpha1.Fallback{When: v1alpha1.FallbackFails, After: d.duration(time.Millisecond, one(d, 900*time.Millisecond, v1alpha1.MaxDuration))}
	}
	return r
}
