package v1alpha1

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// meshDocument is a MeshService with this spec, one field a line.
func meshDocument(spec string) []byte {
	return fmt.Appendf(nil, "apiVersion: pillion.dev/v1alpha1\nkind: MeshService\nmetadata: {name: cart, namespace: shop}\nspec:\n%s",
		"  "+strings.ReplaceAll(strings.TrimSpace(spec), "\n", "\n  "))
}

// rule is a mistake, and all that is said about it.
type rule struct{ name, spec, want string }

func testRules(t *testing.T, rules []rule) {
	t.Helper()
	for _, rule := range rules {
		t.Run(rule.name, func(t *testing.T) {
			mesh, err := DecodeMeshService(meshDocument(rule.spec))
			if err == nil || mesh != nil {
				t.Fatalf("DecodeMeshService = %v, %v; want an error alone", mesh, err)
			}
			if diff := cmp.Diff(rule.want, err.Error()); diff != "" {
				t.Errorf("problem (-want +got):\n%s", diff)
			}
		})
	}
}

// destination is a spec with one destination, which has these fields too.
func destination(fields string) string {
	return "egress: [{name: users, host: users.example.com, port: 80, " + fields + "}]"
}

func TestValidateInbound(t *testing.T) {
	testRules(t, []rule{
		{"no port", `inbound: [{timeout: 1s}]`, "spec.inbound[0].port: Required value: a port from 1 to 65535"},
		{"no such port", `inbound: [{port: 65536}]`, "spec.inbound[0].port: Invalid value: 65536: must be a port from 1 to 65535"},
		{"port below", `inbound: [{port: -1}]`, "spec.inbound[0].port: Invalid value: -1: must be a port from 1 to 65535"},
		{"the sidecar's first port", `inbound: [{port: 15000}]`, "spec.inbound[0].port: Invalid value: 15000: must not be from 15000 to 15099: those are the sidecar's own"},
		{"the sidecar's last port", `inbound: [{port: 15099}]`, "spec.inbound[0].port: Invalid value: 15099: must not be from 15000 to 15099: those are the sidecar's own"},
		{"port twice", `inbound: [{port: 80}, {port: 81}, {port: 80, protocol: TCP}]`, "spec.inbound[2].port: Invalid value: 80: is the port of spec.inbound[0], too: put both into one entry"},
		{"no port in two entries", `inbound: [{timeout: 1s}, {timeout: 2s}]`, "2 problems:\n  spec.inbound[0].port: Required value: a port from 1 to 65535\n  spec.inbound[1].port: Required value: a port from 1 to 65535"},
		{"gRPC is HTTP", `inbound: [{port: 80, protocol: GRPC}]`, `spec.inbound[0].protocol: Unsupported value: "GRPC": supported values: "HTTP", "TCP"; did you mean "HTTP"?`},
		{"protocol", `inbound: [{port: 80, protocol: http}]`, `spec.inbound[0].protocol: Unsupported value: "http": supported values: "HTTP", "TCP"; did you mean "HTTP"?`},
		{"timeout too long", `inbound: [{port: 80, timeout: 61m}]`, `spec.inbound[0].timeout: Invalid value: "1h1m0s": must be from 1ms to 1h, in whole milliseconds, or 0s for none`},
		{"timeout too exact", `inbound: [{port: 80, timeout: 1500us}]`, `spec.inbound[0].timeout: Invalid value: "1.5ms": must be from 1ms to 1h, in whole milliseconds, or 0s for none`},
		{"age too short", `inbound: [{port: 80, maxConnectionAge: 999ms}]`, `spec.inbound[0].maxConnectionAge: Invalid value: "999ms": must be from 1s to 1h, in whole milliseconds, or 0s for any age`},
		{"no requests at all", `inbound: [{port: 80, maxConcurrentRequests: 0}]`, `spec.inbound[0].maxConcurrentRequests: Invalid value: 0: must be 1 or more`},
		{"concurrency upside down", `inbound: [{port: 80, adaptiveConcurrency: {minConcurrency: 10, maxConcurrency: 9}}]`, "spec.inbound[0].adaptiveConcurrency.minConcurrency: Invalid value: 10: must be at most maxConcurrency, 9"},
		{"concurrency above the default", `inbound: [{port: 80, adaptiveConcurrency: {minConcurrency: 1001}}]`, "spec.inbound[0].adaptiveConcurrency.minConcurrency: Invalid value: 1001: must be at most maxConcurrency, 1000"},
		{"headroom", `inbound: [{port: 80, adaptiveConcurrency: {latencyHeadroomPercent: 101}}]`, "spec.inbound[0].adaptiveConcurrency.latencyHeadroomPercent: Invalid value: 101: must be from 1 to 100"},
		{"rate without requests", `inbound: [{port: 80, rateLimit: {per: 1s}}]`, "spec.inbound[0].rateLimit.requests: Required value: how many requests one pod takes in a period"},
		{"rate in too short a time", `inbound: [{port: 80, rateLimit: {requests: 1, per: 49ms}}]`, `spec.inbound[0].rateLimit.per: Invalid value: "49ms": must be from 50ms to 1h, in whole milliseconds`},
		{"requests on TCP", `inbound: [{port: 80, protocol: TCP, timeout: 1s, rateLimit: {requests: 1}}]`, "2 problems:\n  spec.inbound[0].rateLimit: Forbidden: does not go with protocol TCP, of which only bytes are seen: here maxConnections is accepted\n  spec.inbound[0].timeout: Forbidden: does not go with protocol TCP, of which only bytes are seen: here maxConnections is accepted"},
	})
}

func TestValidateDestination(t *testing.T) {
	const noAddress = "not an address: what is called by address is undeclared"
	host := func(host, want string) rule {
		return rule{"host " + host, fmt.Sprintf("egress: [{name: users, host: %q, port: 80}]", host), fmt.Sprintf("spec.egress[0].host: Invalid value: %q: must ", host) + want}
	}
	name := func(name, want string) rule {
		return rule{"name " + name, fmt.Sprintf("egress: [{name: %q, host: a.example.com, port: 80}]", name), fmt.Sprintf("spec.egress[0].name: Invalid value: %q: must ", name) + want}
	}
	const form = "be 1 to 63 of a-z, 0-9 and -, with a letter or digit at both ends"
	testRules(t, []rule{
		{"no name", `egress: [{host: a.example.com, port: 80}]`, "spec.egress[0].name: Required value: a short name for statistics and routes, as cart"},
		name("Users", form),
		name("a.b", form),
		name("-a", form),
		name(strings.Repeat("a", 64), form),
		name("blackhole", "not be blackhole: in statistics that is what is refused"),
		{"name twice", `egress: [{name: a, host: a.example.com, port: 80}, {name: a, host: b.example.com, port: 80}]`, `spec.egress[1].name: Invalid value: "a": is the name of spec.egress[0], too`},
		{"no name twice", `egress: [{host: a.example.com, port: 80}, {host: b.example.com, port: 80}]`, "2 problems:\n  spec.egress[0].name: Required value: a short name for statistics and routes, as cart\n  spec.egress[1].name: Required value: a short name for statistics and routes, as cart"},
		{"no port twice", `egress: [{name: a, host: a.example.com}, {name: b, host: a.example.com}]`, "2 problems:\n  spec.egress[0].port: Required value: a port from 1 to 65535\n  spec.egress[1].port: Required value: a port from 1 to 65535"},
		{"no address", `egress: [{name: a, port: 80}]`, "spec.egress[0].host: Required value: give host (a DNS name) or service (a Kubernetes Service)"},
		{"two addresses", `egress: [{name: a, host: a.example.com, service: {name: a}, port: 80}]`, "spec.egress[0].service: Forbidden: host is given, too: give one of them"},
		{"no port", `egress: [{name: a, host: a.example.com}]`, "spec.egress[0].port: Required value: a port from 1 to 65535"},
		{"the sidecar's port", `egress: [{name: a, host: a.example.com, port: 15001}]`, "spec.egress[0].port: Invalid value: 15001: must not be from 15000 to 15099: those are the sidecar's own"},
		{"protocol", `egress: [{name: a, host: a.example.com, port: 80, protocol: HTTPS}]`, `spec.egress[0].protocol: Unsupported value: "HTTPS": supported values: "HTTP", "HTTP1", "HTTP2", "GRPC", "TLS", "TCP"; did you mean "TLS"?`},
		{"no mesh sees UDP", `egress: [{name: a, host: a.example.com, port: 80, protocol: UDP}]`, `spec.egress[0].protocol: Unsupported value: "UDP": supported values: "HTTP", "HTTP1", "HTTP2", "GRPC", "TLS", "TCP"`},
		{"a word of another mesh", "undeclaredEgress: REGISTRY_ONLY", `spec.undeclaredEgress: Unsupported value: "REGISTRY_ONLY": supported values: "Passthrough", "Refused"; did you mean "Refused"?`},
		host("10.0.0.1", "be a DNS name as api.example.com, "+noAddress),
		host("169.254.169.254", "be a DNS name as api.example.com, "+noAddress),
		host("::1", "be a DNS name as api.example.com, "+noAddress),
		host("[fd00::1]", "be a DNS name as api.example.com, "+noAddress),
		host("::ffff:169.254.169.254", "be a DNS name as api.example.com, "+noAddress),
		host("2852039166", "be a DNS name as api.example.com, "+noAddress),
		host("169.16689662", "be a DNS name as api.example.com, "+noAddress),
		host("0xa9.0xfe.0xa9.0xfe", "be a DNS name as api.example.com, "+noAddress),
		host("metadata.google.internal", "not be the cloud's metadata service: it never comes to the sidecar"),
		host("localhost", "not be the pod itself: loopback never comes to the sidecar"),
		host("app.localhost", "not be the pod itself: loopback never comes to the sidecar"),
		host("*.example.com", "be one DNS name as api.example.com, without a wildcard"),
		host("a.example.com.", "be without the dot at its end: clients leave it out of the host, too"),
		host("a.example.com:80", "be a DNS name alone as api.example.com: the port has a field of its own"),
		host("http://a.example.com", "be a DNS name alone as api.example.com: the port has a field of its own"),
		host("A.example.com", "be in lower case, as a.example.com"),
		host("a_b.example.com", "be a DNS name as api.example.com: a-z, 0-9, - and dots, at most 253"),
		host(strings.Repeat("a.", 127)+"a", "be a DNS name as api.example.com: a-z, 0-9, - and dots, at most 253"),
		{"Service without a name", `egress: [{name: a, service: {namespace: shop}, port: 80}]`, "spec.egress[0].service.name: Required value: the name of a Kubernetes Service"},
		{"Service with dots", `egress: [{name: a, service: {name: a.shop}, port: 80}]`, `spec.egress[0].service.name: Invalid value: "a.shop": must be the name of a Kubernetes Service: 1 to 63 of a-z, 0-9 and -, a letter first; did you mean {name: a, namespace: shop}, or host: a.shop instead of service?`},
		{"a host for a Service", `egress: [{name: a, service: {name: stripe.com}, port: 80}]`, `spec.egress[0].service.name: Invalid value: "stripe.com": must be the name of a Kubernetes Service: 1 to 63 of a-z, 0-9 and -, a letter first; did you mean {name: stripe, namespace: com}, or host: stripe.com instead of service?`},
		{"a longer host for a Service", `egress: [{name: a, service: {name: api.stripe.com}, port: 80}]`, `spec.egress[0].service.name: Invalid value: "api.stripe.com": must be the name of a Kubernetes Service: 1 to 63 of a-z, 0-9 and -, a letter first; a name with dots is given as host`},
		{"a host that can be no Service", `egress: [{name: a, service: {name: 3scale.com}, port: 80}]`, `spec.egress[0].service.name: Invalid value: "3scale.com": must be the name of a Kubernetes Service: 1 to 63 of a-z, 0-9 and -, a letter first; a name with dots is given as host`},
		{"Service without a namespace", `egress: [{name: a, service: {name: cart.}, port: 80}]`, `spec.egress[0].service.name: Invalid value: "cart.": must be the name of a Kubernetes Service: 1 to 63 of a-z, 0-9 and -, a letter first`},
		{"Service with capitals and dots", `egress: [{name: a, service: {name: Cart.Shop}, port: 80}]`, `spec.egress[0].service.name: Invalid value: "Cart.Shop": must be the name of a Kubernetes Service: 1 to 63 of a-z, 0-9 and -, a letter first`},
		{"Service with capitals", `egress: [{name: a, service: {name: Cart}, port: 80}]`, `spec.egress[0].service.name: Invalid value: "Cart": must be the name of a Kubernetes Service: 1 to 63 of a-z, 0-9 and -, a letter first`},
		{"Service with a name as a number", `egress: [{name: a, service: {name: "1.2"}, port: 80}]`, `spec.egress[0].service.name: Invalid value: "1.2": must be the name of a Kubernetes Service: 1 to 63 of a-z, 0-9 and -, a letter first`},
		{"Service with a namespace as a number", `egress: [{name: a, service: {name: a.5.svc}, port: 80}]`, `spec.egress[0].service.name: Invalid value: "a.5.svc": must be the name of a Kubernetes Service: 1 to 63 of a-z, 0-9 and -, a letter first; did you mean {name: a, namespace: 5}?`},
		{"Service with its whole name", `egress: [{name: a, service: {name: a.shop.svc.cluster.local}, port: 80}]`, `spec.egress[0].service.name: Invalid value: "a.shop.svc.cluster.local": must be the name of a Kubernetes Service: 1 to 63 of a-z, 0-9 and -, a letter first; did you mean {name: a, namespace: shop}?`},
		{"a host for a Service", `egress: [{name: a, service: {name: a.example.com}, port: 80}]`, `spec.egress[0].service.name: Invalid value: "a.example.com": must be the name of a Kubernetes Service: 1 to 63 of a-z, 0-9 and -, a letter first; a name with dots is given as host`},
		{"namespace", `egress: [{name: a, service: {name: a, namespace: a.b}, port: 80}]`, `spec.egress[0].service.namespace: Invalid value: "a.b": must be the name of a namespace: 1 to 63 of a-z, 0-9 and -, with a letter or digit at both ends`},
		{"breaker", destination("breakers: {maxRequests: 0}"), "spec.egress[0].breakers.maxRequests: Invalid value: 0: must be 1 or more"},
		{"ejected", destination("outlierDetection: {maxEjectedPercent: 101}"), "spec.egress[0].outlierDetection.maxEjectedPercent: Invalid value: 101: must be from 1 to 100"},
		{"idle for ever", destination("idleTimeout: 0s"), `spec.egress[0].idleTimeout: Invalid value: "0s": must be from 1ms to 1h, in whole milliseconds`},
		{"refresh too often", destination("dnsRefresh: 100ms"), `spec.egress[0].dnsRefresh: Invalid value: "100ms": must be from 1s to 1h, in whole milliseconds`},
		{"undeclared", "undeclaredEgress: Refuse", `spec.undeclaredEgress: Unsupported value: "Refuse": supported values: "Passthrough", "Refused"; did you mean "Refused"?`},
		{"statistics", "statistics: {destinations: Some}", `spec.statistics.destinations: Unsupported value: "Some": supported values: "Standard", "Detailed", "None"`},
		{"series", "statistics: {maxSeries: 99}", "spec.statistics.maxSeries: Invalid value: 99: must be from 100 to 100000"},
	})
}

// TestValidateDestinationsAreDistinct: a request must belong to one destination,
// however it is written.
func TestValidateDestinationsAreDistinct(t *testing.T) {
	same := func(name, first, second, claim string) rule {
		return rule{
			name, "egress: [{name: a, " + first + ", port: 80}, {name: b, " + second + ", port: 80}]",
			"spec.egress[1].port: Invalid value: 80: " + claim + " is what spec.egress[0] (a) is, too: put both into one entry",
		}
	}
	testRules(t, []rule{
		same("host", "host: a.example.com", "host: a.example.com", "a.example.com:80"),
		same("another protocol", "host: a.example.com", "protocol: TLS, host: a.example.com", "a.example.com:80"),
		same("Service", "service: {name: a}", "service: {name: a, namespace: shop}", "a:80"),
		same("Service of another namespace", "service: {name: a, namespace: x}", "service: {name: a, namespace: x}", "a.x:80"),
		same("full name", "service: {name: a, namespace: x}", "host: a.x.svc.cluster.local", "a.x.svc.cluster.local:80"),
		same("short name", "host: a", "service: {name: a}", "a:80"),
		same("with the namespace", "host: a.shop", "service: {name: a}", "a.shop:80"),
		same("with svc", "service: {name: a}", "host: a.shop.svc", "a.shop.svc:80"),
		same("TCP", "protocol: TCP, host: a.example.com", "protocol: TCP, host: b.example.com", "TCP to port 80, whatever the host,"),
	})
	for name, spec := range map[string]string{
		"ports":            "egress: [{name: a, host: a.example.com, port: 80}, {name: b, host: a.example.com, port: 81}]",
		"namespaces":       "egress: [{name: a, service: {name: a, namespace: x}, port: 80}, {name: b, service: {name: a, namespace: z}, port: 80}, {name: c, host: a, port: 80}]",
		"TCP beside HTTP":  "egress: [{name: a, host: a.example.com, port: 80}, {name: b, host: b.example.com, port: 80, protocol: TCP}]",
		"TLS server names": "egress: [{name: a, host: a.example.com, port: 80, protocol: TLS}, {name: b, host: b.example.com, port: 80, protocol: TLS}]",
	} {
		if _, err := DecodeMeshService(meshDocument(spec)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestValidateProtocols: what is about requests is an error for connections, also
// where it would have a default.
func TestValidateProtocols(t *testing.T) {
	for _, field := range []string{
		"timeout: 1s", "maxConcurrentRequests: 1", "maxConcurrentStreams: 1", "maxConnectionAge: 1m", "adaptiveConcurrency: {}", "rateLimit: {requests: 1}",
	} {
		name, _, _ := strings.Cut(field, ":")
		want := fmt.Sprintf("spec.inbound[0].%s: Forbidden: does not go with protocol TCP, of which only bytes are seen: here maxConnections is accepted", name)
		if _, err := DecodeMeshService(meshDocument("inbound: [{port: 80, protocol: TCP, " + field + "}]")); err == nil || err.Error() != want {
			t.Errorf("%s: %v\nwant %s", field, err, want)
		}
	}
	for _, field := range []string{
		"timeout: 1s", "clientTimeout: 1s", "retries: {}", "outlierDetection: {}", "maxConnectionAge: 1m", "idleTimeout: 1s", "dnsRefresh: 5s",
		"breakers: {maxPendingRequests: 1}", "breakers: {maxRequests: 1}", "routes: [{to: cache, headers: [{name: x, value: v}]}]",
	} {
		for _, protocol := range []Protocol{ProtocolTCP, ProtocolTLS} {
			spec := destination(field + ", protocol: " + string(protocol))
			spec = strings.TrimSuffix(spec, "]") + ", {name: cache, host: cache.example.com, port: 80}]"
			path := strings.NewReplacer(": {", ".", "{", ".").Replace(field)
			path, _, _ = strings.Cut(strings.ReplaceAll(path, ".}", ""), ":")
			want := fmt.Sprintf("spec.egress[0].%s: Forbidden: does not go with protocol %s, of which only connections are seen: here connectTimeout and breakers.maxConnections are accepted", path, protocol)
			if _, err := DecodeMeshService(meshDocument(spec)); err == nil || err.Error() != want {
				t.Errorf("%s: %v\nwant %s", spec, err, want)
			}
		}
	}
}
