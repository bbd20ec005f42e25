package mesh

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDiff(t *testing.T) {
	const refused = "undeclared egress: Passthrough -> Refused (open connections to undeclared destinations that are no HTTP are drained once)\n"
	for _, test := range []struct{ name, from, to, want string }{
		{"nothing", `{inbound: [{port: 1}, {port: 2}]}`, `{inbound: [{port: 2}, {port: 1}]}`, ""},
		{"a default that is said", `{inbound: [{port: 1}]}`, `{inbound: [{port: 1, protocol: HTTP}], undeclaredEgress: Passthrough}`, ""},
		{"a timeout", `{inbound: [{port: 1, timeout: 2s}]}`, `{inbound: [{port: 1, timeout: 60s}]}`, "port 1: timeout 2s -> 1m\n"},
		{
			"streams", `{inbound: [{port: 1}]}`, `{inbound: [{port: 1, maxConcurrentStreams: 5}]}`,
			"port 1: streams of a connection to the app none -> 5\nport 1: streams of a client's connection none -> 100 (open connections are drained once)\n",
		},
		{
			"fewer streams than clients are told", `{inbound: [{port: 1, maxConcurrentStreams: 5}]}`, `{inbound: [{port: 1, maxConcurrentStreams: 50}]}`,
			"port 1: streams of a connection to the app 5 -> 50\n",
		},
		{"connections to HTTP", `{inbound: [{port: 1}]}`, `{inbound: [{port: 1, maxConnections: 5}]}`, "port 1: max connections none -> 5\n"},
		{
			"connections to TCP", `{inbound: [{port: 1, protocol: TCP}]}`, `{inbound: [{port: 1, protocol: TCP, maxConnections: 5}]}`,
			"port 1: max connections none -> 5\n",
		},
		{
			"a new port", `{}`, `{inbound: [{port: 1, adaptiveConcurrency: {}}]}`,
			"port 1: is new with adaptive concurrency 3 to 1000 requests, 25% headroom, measured every 1m (it holds for connections made from now on)\n",
		},
		{"a new destination", `{}`, `{egress: [{name: ledger, host: ledger.test, port: 8080}]}`, "ledger: new destination ledger.test:8080\n"},
		{
			"retries", `{egress: [{name: a, host: a.test, port: 8080}]}`, `{egress: [{name: a, host: a.test, port: 8080, retries: {}}]}`,
			"a: retries none -> 1 on ConnectFailure, RefusedStream, 20% of requests at most\n",
		},
		{
			"bytes", `{egress: [{name: a, host: a.test, port: 443, protocol: TLS}]}`, `{egress: [{name: a, host: a.test, port: 443, protocol: TLS, breakers: {maxConnections: 2}}]}`,
			"a: max connections none -> 2\n",
		},
		{
			"another server name", `{egress: [{name: a, host: a.test, port: 443, protocol: TLS}]}`, `{egress: [{name: a, host: b.test, port: 443, protocol: TLS}]}`,
			"a: address a.test -> b.test (open connections are drained once)\n",
		},
		{
			"another host for bytes", `{egress: [{name: a, host: a.test, port: 5432, protocol: TCP}]}`, `{egress: [{name: a, host: b.test, port: 5432, protocol: TCP}]}`,
			"a: address a.test -> b.test\n",
		},
		{
			"another port", `{egress: [{name: a, host: a.test, port: 5432, protocol: TCP}]}`, `{egress: [{name: a, host: a.test, port: 5433, protocol: TCP}]}`,
			"a: port 5432 -> 5433 (open connections are drained once)\n",
		},
		{
			"bytes that become HTTP", `{egress: [{name: a, host: a.test, port: 443, protocol: TLS}]}`, `{egress: [{name: a, host: a.test, port: 443}]}`,
			"a: protocol TLS -> HTTP (open connections are drained once)\n" +
				"a: max connection age any -> 4m\na: idle timeout none -> 4s\na: DNS refresh none -> 5s\n",
		},
		{
			"the host of a Service, and the Service", `{egress: [{name: a, host: cart.shop.svc, port: 80}]}`, `{egress: [{name: a, service: {name: cart}, port: 80}]}`,
			"a: called cart.shop.svc -> cart, cart.shop, cart.shop.svc, cart.shop.svc.cluster.local\n",
		},
		{
			"another name for it", `{egress: [{name: a, service: {name: cart}, port: 80}, {name: b, host: b.test, port: 80}]}`, `{egress: [{name: c, service: {name: cart}, port: 80}, {name: b2, host: b.test, port: 81}]}`,
			"a: is no longer a destination: cart.shop.svc:80 is c now, in statistics, too\nb: is no longer a destination: b.test:80 is undeclared\n" +
				"b2: new destination b.test:81\nc: new destination cart.shop.svc:80\n",
		},
		{
			"TCP takes its port", `{egress: [{name: db, host: db-old.x, port: 5432, protocol: TCP}]}`, `{undeclaredEgress: Refused, egress: [{name: db2, host: db-new.x, port: 5432, protocol: TCP}]}`,
			"db: is no longer a destination: db-old.x:5432 is db2 now, in statistics, too (open connections are drained once)\n" +
				"db2: new destination db-new.x:5432 with protocol TCP\n" + refused,
		},
		{
			"TCP takes TLS and HTTP", `{egress: [{name: a, host: a.test, port: 1, protocol: TLS}, {name: b, host: b.test, port: 1}, {name: c, host: c.test, port: 1, protocol: TCP}]}`, `{egress: [{name: c, host: c.test, port: 1, protocol: TCP}]}`,
			"a: is no longer a destination: a.test:1 is c now, in statistics, too (open connections are drained once)\n" +
				"b: is no longer a destination: b.test:1 is c now, in statistics, too\n",
		},
		{
			"TCP beside HTTP takes no HTTP", `{egress: [{name: a, host: a.test, port: 1, protocol: TLS}, {name: b, host: b.test, port: 1}, {name: c, host: c.test, port: 1, protocol: TCP}, {name: d, host: d.test, port: 1}]}`, `{egress: [{name: c, host: c.test, port: 1, protocol: TCP}, {name: d, host: d.test, port: 1}]}`,
			"a: is no longer a destination: a.test:1 is c now, in statistics, too (open connections are drained once)\n" +
				"b: is no longer a destination: b.test:1 is undeclared\n",
		},
		{
			"TCP beside HTTP takes no HTTP of its own host", `{egress: [{name: b, host: b.test, port: 1}, {name: d, host: d.test, port: 1}]}`, `{egress: [{name: c, host: b.test, port: 1, protocol: TCP}, {name: d, host: d.test, port: 1}]}`,
			"b: is no longer a destination: b.test:1 is undeclared\nc: new destination b.test:1 with protocol TCP\n",
		},
		{
			"a name before the port", `{egress: [{name: a, host: a.test, port: 1, protocol: TLS}, {name: b, host: b.test, port: 1, protocol: TCP}]}`, `{egress: [{name: b, host: b.test, port: 1, protocol: TCP}, {name: c, host: a.test, port: 1, protocol: TLS}]}`,
			"a: is no longer a destination: a.test:1 is c now, in statistics, too (open connections are drained once)\n" +
				"c: new destination a.test:1 with protocol TLS\n",
		},
		{"a route among others", between("x-1"), between("x-2"), "a: routes[1] [x-1=1 to b] -> [x-2=1 to b]\n"},
		{"all methods", withRoute("{grpc: {service: s.A, methods: [Get]}, to: b}"), withRoute("{grpc: {service: s.A}, to: b}"), "a: routes [s.A/Get to b] -> [s.A/* to b]\n"},
		{
			"a route before others", withRoute("{headers: [{name: b, value: '1'}], to: b}"), withRoute("{headers: [{name: x, value: '1'}], to: b}, {headers: [{name: b, value: '1'}], to: b}"),
			"a: routes[0] none -> [x=1 to b]\n",
		},
		{
			"everything of a port", `{inbound: [{port: 1}]}`,
			`{inbound: [{port: 1, timeout: 1h, maxConcurrentRequests: 1, maxConnections: 2, maxConcurrentStreams: 3, maxConnectionAge: 6m, adaptiveConcurrency: {}, rateLimit: {requests: 8}}]}`,
			"port 1: timeout none -> 1h\nport 1: max concurrent requests none -> 1\nport 1: max connections none -> 2\n" +
				"port 1: streams of a connection to the app none -> 3\nport 1: streams of a client's connection none -> 100 (open connections are drained once)\n" +
				"port 1: max connection age the sidecar's own -> 6m (open connections are drained once)\n" +
				"port 1: adaptive concurrency off -> 3 to 1000 requests, 25% headroom, measured every 1m (open connections are drained once)\n" +
				"port 1: rate limit none -> 8 per 1s, 8 at once (open connections are drained once)\n",
		},
		{"a port that becomes one of bytes", `{inbound: [{port: 1}]}`, `{inbound: [{port: 1, protocol: TCP}]}`, "port 1: protocol HTTP -> TCP (open connections are drained once)\n"},
		{
			"HTTP that becomes bytes", `{egress: [{name: a, host: a.test, port: 8080}]}`, `{egress: [{name: a, host: a.test, port: 8080, protocol: TLS}]}`,
			"a: protocol HTTP -> TLS (open connections are drained once)\n" +
				"a: max connection age 4m -> any\na: idle timeout 4s -> none\na: DNS refresh 5s -> none\n",
		},
		{"another port of HTTP", `{egress: [{name: a, host: a.test, port: 80}]}`, `{egress: [{name: a, host: a.test, port: 81}]}`, "a: port 80 -> 81\n"},
		{"another kind of HTTP", `{egress: [{name: a, host: a.test, port: 80}]}`, `{egress: [{name: a, host: a.test, port: 80, protocol: HTTP2}]}`, "a: protocol HTTP -> HTTP2\n"},
		{"refused", `{}`, `{undeclaredEgress: Refused}`, refused},
	} {
		var got strings.Builder
		for _, change := range Diff(resolved(t, "  "+test.from), resolved(t, "  "+test.to)) {
			fmt.Fprintln(&got, change)
		}
		if diff := cmp.Diff(test.want, got.String()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
	}
}

// withRoute is a document with these routes.
func withRoute(routes string) string {
	return "{egress: [{name: a, host: a.test, port: 80, routes: [" + routes + "]}, {name: b, host: b.test, port: 80}]}"
}

// between has a route by a header of that name between two others.
func between(header string) string {
	return withRoute("{headers: [{name: first, value: '1'}], to: b}, {headers: [{name: " + header + ", value: '1'}], to: b}, {headers: [{name: last, value: '1'}], to: b}")
}

// TestDiffOfEveryField changes the fields of the model one after the other: none of them
// is forgotten.
func TestDiffOfEveryField(t *testing.T) {
	full := func() *Service {
		return resolved(t, `
  inbound: [{port: 1, adaptiveConcurrency: {}, rateLimit: {requests: 1}, maxConnectionAge: 1s}]
  egress:
  - name: a
    host: a.test
    port: 8080
    retries: {when: [Reset], safeMethods: [s.A/Get], perTryTimeout: 1s}
    outlierDetection: {}
    routes: [{headers: [{name: x, value: "1"}], grpc: {service: s.A, methods: [Get]}, to: b, fallback: {when: Fails}}]
  - {name: b, host: b.test, port: 8080}
`)
	}
	// Created and Number are about the document.
	ignored := map[string]bool{"Name": true, "Namespace": true, "Created": true, "Number": true}
	var visit func(path string, field func(*Service) reflect.Value)
	visit = func(path string, field func(*Service) reflect.Value) {
		value := field(full())
		switch value.Kind() {
		case reflect.Struct:
			for n := range value.NumField() {
				if name := value.Type().Field(n).Name; !ignored[name] || value.Type() == reflect.TypeFor[Header]() {
					visit(path+"."+name, func(s *Service) reflect.Value { return field(s).Field(n) })
				}
			}
			return
		case reflect.Slice:
			visit(path+"[0]", func(s *Service) reflect.Value { return field(s).Index(0) })
			return
		}
		to := full()
		change(field(to))
		if changes := Diff(full(), to); len(changes) == 0 {
			t.Errorf("%s may change, and nobody is told", path)
		} else if text, err := json.Marshal(changes); err != nil || strings.Contains(string(text), "%!") {
			t.Errorf("%s: %s %v", path, text, err)
		}
	}
	visit("service", func(s *Service) reflect.Value { return reflect.ValueOf(s).Elem() })
}

func change(value reflect.Value) {
	switch value.Kind() {
	case reflect.Bool:
		value.SetBool(!value.Bool())
	case reflect.String:
		value.SetString("Absent")
	case reflect.Int, reflect.Int64:
		value.SetInt(value.Int() + 1)
	case reflect.Uint16, reflect.Uint32:
		value.SetUint(value.Uint() + 1)
	default:
		panic(value.Kind().String())
	}
}
