package dataplane

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pillion-mesh/pillion/api/v1alpha1"
	"github.com/pillion-mesh/pillion/bootstrap"
	"github.com/pillion-mesh/pillion/e2e/injected"
	"github.com/pillion-mesh/pillion/e2e/sandbox"
	"github.com/pillion-mesh/pillion/e2e/traffic"
	"github.com/pillion-mesh/pillion/lifecycle"
)

// calling is a generation with these destinations.
func (c *changes) calling(t *testing.T, change func(*v1alpha1.MeshServiceSpec), egress ...v1alpha1.Destination) *bootstrap.Generation {
	t.Helper()
	spec := v1alpha1.MeshServiceSpec{Egress: egress}
	if change != nil {
		change(&spec)
	}
	return c.of(t, spec)
}

func payments(host string) v1alpha1.Destination {
	return v1alpha1.Destination{Name: "payments", Host: host, Port: number(httpPort)}
}

func (s *shop) awaitReason(says string) {
	s.t.Helper()
	var is lifecycle.MeshStatus
	sandbox.Eventually(s.t, "it waits: "+says, time.Minute, func() bool {
		is = s.status()
		return is.State == lifecycle.MeshApplying && strings.Contains(is.Reason, says)
	})
}

// TestNameThatDoesNotResolve: a destination that works stays as it is until DNS has an
// address for what it is changed to; one that is new does not keep the others from
// changing.
func TestNameThatDoesNotResolve(t *testing.T) {
	t.Parallel()
	s := newShop(t, want{})
	of := &changes{}
	works := of.calling(t, nil, payments(hostOf("payments")))
	s.apply(works)
	s.await(works.Version)
	s.expectNone(s.underCalls(func() {
		wrong := of.calling(t, nil, payments("nowhere.test"))
		s.apply(wrong)
		s.awaitReason("DNS has no address for the destination payments as it is wanted now, and has one as it was before")
		if is := s.status(); is.Running.Version != works.Version {
			t.Errorf("running %+v", is.Running)
		}
		// Something newer wins.
		other := payments(hostOf("payments"))
		other.Timeout = &metav1.Duration{Duration: time.Minute}
		more := of.calling(t, nil, other, v1alpha1.Destination{Name: "ghost", Host: "ghost.test", Port: number(httpPort)})
		s.apply(more)
		s.await(more.Version)
		s.apply(of.calling(t, nil, payments("nowhere.test")))
		s.awaitReason("DNS has no address for the destination payments")
		s.dns.Set("nowhere.test", s.backends["payments"].IPv4)
		s.awaitState(lifecycle.MeshApplied)
	}))
}

// never is how late a DNS answers that nobody hears from.
const never = 1000 * time.Hour

// TestStartsWithoutDNS: with a resolver that nobody hears from, a pod is ready within
// seconds with what it has, which is the last generation where there was one.
func TestStartsWithoutDNS(t *testing.T) {
	t.Parallel()
	s := newShop(t, want{})
	of := &changes{}
	g := of.calling(t, nil, payments(hostOf("payments")))
	s.apply(g)
	s.await(g.Version)
	took := func(what string, start func()) time.Duration {
		began := time.Now()
		start()
		d := time.Since(began)
		t.Logf("%s: ready after %s", what, d)
		return d
	}
	s.pod.Kill()
	usual := took("a container that was killed, while DNS answers", s.restart)
	s.dns.Slow(never)
	more := of.calling(t, nil, payments(hostOf("payments")), v1alpha1.Destination{Name: "cart", Host: hostOf("cart"), Port: number(httpPort)})
	s.apply(more)
	s.awaitReason("for the destination cart")
	s.pod.Kill()
	ready := func(what string, start func()) {
		// What a machine takes for a start, it may take twice; a resolver's own patience is longer.
		if d := took(what, start); d > 2*usual+10*time.Second {
			t.Errorf("%s: it took %s to be ready, and %s while DNS answers", what, d, usual)
		}
	}
	ready("a container that was killed", s.restart)
	if is := s.status(); is.Running == nil || is.Running.Version != g.Version {
		t.Errorf("running %+v, want %s", is.Running, g.Version)
	}
	s.dns.Slow(0)
	s.await(more.Version)

	p := sandbox.NewPod(t, "shop")
	p.DNS, p.ConfigMaps = sandbox.NewDNS(t), s.pod.ConfigMaps
	p.DNS.Slow(never)
	var fresh *sandbox.Running
	ready("a new pod", func() { fresh = run(t, p, want{}, sandbox.App{}) })
	began := time.Now()
	sandbox.Eventually(t, "it gives up waiting for names that nobody answers for", time.Minute, func() bool {
		return (&shop{t: t, pod: fresh, outside: s.outside}).status().State == lifecycle.MeshApplied
	})
	t.Logf("after another %s all of the rest is in force", time.Since(began))
}

// TestDNSFails: a destination that works without being declared is not led to nowhere while
// DNS fails, however long that lasts.
func TestDNSFails(t *testing.T) {
	t.Parallel()
	t.Run("for a new destination", func(t *testing.T) {
		t.Parallel()
		s, of := newShop(t, want{}), &changes{}
		works := of.calling(t, nil, payments(hostOf("payments")))
		s.apply(works)
		s.await(works.Version)
		s.waitsWhileDNSFails(of)
	})
	t.Run("for the first document of a pod that runs", func(t *testing.T) {
		t.Parallel()
		newShop(t, want{}).waitsWhileDNSFails(&changes{})
	})
	// The app of a container that is killed runs on, and may know an address from before.
	t.Run("for the first document, and the container is killed", func(t *testing.T) {
		t.Parallel()
		s, of := newShop(t, want{}), &changes{}
		s.dns.FailFor(hostOf("cart"), true)
		g := of.calling(t, nil, v1alpha1.Destination{Name: "cart", Host: hostOf("cart"), Port: number(httpPort)})
		s.apply(g)
		s.awaitReason("DNS fails for the destination cart")
		s.pod.Kill()
		s.restart()
		s.awaitReason("DNS fails for the destination cart")
		first := hostOf("cart") + ".default.svc.cluster.local"
		asked := s.dns.Queries(first)
		sandbox.Eventually(t, "DNS has failed many times", time.Minute, func() bool { return s.dns.Queries(first) > asked+12 })
		if is := s.status(); is.State != lifecycle.MeshApplying || is.Running != nil {
			t.Errorf("it is %+v, running %+v", is, is.Running)
		}
		s.dns.FailFor(hostOf("cart"), false)
		s.await(g.Version)
	})
}

func (s *shop) waitsWhileDNSFails(of *changes) {
	s.t.Helper()
	running := s.status().Running
	s.expectNone(s.underCalls(func() {
		s.dns.Fail(true)
		// The first name that is looked for, since a server that fails ends the search.
		first := hostOf("cart") + ".default.svc.cluster.local"
		asked := s.dns.Queries(first)
		more := of.calling(s.t, nil, payments(hostOf("payments")), v1alpha1.Destination{Name: "cart", Host: hostOf("cart"), Port: number(httpPort)})
		s.apply(more)
		s.awaitReason("DNS fails for the destination")
		// Envoy asks again after 1 to 5 s, each time more than once.
		sandbox.Eventually(s.t, "DNS has failed many times", time.Minute, func() bool { return s.dns.Queries(first) > asked+12 })
		if is := s.status(); is.State != lifecycle.MeshApplying || !cmp.Equal(is.Running, running) {
			s.t.Errorf("it is %+v, running %+v", is, is.Running)
		}
		s.dns.Fail(false)
		s.await(more.Version)
	}))
}

// TestDNSFailsForAnotherHost: that DNS answers for a destination as it was before says nothing
// about the host that it has now. One that has no address as it is in force is exchanged
// for whatever it is to be.
func TestDNSFailsForAnotherHost(t *testing.T) {
	t.Parallel()
	s := newShop(t, want{})
	of := &changes{}
	applied := func(egress ...v1alpha1.Destination) {
		g := of.calling(t, nil, egress...)
		s.apply(g)
		s.await(g.Version)
	}
	cart := func(host string) v1alpha1.Destination {
		return v1alpha1.Destination{Name: "cart", Host: host, Port: number(httpPort)}
	}
	s.dns.FailFor("lost.test", true)
	applied(payments(hostOf("payments")), cart(hostOf("cart")))
	applied(payments(hostOf("payments")))
	g := of.calling(t, nil, payments(hostOf("payments")), cart("lost.test"))
	s.apply(g)
	s.awaitReason("destination cart")
	s.awaitReason("DNS fails for the destination cart")
	first := "lost.test.default.svc.cluster.local"
	asked := s.dns.Queries(first)
	sandbox.Eventually(t, "DNS has failed many times", time.Minute, func() bool { return s.dns.Queries(first) > asked+12 })
	if is := s.status(); is.State != lifecycle.MeshApplying || is.Wanted.Version != g.Version {
		t.Errorf("while DNS fails it is %+v", is)
	}
	// Another document, whose clusters Envoy has already.
	patient := cart("lost.test")
	patient.Timeout = &metav1.Duration{Duration: time.Minute}
	g = of.calling(t, nil, payments(hostOf("payments")), patient)
	s.apply(g)
	sandbox.Eventually(t, "it waits, too", time.Minute, func() bool {
		is := s.status()
		return is.Wanted.Version == g.Version && strings.Contains(is.Reason, "DNS fails for the destination cart")
	})
	s.dns.FailFor("lost.test", false)
	s.await(g.Version) // there is no such name
	for _, host := range []string{"lost.test", "worse.test"} {
		s.dns.FailFor(host, true)
	}
	applied(payments(hostOf("payments")), cart("worse.test"))
	// One that goes where the app calls works without an address.
	bytes := cart("worse.test")
	bytes.Protocol = v1alpha1.ProtocolTCP
	applied(payments(hostOf("payments")), bytes)
	s.apply(of.calling(t, nil, payments(hostOf("payments")), cart("worse.test")))
	s.awaitReason("DNS fails for the destination cart")
}

// TestStartsWithGeneration: what the folder has at the start is in force before the app
// starts, with a DNS that takes its time, with a destination that does not exist and with one
// that DNS fails for, which nothing can have worked with.
func TestStartsWithGeneration(t *testing.T) {
	t.Parallel()
	ghost := v1alpha1.Destination{Name: "ghost", Host: "ghost.test", Port: number(httpPort)}
	// Of the 3 s that a pod waits, the names of the search list before the right one take a part each.
	slow := func(d *sandbox.DNS) { d.Slow(250 * time.Millisecond) }
	fails := func(d *sandbox.DNS) { d.FailFor("ghost.test", true) }
	t.Run("slow DNS", func(t *testing.T) { t.Parallel(); startsWith(t, slow, payments("payments.test")) })
	t.Run("a ghost", func(t *testing.T) { t.Parallel(); startsWith(t, nil, payments("payments.test"), ghost) })
	t.Run("DNS that fails", func(t *testing.T) { t.Parallel(); startsWith(t, fails, payments("payments.test"), ghost) })
}

func startsWith(t *testing.T, change func(*sandbox.DNS), egress ...v1alpha1.Destination) {
	t.Helper()
	of := &changes{dice: rand.New(rand.NewPCG(1, 6))}
	g := of.calling(t, func(s *v1alpha1.MeshServiceSpec) { s.UndeclaredEgress = v1alpha1.UndeclaredRefused }, egress...)
	data, err := g.Seal()
	if err != nil {
		t.Fatal(err)
	}
	p, server := sandbox.NewPod(t, "shop"), sandbox.NewPod(t, "payments")
	serve(t, server)
	p.DNS = sandbox.NewDNS(t)
	if change != nil {
		change(p.DNS)
	}
	p.DNS.Set("payments.test", server.IPv4)
	config := sandbox.NewConfigMap(t)
	config.Write(t, map[string][]byte{bootstrap.GenerationFile: data})
	p.ConfigMaps = map[string]*sandbox.ConfigMap{v1alpha1.MeshConfigMap("shop"): config}
	run(t, p, want{}, sandbox.App{Start: func() {
		if code, body := asked(t, p, server, httpPort, "other.test"); code != http.StatusForbidden || !strings.HasPrefix(body, "other.test:8080 is not among the destinations") {
			t.Errorf("the app's first call was answered: HTTP %d %s", code, body)
		}
	}})
}

// asked is the answer to a GET from a pod to another under a name.
func asked(t *testing.T, from, to *sandbox.Pod, port, host string) (int, string) {
	t.Helper()
	transport := &http.Transport{DisableKeepAlives: true, DialContext: traffic.Dialer(from, func() string { return to.IPv4.String() }, port)}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+net.JoinHostPort(host, port)+"/", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return 0, err.Error()
	}
	defer response.Body.Close()
	body, _ := io.ReadAll(response.Body)
	return response.StatusCode, string(body)
}

// TestOnlyOnePortDrains: what only a listener can hold changes for one port, and
// connections to another live on, however long they last. Timeouts change without any end.
func TestOnlyOnePortDrains(t *testing.T) {
	t.Parallel()
	s := newShop(t, want{configure: func(c *v1alpha1.InjectorConfig) { c.Lifecycle.DrainTime.Duration = 2 * time.Second }})
	of := &changes{}
	inbound := func(streams int32, timeout time.Duration) *bootstrap.Generation {
		return of.of(t, v1alpha1.MeshServiceSpec{Inbound: []v1alpha1.InboundPort{
			{Port: number(httpPort), MaxConcurrentStreams: &streams, Timeout: &metav1.Duration{Duration: timeout}}, {Port: number(echoPort), Protocol: v1alpha1.InboundTCP},
		}})
	}
	g := inbound(107, time.Minute)
	s.apply(g)
	s.await(g.Version)
	pick := func() string { return s.pod.IPv4.String() }
	open := func(port string) net.Conn {
		c, err := traffic.Dialer(s.outside, pick, port)(t.Context(), "", "")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	web, bytes, greets := open(httpPort), open(echoPort), open(greetPort)
	once := func(c net.Conn, say, hear string) error {
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		heard := make([]byte, len(hear))
		if _, err := io.WriteString(c, say); err != nil {
			return err
		}
		if _, err := io.ReadFull(c, heard); err != nil || string(heard) != hear {
			return fmt.Errorf("heard %q, %w", heard, err)
		}
		return nil
	}
	alive := func() error { return once(bytes, "hello", "hello") }
	if err := once(greets, "", "220 ready\n"); err != nil {
		t.Fatal(err)
	}
	const question = "GET /one HTTP/1.1\r\nHost: shop.test\r\n\r\n"
	if err := once(web, question, "HTTP/1.1 200 OK"); err != nil {
		t.Fatal(err)
	}
	if err := alive(); err != nil {
		t.Fatal(err)
	}
	// Routes alone: nothing drains.
	next := inbound(107, 50*time.Second)
	s.apply(next)
	s.await(next.Version)
	if draining := injected.Stats(t, s.pod)["listener_manager.total_filter_chains_draining"]; draining != 0 {
		t.Errorf("%d filter chains drain for a timeout", draining)
	}
	// What the listener has: those of that port.
	next = inbound(108, 50*time.Second)
	s.apply(next)
	s.await(next.Version)
	sandbox.Eventually(t, "the connection to the port that changed ends", 20*time.Second, func() bool {
		_ = web.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		_, err := io.Copy(io.Discard, web)
		return err == nil
	})
	sandbox.Eventually(t, "the drain is over", 20*time.Second, func() bool {
		return injected.Stats(t, s.pod)["listener_manager.total_filter_chains_draining"] == 0
	})
	if err := alive(); err != nil {
		t.Errorf("a connection to another port: %v", err)
	}
	if err := once(greets, "hello\n", "250 hello\n"); err != nil {
		t.Errorf("a connection to a port that nothing is said about: %v", err)
	}
}
