package v1alpha1

import (
	"fmt"
	"strings"
	"testing"
)

// TestValidateTakesItsBounds: the least and the most of each field are among what is
// accepted, and so is what two fields that are compared may be at the same time.
func TestValidateTakesItsBounds(t *testing.T) {
	for _, spec := range []string{
		`inbound: [{port: 1, timeout: 1ms, maxConcurrentRequests: 1, maxConnections: 1, maxConcurrentStreams: 1, maxConnectionAge: 1s,
  adaptiveConcurrency: {minConcurrency: 1, maxConcurrency: 1, latencyHeadroomPercent: 1, measureEvery: 1s}, rateLimit: {requests: 1, per: 50ms, burst: 1}}]`,
		`inbound: [{port: 65535, timeout: 1h, maxConcurrentRequests: 2147483647, maxConnections: 2147483647, maxConcurrentStreams: 2147483647, maxConnectionAge: 1h,
  adaptiveConcurrency: {minConcurrency: 2147483647, maxConcurrency: 2147483647, latencyHeadroomPercent: 100, measureEvery: 1h}, rateLimit: {requests: 2147483647, per: 1h, burst: 2147483647}}]`,
		"inbound: [{port: 14999}, {port: 15100}]",
		destination(`timeout: 2ms, clientTimeout: 1ms, maxConnectionAge: 1s, idleTimeout: 1ms, connectTimeout: 1ms, dnsRefresh: 1s,
  retries: {attempts: 1, perTryTimeout: 1ms, budgetPercent: 1}, breakers: {maxConnections: 1, maxPendingRequests: 1, maxRequests: 1},
  outlierDetection: {consecutiveErrors: 1, ejectionTime: 1s, maxEjectedPercent: 1}`),
		destination(`timeout: 1h, clientTimeout: 1h, maxConnectionAge: 1h, idleTimeout: 1h, connectTimeout: 1h, dnsRefresh: 1h,
  retries: {attempts: 5, perTryTimeout: 3599999ms, budgetPercent: 100}, breakers: {maxConnections: 2147483647, maxPendingRequests: 2147483647, maxRequests: 2147483647},
  outlierDetection: {consecutiveErrors: 2147483647, ejectionTime: 1h, maxEjectedPercent: 100}`),
		// Without a timeout nothing has to be below it.
		destination("timeout: 0s, maxConnectionAge: 0s, retries: {perTryTimeout: 1h}"),
		"egress: [{name: a, host: a.example.com, port: 80, timeout: 0s, routes: [{headers: [{name: x, value: v}], to: b, fallback: {when: Fails, after: 1h}}]}, {name: b, host: b.example.com, port: 80}]",
		"statistics: {maxSeries: 100}", "statistics: {maxSeries: 100000}",
	} {
		if _, err := DecodeMeshService(meshDocument(spec)); err != nil {
			t.Errorf("%s: %v", spec, err)
		}
	}
}

// TestValidateLengths: lists and names may be so long, and no longer.
func TestValidateLengths(t *testing.T) {
	route := func(fields string) string { return routed("{to: cache, " + fields + "}") }
	for _, test := range []struct {
		path string
		most int
		spec func(length int) string
	}{
		{"spec.inbound", 64, func(n int) string { return "inbound: [" + items("{port: 1%03d}", ", ", n) + "]" }},
		{"spec.egress", 1024, func(n int) string { return "egress: [" + items("{name: a%d, host: a%[1]d, port: 80}", ", ", n) + "]" }},
		{"spec.egress[0].routes", 32, func(n int) string { return routed(items("{to: cache, headers: [{name: x, value: v%d}]}", ", ", n)) }},
		{"spec.egress[0].routes[0].headers", 8, func(n int) string { return route("headers: [" + items("{name: x%d, value: v}", ", ", n) + "]") }},
		{"spec.egress[0].routes[0].headers[0].name", 256, func(n int) string { return route("headers: [{name: " + strings.Repeat("x", n) + ", value: v}]") }},
		{"spec.egress[0].routes[0].headers[0].value", 256, func(n int) string { return route("headers: [{name: x, value: " + strings.Repeat("v", n) + "}]") }},
		{"spec.egress[0].routes[0].grpc.service", 256, func(n int) string { return route("grpc: {service: " + strings.Repeat("S", n) + "}") }},
		{"spec.egress[0].routes[0].grpc.methods", 128, func(n int) string { return route("grpc: {service: S, methods: [" + items("M%d", ", ", n) + "]}") }},
		{"spec.egress[0].routes[0].grpc.methods[0]", 256, func(n int) string { return route("grpc: {service: S, methods: [" + strings.Repeat("M", n) + "]}") }},
	} {
		if _, err := DecodeMeshService(meshDocument(test.spec(test.most))); err != nil {
			t.Errorf("%s of length %d: %v", test.path, test.most, err)
		}
		_, err := DecodeMeshService(meshDocument(test.spec(test.most + 1)))
		if says := fmt.Sprint(err); !strings.HasPrefix(says, test.path+": ") || !strings.Contains(says, fmt.Sprintf("at most %d", test.most)) {
			t.Errorf("%s of length %d: %v", test.path, test.most+1, err)
		}
	}
}
