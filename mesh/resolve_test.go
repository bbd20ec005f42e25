package mesh

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pillion-mesh/pillion/api/v1alpha1"
)

func decoded(t *testing.T, spec string) *v1alpha1.MeshService {
	t.Helper()
	document, err := v1alpha1.DecodeMeshService([]byte("apiVersion: pillion.dev/v1alpha1\nkind: MeshService\n" +
		"metadata: {name: checkout, namespace: shop, generation: 4, creationTimestamp: \"2026-11-28T03:00:00Z\"}\nspec:\n" + spec))
	if err != nil {
		t.Fatal(err)
	}
	return document
}

func resolved(t *testing.T, spec string) *Service {
	t.Helper()
	service, err := Resolve(decoded(t, spec))
	if err != nil {
		t.Fatal(err)
	}
	return service
}

// TestResolve has every field of the document once.
func TestResolve(t *testing.T) {
	got := resolved(t, `
  inbound:
  - {port: 9000, protocol: TCP, maxConnections: 7}
  - port: 8080
    timeout: 5s
    maxConcurrentRequests: 1
    maxConnections: 2
    maxConcurrentStreams: 3
    maxConnectionAge: 0s
    adaptiveConcurrency: {minConcurrency: 4, maxConcurrency: 5, latencyHeadroomPercent: 6, measureEvery: 7s}
    rateLimit: {requests: 8, per: 9s, burst: 10}
  egress:
  - {name: ledger, service: {name: ledger, namespace: money}, port: 80}
  - name: cart
    service: {name: cart}
    port: 8080
    protocol: HTTP2
    timeout: 10s
    retries: {attempts: 2, when: [Reset, Unavailable], safeMethods: [s.B/Get, s.A/Get], perTryTimeout: 3s, budgetPercent: 4}
    breakers: {maxConnections: 5, maxPendingRequests: 6, maxRequests: 7}
    outlierDetection: {consecutiveErrors: 8, ejectionTime: 9s, maxEjectedPercent: 10}
    maxConnectionAge: 11s
    idleTimeout: 12s
    connectTimeout: 13s
    dnsRefresh: 14s
    routes:
    - {headers: [{name: X-Sandbox, value: Blue}], to: ledger, fallback: {}}
    - {grpc: {service: s.A, methods: [Put, Get]}, to: ledger, fallback: {when: Fails, after: 15ms}}
  - {name: db, host: db.example.com, port: 6000, protocol: TLS}
  undeclaredEgress: Refused
  statistics: {destinations: None, maxSeries: 100}
`)
	want := &Service{
		Name: "checkout", Namespace: "shop", Created: 1795834800, Number: 4, RefuseUndeclared: true,
		Statistics: Statistics{Destinations: None, MaxSeries: 100},
		Inbound: []Inbound{
			{
				Port: 8080, Timeout: 5 * time.Second, MaxRequests: 1, MaxConnections: 2, MaxStreams: 3, MaxConnectionAge: InboundAge{Given: true},
				Adaptive: Adaptive{Min: 4, Max: 5, HeadroomPercent: 6, MeasureEvery: 7 * time.Second}, Rate: Rate{Requests: 8, Per: 9 * time.Second, Burst: 10},
			},
			{Port: 9000, TCP: true, MaxConnections: 7},
		},
		Egress: []Destination{
			{
				Name: "cart", Address: "cart.shop.svc", Hosts: []string{"cart", "cart.shop", "cart.shop.svc", "cart.shop.svc.cluster.local"}, Port: 8080, Protocol: HTTP2,
				Timeout:        10 * time.Second,
				Retries:        Retries{Attempts: 2, Reset: true, Unavailable: true, SafeMethods: []string{"s.A/Get", "s.B/Get"}, PerTryTimeout: 3 * time.Second, BudgetPercent: 4},
				MaxConnections: 5, MaxPending: 6, MaxRequests: 7,
				Outliers:         Outliers{ConsecutiveErrors: 8, EjectionTime: 9 * time.Second, MaxEjectedPercent: 10},
				MaxConnectionAge: 11 * time.Second, IdleTimeout: 12 * time.Second, ConnectTimeout: 13 * time.Second, DNSRefresh: 14 * time.Second,
				Routes: []Route{
					{Headers: []Header{{"x-sandbox", "Blue"}}, To: "ledger", Fallback: FallbackAbsent},
					{Service: "s.A", Methods: []string{"Put", "Get"}, To: "ledger", Fallback: FallbackFails, After: 15 * time.Millisecond},
				},
			},
			{Name: "db", Address: "db.example.com", Hosts: []string{"db.example.com"}, Port: 6000, Protocol: TLS, ConnectTimeout: 5 * time.Second},
			{
				Name: "ledger", Address: "ledger.money.svc", Hosts: []string{"ledger.money", "ledger.money.svc", "ledger.money.svc.cluster.local"}, Port: 80, Protocol: HTTP,
				MaxConnectionAge: 4 * time.Minute, IdleTimeout: 4 * time.Second, ConnectTimeout: 15 * time.Millisecond, DNSRefresh: 5 * time.Second,
			},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestResolveIsSafe: a document as an API server gives it has no defaults and was not
// validated here, and belongs to somebody else.
func TestResolveIsSafe(t *testing.T) {
	document := &v1alpha1.MeshService{Spec: v1alpha1.MeshServiceSpec{Egress: []v1alpha1.Destination{{Name: "cart", Host: "cart.test", Port: 80}}}}
	document.Name, document.Namespace = "checkout", "shop"
	before := document.DeepCopy()
	service, err := Resolve(document)
	if err != nil || service.Egress[0].ConnectTimeout == 0 || service.Egress[0].Protocol != HTTP {
		t.Errorf("%+v, %v", service, err)
	}
	if diff := cmp.Diff(before, document); diff != "" {
		t.Errorf("the document is another one now:\n%s", diff)
	}
	// Who renders a file may leave the namespace to whoever applies it.
	document.Namespace, document.Spec.Egress[0].Host, document.Spec.Egress[0].Service = "", "", &v1alpha1.ServiceReference{Name: "cart"}
	if service, err = Resolve(document); err != nil || service.Egress[0].Address != "cart" {
		t.Errorf("without a namespace: %+v, %v", service, err)
	}
	document.Namespace = "shop"
	document.Spec.Egress[0].Port = 0
	if _, err := Resolve(document); err == nil || !strings.Contains(err.Error(), "MeshService shop/checkout: spec.egress[0].port") {
		t.Errorf("what is not valid is resolved: %v", err)
	}
}

// TestConnectingIsBounded: an address that takes no connection leaves time for another
// one, or for the destination that there is a fallback to.
func TestConnectingIsBounded(t *testing.T) {
	to := func(fallback string) string {
		return ", routes: [{headers: [{name: x, value: blue}], to: b" + fallback + "}]"
	}
	for _, test := range []struct {
		name, a string
		// want are the connect timeouts of a, and of b, which routes of a lead to.
		want [2]time.Duration
	}{
		{"nothing else is tried", "timeout: 1s", [2]time.Duration{5 * time.Second, 5 * time.Second}},
		{"retries", "timeout: 1s, retries: {}", [2]time.Duration{500 * time.Millisecond, 5 * time.Second}},
		{"retries of something else", "timeout: 1s, retries: {when: [Reset], perTryTimeout: 300ms}", [2]time.Duration{5 * time.Second, 5 * time.Second}},
		{"retries without a timeout", "retries: {}", [2]time.Duration{5 * time.Second, 5 * time.Second}},
		{"attempts", "timeout: 1s, retries: {perTryTimeout: 300ms}", [2]time.Duration{300 * time.Millisecond, 5 * time.Second}},
		{"shorter anyway", "timeout: 1s, connectTimeout: 20ms, retries: {}", [2]time.Duration{20 * time.Millisecond, 5 * time.Second}},
		{"no half millisecond", "timeout: 3ms, retries: {}", [2]time.Duration{time.Millisecond, 5 * time.Second}},
		{"never none", "timeout: 1ms, retries: {}", [2]time.Duration{time.Millisecond, 5 * time.Second}},
		{"a route with retries", "timeout: 1s, retries: {}" + to(""), [2]time.Duration{500 * time.Millisecond, 500 * time.Millisecond}},
		{"a route without", "timeout: 1s" + to(""), [2]time.Duration{5 * time.Second, 5 * time.Second}},
		{"a fallback", "timeout: 1s" + to(", fallback: {}"), [2]time.Duration{5 * time.Second, 500 * time.Millisecond}},
		{"a fallback without a timeout", "timeout: 0s" + to(", fallback: {}"), [2]time.Duration{5 * time.Second, 5 * time.Second}},
		{"a fallback from any failure", "timeout: 1s" + to(", fallback: {when: Fails, after: 70ms}"), [2]time.Duration{5 * time.Second, 70 * time.Millisecond}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := resolved(t, "  egress:\n  - {name: a, host: a.example.com, port: 80, "+test.a+"}\n  - {name: b, host: b.example.com, port: 80}\n")
			if got := [2]time.Duration{s.Egress[0].ConnectTimeout, s.Egress[1].ConnectTimeout}; got != test.want {
				t.Errorf("%v, want %v", got, test.want)
			}
		})
	}
}
