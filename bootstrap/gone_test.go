package bootstrap

import (
	"fmt"
	"slices"
	"testing"

	"github.com/pillion-mesh/pillion/api/v1alpha1"
)

// TestNoRouteByWhatIsTakenOff: what is taken off a request before Envoy looks at routes is
// accepted in none, and what is left there is.
func TestNoRouteByWhatIsTakenOff(t *testing.T) {
	accepted := func(header string) error {
		_, err := v1alpha1.DecodeMeshService(fmt.Appendf(nil, `{apiVersion: pillion.dev/v1alpha1, kind: MeshService, metadata: {name: checkout, namespace: shop}, spec: {egress: [
			{name: cart, host: cart.test, port: 80, routes: [{headers: [{name: %s, value: blue}], to: other}]}, {name: other, host: other.test, port: 80}]}}`, header))
		return err
	}
	for _, header := range slices.Concat(ordersByHeader(), []string{proto, protoAside, PortAside}) {
		if accepted(header) == nil {
			t.Errorf("a route by %s is accepted", header)
		}
	}
	for _, header := range []string{"x-envoy-other", "x-forwarded-host", "x-sandbox"} {
		if err := accepted(header); err != nil {
			t.Error(err)
		}
	}
}
