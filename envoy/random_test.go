package envoy

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pillion-mesh/pillion/api/v1alpha1"
	"github.com/pillion-mesh/pillion/mesh"
)

// FuzzRender: every valid document gives what Envoy takes. The seeds that go test runs
// are some of each size; `make fuzz` goes on from there.
func FuzzRender(f *testing.F) {
	for seed := range uint64(16) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		document := dice{rand.New(rand.NewPCG(seed, 7))}.document()
		if problems := v1alpha1.ValidateMeshService(document); len(problems) > 0 {
			t.Fatalf("the generator made what is not valid: %v", problems.ToAggregate())
		}
		service, err := mesh.Resolve(document)
		if err != nil {
			t.Fatal(err)
		}
		g, err := Render(service)
		if err != nil {
			t.Fatal(err)
		}
		accepted(t, g)
	})
}

// dice make documents that are valid, with the least, the most, and something in
// between in every field.
type dice struct{ *rand.Rand }

func (d dice) maybe() bool { return d.IntN(2) == 0 }

func one[T any](d dice, of ...T) T { return of[d.IntN(len(of))] }

func (d dice) number(least, most int32) *int32 {
	if d.IntN(3) == 0 {
		return nil
	}
	n := one(d, least, most, least+d.Int32N(most-least+1)/2)
	return &n
}

func (d dice) duration(least, most time.Duration) *metav1.Duration {
	if d.IntN(3) == 0 {
		return nil
	}
	between := (least + time.Duration(d.Int64N(int64(most-least)+1))).Truncate(time.Millisecond)
	return &metav1.Duration{Duration: max(one(d, least, most, between), least)}
}

func (d dice) document() *v1alpha1.MeshService {
	m := &v1alpha1.MeshService{ObjectMeta: metav1.ObjectMeta{Name: one(d, "a", "checkout", strings.Repeat("a", 63)), Namespace: one(d, "shop", strings.Repeat("n", 63))}}
	m.Generation, m.CreationTimestamp = int64(d.IntN(5)), metav1.Unix(int64(d.IntN(2_000_000_000)), 0)
	m.Spec.UndeclaredEgress = one(d, "", v1alpha1.UndeclaredPassthrough, v1alpha1.UndeclaredRefused)
	if d.maybe() {
		m.Spec.Statistics = &v1alpha1.Statistics{
			Destinations: one(d, "", v1alpha1.StatisticsStandard, v1alpha1.StatisticsDetailed, v1alpha1.StatisticsNone), MaxSeries: d.number(100, 100_000),
		}
	}
	for n := range d.IntN(4) {
		m.Spec.Inbound = append(m.Spec.Inbound, d.inbound(one[int32](d, 1, 443, 8080, 14_999, 65_530)+int32(n)))
		m.Spec.Inbound = slices.CompactFunc(m.Spec.Inbound, func(a, b v1alpha1.InboundPort) bool { return a.Port == b.Port })
	}
	seen := map[int32]bool{}
	m.Spec.Inbound = slices.DeleteFunc(m.Spec.Inbound, func(p v1alpha1.InboundPort) bool {
		again := seen[p.Port]
		seen[p.Port] = true
		return again || p.Port >= v1alpha1.FirstOwnPort && p.Port <= v1alpha1.LastOwnPort
	})
	destinations := d.IntN(7)
	for n := range destinations {
		m.Spec.Egress = append(m.Spec.Egress, d.destination(n))
	}
	for n := range m.Spec.Egress {
		d.routes(m.Spec.Egress, n)
	}
	v1alpha1.DefaultMeshService(m)
	return m
}

func (d dice) inbound(port int32) v1alpha1.InboundPort {
	p := v1alpha1.InboundPort{Port: port, Protocol: one(d, "", v1alpha1.InboundHTTP, v1alpha1.InboundTCP), MaxConnections: d.number(1, math.MaxInt32)}
	if p.Protocol == v1alpha1.InboundTCP {
		return p
	}
	p.Timeout = d.duration(0, v1alpha1.MaxDuration)
	p.MaxConcurrentRequests, p.MaxConcurrentStreams = d.number(1, math.MaxInt32), d.number(1, math.MaxInt32)
	p.MaxConnectionAge = one(d, &metav1.Duration{}, d.duration(time.Second, v1alpha1.MaxDuration))
	if d.maybe() {
		p.AdaptiveConcurrency = &v1alpha1.AdaptiveConcurrency{
			MinConcurrency: d.number(1, 3), MaxConcurrency: d.number(3, math.MaxInt32),
			LatencyHeadroomPercent: d.number(1, 100), MeasureEvery: d.duration(time.Second, v1alpha1.MaxDuration),
		}
	}
	if d.maybe() {
		p.RateLimit = &v1alpha1.RateLimit{
			Requests: one[int32](d, 1, 100, math.MaxInt32), Per: d.duration(50*time.Millisecond, v1alpha1.MaxDuration), Burst: d.number(1, math.MaxInt32),
		}
	}
	return p
}

// destination has a port of its own, so that no two claim the same.
func (d dice) destination(n int) v1alpha1.Destination {
	to := v1alpha1.Destination{
		Name: fmt.Sprintf("%s%d", one(d, "a", "inbound-a", strings.Repeat("d", 60)), n), Port: one[int32](d, 80, 443, 8080, 65_000) + int32(n),
		Protocol: one(d, "", v1alpha1.ProtocolHTTP, v1alpha1.ProtocolHTTP1, v1alpha1.ProtocolHTTP2, v1alpha1.ProtocolGRPC, v1alpha1.ProtocolTLS, v1alpha1.ProtocolTCP),
	}
	if n == 0 {
		// Names that bootstrap has for other things.
		to.Name = one(d, "passthrough", "refused", "http", "tcp", "inbound", "outbound")
	}
	if d.maybe() {
		to.Host = one(d, "a", "api.example.com", strings.Repeat(strings.Repeat("l", 40)+".", 6)+"test")
	} else {
		to.Service = &v1alpha1.ServiceReference{Name: one(d, "a", "cart", strings.Repeat("s", 63)), Namespace: one(d, "", "shop", "other")}
	}
	to.ConnectTimeout = d.duration(time.Millisecond, v1alpha1.MaxDuration)
	if d.maybe() {
		to.Breakers = &v1alpha1.Breakers{MaxConnections: d.number(1, math.MaxInt32)}
	}
	if to.Protocol == v1alpha1.ProtocolTLS || to.Protocol == v1alpha1.ProtocolTCP {
		return to
	}
	to.Timeout = one(d, nil, &metav1.Duration{}, d.duration(time.Second, v1alpha1.MaxDuration))
	to.ClientTimeout = d.duration(time.Millisecond, v1alpha1.MaxDuration)
	to.MaxConnectionAge = one(d, &metav1.Duration{}, d.duration(time.Second, v1alpha1.MaxDuration))
	to.IdleTimeout, to.DNSRefresh = d.duration(time.Millisecond, v1alpha1.MaxDuration), d.duration(time.Second, v1alpha1.MaxDuration)
	if to.Breakers != nil {
		to.Breakers.MaxPendingRequests, to.Breakers.MaxRequests = d.number(1, math.MaxInt32), d.number(1, math.MaxInt32)
	}
	if d.maybe() {
		to.OutlierDetection = &v1alpha1.OutlierDetection{
			ConsecutiveErrors: d.number(1, math.MaxInt32), EjectionTime: d.duration(time.Second, v1alpha1.MaxDuration), MaxEjectedPercent: d.number(1, 100),
		}
	}
	if d.maybe() {
		to.Retries = d.retries(to.Protocol)
	}
	return to
}

func (d dice) retries(protocol v1alpha1.Protocol) *v1alpha1.Retries {
	r := &v1alpha1.Retries{Attempts: d.number(1, 5), BudgetPercent: d.number(1, 100), PerTryTimeout: d.duration(time.Millisecond, 999*time.Millisecond)}
	for _, when := range []v1alpha1.RetryCondition{v1alpha1.RetryUnavailable, v1alpha1.RetryConnectFailure, v1alpha1.RetryReset, v1alpha1.RetryRefusedStream} {
		if d.maybe() {
			r.When = append(r.When, when)
		}
	}
	if protocol != v1alpha1.ProtocolHTTP1 && d.maybe() {
		r.SafeMethods = []string{"shop.v1.Cart/Get", "S/M", strings.Repeat("s", 250) + "/List"}
	}
	return r
}

// routes of destinations with an even number lead to those with an odd one: where a
// route leads to, there are none.
func (d dice) routes(egress []v1alpha1.Destination, n int) {
	from := &egress[n]
	if n%2 != 0 || !isHTTP(from.Protocol) {
		return
	}
	for number := range d.IntN(4) {
		to := egress[d.IntN(len(egress))]
		at := slices.IndexFunc(egress, func(e v1alpha1.Destination) bool { return e.Name == to.Name })
		if at%2 == 0 || !isHTTP(to.Protocol) || to.Protocol == v1alpha1.ProtocolHTTP1 && from.Protocol == v1alpha1.ProtocolGRPC {
			continue
		}
		// A value of its own, so that none is covered by another.
		route := v1alpha1.Route{To: to.Name, Headers: []v1alpha1.HeaderMatch{{Name: one(d, "x-sandbox", "X-Any!", ":path"[1:]), Value: fmt.Sprint(one(d, "blue ~", "%REQ(x)%", strings.Repeat("v", 250)), number)}}}
		if to.Protocol != v1alpha1.ProtocolHTTP1 && from.Protocol != v1alpha1.ProtocolHTTP1 && d.maybe() {
			route.GRPC = &v1alpha1.GRPCMatch{Service: one(d, "S", "shop.v1.Cart", strings.Repeat("s", 256)), Methods: one(d, nil, []string{"Get"}, []string{"Get", "M", strings.Repeat("m", 256)})}
		}
		switch d.IntN(3) {
		case 0:
			route.Fallback = &v1alpha1.Fallback{When: one(d, "", v1alpha1.FallbackAbsent)}
		case 1:
			route.Fallback = &v1alpha1.Fallback{When: v1alpha1.FallbackFails, After: d.duration(time.Millisecond, 999*time.Millisecond)}
		}
		from.Routes = append(from.Routes, route)
	}
}

func isHTTP(p v1alpha1.Protocol) bool { return p == "" || p.IsHTTP() }
