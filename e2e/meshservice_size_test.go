package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/pillion-mesh/pillion/api/v1alpha1"
)

// TestMeshServiceOfTheLargestSize: kube-apiserver bounds what the rules of a definition
// may cost for one document. A document of as many destinations as are accepted, each
// with every field that has a rule, stays below.
func TestMeshServiceOfTheLargestSize(t *testing.T) {
	c := apiServer(t)
	defineMeshServices(t, c)
	namespace := newNamespace(t, c, "mesh-", nil)
	var spec strings.Builder
	spec.WriteString("inbound:\n")
	for n := range v1alpha1.MaxInboundPorts {
		fmt.Fprintf(&spec, "- {port: %d, timeout: 1s, maxConnectionAge: 5m, adaptiveConcurrency: {measureEvery: 1m}, rateLimit: {requests: 1, per: 1s}}\n", 8000+n)
	}
	spec.WriteString("egress:\n- {name: to, host: to.example.com, port: 80}\n")
	host := strings.Repeat("a-rather-long-label.", 8) + "example.com"
	for n := range v1alpha1.MaxDestinations - 1 {
		fmt.Fprintf(&spec, "- {name: destination-%d, host: d%d.%s, port: 80, protocol: GRPC, timeout: 5s, clientTimeout: 4s, maxConnectionAge: 1m, idleTimeout: 4s, "+
			"connectTimeout: 1s, dnsRefresh: 5s, retries: {perTryTimeout: 1s, when: [Reset], safeMethods: [a.B/C]}, outlierDetection: {ejectionTime: 30s}, "+
			"routes: [{to: to, headers: [{name: x, value: v}], fallback: {when: Fails, after: 1s}}, {to: to, grpc: {service: a.B, methods: [C]}, fallback: {}}]}\n", n, n, host)
	}
	document := meshDocument(strings.TrimSuffix(spec.String(), "\n"))
	if _, err := v1alpha1.DecodeMeshService(document); err != nil {
		t.Fatal(err)
	}
	if err := applied(t, c, namespace, parseObject(t, document)); err != nil {
		t.Errorf("%d bytes: %.2000s", len(document), err.Error())
	}
	t.Logf("%d bytes", len(document))
}
