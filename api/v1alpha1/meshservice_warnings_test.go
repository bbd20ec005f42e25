package v1alpha1

import (
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// toB is a spec with a destination of which a route, with this fallback, leads to another
// one with these fields.
func toB(fallback, fields string) string {
	if fallback != "" {
		fallback = ", " + fallback
	}
	return "egress: [{name: a, host: a.example.com, port: 80, routes: [{headers: [{name: x, value: blue}], to: b" + fallback + "}]}, {name: b, host: b.example.com, port: 80, " + fields + "}]"
}

func TestWarnMeshService(t *testing.T) {
	tests := []struct {
		name, spec string
		want       []string
	}{
		{"nothing", "inbound: [{port: 8080, timeout: 1s, maxConnectionAge: 5m}]", nil},
		{"an ordinary destination", destination("timeout: 1s, clientTimeout: 900ms, retries: {when: [Reset], perTryTimeout: 500ms}, idleTimeout: 1m"), nil},
		{"reserved port", "inbound: [{port: 5432}]", []string{
			"spec.inbound[0].port: 5432 is reserved for PostgreSQL and does not come to the sidecar, unless the configuration or the pods' annotations take it back",
		}},
		{"inbound timeout 0", "inbound: [{port: 8080, timeout: 0s}]", []string{"spec.inbound[0].timeout: 0s is no timeout, as if it were left out"}},
		{"young connections", "inbound: [{port: 8080, maxConnectionAge: 4m}]", []string{
			"spec.inbound[0].maxConnectionAge: 4m is not above 4m, to which the sidecars of clients keep connections: the server would end them while they are used",
		}},
		{"any age", "inbound: [{port: 8080, maxConnectionAge: 0s}]", nil},
		{"reserved destination", "egress: [{name: db, host: db.example.com, port: 3306, protocol: TCP}]", []string{
			"spec.egress[0].port: 3306 is reserved for MySQL and does not come to the sidecar, unless the configuration or the pods' annotations take it back",
		}},
		{"one name of a Service", "egress: [{name: a, host: cart.shop.svc.cluster.local, port: 80}, {name: b, host: ledger.money.svc, port: 80}, {name: c, host: stock, port: 80}]", []string{
			"spec.egress[0].host: is one of the names of a Service: service: {name: cart, namespace: shop} is all of them, as cart.shop",
			"spec.egress[1].host: is one of the names of a Service: service: {name: ledger, namespace: money} is all of them, as ledger.money",
			"spec.egress[2].host: is a name without a domain, as a Service has: then service: {name: stock} is all of its names, and not this one alone",
		}},
		{"names that no Service has", "egress: [{name: a, host: cart-0.cart.shop.svc.cluster.local, port: 80}, {name: b, host: cart.shop.svc.corp.example, port: 80}, {name: c, host: stock, port: 6000, protocol: TCP}]", nil},
		{"HTTPS as HTTP", "egress: [{name: api, host: api.example.com, port: 443}]", []string{
			"spec.egress[0].protocol: is HTTP, and on port 443 the app usually speaks TLS itself: then no request is seen; protocol TLS is what goes with it",
		}},
		{"HTTPS as TLS", "egress: [{name: api, host: api.example.com, port: 443, protocol: TLS}]", nil},
		{"timeout 0", destination("timeout: 0s"), []string{"spec.egress[0].timeout: 0s is no timeout, as if it were left out"}},
		{"deadline", destination("timeout: 5s, clientTimeout: 10s"), []string{
			"spec.egress[0].clientTimeout: 10s is longer than timeout, 5s: after 5s the app gets a 504 from the sidecar, not its own deadline",
		}},
		{"deadline alone", destination("clientTimeout: 10s"), nil},
		{"a deadline at the same time", destination("timeout: 5s, clientTimeout: 5s"), nil},
		{"idle for long", destination("idleTimeout: 61s"), []string{
			"spec.egress[0].idleTimeout: 1m1s is longer than many servers keep a connection (Node.js 5s, nginx 75s): requests fail that meet its end",
		}},
		{"retries without a timeout", destination("retries: {}"), []string{
			"spec.egress[0].retries: there is neither timeout nor perTryTimeout: a request that hangs is never tried again, and nothing bounds all of its attempts",
		}},
		{"retries that are cut", destination("timeout: 1s, retries: {when: [Unavailable], attempts: 2, perTryTimeout: 400ms}"), []string{
			"spec.egress[0].retries.perTryTimeout: 3 attempts of 400ms take up to 1.2s, and timeout ends them after 1s",
		}},
		{"retries that are bounded one by one", destination("retries: {when: [Reset], perTryTimeout: 400ms}"), nil},
		{"attempts that are given up for nothing", destination("timeout: 1s, retries: {perTryTimeout: 400ms}"), []string{
			"spec.egress[0].retries.perTryTimeout: matters only where when has Reset or Unavailable: no other request is tried again once it is sent, so it has all of timeout",
		}},
		{"safe methods for nothing", destination("timeout: 1s, retries: {safeMethods: [a.B/C]}"), []string{
			"spec.egress[0].retries.safeMethods: matters only where when has Reset or Unavailable: the other conditions are safe for every method",
		}},
		{"no method is safe", destination("protocol: GRPC, timeout: 1s, retries: {when: [Unavailable]}"), []string{
			"spec.egress[0].retries.when: gRPC methods are not retried on Reset and Unavailable, unless safeMethods lists them",
		}},
		{"safe methods", destination("protocol: GRPC, timeout: 1s, retries: {when: [Reset], safeMethods: [a.B/C]}"), nil},
		{"a fallback for methods that nobody named", "egress: [{name: a, host: a.example.com, port: 80, protocol: GRPC, routes: [{grpc: {service: a.B}, to: b, fallback: {when: Fails}}]}, {name: b, host: b.example.com, port: 80, protocol: GRPC}]", []string{
			"spec.egress[0].routes[0].fallback.when: Fails is for gRPC methods that are named, in grpc.methods or retries.safeMethods: for all others it is Absent, since they might be carried out twice",
		}},
		{"a fallback for calls that nobody named, by a header", "egress: [{name: a, host: a.example.com, port: 80, protocol: GRPC, routes: [{headers: [{name: x, value: blue}], to: b, fallback: {when: Fails}}]}, {name: b, host: b.example.com, port: 80, protocol: GRPC}]", []string{
			"spec.egress[0].routes[0].fallback.when: Fails is for gRPC methods that are named, in grpc.methods or retries.safeMethods: for all others it is Absent, since they might be carried out twice",
		}},
		{"a fallback for methods that nobody named, of any protocol", "egress: [{name: a, host: a.example.com, port: 80, routes: [{grpc: {service: a.B}, to: b, fallback: {when: Fails}}]}, {name: b, host: b.example.com, port: 80}]", []string{
			"spec.egress[0].routes[0].fallback.when: Fails is for gRPC methods that are named, in grpc.methods or retries.safeMethods: for all others it is Absent, since they might be carried out twice",
		}},
		{"a fallback for safe methods", "egress: [{name: a, host: a.example.com, port: 80, protocol: GRPC, timeout: 1s, retries: {when: [Reset], safeMethods: [a.B/C]}, routes: [{grpc: {service: a.B}, to: b, fallback: {when: Fails}}]}, {name: b, host: b.example.com, port: 80, protocol: GRPC}]", nil},
		{"a fallback for named methods", "egress: [{name: a, host: a.example.com, port: 80, protocol: GRPC, routes: [{grpc: {service: a.B, methods: [C]}, to: b, fallback: {when: Fails}}]}, {name: b, host: b.example.com, port: 80, protocol: GRPC}]", nil},
		{"a fallback sooner than connections", "egress: [{name: a, host: a.example.com, port: 80, routes: [{headers: [{name: x, value: blue}], to: b, fallback: {when: Fails}}]}, {name: b, host: b.example.com, port: 80, connectTimeout: 2s}]", []string{
			"spec.egress[1].connectTimeout: 2s is longer than fallback.after of spec.egress[0].routes[0], which bounds connections to b for everybody: it is 100ms",
		}},
		{"a timeout sooner than connections", "egress: [{name: a, host: a.example.com, port: 80, timeout: 1s, routes: [{headers: [{name: x, value: blue}], to: b, fallback: {}}]}, {name: b, host: b.example.com, port: 80, connectTimeout: 2s}]", []string{
			"spec.egress[1].connectTimeout: 2s is longer than half of spec.egress[0].timeout, which bounds connections to b for everybody: it is 500ms",
		}},
		{"connections that are retried", destination("timeout: 1s, connectTimeout: 501ms, retries: {}"), []string{
			"spec.egress[0].connectTimeout: 501ms is longer than half of spec.egress[0].timeout, which bounds connections to users for everybody: it is 500ms",
		}},
		{"connections that are not", destination("timeout: 1s, connectTimeout: 2s"), nil},
		{"connections that are no longer than that", destination("timeout: 1s, connectTimeout: 500ms, retries: {}"), nil},
		{"breakers before a fallback", toB("fallback: {}", "breakers: {maxRequests: 5, maxConnections: 3}"), []string{
			"spec.egress[1].breakers: spec.egress[0].routes[0] leads here with a fallback: a request beyond them gets 503 and does not fall back",
		}},
		{"connections before a fallback", toB("fallback: {}", "breakers: {maxConnections: 3}"), []string{
			"spec.egress[1].breakers: spec.egress[0].routes[0] leads here with a fallback: a request beyond them waits for a connection and does not fall back",
		}},
		{"breakers without a fallback", toB("", "breakers: {maxRequests: 5}"), nil},
		{"waiting requests before a fallback", toB("fallback: {}", "breakers: {maxPendingRequests: 5}"), []string{
			"spec.egress[1].breakers: spec.egress[0].routes[0] leads here with a fallback: a request beyond them gets 503 and does not fall back",
		}},
		{"a timeout where a route leads", toB("", "timeout: 1s, retries: {}"), []string{
			"spec.egress[1].timeout: is not for the requests that spec.egress[0].routes[0] leads here: they have what the destination has that the app called",
			"spec.egress[1].retries: is not for the requests that spec.egress[0].routes[0] leads here: they have what the destination has that the app called",
		}},
		{"no timeout where a route leads", toB("", "timeout: 0s"), []string{"spec.egress[1].timeout: 0s is no timeout, as if it were left out"}},
		{"a timeout where two routes lead", "egress: [{name: a, host: a.example.com, port: 80, routes: [{headers: [{name: x, value: blue}], to: b}, {headers: [{name: x, value: red}], to: b}]}, {name: b, host: b.example.com, port: 80, timeout: 1s}]", []string{
			"spec.egress[1].timeout: is not for the requests that spec.egress[0].routes[0] leads here: they have what the destination has that the app called",
		}},
		{"retries beside a fallback", "egress: [{name: a, host: a.example.com, port: 80, timeout: 1s, retries: {}, routes: [{headers: [{name: x, value: blue}], to: b}, {headers: [{name: x, value: red}], to: b, fallback: {}}]}, {name: b, host: b.example.com, port: 80}]", []string{
			"spec.egress[0].retries: are not for the requests of spec.egress[0].routes[1]: a fallback is the one retry that they have",
		}},
		{"safe methods beside a fallback", "egress: [{name: a, host: a.example.com, port: 80, timeout: 1s, retries: {when: [Reset], safeMethods: [a.B/C]}, routes: [{headers: [{name: x, value: blue}], to: b, fallback: {when: Fails}}]}, {name: b, host: b.example.com, port: 80}]", nil},
		{"HTTPS that comes in", "inbound: [{port: 8443, timeout: 1s, maxConnections: 5, rateLimit: {requests: 5}}]", []string{
			"spec.inbound[0].timeout: is about requests, and on port 8443 the app usually speaks TLS itself: then only bytes are seen, and it does nothing",
			"spec.inbound[0].rateLimit: is about requests, and on port 8443 the app usually speaks TLS itself: then only bytes are seen, and it does nothing",
		}},
		{"connections of HTTPS that comes in", "inbound: [{port: 443, maxConnections: 5}]", nil},
		{"requests of HTTPS that comes in", "inbound: [{port: 443, maxConcurrentRequests: 5}]", []string{
			"spec.inbound[0].maxConcurrentRequests: is about requests, and on port 443 the app usually speaks TLS itself: then only bytes are seen, and it does nothing",
		}},
		{"bytes on the port of HTTPS", "egress: [{name: a, host: a.example.com, port: 443, protocol: TCP, breakers: {maxConnections: 5}}]", []string{
			"spec.egress[0].protocol: is TCP: whatever is called on port 443 is this destination, whatever the host; protocol TLS tells hosts apart",
		}},
		{"bytes on a port of HTTP", "egress: [{name: a, host: a.example.com, port: 8080, protocol: TCP}]", []string{
			"spec.egress[0].protocol: is TCP: whatever is called on port 8080 is this destination, whatever the host; protocol HTTP tells hosts apart",
		}},
		{"bytes on the port of HTTP", "egress: [{name: a, host: a.example.com, port: 80, protocol: TCP}]", []string{
			"spec.egress[0].protocol: is TCP: whatever is called on port 80 is this destination, whatever the host; protocol HTTP tells hosts apart",
		}},
		{"limits of bytes", "egress: [{name: a, host: a.example.com, port: 7400, protocol: TCP, breakers: {maxConnections: 5}, connectTimeout: 1s}]", nil},
		{"limits of TLS", "egress: [{name: a, host: a.example.com, port: 443, protocol: TLS, breakers: {maxConnections: 5}, connectTimeout: 1s}]", nil},
		{"all is refused", "undeclaredEgress: Refused", []string{
			"spec.undeclaredEgress: is Refused and egress is empty: the app can call nothing that is led through the sidecar",
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			mesh, err := DecodeMeshService(meshDocument(test.spec))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, WarnMeshService(mesh)); diff != "" {
				t.Errorf("warnings (-want +got):\n%s", diff)
			}
		})
	}
}

// TestMeshServiceDefaults compares the shortest documents with all that they stand for.
func TestMeshServiceDefaults(t *testing.T) {
	const spec = `inbound: [{port: 8080, adaptiveConcurrency: {}, rateLimit: {requests: 7}}, {port: 9090, protocol: TCP}]
egress:
- {name: a, service: {name: a}, port: 80, retries: {}, outlierDetection: {}}
- {name: b, host: b.example.com, port: 443, protocol: TLS}
- {name: c, host: c.example.com, port: 80, protocol: HTTP2, routes: [{to: a, grpc: {service: S}, fallback: {}}, {to: a, grpc: {service: T}, fallback: {when: Fails}}]}`
	const full = `inbound:
- {port: 8080, protocol: HTTP, adaptiveConcurrency: {minConcurrency: 3, maxConcurrency: 1000, latencyHeadroomPercent: 25, measureEvery: 1m}, rateLimit: {requests: 7, per: 1s, burst: 7}}
- {port: 9090, protocol: TCP}
egress:
- {name: a, service: {name: a, namespace: shop}, port: 80, protocol: HTTP, maxConnectionAge: 4m, idleTimeout: 4s, connectTimeout: 5s, dnsRefresh: 5s,
   retries: {attempts: 1, when: [ConnectFailure, RefusedStream], budgetPercent: 20}, outlierDetection: {consecutiveErrors: 5, ejectionTime: 30s, maxEjectedPercent: 30}}
- {name: b, host: b.example.com, port: 443, protocol: TLS, connectTimeout: 5s}
- {name: c, host: c.example.com, port: 80, protocol: HTTP2, maxConnectionAge: 4m, idleTimeout: 4s, connectTimeout: 5s, dnsRefresh: 5s,
   routes: [{to: a, grpc: {service: S}, fallback: {when: Absent}}, {to: a, grpc: {service: T}, fallback: {when: Fails, after: 100ms}}]}
undeclaredEgress: Passthrough
statistics: {destinations: Standard, maxSeries: 2000}`
	got, err := DecodeMeshService(meshDocument(spec))
	if err != nil {
		t.Fatal(err)
	}
	want, err := DecodeMeshService(meshDocument(full))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("defaults (-want +got):\n%s", diff)
	}
}

// TestEveryMeshFieldHasABound sets each number and duration of the document that has
// all fields to less than any of them can be.
func TestEveryMeshFieldHasABound(t *testing.T) {
	data, err := os.ReadFile("testdata/mesh/good/full.yaml")
	if err != nil {
		t.Fatal(err)
	}
	checked := 0
	for _, path := range scalars(t, data) {
		mesh, err := DecodeMeshService(data)
		if err != nil {
			t.Fatal(err)
		}
		path.set(mesh)
		found := false
		for _, err := range ValidateMeshService(mesh) {
			found = found || err.Field == path.name
		}
		if !found {
			t.Errorf("%s: -1 is accepted", path.name)
		}
		checked++
	}
	if checked < 30 {
		t.Errorf("only %d fields were looked at", checked)
	}
}

// scalar is a number or a duration of a document.
type scalar struct {
	name string
	set  func(*MeshService)
}

// scalars are those that a document gives.
func scalars(t *testing.T, data []byte) []scalar {
	t.Helper()
	mesh, err := DecodeMeshService(data)
	if err != nil {
		t.Fatal(err)
	}
	var found []scalar
	var walk func(name string, value reflect.Value, at func(*MeshService) reflect.Value)
	walk = func(name string, value reflect.Value, at func(*MeshService) reflect.Value) {
		switch {
		case value.Kind() == reflect.Pointer && !value.IsNil():
			walk(name, value.Elem(), func(m *MeshService) reflect.Value { return at(m).Elem() })
		case value.Type() == reflect.TypeFor[metav1.Duration]():
			found = append(found, scalar{name, func(m *MeshService) { at(m).Field(0).SetInt(-1) }})
		case value.CanInt():
			found = append(found, scalar{name, func(m *MeshService) { at(m).SetInt(-1) }})
		case value.Kind() == reflect.Struct:
			for n := range value.NumField() {
				json, _, _ := strings.Cut(value.Type().Field(n).Tag.Get("json"), ",")
				walk(name+"."+json, value.Field(n), func(m *MeshService) reflect.Value { return at(m).Field(n) })
			}
		case value.Kind() == reflect.Slice:
			for n := range value.Len() {
				walk(fmt.Sprintf("%s[%d]", name, n), value.Index(n), func(m *MeshService) reflect.Value { return at(m).Index(n) })
			}
		}
	}
	spec := func(m *MeshService) reflect.Value { return reflect.ValueOf(&m.Spec).Elem() }
	walk("spec", spec(mesh), spec)
	return found
}
