package v1alpha1

import (
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/util/validation/field"
)

// ConnectBound is the longest that a connection to a destination is waited for,
// whatever its connectTimeout is.
//
// +kubebuilder:object:generate=false
type ConnectBound struct {
	Most time.Duration
	// Why names the field that it follows from.
	Why string
}

// ConnectBounds are those of a document with its defaults, by the destination's name.
// Envoy counts the time of an attempt from when the request is on its connection, so an
// address that takes none, as that of a node that is gone, would use up the time in
// which another address or destination is to be tried.
func (s *MeshServiceSpec) ConnectBounds() map[string]ConnectBound {
	bounds := map[string]ConnectBound{}
	bound := func(name string, most time.Duration, format string, args ...any) {
		// Envoy takes 0 for none.
		most = max(most.Truncate(time.Millisecond), time.Millisecond)
		if other, bounded := bounds[name]; !bounded || most < other.Most {
			bounds[name] = ConnectBound{most, fmt.Sprintf(format, args...)}
		}
	}
	for n := range s.Egress {
		d, at := &s.Egress[n], field.NewPath("spec", "egress").Index(n)
		// half of the timeout is left for whatever is tried then.
		half := func(name string) {
			if d.Timeout != nil && d.Timeout.Duration > 0 {
				bound(name, d.Timeout.Duration/2, "half of %s", at.Child("timeout"))
			}
		}
		// retried is where a connection that cannot be made is tried once more.
		retried := func(name string) {
			if d.Retries == nil || !slices.Contains(d.Retries.When, RetryConnectFailure) {
				return
			}
			half(name)
			if perTry := d.Retries.PerTryTimeout; perTry != nil {
				bound(name, perTry.Duration, "%s", at.Child("retries", "perTryTimeout"))
			}
		}
		retried(d.Name)
		for m := range d.Routes {
			switch route := &d.Routes[m]; {
			case route.Fallback == nil:
				retried(route.To)
			case route.Fallback.When == FallbackAbsent:
				half(route.To)
			default:
				bound(route.To, route.Fallback.After.Duration, "fallback.after of %s", at.Child("routes").Index(m))
			}
		}
	}
	return bounds
}
