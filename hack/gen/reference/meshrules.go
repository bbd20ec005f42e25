package reference

import (
	"bytes"
	"fmt"
)

// meshRule is one that is about several fields, or that a table of fields has no room for.
type meshRule struct {
	says string
	// refused is a spec that breaks it, and because a part of what is said then: a test has
	// both held against the validation.
	refused, because string
}

func meshRules() []meshRule {
	egress := func(fields string) string {
		return "egress: [{name: a, host: a.example.com, port: 80" + fields + "}, {name: b, host: b.example.com, port: 80}]"
	}
	route := func(fields string) string { return egress(", routes: [{" + fields + "}]") }
	return []meshRule{
		{"A duration is in whole milliseconds.", "inbound: [{port: 80, timeout: 1.5ms}]", "whole milliseconds"},
		{"An inbound port has one entry.", "inbound: [{port: 80}, {port: 80, protocol: TCP}]", "is the port of"},
		{"A destination's name is in one entry.", "egress: [{name: a, host: a.example.com, port: 80}, {name: a, host: b.example.com, port: 80}]", "is the name of"},
		{
			"No two destinations have a host and port in common, whatever their protocols are. A Service has all of its names: `cart`, where the document is of its namespace, " +
				"`cart.shop`, `cart.shop.svc` and `cart.shop.svc.cluster.local`.",
			"egress: [{name: a, service: {name: cart, namespace: shop}, port: 80}, {name: b, host: cart.shop.svc, port: 80}]", "put both into one entry",
		},
		{
			"A port has one destination of protocol `TCP`: it is known by the port alone.",
			"egress: [{name: a, host: a.example.com, port: 80, protocol: TCP}, {name: b, host: b.example.com, port: 80, protocol: TCP}]", "whatever the host",
		},
		{"`retries.when`, where it is given, has one condition at least.", egress(", retries: {when: []}"), "at least one condition"},
		{"No value is twice in `retries.when`, `retries.safeMethods` or `grpc.methods`.", egress(", retries: {safeMethods: [a.B/C, a.B/C]}"), "is given at"},
		{"An entry of `retries.safeMethods` is as `shop.v1.Cart/Get`, one of `grpc.methods` as `Get`.", egress(", retries: {safeMethods: [/a.B/C]}"), "a gRPC method as"},
		{"`grpc.methods`, where it is given, has one method at least.", route("grpc: {service: a.B, methods: []}, to: b"), "or leave it out for all"},
		{"`routes[].to` is the name of a destination of the document.", route("headers: [{name: x, value: v}], to: c"), "is no destination"},
		{
			"A route leads to a destination of requests, not of protocol `TLS` or `TCP`.",
			"egress: [{name: a, host: a.example.com, port: 80, routes: [{headers: [{name: x, value: v}], to: b}]}, {name: b, host: b.example.com, port: 80, protocol: TCP}]", "destination of requests",
		},
		{
			"A gRPC route, and a route of a destination of protocol `GRPC`, does not lead to one of protocol `HTTP1`.",
			"egress: [{name: a, host: a.example.com, port: 80, routes: [{grpc: {service: a.B}, to: b}]}, {name: b, host: b.example.com, port: 80, protocol: HTTP1}]", "must speak HTTP/2",
		},
		{
			"Routes are not chained: a destination that a route leads to has none of its own.",
			"egress: [{name: a, host: a.example.com, port: 80, routes: [{headers: [{name: x, value: v}], to: b}]}, " +
				"{name: b, host: b.example.com, port: 80, routes: [{headers: [{name: x, value: v}], to: a}]}]", "must have no routes of its own",
		},
		{
			"A route can match: no earlier one of the destination takes all of its requests.",
			egress(", routes: [{headers: [{name: x, value: v}], to: b}, {headers: [{name: X, value: v}, {name: y, value: v}], to: b}]"), "can never match",
		},
		{"A header is once in a route, in whatever case.", route("headers: [{name: x, value: v}, {name: X, value: w}], to: b"), "all have to match"},
		{"The header is not `host`: that is what the destination is known by.", route("headers: [{name: Host, value: v}], to: b"), "must not be the host"},
		{
			"`fallback.after` is below the `timeout` of the destination that the route is of.",
			egress(", timeout: 1s, routes: [{headers: [{name: x, value: v}], to: b, fallback: {when: Fails, after: 1s}}]"), "must be below the destination's timeout",
		},
	}
}

// writeMeshRules is the part of the page behind the fields.
func writeMeshRules(out *bytes.Buffer) {
	out.WriteString("\n## Rules\n\nA document that breaks one of these is refused, too:\n\n")
	for _, rule := range meshRules() {
		fmt.Fprintf(out, "- %s\n", rule.says)
	}
	out.WriteString("- The document's name has at most 240 characters, of a-z, 0-9, - and dots, with a letter or digit at both ends.\n" +
		"- Fields are known and given once. kubectl and `pillionctl config lint` refuse others; from what other clients apply, kube-apiserver drops them.\n")
}
