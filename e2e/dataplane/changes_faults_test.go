package dataplane

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pillion-mesh/pillion/api/v1alpha1"
	"github.com/pillion-mesh/pillion/bootstrap"
	"github.com/pillion-mesh/pillion/e2e/injected"
	"github.com/pillion-mesh/pillion/e2e/sandbox"
	"github.com/pillion-mesh/pillion/e2e/traffic"
)

const (
	// sandboxHeader is what routes go by: "yes" has a request that may be carried out once,
	// "twice" one that may be carried out again.
	sandboxHeader = "X-Sandbox"
	faultyHost    = "faulty.test"

	nobodysPort, brokenPort, hangingPort = "7001", "7002", "7003"
)

// faulty are destinations that answer no request well. One that DNS does not know is waited
// for when it is new, so it is another one not too often, and routes change nothing of it:
// its connectTimeout is below what they ask for.
func (c *changes) faulty() []v1alpha1.Destination {
	all := []v1alpha1.Destination{
		{Name: "absent", Host: faultyHost, Port: number(nobodysPort)},
		{Name: "ghost", Host: fmt.Sprintf("ghost-%d.test", c.number/20), Port: number(httpPort)},
		{Name: "broken", Host: faultyHost, Port: number(brokenPort)},
		{Name: "hanging", Host: faultyHost, Port: number(hangingPort)},
	}
	for n := range all {
		all[n].ConnectTimeout = &metav1.Duration{Duration: 100 * time.Millisecond}
	}
	return all
}

func faultyNames() (names []string) {
	for _, d := range new(changes).faulty() {
		names = append(names, d.Name)
	}
	return names
}

// takesNone says whether no request comes to a destination, so that each may be led back.
func takesNone(d v1alpha1.Destination) bool { return d.Name == "absent" || d.Name == "ghost" }

// serveFaulty starts the servers of the faulty destinations.
func (s *shop) serveFaulty() {
	s.t.Helper()
	p := sandbox.NewPod(s.t, "faulty")
	s.dns.Set(faultyHost, p.IPv4)
	for port, handler := range map[string]http.HandlerFunc{
		brokenPort: func(w http.ResponseWriter, r *http.Request) {
			if !strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc") {
				w.WriteHeader(http.StatusInternalServerError)
				return
			}
			w.Header().Set("Content-Type", "application/grpc")
			w.Header().Set("Grpc-Status", "14") // UNAVAILABLE
		},
		hangingPort: func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
	} {
		server := &http.Server{Handler: handler, Protocols: new(http.Protocols)}
		server.Protocols.SetHTTP1(true)
		server.Protocols.SetUnencryptedHTTP2(true)
		p.Serve(s.t, port, server.Serve)
	}
}

// getTwice asks for what may be asked for twice, on connections that are kept.
func getTwice(dial func(context.Context, string, string) (net.Conn, error), url string) func(context.Context) error {
	transport := &http.Transport{DialContext: dial}
	return func(ctx context.Context) error {
		return traced(ctx, func(ctx context.Context) error {
			request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
			if err != nil {
				return err
			}
			request.Header.Set(sandboxHeader, "twice")
			_, err = traffic.Do(transport, request, "GET / 0 bytes")
			return err
		})
	}
}

// leadAstray leads some of the load's requests to faulty destinations or more, with a
// fallback that saves them.
func (c *changes) leadAstray(spec *v1alpha1.MeshServiceSpec, more ...v1alpha1.Destination) {
	spec.Egress = append(append(spec.Egress, c.faulty()...), more...)
	led := map[string]bool{}
	for n := range spec.Egress {
		for _, r := range spec.Egress[n].Routes {
			led[r.To] = true
		}
	}
	for n := range spec.Egress {
		d := &spec.Egress[n]
		switch {
		case led[d.Name] || !slices.Contains(backends(), strings.TrimSuffix(d.Host, ".test")):
		case d.Port == number(httpPort):
			c.leadHeaders(d, more)
		case d.Port == number(grpcPort):
			c.leadMethod(d)
		}
	}
}

func (c *changes) fallback(when v1alpha1.FallbackWhen) *v1alpha1.Fallback {
	f := &v1alpha1.Fallback{When: when}
	if when == v1alpha1.FallbackFails {
		f.After = c.some(100*time.Millisecond, 500*time.Millisecond)
	}
	return f
}

// oneOf picks a destination.
func (c *changes) oneOf(all []v1alpha1.Destination) string { return all[c.dice.IntN(len(all))].Name }

// leadHeaders leads what has the load's header to elsewhere.
func (c *changes) leadHeaders(d *v1alpha1.Destination, more []v1alpha1.Destination) {
	if c.maybe() && len(d.Routes) == 0 {
		takeNone := slices.DeleteFunc(c.faulty(), func(d v1alpha1.Destination) bool { return !takesNone(d) })
		when := []v1alpha1.FallbackWhen{v1alpha1.FallbackAbsent, v1alpha1.FallbackFails}[c.dice.IntN(2)]
		d.Routes = append(d.Routes, v1alpha1.Route{
			Headers: []v1alpha1.HeaderMatch{{Name: sandboxHeader, Value: "yes"}}, To: c.oneOf(append(takeNone, more...)), Fallback: c.fallback(when),
		})
	}
	d.Routes = append(d.Routes, v1alpha1.Route{
		Headers: []v1alpha1.HeaderMatch{{Name: sandboxHeader, Value: "twice"}}, To: c.oneOf(append(c.faulty(), more...)), Fallback: c.fallback(v1alpha1.FallbackFails),
	})
}

// leadMethod leads the gRPC method that the load calls to elsewhere. It may be called twice
// because the route names it, or because the retries do.
func (c *changes) leadMethod(d *v1alpha1.Destination) {
	const service, method = "grpc.health.v1.Health", "Check"
	match := &v1alpha1.GRPCMatch{Service: service, Methods: []string{method}}
	if c.maybe() {
		match.Methods = nil
		if d.Retries == nil {
			d.Retries = &v1alpha1.Retries{}
		}
		d.Retries.SafeMethods = []string{service + "/" + method}
	}
	d.Routes = append(d.Routes, v1alpha1.Route{GRPC: match, To: c.oneOf(c.faulty()), Fallback: c.fallback(v1alpha1.FallbackFails)})
}

// ways are those that requests took to a faulty destination and back, in all pods.
type ways struct {
	mutex sync.Mutex
	// taken is how many requests did, by the faulty destination and the port that they were for.
	taken map[string]uint64
	// waited is how many documents waited for DNS.
	waited int
}

// countSaved waits until requests have come back on each way of a generation that is in
// force, so that the next change finds some under way, and counts them.
func (s *shop) countSaved(g *bootstrap.Generation, saved *ways) {
	s.t.Helper()
	before := injected.Stats(s.t, s.pod)
	for _, of := range g.Clusters {
		name, from, both := strings.Cut(of.Plain(), "_else_")
		if !both || !slices.Contains(faultyNames(), name) {
			continue
		}
		// What has no address is not tried first.
		stat := "cluster." + of.Plain() + map[bool]string{true: ".upstream_rq_2xx", false: ".upstream_rq_retry_success"}[name == "ghost"]
		var more uint64
		sandbox.Eventually(s.t, "requests for "+from+" come back from the destination "+name, time.Minute, func() bool {
			more = injected.Stats(s.t, s.pod)[stat] - before[stat]
			return more > 0
		})
		saved.mutex.Lock()
		saved.taken[name+from[strings.LastIndex(from, "-"):]] += more
		saved.mutex.Unlock()
	}
}

// expectAll expects requests to have taken each way.
func (w *ways) expectAll(t *testing.T) {
	t.Helper()
	t.Logf("requests that a fallback saved: %v; documents that waited for DNS: %d", w.taken, w.waited)
	for _, name := range faultyNames() {
		for _, port := range []string{httpPort, grpcPort} {
			if w.taken[name+"-"+port] == 0 {
				t.Errorf("no request for port %s was led to the destination %s: this test cannot fail", port, name)
			}
		}
	}
	if w.waited == 0 {
		t.Error("no document waited for DNS")
	}
}

// waitsForDNS applies a document with a destination for which DNS fails: what was in force
// stays in force. Then DNS is mended, and it is the one in force, or the next document
// comes, and it is nil.
func (s *shop) waitsForDNS(of *changes, saved *ways) *bootstrap.Generation {
	s.t.Helper()
	running := s.status().Running
	// Another one each time: what is known by its name already is not lost by a DNS that fails.
	name := fmt.Sprintf("lost-%d", of.number)
	lost := hostOf(name)
	s.dns.Set(lost, s.backends["payments"].IPv4)
	s.dns.FailFor(lost, true)
	g := of.of(s.t, of.spec(v1alpha1.Destination{Name: name, Host: lost, Port: number(httpPort)}))
	s.apply(g)
	s.awaitReason("DNS fails for the destination " + name)
	if is := s.status(); running == nil || is.Running == nil || *is.Running != *running {
		s.t.Errorf("running %+v while it waits for DNS, want %+v as before", is.Running, running)
	}
	saved.mutex.Lock()
	saved.waited++
	saved.mutex.Unlock()
	if of.maybe() {
		return nil
	}
	s.dns.FailFor(lost, false)
	s.await(g.Version)
	return g
}
