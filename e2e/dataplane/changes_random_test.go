package dataplane

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pillion-mesh/pillion/api/v1alpha1"
	"github.com/pillion-mesh/pillion/bootstrap"
	"github.com/pillion-mesh/pillion/envoy"
	"github.com/pillion-mesh/pillion/mesh"
)

// backends are what the service calls, by the first part of their names.
func backends() []string { return []string{"payments", "cart", "search"} }

func hostOf(backend string) string { return backend + ".test" }

// changes makes one random MeshService after the other: each of them one that the load
// of a test sees nothing of.
type changes struct {
	dice   *rand.Rand
	number int64
	// faults makes some requests take a way on which a fallback alone saves them: see faulty.
	faults bool
}

var changesSeed = flag.Uint64("changes.seed", 0, "seed of the random MeshServices; 0 takes one from the clock")

// newChanges are random ones with faults. Each stream of them is another.
func newChanges(t *testing.T, stream uint64) *changes {
	t.Helper()
	seed := *changesSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("again with: -changes.seed=%d", seed)
	return &changes{dice: rand.New(rand.NewPCG(seed, stream)), faults: true}
}

// next is the generation of the next one.
func (c *changes) next(t *testing.T) *bootstrap.Generation {
	t.Helper()
	return c.of(t, c.spec())
}

// of is the generation of the next number that says so.
func (c *changes) of(t *testing.T, spec v1alpha1.MeshServiceSpec) *bootstrap.Generation {
	t.Helper()
	c.number++
	document := &v1alpha1.MeshService{ObjectMeta: metav1.ObjectMeta{
		Name: "shop", Namespace: "default", Generation: c.number, CreationTimestamp: metav1.Unix(1_700_000_000, 0),
	}}
	document.Spec = spec
	v1alpha1.DefaultMeshService(document)
	if errs := v1alpha1.ValidateMeshService(document); len(errs) > 0 {
		t.Fatalf("a document that should be valid: %v", errs)
	}
	service, err := mesh.Resolve(document)
	if err != nil {
		t.Fatal(err)
	}
	g, err := envoy.Render(service)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func (c *changes) maybe() bool { return c.dice.IntN(2) == 0 }

// some is a duration from one to another.
func (c *changes) some(from, to time.Duration) *metav1.Duration {
	if c.maybe() {
		return nil
	}
	return &metav1.Duration{Duration: (from + time.Duration(c.dice.Int64N(int64(to-from)))).Round(100 * time.Millisecond)}
}

func (c *changes) most(from int32) *int32 {
	if c.maybe() {
		return nil
	}
	return new(from + c.dice.Int32N(1000))
}

// spec is a random document, with more destinations if there are faults.
func (c *changes) spec(more ...v1alpha1.Destination) (spec v1alpha1.MeshServiceSpec) {
	for _, port := range []string{httpPort, grpcPort, "8081"} {
		if c.maybe() {
			spec.Inbound = append(spec.Inbound, c.inbound(number(port)))
		}
	}
	// What is passed on byte by byte is declared by all, since nothing else keeps connections
	// of the load alive that last as long as it does.
	spec.Inbound = append(spec.Inbound, v1alpha1.InboundPort{Port: number(echoPort), Protocol: v1alpha1.InboundTCP, MaxConnections: c.most(10_000)})
	all := c.dice.IntN(3) == 0
	for _, backend := range backends() {
		for _, on := range []struct {
			port      string
			protocols []v1alpha1.Protocol
		}{
			{httpPort, []v1alpha1.Protocol{v1alpha1.ProtocolHTTP, v1alpha1.ProtocolHTTP1, v1alpha1.ProtocolHTTP2}},
			{grpcPort, []v1alpha1.Protocol{v1alpha1.ProtocolHTTP, v1alpha1.ProtocolHTTP2, v1alpha1.ProtocolGRPC}},
			{tlsPort, []v1alpha1.Protocol{v1alpha1.ProtocolTLS}},
		} {
			if all || c.maybe() || backend == keeps && on.port == tlsPort {
				spec.Egress = append(spec.Egress, c.destination(backend, number(on.port), on.protocols[c.dice.IntN(len(on.protocols))]))
			}
		}
	}
	spec.Egress = append(spec.Egress, c.destination("payments", number(echoPort), v1alpha1.ProtocolTCP))
	if all {
		spec.UndeclaredEgress = v1alpha1.UndeclaredRefused
	}
	if c.maybe() {
		spec.Statistics = &v1alpha1.Statistics{Destinations: v1alpha1.StatisticsDetailed, MaxSeries: c.most(100)}
	}
	c.dice.Shuffle(len(spec.Egress), func(a, b int) { spec.Egress[a], spec.Egress[b] = spec.Egress[b], spec.Egress[a] })
	c.lead(spec.Egress)
	if c.faults {
		c.leadAstray(&spec, more...)
	}
	return spec
}

func number(port string) int32 {
	n, err := strconv.Atoi(port)
	if err != nil {
		panic(err)
	}
	return int32(n)
}

func (c *changes) inbound(port int32) v1alpha1.InboundPort {
	p := v1alpha1.InboundPort{
		Port: port, Timeout: c.some(10*time.Second, time.Minute), MaxConnectionAge: c.some(time.Second, time.Minute),
		MaxConcurrentRequests: c.most(10_000), MaxConnections: c.most(10_000), MaxConcurrentStreams: c.most(100),
	}
	if c.maybe() {
		p.RateLimit = &v1alpha1.RateLimit{Requests: 100_000}
	}
	if c.maybe() {
		// More than the load has under way, at its lowest.
		p.AdaptiveConcurrency = &v1alpha1.AdaptiveConcurrency{MinConcurrency: new(int32(500)), MeasureEvery: c.some(10*time.Second, time.Minute)}
	}
	return p
}

func (c *changes) destination(backend string, port int32, protocol v1alpha1.Protocol) v1alpha1.Destination {
	d := v1alpha1.Destination{Name: fmt.Sprintf("%s-%d", backend, port), Host: hostOf(backend), Port: port, Protocol: protocol}
	if !protocol.IsHTTP() {
		d.ConnectTimeout, d.Breakers = c.some(time.Second, time.Minute), &v1alpha1.Breakers{MaxConnections: c.most(10_000)}
		return d
	}
	d.Timeout, d.MaxConnectionAge = c.some(10*time.Second, time.Minute), c.some(time.Second, time.Minute)
	d.IdleTimeout, d.DNSRefresh = c.some(time.Second, 10*time.Second), c.some(time.Second, 10*time.Second)
	if c.maybe() {
		d.Breakers = &v1alpha1.Breakers{MaxConnections: c.most(10_000), MaxPendingRequests: c.most(10_000), MaxRequests: c.most(10_000)}
	}
	if c.maybe() {
		d.Retries = &v1alpha1.Retries{Attempts: new(1 + c.dice.Int32N(3))}
	}
	if c.maybe() {
		d.OutlierDetection = &v1alpha1.OutlierDetection{}
	}
	return d
}

// lead leads some requests to a destination elsewhere, where the same is served. That
// one has no routes of its own.
func (c *changes) lead(egress []v1alpha1.Destination) {
	to := slices.IndexFunc(egress, func(d v1alpha1.Destination) bool { return d.Port == number(httpPort) })
	for n := range egress {
		if n == to || egress[n].Port != number(httpPort) || c.maybe() {
			continue
		}
		r := v1alpha1.Route{To: egress[to].Name, Headers: []v1alpha1.HeaderMatch{{Name: sandboxHeader, Value: "yes"}}}
		if c.maybe() {
			r.Fallback = &v1alpha1.Fallback{}
		}
		egress[n].Routes = []v1alpha1.Route{r}
	}
}
