package v1alpha1

import (
	"fmt"
	"strings"
	"testing"
)

func TestValidateRetries(t *testing.T) {
	retries := func(fields string) string { return destination("timeout: 1s, retries: {" + fields + "}") }
	testRules(t, []rule{
		{"none", retries("attempts: 0"), "spec.egress[0].retries.attempts: Invalid value: 0: must be from 1 to 5"},
		{"too many", retries("attempts: 6"), "spec.egress[0].retries.attempts: Invalid value: 6: must be from 1 to 5"},
		{"on nothing", retries(`when: []`), "spec.egress[0].retries.when: Required value: give at least one condition, or leave it out for ConnectFailure and RefusedStream"},
		{"on too much", retries(`when: [Reset, 5xx, Reset, Unavailable, ConnectFailure]`), "3 problems:\n  spec.egress[0].retries.when: Too many: 5: must have at most 4 items\n" +
			`  spec.egress[0].retries.when[1]: Unsupported value: "5xx": supported values: "ConnectFailure", "RefusedStream", "Reset", "Unavailable"` + "\n" +
			`  spec.egress[0].retries.when[2]: Invalid value: "Reset": is given at spec.egress[0].retries.when[0] already`},
		{"a service for a method", retries("safeMethods: [shop.v1.Cart/]"), `spec.egress[0].retries.safeMethods[0]: Invalid value: "shop.v1.Cart/": must be a gRPC method as shop.v1.Cart/GetCart, at most 256`},
		{"on what is unknown", retries(`when: [Unavailble]`), `spec.egress[0].retries.when[0]: Unsupported value: "Unavailble": supported values: "ConnectFailure", "RefusedStream", "Reset", "Unavailable"; did you mean "Unavailable"?`},
		{"on twice", retries(`when: [Reset, Unavailable, Reset]`), `spec.egress[0].retries.when[2]: Invalid value: "Reset": is given at spec.egress[0].retries.when[0] already`},
		{"budget", retries("budgetPercent: 0"), "spec.egress[0].retries.budgetPercent: Invalid value: 0: must be from 1 to 100"},
		{"no time for a retry", retries("perTryTimeout: 1s"), `spec.egress[0].retries.perTryTimeout: Invalid value: "1s": must be below timeout, 1s: nothing of it would be left for a retry`},
		{"no time at all", retries("perTryTimeout: 0s"), `spec.egress[0].retries.perTryTimeout: Invalid value: "0s": must be from 1ms to 1h, in whole milliseconds`},
		{"a path for a method", retries("safeMethods: [/shop.v1.Cart/Get]"), `spec.egress[0].retries.safeMethods[0]: Invalid value: "/shop.v1.Cart/Get": must be a gRPC method as shop.v1.Cart/GetCart, at most 256; did you mean "shop.v1.Cart/Get"?`},
		{"dots alone", retries("safeMethods: [shop.v1.Cart.Get, Get]"), "2 problems:\n" + `  spec.egress[0].retries.safeMethods[0]: Invalid value: "shop.v1.Cart.Get": must be a gRPC method as shop.v1.Cart/GetCart, at most 256; did you mean "shop.v1.Cart/Get"?` + "\n" + `  spec.egress[0].retries.safeMethods[1]: Invalid value: "Get": must be a gRPC method as shop.v1.Cart/GetCart, at most 256`},
		{"a method twice", retries("safeMethods: [a.B/C, a.B/C]"), `spec.egress[0].retries.safeMethods[1]: Invalid value: "a.B/C": is given at spec.egress[0].retries.safeMethods[0] already`},
		{"gRPC over HTTP1", destination("protocol: HTTP1, retries: {safeMethods: [a.B/C]}"), "spec.egress[0].retries.safeMethods: Forbidden: does not go with protocol HTTP1: gRPC needs HTTP/2"},
	})
}

// routed is a spec with a destination of these routes, and what they may lead to.
func routed(routes string) string {
	return "egress:\n- {name: users, host: users.example.com, port: 80, protocol: GRPC, timeout: 1s, routes: [" + routes + "]}\n" + `- {name: cache, host: cache.example.com, port: 80}
- {name: old, host: old.example.com, port: 80, protocol: HTTP1}
- {name: files, host: files.example.com, port: 80, protocol: TLS}
- {name: chain, host: chain.example.com, port: 80, routes: [{to: cache, headers: [{name: a, value: b}]}]}`
}

func TestValidateRoutes(t *testing.T) {
	const x = "headers: [{name: x, value: v}]"
	// gone is a header of one connection.
	gone := func(name string) rule {
		return rule{name, routed("{to: cache, headers: [{name: " + name + ", value: v}]}"),
			fmt.Sprintf("spec.egress[0].routes[0].headers[0].name: Invalid value: %q: can never match: the sidecar takes this header off before it looks at routes", name)}
	}
	testRules(t, []rule{
		{"to nothing", routed("{" + x + "}"), "spec.egress[0].routes[0].to: Required value: the name of another destination of this document"},
		{"to itself", routed("{to: users, " + x + "}"), `spec.egress[0].routes[0].to: Invalid value: "users": must be another destination than the one that the route is of`},
		{"to a misspelled one", routed("{to: cahce, " + x + "}"), `spec.egress[0].routes[0].to: Invalid value: "cahce": is no destination of this document; did you mean "cache"?`},
		{"to an unknown one", routed("{to: sandbox, " + x + "}"), `spec.egress[0].routes[0].to: Invalid value: "sandbox": is no destination of this document; others are "cache", "old", "files", "chain"`},
		{"to an unknown one of many", routed("{to: sandbox, "+x+"}") + "\n" + items("- {name: d%d, host: d%[1]d.example.com, port: 80}", "\n", 8), `spec.egress[0].routes[0].to: Invalid value: "sandbox": is no destination of this document; others are "cache", "old", "files", "chain", "d0", "d1", "d2", "d3", "d4", "d5" and 2 more`},
		{"to connections", routed("{to: files, " + x + "}"), `spec.egress[0].routes[0].to: Invalid value: "files": must be a destination of requests; egress[3] (files) is of protocol TLS`},
		{"gRPC to HTTP1", routed("{to: old, " + x + "}"), `spec.egress[0].routes[0].to: Invalid value: "old": must speak HTTP/2, which gRPC needs; egress[2] (old) is of protocol HTTP1`},
		{"gRPC methods to HTTP1", "egress: [{name: a, host: a.example.com, port: 80, routes: [{to: b, grpc: {service: a.B}}]}, {name: b, host: b.example.com, port: 80, protocol: HTTP1}]", `spec.egress[0].routes[0].to: Invalid value: "b": must speak HTTP/2, which gRPC needs; egress[1] (b) is of protocol HTTP1`},
		{"to one with routes", routed("{to: chain, " + x + "}"), `spec.egress[0].routes[0].to: Invalid value: "chain": must have no routes of its own, as egress[4] (chain) has: they would not be followed`},
		{"in a circle", "egress: [{name: a, host: a.example.com, port: 80, routes: [{to: b, " + x + "}]}, {name: b, host: b.example.com, port: 80, routes: [{to: a, " + x + "}]}]",
			"2 problems:\n" + `  spec.egress[0].routes[0].to: Invalid value: "b": must have no routes of its own, as egress[1] (b) has: they would not be followed` + "\n" +
				`  spec.egress[1].routes[0].to: Invalid value: "a": must have no routes of its own, as egress[0] (a) has: they would not be followed`},
		{"no match", routed("{to: cache}"), "spec.egress[0].routes[0]: Required value: headers or grpc: a route for all requests would take the place of the destination"},
		{"no match before another", routed("{to: cache}, {to: cache, " + x + "}"), "spec.egress[0].routes[0]: Required value: headers or grpc: a route for all requests would take the place of the destination"},
		{"no header's name", routed("{to: cache, headers: [{value: v}]}"), "spec.egress[0].routes[0].headers[0].name: Required value: a header as x-sandbox"},
		{"no header's name twice", routed("{to: cache, headers: [{value: v}, {value: v}]}"), "2 problems:\n  spec.egress[0].routes[0].headers[0].name: Required value: a header as x-sandbox\n  spec.egress[0].routes[0].headers[1].name: Required value: a header as x-sandbox"},
		{"no header's value", routed("{to: cache, headers: [{name: x}]}"), "spec.egress[0].routes[0].headers[0].value: Required value: the value that the header has, to the letter"},
		{"values that could not be read", routed("{to: cache, headers: [{name: x, value: 1}]}, {to: cache, headers: [{name: x, value: 2}]}"), "2 problems:\n" + `  spec.egress[0].routes[0].headers[0].value: must be a text (in quotes where it looks like a number or a boolean), got 1` + "\n" + `  spec.egress[0].routes[1].headers[0].value: must be a text (in quotes where it looks like a number or a boolean), got 2`},
		{"pseudo-header", routed(`{to: cache, headers: [{name: ":path", value: v}]}`), `spec.egress[0].routes[0].headers[0].name: Invalid value: ":path": is no header: routes go by headers and by gRPC methods, not by a request's path or method`},
		{"no header's form", routed(`{to: cache, headers: [{name: "x y", value: v}]}`), `spec.egress[0].routes[0].headers[0].name: Invalid value: "x y": must be the name of a header as x-sandbox: letters, digits and any of !#$%&'*+-.^_|~, at most 256`},
		{"host", routed(`{to: cache, headers: [{name: Host, value: v}]}`), `spec.egress[0].routes[0].headers[0].name: Invalid value: "Host": must not be the host: that is what the destination is known by`},
		{"a header that is gone", routed(`{to: cache, headers: [{name: X-Forwarded-Proto, value: v}]}`), `spec.egress[0].routes[0].headers[0].name: Invalid value: "X-Forwarded-Proto": can never match: the sidecar takes this header off before it looks at routes`},
		gone("keep-alive"), gone("proxy-connection"), gone("transfer-encoding"),
		{"an order to Envoy", routed(`{to: cache, headers: [{name: x-envoy-max-retries, value: v}]}`), `spec.egress[0].routes[0].headers[0].name: Invalid value: "x-envoy-max-retries": can never match: the sidecar takes this header off before it looks at routes`},
		{"a header of the sidecar's", routed(`{to: cache, headers: [{name: X-Pillion-Other, value: v}]}`), `spec.egress[0].routes[0].headers[0].name: Invalid value: "X-Pillion-Other": must not begin with x-pillion-: such headers are the sidecar's own`},
		{"line in a header", routed(`{to: cache, headers: [{name: x, value: "a\nb"}]}`), `spec.egress[0].routes[0].headers[0].value: Invalid value: "a\nb": must be what can stand in a header: ASCII without control characters or spaces at its ends, at most 256`},
		{"header twice", routed(`{to: cache, headers: [{name: x, value: v}, {name: X, value: z}]}`), `spec.egress[0].routes[0].headers[1].name: Invalid value: "X": is the header of headers[0], too: all have to match`},
		{"no service", routed(`{to: cache, grpc: {methods: [Get]}}`), "spec.egress[0].routes[0].grpc.service: Required value: a gRPC service with its package, as shop.v1.Cart"},
		{"a path for a service", routed(`{to: cache, grpc: {service: /shop.v1.Cart}}`), `spec.egress[0].routes[0].grpc.service: Invalid value: "/shop.v1.Cart": must be a gRPC service with its package, as shop.v1.Cart, at most 256; did you mean "shop.v1.Cart"?`},
		{"a method for a service", routed(`{to: cache, grpc: {service: shop.v1.Cart/Get}}`), `spec.egress[0].routes[0].grpc.service: Invalid value: "shop.v1.Cart/Get": must be a gRPC service with its package, as shop.v1.Cart, at most 256; did you mean {service: shop.v1.Cart, methods: [Get]}?`},
		{"no methods", routed(`{to: cache, grpc: {service: a.B, methods: []}}`), "spec.egress[0].routes[0].grpc.methods: Required value: give the names of methods, or leave it out for all"},
		{"no method's name", routed(`{to: cache, grpc: {service: a.B, methods: [a/b]}}`), `spec.egress[0].routes[0].grpc.methods[0]: Invalid value: "a/b": must be the name of a method as GetCart, at most 256; did you mean "b"?`},
		{"gRPC on HTTP1", "egress: [{name: a, host: a.example.com, port: 80, protocol: HTTP1, routes: [{to: b, grpc: {service: a.B}}]}, {name: b, host: b.example.com, port: 80}]", "spec.egress[0].routes[0].grpc: Forbidden: does not go with protocol HTTP1: gRPC needs HTTP/2"},
		{"fallback", routed("{to: cache, fallback: {when: Never}, " + x + "}"), `spec.egress[0].routes[0].fallback.when: Unsupported value: "Never": supported values: "Absent", "Fails"`},
		{"waiting for what is absent", routed("{to: cache, fallback: {after: 1ms}, " + x + "}"), "spec.egress[0].routes[0].fallback.after: Forbidden: goes with when Fails only: what is absent is known at once"},
		{"no time to fall back", routed("{to: cache, fallback: {when: Fails, after: 1s}, " + x + "}"), `spec.egress[0].routes[0].fallback.after: Invalid value: "1s": must be below the destination's timeout, 1s: nothing of it would be left for the fallback`},
	})
}

// TestValidateRoutesThatNeverMatch: the first that matches wins, so an earlier one
// must leave something to a later one.
func TestValidateRoutesThatNeverMatch(t *testing.T) {
	const x, xy, service = "headers: [{name: x, value: '1'}]", "headers: [{name: X, value: '1'}, {name: z, value: '1'}]", "grpc: {service: a.B}"
	tests := []struct {
		name   string
		routes []string
		by     int // -1 if the last one can match
	}{
		{"the same header", []string{x, x}, 0},
		{"one header more", []string{x, xy}, 0},
		{"one header less", []string{xy, x}, -1},
		{"another value", []string{x, "headers: [{name: x, value: '2'}]"}, -1},
		{"a header within gRPC", []string{x, x + ", " + service}, 0},
		{"gRPC within a header", []string{x + ", " + service, x}, -1},
		{"the same service", []string{service, service}, 0},
		{"a method of the service", []string{service, "grpc: {service: a.B, methods: [C]}"}, 0},
		{"the service of a method", []string{"grpc: {service: a.B, methods: [C]}", service}, -1},
		{"another service", []string{service, "grpc: {service: a.C}"}, -1},
		{"the same methods", []string{"grpc: {service: a.B, methods: [C, D]}", "grpc: {service: a.B, methods: [D]}"}, 0},
		{"some of the methods", []string{"grpc: {service: a.B, methods: [C]}", "grpc: {service: a.B, methods: [C, D]}"}, -1},
		{"methods of two routes", []string{"grpc: {service: a.B, methods: [C]}", "grpc: {service: a.B, methods: [D]}", "grpc: {service: a.B, methods: [C, D]}"}, 1},
		{"methods with a header", []string{x + ", grpc: {service: a.B, methods: [C]}", "grpc: {service: a.B, methods: [C]}"}, -1},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var routes []string
			for _, route := range test.routes {
				routes = append(routes, "{to: cache, "+route+"}")
			}
			_, err := DecodeMeshService(meshDocument(routed(strings.Join(routes, ", "))))
			want := "<nil>"
			if test.by >= 0 {
				want = fmt.Sprintf(`spec.egress[0].routes[%d]: Invalid value: "cache": can never match: spec.egress[0].routes[%d], which comes first, matches all of its requests`, len(routes)-1, test.by)
			}
			if got := fmt.Sprint(err); got != want {
				t.Errorf("got %s\nwant %s", got, want)
			}
		})
	}
}

// items are so many of a form, each with its number.
func items(form, between string, count int) string {
	list := make([]string, count)
	for n := range list {
		list[n] = fmt.Sprintf(form, n)
	}
	return strings.Join(list, between)
}

// TestValidateIsBounded gives what would take minutes if everything were compared with
// everything: lists as long as a request to the webhook may be.
func TestValidateIsBounded(t *testing.T) {
	const many = 50_000
	texts := func(form string, count int) string { return items(form, ", ", count) }
	var destinations []string
	for n := range MaxDestinations {
		destinations = append(destinations, fmt.Sprintf(`{"name": "a-rather-long-name-of-a-destination-that-is-number-%d", "host": "h%d.example.com", "port": 80, "routes": [%s]}`,
			n, n, texts(`{"to": "b-rather-long-name-of-a-destination-that-is-number-%d", "headers": [{"name": "x", "value": "v"}]}`, MaxRoutes)))
	}
	for name, spec := range map[string]string{
		"conditions":   `"egress": [{"name": "a", "host": "a", "port": 80, "retries": {"when": [` + texts(`"c%d"`, many) + `]}}]`,
		"methods":      `"egress": [{"name": "a", "host": "a", "port": 80, "retries": {"safeMethods": [` + texts(`"a.B/C%d"`, many) + `]}}]`,
		"routes":       `"egress": [{"name": "a", "host": "a", "port": 80, "routes": [` + texts(`{"to": "b%d", "headers": [{"name": "x", "value": "v"}]}`, many/2) + `]}]`,
		"zeros":        `"inbound": [` + texts(`{"port": 0, "x%d": 1}`, many) + `], "egress": [` + texts(`{"name": "a%d", "host": 1, "port": 0}`, many/2) + `]`,
		"ports":        `"inbound": [` + texts(`{"port": %d}`, many) + `]`,
		"destinations": `"egress": [` + texts(`{"name": "a%d", "host": "a", "port": 80}`, many/2) + `]`,
		"targets":      `"egress": [` + strings.Join(destinations, ", ") + `]`,
	} {
		document := `{"apiVersion": "pillion.dev/v1alpha1", "kind": "MeshService", "metadata": {"name": "cart"}, "spec": {` + spec + `}}`
		if _, err := DecodeMeshService([]byte(document)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// TestSuggestionsAreBounded: each takes a look at all names, and nobody reads many of them.
func TestSuggestionsAreBounded(t *testing.T) {
	_, err := DecodeMeshService(meshDocument(routed(items("{to: sandbox%d, headers: [{name: x, value: v%[1]d}]}", ", ", maxSuggestions+2))))
	unknown, suggested := strings.Count(fmt.Sprint(err), "is no destination of this document"), strings.Count(fmt.Sprint(err), "; others are ")
	if unknown != maxSuggestions+2 || suggested != maxSuggestions {
		t.Errorf("%d are unknown, of which %d have a suggestion, want %d and %d: %v", unknown, suggested, maxSuggestions+2, maxSuggestions, err)
	}
}
